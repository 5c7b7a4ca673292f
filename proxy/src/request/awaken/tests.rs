use super::*;
use crate::message::{Body, Interim, Protocol, UpgradeRequest};

fn request(method: Method, headers: &[(&'static str, &'static str)]) -> Request {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_static(value));
    }
    Request {
        method,
        target: "/".into(),
        authority: None,
        protocol: Protocol::Http11,
        headers: map,
        body: Body::Empty,
        upgrade: None,
        interim: Interim::default(),
    }
}

#[test]
fn a_page_is_for_somebody_who_looks_at_a_window() {
    let is = |headers: &[(&'static str, &'static str)]| is_navigation(&request(Method::GET, headers));
    assert!(is(&[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")]));
    assert!(is(&[("sec-fetch-mode", "navigate")]));
    assert!(is(&[("accept", "text/html,application/xhtml+xml,*/*;q=0.8")]));
    assert!(is(&[("accept", "application/xml, Text/HTML;q=0.9")]));
    assert!(!is(&[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")]));
    assert!(!is(&[("sec-fetch-mode", "cors"), ("accept", "text/html")]), "a script that asks");
    assert!(!is(&[("accept", "*/*")]), "curl");
    assert!(!is(&[("accept", "application/json")]));
    assert!(!is(&[]));
}

#[test]
fn only_a_get_gets_the_page() {
    let headers = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    assert!(!is_navigation(&request(Method::POST, &headers)));
    assert!(!is_navigation(&request(Method::HEAD, &headers)));
    let websocket = Request { upgrade: Some(UpgradeRequest::WebSocket), ..request(Method::GET, &headers) };
    assert!(!is_navigation(&websocket));
}

#[test]
fn a_preflight_is_told_from_other_options() {
    let asks = ("access-control-request-method", "PUT");
    let origin = ("origin", "https://a.test");
    assert!(is_preflight(&request(Method::OPTIONS, &[origin, asks])));
    assert!(!is_preflight(&request(Method::OPTIONS, &[origin])));
    assert!(!is_preflight(&request(Method::OPTIONS, &[])));
    assert!(!is_preflight(&request(Method::GET, &[origin, asks])));
}

#[test]
fn loads_ahead_of_need_are_known() {
    let is = |name, value| is_speculative(&request(Method::GET, &[(name, value)]).headers);
    assert!(is("sec-purpose", "prefetch"));
    assert!(is("sec-purpose", "prefetch;prerender"));
    assert!(is("purpose", "Prefetch"));
    assert!(is("x-moz", "prefetch"));
    assert!(!is("sec-purpose", "something"));
    assert!(!is("accept", "prefetch"));
}

#[test]
fn a_look_says_whether_to_wait() {
    let view = |gate| View { gate: Some(gate), ..View::default() };
    assert_eq!(judge(&View::default()), Ok(true));
    assert_eq!(judge(&view(machine::Gate::Asleep)), Ok(true));
    assert_eq!(judge(&view(machine::Gate::Waking)), Ok(false));
    let workload =
        wake::workload::Reference::parse("deploy/web").expect("a reference").within(&"shop".into());
    let failed =
        GateRefusal::Failed { workload, reason: "no room".into(), again_in: Duration::from_secs(10) };
    assert_eq!(
        judge(&view(machine::Gate::Refused(failed))),
        Err(Reject::WakeFailed("shop/deployment/web: no room".into()))
    );
    let until = wall_clock() + Duration::from_secs(3600);
    let scheduled = judge(&view(machine::Gate::Refused(GateRefusal::Scheduled { until })));
    let Err(Reject::AsleepBySchedule(left)) = scheduled else { panic!("{scheduled:?}") };
    assert!(left > Duration::from_secs(3500) && left <= Duration::from_secs(3600));
    let unmanaged = View { unmanaged: Some("none".into()), ..View::default() };
    assert_eq!(judge(&unmanaged), Err(Reject::WakeFailed("none".into())));
}
