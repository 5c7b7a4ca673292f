use super::*;
use crate::config::problem::Kind;
use crate::reject::{Exceeded, Reject};
use crate::request::target::TargetError;
use crate::tls::accept::HandshakeError;

fn metrics(workers: usize) -> Arc<Metrics> {
    Arc::new(Metrics::new(workers, Arc::default(), now()))
}

fn now() -> Timestamp {
    "2026-03-01T00:00:00Z".parse().unwrap()
}

fn object(name: &str) -> ObjectRef {
    ObjectRef { kind: Kind::Ingress, namespace: "shop".into(), name: name.into() }
}

fn text(metrics: &Arc<Metrics>) -> String {
    metrics.encode(now() + jiff::SignedDuration::from_secs(5)).unwrap()
}

fn has(text: &str, line: &str) {
    assert!(text.lines().any(|known| known == line), "no {line:?} in\n{text}");
}

#[test]
fn requests_are_summed_over_workers() {
    let metrics = metrics(2);
    let route = metrics.shared.route(&object("web"));
    route.record(0, Protocol::Http11, 200, Duration::from_millis(3));
    route.record(1, Protocol::Http11, 204, Duration::from_secs(70));
    route.record(1, Protocol::Http2, 503, Duration::from_millis(1));
    metrics.shared.unmatched.record(0, Protocol::Http10, 404, Duration::ZERO);
    let text = text(&metrics);
    let labels = r#"kind="Ingress",namespace="shop",name="web""#;
    has(&text, &format!(r#"vestibule_requests_total{{{labels},protocol="HTTP/1.1",status="2xx"}} 2"#));
    has(&text, &format!(r#"vestibule_requests_total{{{labels},protocol="HTTP/2.0",status="5xx"}} 1"#));
    has(
        &text,
        r#"vestibule_requests_total{kind="none",namespace="",name="",protocol="HTTP/1.0",status="4xx"} 1"#,
    );
    has(&text, &format!(r#"vestibule_request_duration_seconds_bucket{{le="0.001",{labels}}} 1"#));
    has(&text, &format!(r#"vestibule_request_duration_seconds_bucket{{le="0.005",{labels}}} 2"#));
    has(&text, &format!(r#"vestibule_request_duration_seconds_bucket{{le="+Inf",{labels}}} 3"#));
    has(&text, &format!(r#"vestibule_request_duration_seconds_sum{{{labels}}} 70.004"#));
    assert_eq!(route.requests(), 3);
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn counters_survive_a_change_of_configuration_and_go_with_their_object() {
    let metrics = metrics(1);
    metrics.shared.route(&object("web")).record(0, Protocol::Http11, 200, Duration::ZERO);
    assert_eq!(metrics.shared.route(&object("web")).requests(), 1);
    metrics.retain_routes(|known| *known == object("web"));
    assert_eq!(metrics.shared.route(&object("web")).requests(), 1);
    metrics.retain_routes(|_| false);
    assert!(!text(&metrics).contains("name=\"web\""));
    assert_eq!(metrics.shared.route(&object("web")).requests(), 0);
}

#[test]
fn objects_beyond_the_bound_share_one_label() {
    let metrics = metrics(1);
    for index in 0..ROUTES_LABELLED_MAX {
        metrics.shared.route(&object(&format!("r{index}")));
    }
    metrics.shared.route(&object("more")).record(0, Protocol::Http11, 200, Duration::ZERO);
    metrics.shared.route(&object("yet-more")).record(0, Protocol::Http11, 200, Duration::ZERO);
    let text = text(&metrics);
    assert!(!text.contains("more\""));
    has(
        &text,
        r#"vestibule_requests_total{kind="others",namespace="",name="",protocol="HTTP/1.1",status="2xx"} 2"#,
    );
}

#[test]
fn odd_statuses_and_workers_do_no_harm() {
    let metrics = metrics(1);
    let route = metrics.shared.route(&object("web"));
    route.record(0, Protocol::Http11, 0, Duration::ZERO);
    route.record(0, Protocol::Http11, 999, Duration::MAX);
    route.record(7, Protocol::Http11, 200, Duration::ZERO);
    assert_eq!(route.requests(), 2);
}

#[test]
fn rejects_are_counted_by_reason() {
    let metrics = metrics(2);
    metrics.worker(0).ended_for(Reject::HostNotFound.reason());
    metrics.worker(1).ended_for("host_not_found");
    metrics.worker(1).ended_for("target_too_long");
    let text = text(&metrics);
    has(&text, r#"vestibule_rejects_total{reason="host_not_found"} 2"#);
    has(&text, r#"vestibule_rejects_total{reason="target_too_long"} 1"#);
    assert_eq!(metrics.totals().rejects, 3);
    metrics.worker(0).ended_for("client_gone");
    metrics.worker(0).ended_for("something new");
    has(&self::text(&metrics), r#"vestibule_answers_unfinished_total{reason="client_gone"} 1"#);
    has(&self::text(&metrics), r#"vestibule_rejects_total{reason="other"} 1"#);
    assert_eq!(metrics.totals().rejects, 4);
}

#[test]
fn every_reason_has_a_counter_of_its_own() {
    let own = &REASONS[..REASONS.len() - REASONS_UNFINISHED.len() - 1];
    let mut seen = BTreeSet::new();
    for reject in every_reject() {
        assert!(own.contains(&reject.reason()), "{}", reject.reason());
        seen.insert(reject.reason());
    }
    assert_eq!(seen.len(), own.len(), "a reason in the list that no refusal has");
}

#[test]
fn failed_handshakes_are_counted_by_reason() {
    let metrics = metrics(1);
    metrics.worker(0).handshake_failed(&HandshakeError::Timeout);
    metrics.worker(0).handshake_failed(&HandshakeError::NotTls);
    has(&text(&metrics), r#"vestibule_tls_handshakes_failed_total{reason="timeout"} 1"#);
    assert_eq!(metrics.totals().tls_handshakes_failed, 2);
}

#[test]
fn networks_that_are_not_believed_become_one_problem() {
    let metrics = metrics(1);
    assert_eq!(metrics.untrusted_forwarding(), None);
    for address in ["10.1.2.3", "10.1.2.4", "::ffff:10.1.2.5", "2001:db8::1"] {
        metrics.worker(0).untrusted_forwarding(address.parse().unwrap());
    }
    let problem = metrics.untrusted_forwarding().unwrap();
    assert!(problem.message.starts_with("peers in 10.1.2.0/24, 2001:db8::/64 send"), "{}", problem.message);
    for third in 0..=255u8 {
        metrics.worker(0).untrusted_forwarding(std::net::Ipv4Addr::new(10, 9, third, 1).into());
    }
    assert_eq!(lock(&metrics.shared.untrusted).len(), NETWORKS_LEN_MAX);
}

#[test]
fn open_things_are_the_difference_and_never_negative() {
    let metrics = metrics(1);
    let worker = metrics.worker(0);
    worker.connection_closed();
    assert_eq!(metrics.totals().connections_open, 0);
    worker.connections_opened.add(3);
    assert_eq!(metrics.totals().connections_open, 2);
    has(&text(&metrics), "vestibule_connections_open 2.0");
    has(&text(&metrics), "vestibule_connections_total 3");
}

#[test]
fn the_live_configuration_is_described() {
    let metrics = metrics(1);
    has(&text(&metrics), "vestibule_config_version 0.0");
    let severities = [Severity::Refused, Severity::Warning, Severity::Warning];
    metrics.set_configuration(Configuration {
        version: 4,
        applied: Some(now()),
        listeners: 2,
        routes: 9,
        problems: Configuration::count_problems(severities.into_iter()),
        certificates_expire: Some(now()),
    });
    let text = text(&metrics);
    has(&text, "vestibule_config_version 4.0");
    has(&text, "vestibule_config_age_seconds 5.0");
    has(&text, r#"vestibule_config_problems{severity="refused"} 1.0"#);
    has(&text, r#"vestibule_config_problems{severity="warning"} 2.0"#);
    has(&text, "vestibule_certificates_expire_timestamp_seconds 1772323200.0");
    has(&text, "process_start_time_seconds 1772323200.0");
    assert!(text.contains("process_resident_memory_bytes "));
}

fn exceeded() -> Exceeded {
    Exceeded { rule: "".into(), status: None, retry_after: None }
}

/// One of each. A new variant does not compile until it is put here.
fn every_reject() -> Vec<Reject> {
    let all = vec![
        Reject::BadHead(""),
        Reject::BadFraming(""),
        Reject::HeadTooLarge,
        Reject::HeadTimeout,
        Reject::VersionUnsupported,
        Reject::ExpectationFailed,
        Reject::MethodUnsupported,
        Reject::MethodNotAllowed(""),
        Reject::BadTarget(TargetError::Byte),
        Reject::BadTarget(TargetError::TooLong),
        Reject::Misdirected,
        Reject::HostNotFound,
        Reject::RouteNotFound,
        Reject::Refused("".into()),
        Reject::RouteStatus(http::StatusCode::OK),
        Reject::BackendInvalid,
        Reject::AddressDenied,
        Reject::ClientCertificate(""),
        Reject::SubjectDenied,
        Reject::Unauthenticated(Vec::new()),
        Reject::Forbidden(Box::default()),
        Reject::Unidentified("".into()),
        Reject::AuthUnavailable("".into()),
        Reject::BodyTooLarge,
        Reject::BodyTimeout,
        Reject::BodyAborted,
        Reject::TooManyConnections,
        Reject::RateLimited(exceeded()),
        Reject::TooManyAtOnce(exceeded()),
        Reject::NoEndpoints,
        Reject::WakeTimeout(None),
        Reject::WakeFailed("".into()),
        Reject::Asleep,
        Reject::AsleepBySchedule(Duration::ZERO),
        Reject::TooManyWaiting,
        Reject::ConnectFailed,
        Reject::ConnectTimeout,
        Reject::UpstreamTls,
        Reject::UpstreamProtocol(""),
        Reject::UpstreamReset,
        Reject::UpstreamTimeout,
        Reject::RequestDeadline,
        Reject::UpgradeFailed,
        Reject::Overloaded,
        Reject::Draining,
        Reject::Internal,
    ];
    match &all[0] {
        Reject::BadHead(_)
        | Reject::BadFraming(_)
        | Reject::HeadTooLarge
        | Reject::HeadTimeout
        | Reject::VersionUnsupported
        | Reject::ExpectationFailed
        | Reject::MethodUnsupported
        | Reject::MethodNotAllowed(_)
        | Reject::BadTarget(_)
        | Reject::Misdirected
        | Reject::HostNotFound
        | Reject::RouteNotFound
        | Reject::Refused(_)
        | Reject::RouteStatus(_)
        | Reject::BackendInvalid
        | Reject::AddressDenied
        | Reject::ClientCertificate(_)
        | Reject::SubjectDenied
        | Reject::Unauthenticated(_)
        | Reject::Forbidden(_)
        | Reject::Unidentified(_)
        | Reject::AuthUnavailable(_)
        | Reject::BodyTooLarge
        | Reject::BodyTimeout
        | Reject::BodyAborted
        | Reject::TooManyConnections
        | Reject::RateLimited(_)
        | Reject::TooManyAtOnce(_)
        | Reject::NoEndpoints
        | Reject::WakeTimeout(_)
        | Reject::WakeFailed(_)
        | Reject::Asleep
        | Reject::AsleepBySchedule(_)
        | Reject::TooManyWaiting
        | Reject::ConnectFailed
        | Reject::ConnectTimeout
        | Reject::UpstreamTls
        | Reject::UpstreamProtocol(_)
        | Reject::UpstreamReset
        | Reject::UpstreamTimeout
        | Reject::RequestDeadline
        | Reject::UpgradeFailed
        | Reject::Overloaded
        | Reject::Draining
        | Reject::Internal => all,
    }
}
