use std::sync::Arc;

use jiff::SignedDuration;

use super::*;
use crate::chain::tests::issue;
use crate::dns::Dns;
use crate::issuer::KeyType;
use crate::plan::Scope;
use crate::provider::tests::Script;

fn at(text: &str) -> Timestamp {
    text.parse().expect(text)
}

fn issuer(script: &Script) -> Issuer {
    Issuer {
        scope: Scope { issuer: "le".into(), ..Scope::default() },
        directory: "https://ca.test/dir".to_owned(),
        staging: None,
        contact: Vec::new(),
        external_account: None,
        key_type: KeyType::default(),
        profile: None,
        preferred_chain: None,
        http01: Vec::new(),
        solvers: Vec::new(),
        dns: Dns { resolvers: Vec::new(), authoritative_port: 53 },
        http: Arc::new(script.clone()),
        fingerprint: 0,
    }
}

const DIRECTORY: &str = r#"{"newNonce": "x", "renewalInfo": "https://ca.test/ari/"}"#;

fn window(start: &str, end: &str) -> String {
    format!(
        r#"{{"suggestedWindow": {{"start": "{start}", "end": "{end}"}}, "explanationURL": "https://ca.test/why"}}"#
    )
}

#[tokio::test]
async fn a_moment_is_drawn_once_and_a_new_window_draws_again() {
    let now = at("2026-02-01T00:00:00Z");
    let chain = issue(&["a.test"], at("2026-01-01T00:00:00Z"), at("2026-04-01T00:00:00Z"));
    let id = chain.facts.renewal_id.clone().expect("it has one");
    let script = Script::default();
    let (first, second) =
        (("2026-03-01T00:00:00Z", "2026-03-03T00:00:00Z"), ("2026-02-02T00:00:00Z", "2026-02-03T00:00:00Z"));
    for (start, end) in [first, first, second] {
        script.answer(200, DIRECTORY).answer(200, &window(start, end));
    }
    let issuer = issuer(&script);
    let mut state = State::default();
    let drawn = ask(&issuer, &chain.facts, &id, &state, now).await;
    assert_eq!(script.asked(), ["GET /dir", format!("GET /ari/{id}").as_str()]);
    let chosen = drawn.chosen.expect("drawn");
    assert!((at(first.0)..=at(first.1)).contains(&chosen), "{chosen}");
    assert_eq!(drawn.explanation.as_deref(), Some("https://ca.test/why"));
    state.renewal = Some(drawn.clone());
    let same = ask(&issuer, &chain.facts, &id, &state, now).await;
    assert_eq!(same.chosen, Some(chosen), "the same window keeps the moment");
    assert!(!moved_earlier(Some(&drawn), &same));
    let moved = ask(&issuer, &chain.facts, &id, &state, now).await;
    assert!(moved.chosen.expect("drawn") <= at(second.1) && moved_earlier(Some(&drawn), &moved));
}

#[tokio::test]
async fn no_word_keeps_what_was_said_and_asks_again() {
    let now = at("2026-02-01T00:00:00Z");
    let chain = issue(&["a.test"], at("2026-01-01T00:00:00Z"), at("2026-04-01T00:00:00Z"));
    let id = chain.facts.renewal_id.clone().expect("it has one");
    let known = Renewal {
        certificate: id.clone(),
        window: None,
        chosen: Some(at("2026-03-01T00:00:00Z")),
        explanation: None,
        next_check: now,
        failures: 1,
    };
    let state = State { renewal: Some(known), ..State::default() };
    let script = Script::default();
    script.fail("no route").answer(500, "").answer(200, "{}").answer(200, DIRECTORY).answer(200, "broken");
    script.answer(200, DIRECTORY).answer(200, &window("2026-03-02T00:00:00Z", "2026-03-01T00:00:00Z"));
    let issuer = issuer(&script);
    for minutes in [2, 2, 360, 360, 360] {
        let renewal = ask(&issuer, &chain.facts, &id, &state, now).await;
        assert_eq!(renewal.chosen, Some(at("2026-03-01T00:00:00Z")));
        assert_eq!((renewal.next_check, renewal.failures), (now + SignedDuration::from_mins(minutes), 2));
    }
}
