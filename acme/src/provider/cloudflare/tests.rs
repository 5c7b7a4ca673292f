use super::super::tests::Script;
use super::*;

fn account(script: &Script) -> Cloudflare {
    let token = Secret::new("hidden-token\n");
    Cloudflare { throttle: Throttle::none(), ..Cloudflare::new(token, None, None, Arc::new(script.clone())) }
}

fn zone() -> Zone {
    Zone { name: "example.com".to_owned(), id: "z1".to_owned() }
}

fn ok(result: &str) -> String {
    format!(r#"{{"success": true, "errors": [], "messages": [], "result": {result}}}"#)
}

fn error(code: u64) -> String {
    format!(r#"{{"success": false, "errors": [{{"code": {code}, "message": "words"}}], "result": null}}"#)
}

#[tokio::test]
async fn each_value_is_a_record_and_one_that_is_there_is_fine() {
    let script = Script::default();
    script.answer(200, &ok(r#"{"id": "r1"}"#)).answer(400, &error(81058));
    let values = ["one".to_owned(), "two".to_owned()];
    account(&script).add(&zone(), "_acme-challenge.example.com", &values).await.expect("added");
    assert_eq!(script.asked(), ["POST /client/v4/zones/z1/dns_records"; 2]);
    let request = &script.requests()[0];
    assert_eq!(request.headers()[header::AUTHORIZATION], "Bearer hidden-token");
    assert!(
        !format!("{:?}", request.headers()).contains("hidden-token"),
        "headers hide the token when shown"
    );
    let body: Value = serde_json::from_slice(request.body()).expect("JSON");
    assert_eq!(
        body,
        json!({"type": "TXT", "name": "_acme-challenge.example.com", "content": "\"one\"", "ttl": 60})
    );
}

#[tokio::test]
async fn clean_up_goes_by_value_however_it_is_quoted() {
    let script = Script::default();
    let records = r#"[{"id": "r1", "content": "\"one\""}, {"id": "r2", "content": "two"}, {"id": "r3", "content": "\"other\""}]"#;
    script.answer(200, &ok(records)).answer(200, &ok(r#"{"id": "r1"}"#)).answer(404, &error(81044));
    let values = ["one".to_owned(), "two".to_owned()];
    account(&script).remove(&zone(), "_acme-challenge.example.com", &values).await.expect("removed");
    assert_eq!(
        script.asked()[1..],
        ["DELETE /client/v4/zones/z1/dns_records/r1", "DELETE /client/v4/zones/z1/dns_records/r2",]
    );
}

#[tokio::test]
async fn zones_are_found_by_name_and_refusals_told_apart() {
    let script = Script::default();
    script
        .answer(200, &ok(r#"[{"id": "z1", "name": "example.com"}]"#))
        .answer(200, &ok("[]"))
        .answer(403, &error(9109))
        .answer(429, &error(10429))
        .answer(200, &ok("[]"))
        .answer(502, "<html>bad gateway</html>")
        .answer(400, &error(1004));
    let account = account(&script);
    assert_eq!(account.zone("example.com").await, Ok(Some(zone())));
    assert_eq!(account.zone("example.com").await, Ok(None));
    assert_eq!(
        account.zone("example.com").await,
        Err(ProviderError::Credentials("words (code 9109)".to_owned()))
    );
    assert_eq!(account.zone("example.com").await, Ok(None), "what was throttled is repeated");
    assert!(matches!(account.zone("example.com").await, Err(ProviderError::Unavailable(_))));
    assert!(matches!(account.zone("example.com").await, Err(ProviderError::Refused(_))));
}
