use super::super::tests::{Answer, Scripted, config_map, list};
use super::*;
use crate::config::problem::Kind;

/// What the stream of ConfigMaps tells when the server answers like that.
async fn stream(
    script: impl Fn(bool, usize) -> Answer + Send + Sync + 'static,
) -> (Scripted, mpsc::Receiver<Report>) {
    let server = Scripted::start(move |_, target, before| script(target.contains("watch="), before)).await;
    let (sender, reports) = mpsc::channel(8);
    let scope = Scope { kind: Kind::ConfigMap, namespace: None };
    tokio::spawn(Stream::new(0, server.client.clone(), scope, None, sender).run());
    (server, reports)
}

async fn next_delta(reports: &mut mpsc::Receiver<Report>) -> (Vec<String>, Vec<String>) {
    loop {
        if let News::Changed(delta) = reports.recv().await.unwrap().news {
            let applied = delta.applied.iter().map(|object| object.metadata().name.to_string());
            let removed = delta.removed.iter().map(|name| name.name.to_string());
            return (applied.collect(), removed.collect());
        }
    }
}

fn gone() -> Answer {
    Answer::Watch(vec![r#"{"type":"ERROR","object":{"kind":"Status","code":410,"message":"old"}}"#.into()])
}

fn maps(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| config_map(name, 1)).collect()
}

#[tokio::test]
async fn a_version_that_is_too_old_leads_to_a_new_list() {
    let (_server, mut reports) = stream(|watch, before| match (watch, before) {
        (false, 0) => list(5, &maps(&["a", "b", "c"])),
        (false, _) => list(9, &maps(&["a", "b", "d"])),
        (true, 0) => gone(),
        (true, _) => Answer::Watch(Vec::new()),
    })
    .await;
    assert_eq!(next_delta(&mut reports).await.1, Vec::<String>::new());
    let (applied, removed) = next_delta(&mut reports).await;
    assert_eq!((applied, removed), (vec!["a".into(), "b".into(), "d".into()], vec!["c".to_owned()]));
}

#[tokio::test]
async fn a_list_that_lost_most_objects_is_believed_only_twice() {
    let (server, mut reports) = stream(|watch, before| match (watch, before) {
        (false, 0 | 2) => list(5, &maps(&["a", "b", "c"])),
        // What a server says whose storage is not yet there.
        (false, 1) => list(6, &maps(&["a"])),
        (false, _) => list(9, &maps(&[])),
        (true, _) => gone(),
    })
    .await;
    next_delta(&mut reports).await;
    assert_eq!(next_delta(&mut reports).await.1, Vec::<String>::new(), "the second of the two is believed");
    let (applied, removed) = next_delta(&mut reports).await;
    assert_eq!((applied, removed.len()), (vec![], 3), "and here they agree");
    let lists = server.asked().iter().filter(|target| !target.contains("watch=")).count();
    assert_eq!(lists, 5);
}

#[tokio::test]
async fn failures_of_all_sorts_take_nothing_and_are_told_when_they_last() {
    let (_server, mut reports) = stream(|watch, before| match (watch, before) {
        (false, 0) => Answer::Busy(429),
        (false, 1) => Answer::Cut,
        (false, 2) => Answer::Json(200, "<html>".into()),
        (false, _) => list(5, &maps(&["a"])),
        (true, 0) => Answer::Busy(503),
        (true, 1) => Answer::Json(500, "{}".into()),
        (true, 2) => Answer::Cut,
        (true, 3) => Answer::Ended(vec![r#"{"type":"ADDED","obj"#.into()]),
        (true, _) => Answer::Watch(vec![format!(r#"{{"type":"ADDED","object":{}}}"#, config_map("b", 6))]),
    })
    .await;
    let mut states = Vec::new();
    let mut applied = Vec::new();
    while applied.len() < 2 {
        match reports.recv().await.unwrap().news {
            News::State(state) => states.push(std::mem::discriminant(&state)),
            News::Restored(_) => panic!("nothing is kept"),
            News::Changed(delta) => {
                assert_eq!(delta.removed, []);
                applied.extend(delta.applied);
            }
        }
    }
    let failing = std::mem::discriminant(&State::Failing(String::new()));
    let current = std::mem::discriminant(&State::Current);
    assert_eq!(&states[..4], &[failing, current, failing, current]);
}

#[tokio::test]
async fn a_kind_that_is_suddenly_unknown_keeps_its_objects_for_a_while() {
    let (server, mut reports) = stream(|watch, before| match (watch, before) {
        (false, 0) => list(5, &maps(&["a"])),
        (false, _) | (true, _) => Answer::Json(404, "{}".into()),
    })
    .await;
    next_delta(&mut reports).await;
    let (_, removed) = next_delta(&mut reports).await;
    assert_eq!(removed, ["a"]);
    let lists = server.asked().iter().filter(|target| !target.contains("watch=")).count();
    assert!(lists > REFUSALS_BELIEVED_MIN as usize, "{lists}");
}

#[tokio::test]
async fn a_right_that_is_taken_away_takes_no_objects() {
    let (_server, mut reports) = stream(|watch, before| match (watch, before) {
        (false, _) => list(5, &maps(&["a"])),
        (true, _) => Answer::Json(403, r#"{"message":"no"}"#.into()),
    })
    .await;
    let mut states = Vec::new();
    while states.last() != Some(&State::Forbidden("no".into())) {
        match reports.recv().await.unwrap().news {
            News::State(state) => states.push(state),
            News::Restored(_) => panic!("nothing is kept"),
            News::Changed(delta) => assert_eq!(delta.removed, []),
        }
    }
    assert_eq!(states, [State::Current, State::Forbidden("no".into())]);
}
