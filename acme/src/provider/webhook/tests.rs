use serde_json::Value;

use super::super::tests::Script;
use super::*;

#[tokio::test]
async fn it_is_asked_in_the_form_of_lego() {
    let script = Script::default();
    script.answer(200, "").answer(204, "").answer(202, "");
    let login = Some(("user".to_owned(), Secret::new("pass")));
    let webhook = Webhook::new("http://127.0.0.1:1/hook/", login, Arc::new(script.clone()));
    let zone = webhook.zone("example.com").await.expect("any").expect("zone");
    let values = ["one".to_owned(), "two".to_owned()];
    webhook.add(&zone, "_acme-challenge.example.com", &values).await.expect("added");
    webhook.remove(&zone, "_acme-challenge.example.com", &values[..1]).await.expect("removed");
    assert_eq!(script.asked(), ["POST /hook/present", "POST /hook/present", "POST /hook/cleanup"]);
    let request = &script.requests()[1];
    assert_eq!(request.headers()[header::AUTHORIZATION], "Basic dXNlcjpwYXNz");
    let body: Value = serde_json::from_slice(request.body()).expect("JSON");
    assert_eq!(body, json!({"fqdn": "_acme-challenge.example.com.", "value": "two"}));
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let script = Script::default();
    script.answer(401, "who").answer(429, "slow").answer(500, "broken").answer(404, "what").fail("no route");
    let webhook = Webhook::new("http://127.0.0.1:1", None, Arc::new(script.clone()));
    let mut kinds = Vec::new();
    for _ in 0..5 {
        kinds.push(match webhook.post("present", "r.test", &["v".to_owned()]).await.expect_err("refused") {
            ProviderError::Credentials(_) => "credentials",
            ProviderError::Throttled(_) => "throttled",
            ProviderError::Unavailable(_) => "unavailable",
            ProviderError::Refused(_) => "refused",
        });
    }
    assert_eq!(kinds, ["credentials", "throttled", "unavailable", "refused", "unavailable"]);
}
