use std::sync::Arc;

use super::*;
use crate::dns::tests::Zone as Server;

fn clock() -> Clock {
    Arc::new(|| "2026-01-01T00:00:00Z".parse().expect("a time"))
}

fn provider(server: SocketAddr) -> Rfc2136 {
    Rfc2136::new(server, "acme", Algorithm::HmacSha256, &Secret::new("c2VjcmV0\n"), clock()).expect("a key")
}

#[test]
fn a_key_that_cannot_be_used_is_refused_without_showing_it() {
    let server = SocketAddr::from(([127, 0, 0, 1], 53));
    let key = |name: &str, secret: &str| {
        Rfc2136::new(server, name, Algorithm::HmacSha512, &Secret::new(secret), clock()).err()
    };
    assert_eq!(key("acme.", "c2VjcmV0"), None);
    assert_eq!(key("acme.", "not base64!"), Some(KeyError::NotBase64));
    assert_eq!(key(&"a".repeat(64), "c2VjcmV0"), Some(KeyError::Name));
}

#[tokio::test]
async fn an_answer_without_a_signature_is_not_believed() {
    let server = Server::with(&[]).serve().await;
    let zone = Zone { name: "a.test".to_owned(), id: String::new() };
    let error =
        provider(server).add(&zone, "_acme-challenge.a.test", &["v".to_owned()]).await.expect_err("unsigned");
    assert!(matches!(&error, ProviderError::Credentials(words) if words.contains("not signed")), "{error}");
}

#[tokio::test]
async fn refusals_name_the_key_and_never_its_secret() {
    let server = Server::with(&[]);
    let address = server.serve().await;
    let zone = Zone { name: "a.test".to_owned(), id: String::new() };
    for (code, word) in
        [(ResponseCode::NotAuth, "does not take the key `acme`"), (ResponseCode::Refused, "TXT records")]
    {
        server.0.lock().expect("no panic").code = Some(code);
        let error = provider(address).add(&zone, "x.a.test", &["v".to_owned()]).await.expect_err("refused");
        assert!(matches!(&error, ProviderError::Credentials(words) if words.contains(word)), "{error}");
        assert!(!error.to_string().contains("c2VjcmV0"));
    }
    server.0.lock().expect("no panic").code = Some(ResponseCode::ServFail);
    let error =
        provider(address).remove(&zone, "x.a.test", &["v".to_owned()]).await.expect_err("out of order");
    assert!(matches!(error, ProviderError::Unavailable(_)), "{error}");
}
