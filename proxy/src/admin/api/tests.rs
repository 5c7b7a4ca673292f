use http_body_util::BodyExt;
use serde_json::Value;

use super::*;
use crate::admin::Live;
use crate::admin::metrics::Metrics;
use crate::reject::Reject;
use crate::reject::refusals::{Refusals, Refused};

fn now() -> Timestamp {
    "2026-03-01T00:00:00Z".parse().unwrap()
}

fn state() -> Arc<State> {
    let metrics = Arc::new(Metrics::new(1, Arc::default(), now()));
    Arc::new(State::new(metrics, vec![Arc::default(), Arc::default()]))
}

fn live(state: &State) {
    let table = Arc::default();
    state.publish(Live {
        version: 1,
        applied: now(),
        table,
        settings: Arc::default(),
        bound: Vec::new(),
        routes: 0,
        problems: Vec::new(),
        certificates_expire: None,
    });
}

fn get(state: &State, uri: &str) -> (StatusCode, String) {
    let response = answer(state, &Method::GET, &uri.parse().unwrap(), now());
    let status = response.status();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let body = runtime.block_on(response.into_body().collect()).unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[test]
fn ready_only_when_a_configuration_is_live() {
    let state = state();
    assert_eq!(get(&state, "/livez").0, StatusCode::OK);
    assert_eq!(get(&state, "/readyz").0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(get(&state, "/explain?url=a").0, StatusCode::SERVICE_UNAVAILABLE);
    live(&state);
    assert_eq!(get(&state, "/readyz").0, StatusCode::OK);
    assert!(get(&state, "/metrics").1.contains("vestibule_config_version 1.0\n"));
    let status: Status = serde_json::from_str(&get(&state, "/status").1).unwrap();
    assert_eq!((status.ready, status.config_version, status.workers), (true, 1, 1));
}

#[test]
fn a_refusal_is_found_by_its_request_id_on_any_worker() {
    let state = state();
    let refusals: &Refusals = &state.refusals[1];
    refusals.record(
        now(),
        &Reject::HostNotFound,
        Refused {
            request_id: "abc",
            client: "192.0.2.1".parse().unwrap(),
            method: "GET",
            host: "x",
            path: b"/",
            route: None,
        },
    );
    let (status, body) = get(&state, "/why/abc");
    assert_eq!(status, StatusCode::OK);
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["reason"], "host_not_found");
    assert_eq!(get(&state, "/why/abd").0, StatusCode::NOT_FOUND);
    assert_eq!(serde_json::from_str::<Vec<Value>>(&get(&state, "/refusals").1).unwrap().len(), 1);
}

#[test]
fn questions_are_decoded_and_judged() {
    let state = state();
    live(&state);
    let (status, body) =
        get(&state, "/explain?url=https%3A%2F%2Fshop.example%2Fa%20b&method=POST&header=A:+b");
    assert!(status == StatusCode::OK && body.contains("\"passes\":false"), "{body}");
    let (_, body) = get(&state, "/explain?url=https%3A%2F%2Fshop.example%2Fcart%3Fx&method=POST&header=A:+b");
    assert!(body.contains("POST https://shop.example/cart?x"), "{body}");
    assert_eq!(get(&state, "/explain").0, StatusCode::BAD_REQUEST);
    assert_eq!(get(&state, "/explain?url=a&header=x").0, StatusCode::BAD_REQUEST);
    assert_eq!(decode("a+b%2Fc%zz%4"), "a b/c%zz%4");
}

#[test]
fn only_reading_is_answered() {
    let response = answer(&state(), &Method::POST, &"/livez".parse().unwrap(), now());
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(get(&state(), "/nothing").0, StatusCode::NOT_FOUND);
}

#[test]
fn the_command_line_can_ask_over_a_socket() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let state = state();
    live(&state);
    runtime.spawn(serve(listener, state));
    let status: Status = crate::admin::client::ask(address, "/status").unwrap();
    assert!(status.ready);
    let error = crate::admin::client::ask::<Value>(address, "/why/none").unwrap_err();
    assert!(error.to_string().starts_with("no refusal with this id"), "{error}");
    drop(runtime);
    let error = crate::admin::client::ask::<Value>(address, "/status").unwrap_err().to_string();
    assert!(error.contains("is `vestibule serve` running"), "{error}");
}

#[test]
fn not_alive_when_a_worker_stands_still() {
    use crate::overload::STALL_FATAL_AFTER;
    use crate::settings::Settings;
    let state = state();
    let vitals = state.metrics.vitals();
    let now = std::time::Instant::now();
    vitals.beat(0, now, Duration::ZERO, &Settings::default());
    vitals.look(now + STALL_FATAL_AFTER / 2);
    assert_eq!(get(&state, "/livez").0, StatusCode::OK);
    vitals.look(now + STALL_FATAL_AFTER + Duration::from_millis(10));
    assert_eq!(get(&state, "/livez").0, StatusCode::SERVICE_UNAVAILABLE);
    vitals.beat(0, now + STALL_FATAL_AFTER, Duration::ZERO, &Settings::default());
    vitals.look(now + STALL_FATAL_AFTER);
    assert_eq!(get(&state, "/livez").0, StatusCode::OK);
}
