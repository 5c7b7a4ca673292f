use super::*;

fn cause(user: Option<&str>) -> Cause {
    Cause {
        route: "Ingress shop/web rule 0 (/)".into(),
        request_id: "0a1b".into(),
        user: user.map(Into::into),
        agent: Agent::Browser,
    }
}

#[test]
fn it_names_route_user_and_agent() {
    let text = "a request of Ingress shop/web rule 0 (/) by ada (browser, request id 0a1b)";
    assert_eq!(cause(Some("ada")).to_string(), text);
    assert_eq!(Why::Request(cause(Some("ada"))).to_string(), text);
    let nobody = "a request of Ingress shop/web rule 0 (/) (browser, request id 0a1b)";
    assert_eq!(cause(None).to_string(), nobody);
}

#[test]
fn what_a_client_chose_cannot_write_lines_and_is_not_endless() {
    let told = cause(Some("a\nb\u{1b}[2J")).to_string();
    assert!(!told.contains(char::is_control), "{told}");
    let user = "ä".repeat(TEXT_BYTES_MAX);
    let bounded = cause(Some(&user)).bounded().user.expect("a user");
    assert_eq!(bounded.len(), TEXT_BYTES_MAX);
    // It is whole characters that are left.
    let user = format!("x{user}");
    assert_eq!(cause(Some(&user)).bounded().user.expect("a user").len(), TEXT_BYTES_MAX - 1);
}

#[test]
fn what_is_sent_is_what_is_heard() {
    let text = serde_json::to_string(&cause(Some("ada"))).expect("JSON");
    assert_eq!(serde_json::from_str::<Cause>(&text).expect("a cause"), cause(Some("ada")));
}
