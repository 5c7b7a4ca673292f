//! The token endpoint, played by the test.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::Value;

use super::exchange::{ExchangeError, Http, HttpError, HttpRequest, HttpResponse, exchange};
use super::*;

/// The provider's signing key, and the set that holds its other half.
pub(super) struct Signer {
    key: EncodingKey,
    pub(super) set: Value,
}

impl Signer {
    pub(super) fn new() -> Self {
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref()).expect("a key");
        let public = pair.public_key().as_ref();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&public[1..33]), URL_SAFE_NO_PAD.encode(&public[33..]));
        let key =
            json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "k1", "x": x, "y": y});
        Signer { key: EncodingKey::from_ec_der(pkcs8.as_ref()), set: json!({"keys": [key]}) }
    }

    pub(super) fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some("k1".into()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, claims, &self.key).expect("a token")
    }

    pub(super) fn metadata(&self) -> Metadata {
        let mut metadata = metadata();
        metadata.set_keys(self.set.to_string().as_bytes()).expect("keys");
        metadata
    }
}

/// A login that was begun and came back with a code.
struct Came {
    pending: Box<Pending>,
    nonce: String,
    provider: Provider,
}

fn came(settings: Settings) -> Came {
    let ring = ring();
    let mut tab = Tab::new(&ring, settings, "app.example");
    let address = tab.begin("/", Manner::Asking, 0);
    let query = format!("state={}&code=the-code&iss=https://id.example", value(&address, "state"));
    let Callback::Redeem(pending) = tab.callback(&query, 0) else { panic!("no code") };
    Came { pending, nonce: value(&address, "nonce"), provider: tab.provider }
}

fn claims(nonce: &str) -> Value {
    let now = at(0).as_second();
    json!({
        "iss": "https://id.example", "aud": "edge", "sub": "248289", "nonce": nonce, "exp": now + 300, "iat": now,
        "preferred_username": "ada", "email": "ada@example.com", "email_verified": true, "groups": ["admins"],
        "sid": "s1",
    })
}

/// Runs a future that never waits.
fn now_or_never<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(ready) => ready,
        Poll::Pending => panic!("it waits"),
    }
}

type Seen = Arc<Mutex<Vec<HttpRequest>>>;

/// Answers the token endpoint with `token`, and userinfo with `userinfo`.
fn answering(token: String, userinfo: Value) -> (Seen, Box<Http>) {
    let seen = Seen::default();
    let requests = Arc::clone(&seen);
    let http = move |request: HttpRequest| -> exchange::HttpFuture {
        let body = if request.uri().path() == "/token" {
            json!({"access_token": "at", "token_type": "Bearer", "id_token": token}).to_string()
        } else if request.uri().path() == "/keys" {
            r#"{"keys":[]}"#.to_owned()
        } else {
            userinfo.to_string()
        };
        requests.lock().expect("a lock").push(request);
        let response = http::Response::builder().header("content-type", "application/json");
        Box::pin(std::future::ready(Ok(response.body(body.into_bytes()).expect("a response"))))
    };
    (seen, Box::new(http))
}

fn redeem(came: &Came, signer: &Signer, claims: &Value) -> Result<Login, ExchangeError> {
    let (_, http) = answering(signer.sign(claims), json!({}));
    now_or_never(exchange(&came.provider, &signer.metadata(), &came.pending, &*http, at(0)))
        .map(|redeemed| redeemed.login)
}

#[test]
fn a_code_is_redeemed_for_an_identity() {
    let (came, signer) = (came(settings()), Signer::new());
    let (seen, http) = answering(signer.sign(&claims(&came.nonce)), json!({}));
    let login = now_or_never(exchange(&came.provider, &signer.metadata(), &came.pending, &*http, at(0)));
    let login = login.expect("a login").login;
    assert_eq!(login.provider_session.as_deref(), Some("s1"));
    assert_eq!((&*login.identity.user, &login.identity.groups), ("ada", &["admins"].into()));
    let seen = seen.lock().expect("a lock");
    let [request] = seen.as_slice() else { panic!("one request, as nothing was left to ask for") };
    let body = String::from_utf8_lossy(request.body());
    for part in [
        "grant_type=authorization_code",
        "code=the-code",
        "code_verifier=",
        "redirect_uri=https%3A%2F%2Fapp.example%2Foauth2%2Fcallback",
    ] {
        assert!(body.contains(part), "{part} in {body}");
    }
    let authorization = request.headers()["authorization"].to_str().expect("ASCII");
    assert!(authorization.starts_with("Basic "), "{authorization}");
    assert!(!body.contains("0123456789abcdef"), "the secret is not in the body");
}

#[test]
fn an_id_token_counts_only_with_all_that_it_must_say() {
    let (came, signer) = (came(settings()), Signer::new());
    let now = at(0).as_second();
    let with = |name: &str, value: Value| {
        let mut claims = claims(&came.nonce);
        claims[name] = value;
        claims
    };
    for claims in [
        with("nonce", json!("another")),
        with("nonce", json!(null)),
        with("iss", json!("https://evil.example")),
        with("aud", json!("another")),
        with("aud", json!(["edge", "another"])),
        with("azp", json!("another")),
        with("exp", json!(now - 60)),
        with("iat", json!(now + 61)),
        with("at_hash", json!("AAAAAAAAAAAAAAAAAAAAAA")),
    ] {
        let refused = redeem(&came, &signer, &claims);
        assert!(matches!(refused, Err(ExchangeError::Token(_))), "{claims}: {refused:?}");
    }
    let mut several_for_us = with("aud", json!(["edge", "another"]));
    several_for_us["azp"] = json!("edge");
    for claims in [several_for_us, with("exp", json!(now - 59)), with("email_verified", json!("true"))] {
        let taken = redeem(&came, &signer, &claims);
        assert!(taken.is_ok(), "{claims}: {taken:?}");
    }
}

#[test]
fn a_token_of_another_key_or_algorithm_is_refused() {
    let (came, signer) = (came(settings()), Signer::new());
    let (_, http) = answering(Signer::new().sign(&claims(&came.nonce)), json!({}));
    let redeemed = now_or_never(exchange(&came.provider, &signer.metadata(), &came.pending, &*http, at(0)));
    assert!(matches!(redeemed, Err(ExchangeError::Token(_))), "the same name, another key: {redeemed:?}");
    let redeemed = now_or_never(exchange(&came.provider, &metadata(), &came.pending, &*http, at(0)));
    assert!(matches!(redeemed, Err(ExchangeError::UnknownKey)), "{redeemed:?}");
    let payload = URL_SAFE_NO_PAD.encode(claims(&came.nonce).to_string());
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    let (_, http) = answering(format!("{header}.{payload}."), json!({}));
    let redeemed = now_or_never(exchange(&came.provider, &signer.metadata(), &came.pending, &*http, at(0)));
    assert!(redeemed.is_err(), "{redeemed:?}");
    // The provider of `document` lists HS256, which the client's secret makes possible.
    let secret = EncodingKey::from_secret(b"0123456789abcdef0123456789abcdef");
    let token =
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims(&came.nonce), &secret).expect("a token");
    let (_, http) = answering(token, json!({}));
    let redeemed = now_or_never(exchange(&came.provider, &signer.metadata(), &came.pending, &*http, at(0)));
    assert!(redeemed.is_ok(), "{redeemed:?}");
}

#[test]
fn a_key_that_is_new_is_fetched_before_the_code_is_lost() {
    let (came, signer) = (came(settings()), Signer::new());
    let (token, set) = (signer.sign(&claims(&came.nonce)), signer.set.to_string());
    let http = move |request: HttpRequest| -> exchange::HttpFuture {
        let body = match request.uri().path() {
            "/token" => json!({"access_token": "at", "token_type": "Bearer", "id_token": token}).to_string(),
            _ => set.clone(),
        };
        let response = http::Response::builder().header("content-type", "application/json");
        Box::pin(std::future::ready(Ok(response.body(body.into_bytes()).expect("a response"))))
    };
    let redeemed = now_or_never(exchange(&came.provider, &metadata(), &came.pending, &http, at(0)));
    assert!(redeemed.expect("a login").metadata.expect("newer ones").keys().is_some());
}

#[test]
fn what_the_id_token_leaves_out_is_asked_for() {
    let (came, signer) = (came(Settings { client_auth: ClientAuth::Post, ..settings() }), Signer::new());
    let mut lean = claims(&came.nonce);
    for name in ["groups", "email", "email_verified"] {
        lean.as_object_mut().expect("an object").remove(name);
    }
    let more = |subject: &str| json!({"sub": subject, "groups": ["staff"], "email": "ada@example.com", "email_verified": true, "preferred_username": "x"});
    let ask = |userinfo: Value| {
        let (seen, http) = answering(signer.sign(&lean), userinfo);
        let login = now_or_never(exchange(&came.provider, &signer.metadata(), &came.pending, &*http, at(0)));
        let requests = seen.lock().expect("a lock");
        assert!(String::from_utf8_lossy(requests[0].body()).contains("client_secret="));
        assert_eq!(requests[1].headers()["authorization"], "Bearer at");
        login.map(|redeemed| redeemed.login)
    };
    let identity = ask(more("248289")).expect("a login").identity;
    assert_eq!((&*identity.user, &identity.groups), ("ada", &["staff"].into()));
    assert!(identity.email_verified);
    assert!(matches!(ask(more("another")), Err(ExchangeError::Token(_))));
    assert!(matches!(ask(json!([])), Err(ExchangeError::Unavailable(_))));
}

#[test]
fn errors_say_whose_they_are() {
    let came = came(settings());
    let answer = |status: StatusCode, body: &'static str| -> Result<Login, ExchangeError> {
        let http = move |_: HttpRequest| -> exchange::HttpFuture {
            let response: HttpResponse = http::Response::builder()
                .status(status)
                .header("content-type", "application/json")
                .body(body.as_bytes().to_vec())
                .expect("a response");
            Box::pin(std::future::ready(Ok(response)))
        };
        now_or_never(exchange(&came.provider, &metadata(), &came.pending, &http, at(0)))
            .map(|redeemed| redeemed.login)
    };
    let bad = StatusCode::BAD_REQUEST;
    assert!(matches!(answer(bad, r#"{"error":"invalid_grant"}"#), Err(ExchangeError::Code(_))));
    assert!(matches!(answer(bad, r#"{"error":"invalid_client"}"#), Err(ExchangeError::Client(_))));
    assert!(matches!(answer(StatusCode::BAD_GATEWAY, "<html>"), Err(ExchangeError::Unavailable(_))));
    assert_eq!(
        answer(StatusCode::OK, r#"{"access_token":"at","token_type":"Bearer"}"#),
        Err(ExchangeError::Missing)
    );
    let lost = |_: HttpRequest| -> exchange::HttpFuture {
        Box::pin(std::future::ready(Err(HttpError("the connection was refused".into()))))
    };
    let lost = now_or_never(exchange(&came.provider, &metadata(), &came.pending, &lost, at(0)));
    assert!(matches!(lost, Err(ExchangeError::Unavailable(_))), "{lost:?}");
}
