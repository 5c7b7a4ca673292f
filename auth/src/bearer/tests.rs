use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;

use super::*;

/// An issuer with one ES256 key.
struct Issuer {
    kid: String,
    pkcs8: Vec<u8>,
    public: Vec<u8>,
}

impl Issuer {
    fn new(kid: &str) -> Self {
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref()).expect("a key");
        Issuer {
            kid: kid.into(),
            pkcs8: pkcs8.as_ref().to_vec(),
            public: pair.public_key().as_ref().to_vec(),
        }
    }

    fn jwk(&self) -> Value {
        let (x, y) =
            (URL_SAFE_NO_PAD.encode(&self.public[1..33]), URL_SAFE_NO_PAD.encode(&self.public[33..]));
        json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.kid, "x": x, "y": y})
    }

    fn keys(&self) -> Keys {
        parse(json!({"keys": [self.jwk()]})).expect("keys")
    }

    fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, claims, &EncodingKey::from_ec_der(&self.pkcs8)).expect("a token")
    }
}

fn parse(set: Value) -> Result<Keys, KeysError> {
    Keys::parse(set.to_string().as_bytes())
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(NOW + second).expect("a time")
}

fn claims() -> Value {
    json!({
        "iss": "https://id.example", "aud": ["other", "api"], "sub": "robot", "exp": NOW + 300, "iat": NOW, "nbf": NOW,
        "groups": ["machines"],
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn judge() -> Judge {
    Judge::new(Expectations {
        issuer: "https://id.example".into(),
        audiences: vec!["api".into()],
        algorithms: ALGORITHMS.to_vec(),
        claims: ClaimNames::default(),
        extra_claims: Vec::new(),
    })
}

#[test]
fn a_good_token_says_who_asks() {
    let issuer = Issuer::new("one");
    let Judgement::Known(identity) = judge().judge(&issuer.sign(&claims()), &issuer.keys(), at(0)) else {
        panic!("not known")
    };
    assert_eq!((&*identity.subject, &identity.groups), ("robot", &["machines"].into()));
}

#[test]
fn a_token_counts_only_with_all_that_it_must_say() {
    let issuer = Issuer::new("one");
    for (claims, judged) in [
        (with("iss", json!("https://id.example/")), Invalid::Issuer),
        (with("iss", json!(null)), Invalid::Issuer),
        (with("iss", json!(["https://id.example"])), Invalid::Issuer),
        (with("aud", json!("other")), Invalid::Audience),
        (with("aud", json!([])), Invalid::Audience),
        (with("aud", json!(null)), Invalid::Audience),
        (with("exp", json!(NOW - LEEWAY_SECONDS)), Invalid::Expired),
        (with("exp", json!(null)), Invalid::Malformed),
        (with("exp", json!("soon")), Invalid::Malformed),
        (with("exp", json!(-1)), Invalid::Malformed),
        (with("exp", json!(1e300)), Invalid::Malformed),
        (with("nbf", json!(NOW + LEEWAY_SECONDS + 1)), Invalid::NotYet),
        (with("iat", json!(NOW + LEEWAY_SECONDS + 1)), Invalid::NotYet),
        (with("sub", json!("")), Invalid::Malformed),
        (
            with("events", json!({"http://schemas.openid.net/event/backchannel-logout": {}})),
            Invalid::Malformed,
        ),
    ] {
        let judged_now = judge().judge(&issuer.sign(&claims), &issuer.keys(), at(0));
        assert_eq!(judged_now, Judgement::Invalid(judged), "{claims}");
    }
    for claims in [
        with("aud", json!("api")),
        with("exp", json!(NOW - LEEWAY_SECONDS + 1)),
        with("exp", json!(NOW as f64 + 0.5)),
    ] {
        assert!(
            matches!(judge().judge(&issuer.sign(&claims), &issuer.keys(), at(0)), Judgement::Known(_)),
            "{claims}"
        );
    }
}

#[test]
fn the_algorithm_is_ours_to_choose() {
    let issuer = Issuer::new("one");
    let signed = issuer.sign(&claims());
    let [_, payload, signature] = signed.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    for (header, signature) in [
        (json!({"alg": "none"}), ""),
        (json!({"alg": "None", "kid": "one"}), ""),
        (json!({"alg": "none", "kid": "one"}), signature),
        (json!({"alg": "HS256", "kid": "one"}), signature),
        (json!({"alg": "ES512", "kid": "one"}), signature),
        (json!({"kid": "one"}), signature),
    ] {
        let token = format!("{}.{payload}.{signature}", URL_SAFE_NO_PAD.encode(header.to_string()));
        let judged = judge().judge(&token, &issuer.keys(), at(0));
        assert!(matches!(judged, Judgement::Invalid(_)), "{header}: {judged:?}");
    }
    // The public key as a shared secret.
    let header = Header { kid: Some("one".into()), ..Header::new(Algorithm::HS256) };
    let confused =
        jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(&issuer.public)).expect("a token");
    assert_eq!(judge().judge(&confused, &issuer.keys(), at(0)), Judgement::Invalid(Invalid::Signature));
    // Even where secrets are allowed, a public key is none.
    let lax = Judge::new(Expectations {
        algorithms: vec![Algorithm::HS256, Algorithm::ES256],
        ..judge().expected().clone()
    });
    assert_eq!(lax.judge(&confused, &issuer.keys(), at(0)), Judgement::UnknownKey);
    let shared = Keys::shared(b"0123456789abcdef0123456789abcdef");
    let good = jsonwebtoken::encode(
        &header,
        &claims(),
        &EncodingKey::from_secret(b"0123456789abcdef0123456789abcdef"),
    );
    assert!(matches!(lax.judge(&good.expect("a token"), &shared, at(0)), Judgement::Known(_)));
    assert!(!matches!(lax.judge(&signed, &shared, at(0)), Judgement::Known(_)));
}

#[test]
fn a_changed_token_is_no_token() {
    let issuer = Issuer::new("one");
    let token = issuer.sign(&claims());
    let impostor = Issuer::new("one");
    assert_eq!(
        judge().judge(&impostor.sign(&claims()), &issuer.keys(), at(0)),
        Judgement::Invalid(Invalid::Signature)
    );
    for changed in
        ["", ".", "..", "a.b.c", "a.b.c.d", &token[1..], &token[..token.len() - 4], &token.replace('.', "..")]
    {
        assert!(matches!(judge().judge(changed, &issuer.keys(), at(0)), Judgement::Invalid(_)), "{changed}");
    }
}

#[test]
fn what_was_verified_is_remembered_until_it_ends() {
    let issuer = Issuer::new("one");
    let token = issuer.sign(&claims());
    let judge = judge();
    assert!(matches!(judge.judge(&token, &issuer.keys(), at(0)), Judgement::Known(_)));
    let others = Issuer::new("two").keys();
    assert!(matches!(judge.judge(&token, &others, at(359)), Judgement::Known(_)), "no key is needed again");
    assert_eq!(judge.judge(&token, &issuer.keys(), at(360)), Judgement::Invalid(Invalid::Expired));
    judge.forget();
    assert_eq!(judge.judge(&token, &others, at(0)), Judgement::UnknownKey);
}

#[test]
fn no_more_is_remembered_than_the_bound() {
    let judge = judge();
    let identity = Arc::new(Identity::named("a"));
    for n in 0..=VERIFIED_LEN_MAX {
        let tag: [u8; 32] = digest(&SHA256, &n.to_be_bytes()).as_ref().try_into().expect("32 bytes");
        judge.remember(tag, &identity, at(60), at(0));
    }
    assert!(judge.lock().len() <= VERIFIED_LEN_MAX);
}

#[test]
fn keys_are_found_by_name_and_kind() {
    let (one, two) = (Issuer::new("one"), Issuer::new("two"));
    let both = parse(json!({"keys": [one.jwk(), two.jwk()]})).expect("keys");
    for issuer in [&one, &two] {
        assert!(matches!(judge().judge(&issuer.sign(&claims()), &both, at(0)), Judgement::Known(_)));
    }
    assert_eq!(judge().judge(&two.sign(&claims()), &one.keys(), at(0)), Judgement::UnknownKey);
    // Keys without names are all tried.
    let mut unnamed = two.jwk();
    unnamed.as_object_mut().expect("an object").remove("kid");
    let unnamed = parse(json!({"keys": [one.jwk(), unnamed]})).expect("keys");
    assert!(matches!(judge().judge(&two.sign(&claims()), &unnamed, at(0)), Judgement::Known(_)));
}

#[test]
fn keys_that_cannot_be_used_are_left_out() {
    let good = Issuer::new("good");
    let set = json!({"keys": [
        {"kty": "oct", "k": "c2VjcmV0", "alg": "HS256", "kid": "shared"},
        {"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA", "kid": "large"},
        {"kty": "XX", "kid": "unknown"},
        {"kty": "EC", "kid": "broken"},
        {"kty": "RSA", "use": "enc", "n": "AQAB", "e": "AQAB", "kid": "encryption"},
        good.jwk(),
    ]});
    assert_eq!(format!("{:?}", parse(set).expect("keys")), "[\"good\"]");
    for (set, expected) in [
        (json!({"keys": []}), "no key"),
        (json!({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}), "no key"),
        (json!({}), "not JSON"),
        (json!([]), "not JSON"),
        (json!({"keys": vec![good.jwk(); KEYS_LEN_MAX + 1]}), "more than"),
    ] {
        let error = parse(set).expect_err("not usable").to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(parse(json!({"keys": vec![good.jwk(); KEYS_LEN_MAX]})).is_ok());
    assert!(Keys::parse(b"\xff").is_err());
}

#[test]
fn keys_are_fetched_when_due_and_not_at_anyones_command() {
    let keys = Issuer::new("one").keys();
    let minutes = |minutes: i64| at(60 * minutes);
    let mut cache: KeyCache = KeyCache::default();
    assert!(cache.is_due(false, at(0)));
    cache.attempt(at(0));
    assert!(!cache.is_due(true, at(1)), "a fetch has just begun");
    assert!(cache.is_due(false, at(2)), "nobody can come in before there are keys");
    cache.learn(keys, at(2));
    cache.attempt(at(2));
    for (unknown, when, due) in [
        (false, minutes(1) + RETRY_AFTER, false),
        (true, at(30), false),
        (true, at(62), true),
        (false, minutes(61), true),
    ] {
        assert_eq!(cache.is_due(unknown, when), due, "{unknown} {when}");
    }
    cache.attempt(minutes(61));
    assert!(!cache.is_due(true, minutes(61) + RETRY_AFTER / 2), "it failed, and is left alone for a while");
    assert!(cache.keys().is_some(), "and the last good set stays");
}

#[test]
fn the_token_of_a_request_is_read_or_refused() {
    let read = |value: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(value).expect("a value"));
        token(&headers).map(|token| token.map(str::to_owned))
    };
    assert_eq!(read("Bearer abc"), Some(Ok("abc".into())));
    assert_eq!(read("bearer  abc "), Some(Ok("abc".into())));
    assert_eq!(read("Basic abc"), None);
    assert_eq!(read("Bearer"), None);
    assert_eq!(read("Bearer \t"), Some(Err(Invalid::Malformed)));
    let long = "x".repeat(TOKEN_BYTES_MAX);
    assert_eq!(read(&format!("Bearer {long}")), Some(Ok(long.clone())));
    assert_eq!(read(&format!("Bearer {long}x")), Some(Err(Invalid::Malformed)));
    let mut twice = HeaderMap::new();
    twice.append(AUTHORIZATION, HeaderValue::from_static("Bearer a"));
    twice.append(AUTHORIZATION, HeaderValue::from_static("Bearer b"));
    assert_eq!(token(&twice), Some(Err(Invalid::Malformed)));
    assert_eq!(token(&HeaderMap::new()), None);
}

/// The present of these tests, in seconds since 1970.
const NOW: i64 = 1_790_000_000;
