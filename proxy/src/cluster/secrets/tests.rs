use super::super::tests::{Answer, Scripted};
use super::*;

fn id() -> CertificateId {
    CertificateId { namespace: "shop".into(), name: "site-tls".into() }
}

fn certificate() -> Kept {
    Kept { issuer: Some("le".into()), chain: "chain".into(), key: Secret::new("key") }
}

fn secret(metadata: Value) -> Answer {
    Answer::Json(200, json!({"metadata": metadata, "type": "kubernetes.io/tls", "data": {}}).to_string())
}

fn ours() -> Answer {
    secret(
        json!({"namespace": "shop", "name": "site-tls", "resourceVersion": "7", "labels": {OWNER_LABEL: OWNER}}),
    )
}

fn store(server: &Scripted) -> SecretStore {
    SecretStore::for_a_person(&server.client, Namespaces { own: "vestibule", private: "vestibule" })
}

#[tokio::test]
async fn a_write_that_meets_another_is_done_again() {
    let server = Scripted::start(|method, _, before| match (method, before) {
        ("GET", _) => ours(),
        // GET and PUT are of one path.
        ("PUT", before) if before < 5 => Answer::Json(409, "{}".into()),
        _ => Answer::Json(200, "{}".into()),
    })
    .await;
    store(&server).save_certificate(&id(), &certificate()).await.expect("the third try is taken");
    assert_eq!(server.asked().len(), 6, "each try reads first: {:?}", server.asked());
}

#[tokio::test]
async fn one_that_never_gets_through_is_told() {
    let server = Scripted::start(|method, _, _| match method {
        "GET" => ours(),
        _ => Answer::Json(409, "{}".into()),
    })
    .await;
    let error = store(&server).save_certificate(&id(), &certificate()).await.expect_err("it is not written");
    assert_eq!(error, StoreError::Conflict { place: "the Secret shop/site-tls".into() });
    assert_eq!(server.asked().len(), 2 * ATTEMPTS_MAX as usize);
}

#[tokio::test]
async fn what_somebody_else_made_is_never_written() {
    let server = Scripted::start(|method, _, _| match method {
        "GET" => secret(json!({"namespace": "shop", "name": "site-tls", "labels": {"app": "shop"}})),
        _ => Answer::Json(200, "{}".into()),
    })
    .await;
    let store = store(&server);
    let not_ours = Err(StoreError::NotOurs { place: "the Secret shop/site-tls".into() });
    assert_eq!(store.prepare(&id()).await, not_ours);
    assert_eq!(store.save_certificate(&id(), &certificate()).await, not_ours);
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn what_may_not_be_made_is_known_before_it_is_ordered() {
    let server = Scripted::start(|method, path, _| match (method, path.contains("dryRun=All")) {
        ("POST", true) => Answer::Json(403, r#"{"message": "secrets is forbidden"}"#.into()),
        _ => Answer::Json(404, "{}".into()),
    })
    .await;
    let error = store(&server).prepare(&id()).await.expect_err("it is forbidden");
    assert!(error.to_string().contains("shop/site-tls") && error.to_string().contains("forbid"), "{error}");
}
