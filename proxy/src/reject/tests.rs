use std::collections::HashMap;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use jiff::Timestamp;
use proptest::prelude::*;

use super::page::{Format, PageContext};
use super::refusals::{PATH_BYTES_MAX, REFUSALS_LEN_MAX, Refusals, Refused};
use super::words::Language;
use super::*;
use crate::message::{Body, Response};

fn exceeded(status: Option<StatusCode>) -> Exceeded {
    Exceeded { rule: "1/s per ip".into(), status, retry_after: Some(Duration::from_millis(1200)) }
}

/// Every variant with its status, reason and gRPC code: the contract of logs, metrics and clients.
fn table() -> Vec<(Reject, u16, &'static str, u8)> {
    vec![
        (Reject::BadHead("x"), 400, "bad_head", 13),
        (Reject::BadFraming("x"), 400, "bad_framing", 13),
        (Reject::HeadTooLarge, 431, "head_too_large", 8),
        (Reject::HeadTimeout, 408, "head_timeout", 4),
        (Reject::VersionUnsupported, 505, "version_unsupported", 12),
        (Reject::ExpectationFailed, 417, "expectation_failed", 12),
        (Reject::MethodUnsupported, 501, "method_unsupported", 12),
        (Reject::MethodNotAllowed("GET"), 405, "method_not_allowed", 12),
        (Reject::BadTarget(TargetError::AboveRoot), 400, "bad_target", 13),
        (Reject::BadTarget(TargetError::TooLong), 414, "target_too_long", 8),
        (Reject::Misdirected, 421, "misdirected", 14),
        (Reject::HostNotFound, 404, "host_not_found", 12),
        (Reject::RouteNotFound, 404, "route_not_found", 12),
        (Reject::Refused("x".into()), 503, "refused", 14),
        (Reject::RouteStatus(StatusCode::IM_A_TEAPOT), 418, "route_status", 14),
        (Reject::BackendInvalid, 500, "backend_invalid", 14),
        (Reject::AddressDenied, 403, "address_denied", 7),
        (Reject::ClientCertificate("why"), 400, "client_certificate", 16),
        (Reject::SubjectDenied, 403, "subject_denied", 7),
        (Reject::Unauthenticated(Vec::new()), 401, "unauthenticated", 16),
        (Reject::Forbidden(Box::default()), 403, "forbidden", 7),
        (Reject::Unidentified("x".into()), 403, "unidentified", 7),
        (Reject::AuthUnavailable("x".into()), 503, "auth_unavailable", 14),
        (Reject::BodyTooLarge, 413, "body_too_large", 8),
        (Reject::BodyTimeout, 408, "body_timeout", 4),
        (Reject::BodyAborted, 400, "body_aborted", 10),
        (Reject::TooManyConnections, 429, "too_many_connections", 8),
        (Reject::RateLimited(exceeded(None)), 429, "rate_limited", 8),
        (Reject::TooManyAtOnce(exceeded(None)), 429, "too_many_at_once", 8),
        (Reject::NoEndpoints, 503, "no_endpoints", 14),
        (Reject::WakeTimeout(None), 503, "wake_timeout", 14),
        (Reject::WakeFailed("x".into()), 503, "wake_failed", 14),
        (Reject::Asleep, 503, "asleep", 14),
        (Reject::AsleepBySchedule(Duration::from_secs(60)), 503, "asleep_by_schedule", 14),
        (Reject::TooManyWaiting, 503, "too_many_waiting", 8),
        (Reject::ConnectFailed, 502, "connect_failed", 14),
        (Reject::ConnectTimeout, 504, "connect_timeout", 14),
        (Reject::UpstreamTls, 502, "upstream_tls", 14),
        (Reject::UpstreamProtocol("x"), 502, "upstream_protocol", 14),
        (Reject::UpstreamReset, 502, "upstream_reset", 14),
        (Reject::UpstreamTimeout, 504, "upstream_timeout", 4),
        (Reject::RequestDeadline, 504, "request_deadline", 4),
        (Reject::UpgradeFailed, 502, "upgrade_failed", 14),
        (Reject::Overloaded, 503, "overloaded", 14),
        (Reject::Draining, 503, "draining", 14),
        (Reject::Internal, 500, "internal", 13),
    ]
}

fn context<'a>(format: Format, method: &'a Method, id: &'a str, contact: Option<&'a str>) -> PageContext<'a> {
    PageContext { format, method, request_id: id, language: Language::English, contact }
}

fn body(response: &Response) -> String {
    match &response.body {
        Body::Empty => String::new(),
        Body::Full(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        Body::Stream(_) | Body::Failed(_) => panic!("a refusal is whole"),
    }
}

fn text<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers.get(name).map(|value| value.to_str().unwrap())
}

#[test]
fn a_limit_says_when_to_come_again_unless_it_was_taken_over() {
    let id = "4bf92f3577b34da6";
    let answer = |exceeded: Exceeded| {
        Reject::RateLimited(exceeded).into_response(&context(Format::Plain, &Method::GET, id, None))
    };
    let own = answer(exceeded(None));
    assert_eq!((own.status.as_u16(), text(&own, "retry-after")), (429, Some("2")));
    let soon = answer(Exceeded { retry_after: Some(Duration::from_millis(1)), ..exceeded(None) });
    assert_eq!(text(&soon, "retry-after"), Some("1"));
    let taken_over = Exceeded { retry_after: None, ..exceeded(Some(StatusCode::SERVICE_UNAVAILABLE)) };
    let taken_over = answer(taken_over);
    assert_eq!((taken_over.status.as_u16(), text(&taken_over, "retry-after")), (503, None));
    assert_eq!(Reject::RateLimited(exceeded(None)).detail().unwrap(), "the limit is 1/s per ip");
}

#[test]
fn every_refusal_has_its_status_reason_and_grpc_code() {
    let mut reasons = HashMap::new();
    for (reject, status, reason, grpc) in table() {
        assert_eq!(reject.status().as_u16(), status, "{reject:?}");
        assert_eq!(reject.reason(), reason);
        assert_eq!(reject.grpc_status() as u8, grpc, "{reject:?}");
        assert!(reasons.insert(reason, status).is_none(), "{reason} is used twice");
        assert!(reason.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
    }
    assert_eq!(Reject::BadTarget(TargetError::Connect).status(), StatusCode::NOT_IMPLEMENTED);
}

#[test]
fn a_connection_whose_framing_is_lost_is_closed() {
    for reject in [Reject::BadHead(""), Reject::BadFraming(""), Reject::HeadTooLarge, Reject::BodyTooLarge] {
        assert!(reject.closes_connection(), "{reject:?}");
    }
    for reject in [Reject::RouteNotFound, Reject::NoEndpoints, Reject::AddressDenied, Reject::Overloaded] {
        assert!(!reject.closes_connection(), "{reject:?}");
    }
}

#[test]
fn body_errors_become_refusals() {
    assert_eq!(Reject::from(&BodyError::TooLarge { limit: 1 }), Reject::BodyTooLarge);
    assert_eq!(Reject::from(&BodyError::Stalled), Reject::BodyTimeout);
    assert_eq!(Reject::from(&BodyError::Receiver), Reject::BodyAborted);
}

#[test]
fn the_format_follows_what_the_client_asks_for() {
    let of = |fields: &[(&'static str, &'static str)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        Format::of(&headers)
    };
    let firefox = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let table = [
        (firefox, Format::Html),
        ("*/*", Format::Plain),
        ("application/json", Format::Json),
        ("application/json, text/plain, */*", Format::Json),
        ("application/vnd.api+json", Format::Json),
        ("text/plain;q=0.5, application/problem+json;q=0.9", Format::Json),
        ("text/html;q=0, application/json;q=0.1", Format::Json),
        ("TEXT/HTML", Format::Html),
        ("image/png", Format::Plain),
        ("text/html;q=nan", Format::Plain),
        ("text/html;q=2", Format::Plain),
        ("", Format::Plain),
        (",;,q=;", Format::Plain),
    ];
    for (accept, format) in table {
        assert_eq!(of(&[("accept", accept)]), format, "{accept}");
    }
    assert_eq!(of(&[]), Format::Plain);
    assert_eq!(of(&[("content-type", "application/grpc")]), Format::Grpc);
    assert_eq!(of(&[("content-type", "application/grpc+proto"), ("accept", "text/html")]), Format::Grpc);
    assert_eq!(of(&[("content-type", "application/grpc-web"), ("accept", "text/html")]), Format::Html);
}

#[test]
fn the_page_says_what_happened_and_whom_to_ask() {
    let context = context(Format::Html, &Method::GET, "0123abcd", Some("platform@example.com"));
    let answer = Reject::NoEndpoints.into_response(&context);
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(text(&answer, "content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(text(&answer, "cache-control"), Some("no-store"));
    assert_eq!(text(&answer, "retry-after"), Some("5"));
    assert_eq!(text(&answer, "x-request-id"), Some("0123abcd"));
    let page = body(&answer);
    assert!(page.starts_with("<!doctype html>") && page.contains("<html lang=\"en\">"));
    assert!(page.contains("0123abcd") && page.contains("Not available"));
    assert!(page.contains("href=\"mailto:platform@example.com\""), "{page}");
    assert!(!page.contains("src=") && !page.contains("http://"), "no external assets");
}

#[test]
fn the_contact_line_is_linked_only_when_it_is_an_address() {
    let page =
        |contact| body(&Reject::Internal.into_response(&context(Format::Html, &Method::GET, "id", contact)));
    assert!(page(Some("https://status.example")).contains("href=\"https://status.example\""));
    for words in ["Ring 4711", "javascript:alert(1)", "a@b@c", "mail a@b", "x:a@b"] {
        let html = page(Some(words));
        assert!(!html.contains("href=") && html.contains(words), "{html}");
    }
    assert!(!page(None).contains("please tell"));
}

#[test]
fn hostile_values_are_escaped() {
    let hostile = "\"><script>alert(1)</script>";
    for reject in [Reject::Internal, Reject::Refused(hostile.into())] {
        let context = context(Format::Html, &Method::GET, hostile, Some(hostile));
        let page = body(&reject.into_response(&context));
        assert!(!page.contains("<script"), "{page}");
    }
    let json =
        body(&Reject::Internal.into_response(&context(Format::Json, &Method::GET, hostile, Some(hostile))));
    let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(parsed["request_id"], hostile);
}

#[test]
fn machines_get_a_problem_document() {
    let answer = Reject::RouteNotFound.into_response(&context(Format::Json, &Method::GET, "id-1", None));
    assert_eq!(text(&answer, "content-type"), Some("application/problem+json"));
    let parsed: serde_json::Value = serde_json::from_str(&body(&answer)).unwrap();
    assert_eq!(parsed["status"], 404);
    assert_eq!(parsed["title"], "Not found");
    assert_eq!(parsed["reason"], "route_not_found");
    assert_eq!(parsed["request_id"], "id-1");
    assert!(parsed.get("contact").is_none());
}

#[test]
fn terminals_get_lines() {
    let context = context(Format::Plain, &Method::GET, "id-1", Some("ring 4711"));
    let answer = Reject::MethodNotAllowed("GET, HEAD").into_response(&context);
    assert_eq!(text(&answer, "allow"), Some("GET, HEAD"));
    let lines = body(&answer);
    assert!(lines.starts_with("405 Method not allowed\n"));
    assert!(lines.contains("\nreason: method_not_allowed\nrequest id: id-1\ncontact: ring 4711\n"));
}

#[test]
fn head_gets_the_headers_of_get() {
    for format in [Format::Html, Format::Json, Format::Plain] {
        let full = Reject::Internal.into_response(&context(format, &Method::GET, "id", None));
        let head = Reject::Internal.into_response(&context(format, &Method::HEAD, "id", None));
        assert_eq!(text(&head, "content-length"), Some(body(&full).len().to_string().as_str()));
        assert!(head.body.is_empty());
    }
}

#[test]
fn grpc_gets_a_status_in_the_head() {
    let answer = Reject::RouteNotFound.into_response(&context(Format::Grpc, &Method::POST, "id", None));
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(text(&answer, "content-type"), Some("application/grpc"));
    assert_eq!(text(&answer, "grpc-status"), Some("12"));
    assert!(text(&answer, "grpc-message").unwrap().ends_with("(route_not_found)"));
    assert!(answer.body.is_empty() && text(&answer, "retry-after").is_none());
}

#[test]
fn no_answer_tells_the_operators_words() {
    for format in [Format::Html, Format::Json, Format::Plain, Format::Grpc] {
        for reject in [Reject::Refused("secret name".into()), Reject::UpstreamProtocol("secret name")] {
            assert_eq!(reject.detail().as_deref(), Some("secret name"));
            let answer = reject.into_response(&context(format, &Method::GET, "id", None));
            assert!(!body(&answer).contains("secret name"));
            assert!(answer.headers.values().all(|value| !value.to_str().unwrap().contains("secret name")));
        }
    }
}

fn request(id: &str) -> Refused<'_> {
    Refused {
        request_id: id,
        client: [192, 0, 2, 1].into(),
        method: "GET",
        host: "shop.example",
        path: b"/x",
        route: Some(&"Ingress shop/web"),
    }
}

#[test]
fn refusals_are_found_by_request_id() {
    let refusals = Refusals::default();
    refusals.record(Timestamp::UNIX_EPOCH, &Reject::Refused("write a range".into()), request("a"));
    refusals.record(Timestamp::UNIX_EPOCH, &Reject::NoEndpoints, request("b"));
    let record = refusals.find("a").unwrap();
    assert_eq!((record.status, record.reason.as_str()), (503, "refused"));
    assert_eq!(record.detail.as_deref(), Some("write a range"));
    assert_eq!(record.route.as_deref(), Some("Ingress shop/web"));
    assert_eq!(refusals.find("c"), None);
    let ids: Vec<_> = refusals.latest(9).into_iter().map(|record| record.request_id).collect();
    assert_eq!(ids, ["b", "a"]);
    assert_eq!(refusals.latest(1).len(), 1);
}

#[test]
fn refusals_are_bounded() {
    let refusals = Refusals::default();
    for number in 0..=REFUSALS_LEN_MAX {
        refusals.record(Timestamp::UNIX_EPOCH, &Reject::Internal, request(&number.to_string()));
    }
    assert_eq!(refusals.latest(usize::MAX).len(), REFUSALS_LEN_MAX);
    assert_eq!(refusals.find("0"), None);
    assert!(refusals.find("1").is_some());
    let path = [b"/\x1b[31m".as_slice(), &[b'a'; PATH_BYTES_MAX * 2]].concat();
    refusals.record(Timestamp::UNIX_EPOCH, &Reject::Internal, Refused { path: &path, ..request("long") });
    let kept = refusals.find("long").unwrap().path;
    assert!(kept.starts_with("/\\x1b[31m") && kept.len() < PATH_BYTES_MAX + 8, "{kept}");
}

proptest! {
    #[test]
    fn no_accept_panics(accept in "[ -~]{0,60}") {
        let mut headers = HeaderMap::new();
        headers.insert("accept", HeaderValue::from_str(&accept).unwrap());
        let _ = Format::of(&headers);
    }

    #[test]
    fn pages_of_any_text_have_no_markup_of_its_own(id in "[ -~]{0,40}", contact in "[ -~]{0,40}") {
        let context = context(Format::Html, &Method::GET, &id, Some(&contact));
        let page = body(&Reject::Internal.into_response(&context));
        let plain = body(&Reject::Internal.into_response(&PageContext { request_id: "", contact: Some(""), ..context }));
        // A link is two elements more; nothing else may open or close one.
        let tags = |page: &str| page.matches('<').count();
        prop_assert!(tags(&page) - tags(&plain) <= 2, "{}", page);
    }
}
