use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().expect(text)
}

fn down() -> Failure {
    Failure::CaUnreachable { directory: "https://ca.test/dir".to_owned(), error: "refused".to_owned() }
}

fn waits(failure: &Failure, share_left: Option<f64>) -> Vec<i64> {
    let now = at("2026-01-01T00:00:00Z");
    let minutes = |failures| failure.retry_at(now, failures, share_left, 0.0).duration_since(now).as_mins();
    (1..=5).map(minutes).collect()
}

#[test]
fn a_ca_that_is_down_is_tried_as_lets_encrypt_asks() {
    assert_eq!(waits(&down(), Some(0.3)), [1, 10, 100, 1440, 1440]);
    assert_eq!(waits(&down(), None), [1, 10, 100, 1440, 1440]);
}

#[test]
fn close_to_the_end_nothing_waits_long() {
    assert_eq!(waits(&down(), Some(0.04)), [1, 10, 10, 10, 10]);
}

#[test]
fn what_the_ca_said_is_kept_to_the_second() {
    let now = at("2026-01-01T00:00:00Z");
    let moment = at("2026-01-01T05:00:00Z");
    let limited = Failure::RateLimited { detail: "too many".to_owned(), retry_after: Some(moment) };
    assert_eq!(limited.retry_at(now, 1, Some(0.5), 0.0), moment);
    assert_eq!(limited.retry_at(now, 9, Some(0.01), 0.0), moment, "urgency does not overrule the CA");
    assert_eq!(limited.retry_at(now, 1, None, 1.0), moment + MINUTE, "jitter comes on top");
    assert!(limited.to_string().contains("2026-01-01T05:00:00Z"));
    let silent = Failure::RateLimited { detail: "too many".to_owned(), retry_after: None };
    assert_eq!(silent.retry_at(now, 1, None, 0.0), now + HOUR);
}

#[test]
fn failed_proofs_stay_under_the_limit_of_five_an_hour() {
    let proof = Failure::Proof {
        name: Name::parse("a.test").expect("a name"),
        detail: "no TXT record".to_owned(),
        seen: String::new(),
    };
    let (mut now, mut tries) = (at("2026-01-01T00:00:00Z"), vec![]);
    for failures in 1..=5 {
        tries.push(now);
        now = proof.retry_at(now, failures, Some(0.01), 0.0);
    }
    // Even close to the end of a life.
    let within = tries.iter().filter(|moment| moment.duration_since(tries[0]) < HOUR).count();
    assert!(within <= 5, "{tries:?}");
}

#[test]
fn every_message_names_the_guilty_and_no_reason_is_used_twice() {
    let name = Name::parse("a.test").expect("a name");
    let text = || "x".to_owned();
    let all = [
        down(),
        Failure::CaOutOfOrder { directory: text(), status: 503, detail: text(), retry_after: None },
        Failure::Nonce,
        Failure::RateLimited { detail: text(), retry_after: None },
        Failure::OwnLimit { limit: "x", until: Timestamp::UNIX_EPOCH },
        Failure::AccountRefused { account: text(), detail: text() },
        Failure::ExternalAccount { detail: text() },
        Failure::Rejected { detail: text() },
        Failure::Caa { detail: text() },
        Failure::Proof { name: name.clone(), detail: text(), seen: text() },
        Failure::Unanswered { name: name.clone(), seconds: 1, seen: text() },
        Failure::NoChallenge { name, wanted: "dns-01", offered: text() },
        Failure::Ca { detail: text() },
        Failure::CaSlow { minutes: 5 },
        Failure::Issued(ChainError::KeyMismatch),
        Failure::NoSolver { record: text() },
        Failure::ZoneMissing { provider: "x", record: text(), detail: text() },
        Failure::Credentials { provider: "x", detail: text() },
        Failure::ProviderThrottled { provider: "x", detail: text() },
        Failure::Provider { provider: "x", record: text(), detail: text() },
        Failure::Propagation { record: text(), seconds: 1, seen: text() },
        Failure::Dns { detail: text() },
        Failure::Store(StoreError::Full { place: text() }),
        Failure::Key(text()),
    ];
    let reasons: std::collections::BTreeSet<&str> = all.iter().map(Failure::reason).collect();
    assert_eq!(reasons.len(), all.len());
    let now = at("2026-01-01T00:00:00Z");
    for failure in &all {
        for failures in [0, 1, 7, u32::MAX] {
            let retry = failure.retry_at(now, failures, Some(0.5), 1.0);
            assert!(retry >= now && retry <= now + DAY * 2, "{failure} is tried again at {retry}");
        }
    }
}
