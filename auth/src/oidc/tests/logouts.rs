use std::time::Duration;

use serde_json::Value;

use super::exchanging::Signer;
use super::logout::{Ends, LogoutError, REVOCATIONS_LEN_MAX, Revocation, Revocations};
use super::*;
use crate::identity::Invalid;

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

fn claims() -> Value {
    let now = at(0).as_second();
    json!({
        "iss": "https://id.example", "aud": "edge", "iat": now, "exp": now + 120, "jti": "t1", "sid": "s1",
        "sub": "248289", "events": {EVENT: {}},
    })
}

fn judge(claims: &Value, signer: &Signer) -> Result<Revocation, LogoutError> {
    Provider::new(settings()).logout_token(&signer.metadata(), &signer.sign(claims), at(0))
}

#[test]
fn a_logout_token_ends_a_session_or_an_account() {
    let signer = Signer::new();
    assert_eq!(judge(&claims(), &signer).expect("good").ends, Ends::ProviderSession("s1".into()));
    let mut account = claims();
    account.as_object_mut().expect("an object").remove("sid");
    assert_eq!(judge(&account, &signer).expect("good").ends, Ends::Subject("248289".into()));
}

#[test]
fn a_token_that_is_no_logout_token_ends_nothing() {
    let signer = Signer::new();
    let now = at(0).as_second();
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        claims
    };
    let mut nobody = claims();
    nobody.as_object_mut().expect("an object").remove("sid");
    nobody.as_object_mut().expect("an object").remove("sub");
    for claims in [
        with("nonce", json!("n")),
        with("events", json!({})),
        with("events", json!({EVENT: "x"})),
        with("events", json!(null)),
        with("iss", json!("https://evil.example")),
        with("aud", json!("another")),
        with("exp", json!(now - 61)),
        with("iat", json!(now - 301)),
        with("iat", json!(null)),
        with("jti", json!("")),
        with("jti", json!(null)),
        nobody,
    ] {
        let judged = judge(&claims, &signer);
        assert!(matches!(judged, Err(LogoutError::Invalid(_))), "{claims}: {judged:?}");
    }
    let forged =
        Provider::new(settings()).logout_token(&signer.metadata(), &Signer::new().sign(&claims()), at(0));
    assert_eq!(forged, Err(LogoutError::Invalid(Invalid::Signature)));
    let unknown = Provider::new(settings()).logout_token(&metadata(), &signer.sign(&claims()), at(0));
    assert!(unknown.is_err(), "{unknown:?}");
}

#[test]
fn what_is_revoked_is_over_and_later_logins_are_not() {
    let begin = |second: i64| {
        Session::begin(
            Identity { subject: "248289".into(), ..Identity::named("ada") },
            Some("s1".into()),
            &Lifetimes::default(),
            at(second),
        )
    };
    for (token, ends) in [("a", Ends::ProviderSession("s1".into())), ("b", Ends::Subject("248289".into()))] {
        let mut revocations = Revocations::default();
        assert!(!revocations.ends("dex", begin(0).marks()) && revocations.is_empty());
        let revocation = Revocation { provider: "dex".into(), ends, token: token.into() };
        revocations.add(revocation.clone(), Duration::from_secs(60), at(10)).expect("new");
        assert!(revocations.ends("dex", begin(0).marks()));
        assert!(revocations.ends("dex", begin(10).marks()));
        assert!(!revocations.ends("dex", begin(11).marks()), "a login after the logout counts");
        assert!(!revocations.ends("other", begin(0).marks()));
        assert_eq!(revocations.add(revocation, Duration::from_secs(60), at(11)), Err(LogoutError::Seen));
        let other = Revocation { provider: "dex".into(), ends: Ends::Subject("x".into()), token: "c".into() };
        revocations.add(other, Duration::from_secs(60), at(71)).expect("new");
        assert!(!revocations.ends("dex", begin(0).marks()), "no such session can live any more");
    }
}

#[test]
fn a_logout_ends_one_login_and_no_other() {
    let provider = Provider::new(settings());
    let begin = |session: Option<&str>, second: i64| {
        let identity = Identity { subject: "248289".into(), ..Identity::named("ada") };
        Session::begin(identity, session.map(str::to_owned), &Lifetimes::default(), at(second))
    };
    let mut revocations = Revocations::default();
    let mut end = |session: &Session, token: &str, second: i64| {
        let revocation = provider.revocation(session, token.into());
        revocations.add(revocation, Duration::from_secs(60), at(second)).expect("new");
        revocations.clone()
    };
    // The provider names its session: all that came of that goes, on whatever host.
    let after = end(&begin(Some("s1"), 0), "a", 10);
    assert!(after.ends(provider.key(), begin(Some("s1"), 5).marks()));
    assert!(!after.ends(provider.key(), begin(Some("s2"), 0).marks()), "the same person elsewhere stays");
    assert!(!after.ends(provider.key(), begin(None, 0).marks()));
    // It does not: what came of that login goes.
    let after = end(&begin(None, 3), "b", 10);
    assert!(after.ends(provider.key(), begin(None, 3).marks()));
    assert!(!after.ends(provider.key(), begin(None, 4).marks()));
    assert!(!after.ends("another", begin(None, 3).marks()));
    // Whoever logs in again in the same second is not logged out by it.
    assert_eq!(after.begin(at(9)), at(11));
    assert_eq!(after.begin(at(10)), at(11));
    assert_eq!(after.begin(at(11)), at(11));
    assert_eq!(Revocations::default().begin(at(0)), at(0));
    let later = end(&begin(None, 100), "c", 100);
    assert!(!later.ends(provider.key(), begin(None, 3).marks()), "no such session can live any more");
}

#[test]
fn no_more_is_remembered_than_the_bound() {
    let mut revocations = Revocations::default();
    for n in 0..REVOCATIONS_LEN_MAX + 2 {
        let ends = Ends::Subject(n.to_string());
        let revocation = Revocation { provider: "dex".into(), ends, token: n.to_string() };
        revocations.add(revocation, Duration::from_secs(60), at(0)).expect("new");
    }
    assert_eq!(format!("{revocations:?}").matches("Ended {").count(), REVOCATIONS_LEN_MAX);
}

#[test]
fn a_logout_goes_to_the_provider_and_comes_back() {
    let ring = ring();
    let mut tab = Tab::new(&ring, settings(), "app.example");
    tab.log_in("/", 0);
    let step = tab.on(|provider, visit| provider.sign_out(Some(&metadata()), visit, None));
    let address = Url::parse(&step.location).expect("an address");
    assert!(address.as_str().starts_with("https://id.example/logout?client_id=edge&"), "{address}");
    assert_eq!(value(&address, "post_logout_redirect_uri"), "https://app.example/oauth2/signed_out");
    tab.take(&step.cookies);
    assert!(tab.session(0).is_none());
    let step = tab.on(|provider, visit| provider.sign_out(None, visit, Some("//evil.example")));
    assert_eq!(step.location, "/");
    let step = tab.on(|provider, visit| provider.sign_out(None, visit, None));
    assert_eq!(step.location, SIGNED_OUT_PATH);
}
