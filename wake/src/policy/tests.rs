use super::*;

fn plan(text: &str) -> Plan {
    Plan::parse(text).expect(text)
}

#[test]
fn who_is_woken() {
    for text in ["true", "on", "1", " True "] {
        assert_eq!(Wish::parse(text), Ok(Wish::On(Target::Own)), "{text}");
    }
    for text in ["false", "off", "0"] {
        assert_eq!(Wish::parse(text), Ok(Wish::Off), "{text}");
    }
    assert_eq!(Wish::parse("group/media"), Ok(Wish::On(Target::Group("media".into()))));
    assert_eq!(Wish::parse("deploy/a"), Ok(Wish::On(Target::Plan(plan("deployment/a")))));
    assert!(matches!(Wish::parse("group/"), Err(PolicyError::Group(_))));
    assert!(matches!(Wish::parse("maybe"), Err(PolicyError::Plan(_))));
}

#[test]
fn what_is_not_said_has_a_default() {
    let defaults = Defaults::default();
    assert_eq!(Words::default().policy(&defaults), None, "nothing asks for it");
    let off = Words { wake: Some(Wish::Off), ..Words::default() };
    assert_eq!(off.policy(&defaults), None);
    let words = Words { wake: Some(Wish::On(Target::Own)), ..Words::default() };
    let policy = words.policy(&defaults).expect("a policy");
    assert_eq!((policy.idle, policy.timeout), (Some(defaults.idle), defaults.timeout));
    assert_eq!(policy.wait, Wait::Auto);
    let words = Words { idle: Some(Idle::Never), wait: Some(Wait::Hold), ..words };
    let policy = words.policy(&defaults).expect("a policy");
    assert_eq!((policy.idle, policy.wait), (None, Wait::Hold));
}

#[test]
fn times_have_bounds() {
    assert_eq!(Idle::within_bounds(IDLE_MIN), Ok(Idle::For(IDLE_MIN)));
    assert_eq!(Idle::within_bounds(IDLE_MAX), Ok(Idle::For(IDLE_MAX)));
    let second = Duration::from_secs(1);
    assert!(Idle::within_bounds(IDLE_MAX + second).is_err());
    assert!(Idle::within_bounds(Duration::ZERO).is_err());
    assert_eq!(timeout_within_bounds(TIMEOUT_MAX), Ok(TIMEOUT_MAX));
    assert!(timeout_within_bounds(TIMEOUT_MAX + second).is_err());
    assert!(timeout_within_bounds(Duration::ZERO).is_err());
}

#[test]
fn words_for_the_page_and_the_probe() {
    assert_eq!(Wait::parse("page"), Ok(Wait::Page));
    assert!(Wait::parse("poke").is_err());
    assert!(parse_title(&"ä".repeat(TITLE_CHARS_MAX)).is_ok());
    assert_eq!(parse_title(&"a".repeat(TITLE_CHARS_MAX + 1)), Err(PolicyError::Title));
    assert_eq!(parse_probe("/healthz?full=1").as_deref(), Ok("/healthz?full=1"));
    for text in ["healthz", "/a b", "/a\r\nx: y", "", &format!("/{}", "a".repeat(PROBE_LEN_MAX))] {
        assert!(parse_probe(text).is_err(), "{text}");
    }
}
