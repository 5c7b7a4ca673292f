use super::*;

fn read(
    labels: &[(&str, &'static str)],
    annotations: &[(&str, &'static str)],
) -> Result<Option<Labels>, LabelError> {
    let find = |list: &[(&str, &'static str)], key: &str| {
        list.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
    };
    Labels::read(|key| find(labels, key), |key| find(annotations, key))
}

#[test]
fn only_what_is_enabled_by_a_label_is_managed() {
    assert_eq!(read(&[], &[("sablier.enable", "true")]), Ok(None));
    assert_eq!(read(&[("sablier.enable", "false")], &[]), Ok(None));
    let labels = read(&[("sablier.enable", "true")], &[]).expect("labels").expect("managed");
    assert_eq!(labels.groups, ["default".into()]);
    assert_eq!(labels.active_replicas, None);
    assert!(labels.keep_awake.is_empty());
}

#[test]
fn annotations_win_over_labels() {
    let labels = read(
        &[("sablier.enable", "true"), ("sablier.group", "a"), ("sablier.active.replicas", "2")],
        &[("sablier.group", "b, c")],
    );
    let labels = labels.expect("labels").expect("managed");
    assert_eq!(labels.groups, ["b".into(), "c".into()]);
    assert_eq!(labels.active_replicas, Some(2));
}

#[test]
fn running_hours_are_a_window() {
    let enabled = ("sablier.enable", "true");
    let labels =
        read(&[enabled, ("sablier.running-hours", "08:00-18:00"), ("sablier.running-days", "Mon,Tue")], &[]);
    let labels = labels.expect("labels").expect("managed");
    assert_eq!(labels.keep_awake, Schedule::parse("Mon,Tue 08:00-18:00").expect("a schedule"));
    let labels = read(&[enabled, ("sablier.running-days", "Sat")], &[]).expect("labels").expect("managed");
    assert_eq!(labels.keep_awake, Schedule::parse("Sat 00:00-24:00").expect("a schedule"));
}

#[test]
fn what_cannot_be_used_is_told() {
    let enabled = ("sablier.enable", "true");
    let fault =
        |key: &'static str, value: &'static str| read(&[enabled, (key, value)], &[]).expect_err(value);
    assert!(matches!(fault("sablier.active.replicas", "many"), LabelError::Replicas(_)));
    assert!(matches!(fault("sablier.active.replicas", "0"), LabelError::Replicas(_)));
    assert!(matches!(fault("sablier.running-hours", "8"), LabelError::Hours(_)));
    assert!(matches!(fault("sablier.running-days", "Someday"), LabelError::Days(_)));
    let labels = read(&[enabled, ("sablier.idle.cpu", "10m")], &[]).expect("labels").expect("managed");
    assert_eq!(labels.ignored, ["sablier.idle.cpu".into()]);
}
