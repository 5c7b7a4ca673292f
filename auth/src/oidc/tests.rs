mod addresses;
mod exchanging;
mod logouts;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use openidconnect::url::Url;
use serde_json::json;

use super::*;
use crate::identity::Identity;
use crate::session::stored::Tokens;
use crate::session::{KeyRing, Reading, Session, Worth};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + second).expect("a time")
}

fn settings() -> Settings {
    Settings {
        name: "dex".into(),
        issuer: "https://id.example".into(),
        client_id: "edge".into(),
        client_secret: Some(Secret::new("0123456789abcdef0123456789abcdef")),
        client_auth: ClientAuth::Basic,
        scopes: vec!["profile".into(), "email".into()],
        endpoints: Endpoints::default(),
        parameters: [("prompt".to_owned(), "select_account".to_owned())].into(),
        claims: ClaimNames::default(),
        extra_claims: Vec::new(),
        lifetimes: Lifetimes::default(),
        same_site: SameSite::Lax,
        cookie_domain: None,
        auth_host: None,
        keeping: Keeping::Cookie,
    }
}

fn document() -> serde_json::Value {
    json!({
        "issuer": "https://id.example",
        "authorization_endpoint": "https://id.example/auth?tenant=1",
        "token_endpoint": "https://id.example/token",
        "jwks_uri": "https://id.example/keys",
        "userinfo_endpoint": "https://id.example/userinfo",
        "end_session_endpoint": "https://id.example/logout",
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256", "HS256", "none"],
        "authorization_response_iss_parameter_supported": true,
    })
}

fn metadata() -> Metadata {
    Metadata::parse(Some(document().to_string().as_bytes()), &settings()).expect("metadata")
}

/// A browser on one host, and the edge's side of it.
struct Tab<'r> {
    ring: &'r KeyRing,
    provider: Provider,
    host: &'static str,
    jar: Vec<(String, String)>,
}

impl<'r> Tab<'r> {
    fn new(ring: &'r KeyRing, settings: Settings, host: &'static str) -> Self {
        Tab { ring, provider: Provider::new(settings), host, jar: Vec::new() }
    }

    fn headers(&self) -> HeaderMap {
        let pairs: Vec<String> = self.jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::from_str(&pairs.join("; ")).expect("a value"));
        headers
    }

    fn on<T>(&self, act: impl FnOnce(&Provider, &Visit<'_>) -> T) -> T {
        let headers = self.headers();
        let visit = Visit {
            transport: Transport::Tls,
            host: self.host,
            authority: self.host,
            headers: &headers,
            stored: None,
        };
        act(&self.provider, &visit)
    }

    fn take(&mut self, cookies: &[HeaderValue]) {
        for cookie in cookies {
            let text = cookie.to_str().expect("ASCII");
            let (pair, attributes) = text.split_once(';').expect("attributes");
            let (name, value) = pair.split_once('=').expect("a pair");
            self.jar.retain(|(known, _)| known != name);
            if !attributes.contains("Max-Age=0;") {
                self.jar.push((name.to_owned(), value.to_owned()));
            }
        }
    }

    fn begin(&mut self, return_to: &str, manner: Manner, second: i64) -> Url {
        let step = self
            .on(|provider, visit| {
                provider.begin(self.ring, Some(&metadata()), visit, return_to, manner, at(second))
            })
            .expect("a step");
        self.take(&step.cookies);
        Url::parse(&step.location).expect("an address")
    }

    fn callback(&self, query: &str, second: i64) -> Callback {
        self.on(|provider, visit| provider.callback(self.ring, Some(&metadata()), visit, query, at(second)))
    }

    fn log_in(&mut self, return_to: &str, second: i64) -> Step {
        let state = value(&self.begin(return_to, Manner::Asking, second), "state");
        let callback = self.callback(&format!("state={state}&code=c&iss=https%3A%2F%2Fid.example"), second);
        let Callback::Redeem(pending) = callback else { panic!("{callback:?}") };
        let login = Login {
            identity: Identity::named("ada"),
            provider_session: Some("s1".into()),
            tokens: Tokens::default(),
        };
        let step = self
            .on(|provider, visit| provider.finish(self.ring, &pending, login, visit, at(second)))
            .expect("a step");
        self.take(&step.cookies);
        step
    }

    fn session(&self, second: i64) -> Option<(Session, Worth)> {
        match self.on(|provider, visit| provider.session(self.ring, visit, at(second))) {
            Reading::Session(session, worth) => Some((*session, worth)),
            Reading::Absent | Reading::Unreadable => None,
        }
    }
}

fn ring() -> KeyRing {
    KeyRing::new(at(0)).expect("a ring")
}

fn value(address: &Url, name: &str) -> String {
    parameter(address.query().unwrap_or_default(), name).unwrap_or_else(|| panic!("{name} in {address}"))
}

#[test]
fn a_login_asks_as_it_must_and_returns_to_the_exact_page() {
    let ring = ring();
    let mut tab = Tab::new(&ring, settings(), "app.example");
    let address = tab.begin("/deep/link?a=b&c=%20d", Manner::Asking, 0);
    assert!(address.as_str().starts_with("https://id.example/auth?tenant=1&"), "{address}");
    for (name, expected) in [
        ("response_type", "code"),
        ("client_id", "edge"),
        ("redirect_uri", "https://app.example/oauth2/callback"),
        ("scope", "openid profile email"),
        ("code_challenge_method", "S256"),
        ("prompt", "select_account"),
    ] {
        assert_eq!(value(&address, name), expected);
    }
    assert_eq!(value(&address, "code_challenge").len(), 43);
    assert!(value(&address, "nonce").len() >= 16);
    assert_ne!(value(&address, "nonce"), value(&tab.begin("/", Manner::Asking, 0), "nonce"));

    let step = tab.log_in("/deep/link?a=b&c=%20d", 0);
    assert_eq!(step.location, "/deep/link?a=b&c=%20d");
    assert_eq!(tab.session(0).expect("a session").0.identity.user, "ada");
    let flows = tab.jar.iter().filter(|(name, _)| name.contains("vbf_")).count();
    assert_eq!(flows, 2, "the flow that ended is gone; the two that were only begun are still there");
}

#[test]
fn an_answer_counts_only_in_the_browser_where_the_login_began() {
    let ring = ring();
    let mut tab = Tab::new(&ring, settings(), "app.example");
    let state = value(&tab.begin("/", Manner::Asking, 0), "state");
    let good = format!("state={state}&code=c&iss=https://id.example");
    let failure = |tab: &Tab<'_>, query: &str, second: i64| match tab.callback(query, second) {
        Callback::Failed { failure, .. } => failure,
        other => panic!("{query}: {other:?}"),
    };
    let stranger = Tab::new(&ring, settings(), "app.example");
    assert_eq!(failure(&stranger, &good, 0), Failure::NoFlow);
    for (query, expected) in [
        ("".to_owned(), Failure::NoFlow),
        ("code=c".to_owned(), Failure::NoFlow),
        ("state=&code=c".to_owned(), Failure::NoFlow),
        (format!("state={}&code=c", "0".repeat(32)), Failure::NoFlow),
        (format!("state={state}&iss=https://id.example"), Failure::Empty),
        (format!("state={state}&code=&iss=https://id.example"), Failure::Empty),
        (format!("state={state}&code=c&iss=https://evil.example"), Failure::Issuer),
        (format!("state={state}&code=c"), Failure::Issuer),
        (
            format!("state={state}&error=access_denied&iss=https://id.example"),
            Failure::Provider("access_denied"),
        ),
        (
            format!("state={state}&error=<script>&iss=https://id.example"),
            Failure::Provider("an unknown error"),
        ),
    ] {
        assert_eq!(failure(&tab, &query, 0), expected, "{query}");
    }
    assert_eq!(failure(&tab, &good, 600), Failure::NoFlow, "too late");
    assert!(matches!(tab.callback(&good, 599), Callback::Redeem(_)));
    // A flow that was sealed for another provider, another host, or as another flow.
    let mut moved = Tab::new(&ring, Settings { client_id: "other".into(), ..settings() }, "app.example");
    moved.jar.clone_from(&tab.jar);
    assert_eq!(failure(&moved, &good, 0), Failure::NoFlow);
    let mut moved = Tab::new(&ring, settings(), "other.example");
    moved.jar.clone_from(&tab.jar);
    assert_eq!(failure(&moved, &good, 0), Failure::NoFlow);
    let other = value(&tab.begin("/", Manner::Asking, 1), "state");
    let sealed = tab.jar[0].1.clone();
    let last = tab.jar.len() - 1;
    tab.jar[last].1 = sealed;
    assert_eq!(failure(&tab, &format!("state={other}&code=c&iss=https://id.example"), 1), Failure::NoFlow);
}

#[test]
fn beginning_a_login_ends_the_session_that_was_there() {
    let ring = ring();
    let mut tab = Tab::new(&ring, settings(), "app.example");
    tab.log_in("/", 0);
    assert!(tab.session(0).is_some());
    tab.begin("/", Manner::Silent, 1);
    assert!(tab.session(1).is_some(), "a silent attempt takes nothing away");
    tab.begin("/", Manner::Asking, 1);
    assert!(tab.session(1).is_none());
}

#[test]
fn several_tabs_log_in_at_the_same_time() {
    let ring = ring();
    let mut browser = Tab::new(&ring, settings(), "app.example");
    let states: Vec<String> =
        (0..4).map(|tab| value(&browser.begin(&format!("/{tab}"), Manner::Asking, tab), "state")).collect();
    for state in states.iter().rev() {
        let callback = browser.callback(&format!("state={state}&code=c&iss=https://id.example"), 5);
        assert!(matches!(callback, Callback::Redeem(_)), "{callback:?}");
    }
}

#[test]
fn whoever_comes_back_to_a_used_callback_has_arrived() {
    let ring = ring();
    let mut tab = Tab::new(&ring, settings(), "app.example");
    tab.log_in("/page", 0);
    let callback = tab.callback(&format!("state={}&code=c", "0".repeat(32)), 1);
    let Callback::Go(step) = callback else { panic!("{callback:?}") };
    assert_eq!(step.location, "/");
}

#[test]
fn a_silent_login_asks_nobody_and_ends_well_or_asks() {
    let ring = ring();
    let mut tab = Tab::new(&ring, settings(), "app.example");
    tab.log_in("/", 0);
    let renew = 3600;
    assert_eq!(tab.session(renew).expect("a session").1, Worth::Renew);
    let address = tab.begin("/page", Manner::Silent, renew);
    assert_eq!(value(&address, "prompt"), "none");
    let state = value(&address, "state");
    let answer = |error: &str| format!("state={state}&error={error}&iss=https://id.example");
    for error in ["login_required", "interaction_required", "consent_required", "invalid_request"] {
        let callback = tab.callback(&answer(error), renew);
        assert!(matches!(&callback, Callback::Ask { return_to, .. } if return_to == "/page"), "{callback:?}");
    }
    for error in ["temporarily_unavailable", "server_error"] {
        let callback = tab.callback(&answer(error), renew);
        let Callback::Go(step) = callback else { panic!("{callback:?}") };
        assert_eq!(step.location, "/page");
        let mut kept = Tab::new(&ring, settings(), "app.example");
        kept.take(&step.cookies);
        let (session, worth) = kept.session(renew).expect("the session goes on");
        assert_eq!((worth, session.began), (Worth::Live, at(0)));
    }
}

#[test]
fn one_auth_host_serves_many_applications() {
    let ring = ring();
    let central = || Settings { auth_host: Some("auth.example".into()), ..settings() };
    let mut app = Tab::new(&ring, central(), "app.example");
    let mut auth = Tab::new(&ring, central(), "auth.example");

    let step = app.on(|provider, visit| {
        assert!(provider.is_elsewhere(visit));
        provider.begin(&ring, None, visit, "/page?x=1", Manner::Asking, at(0))
    });
    let step = step.expect("no metadata is needed for this");
    app.take(&step.cookies);
    let request = Url::parse(&step.location).expect("an address");
    assert!(request.as_str().starts_with("https://auth.example/oauth2/start?request="), "{request}");
    let sealed = value(&request, "request");

    let take = |auth: &Tab<'_>, sealed: &str, second: i64| {
        auth.on(|provider, visit| provider.take_request(&ring, Some(&metadata()), visit, sealed, at(second)))
    };
    assert!(take(&auth, &sealed, 60).is_none(), "too old");
    assert!(take(&auth, "AAAA", 0).is_none());
    assert!(take(&app, &sealed, 0).is_none(), "it is for the auth host");
    let step = take(&auth, &sealed, 0).expect("for us").expect("a step");
    auth.take(&step.cookies);
    let address = Url::parse(&step.location).expect("an address");
    assert_eq!(value(&address, "redirect_uri"), "https://auth.example/oauth2/callback");

    let state = value(&address, "state");
    let callback = auth.callback(&format!("state={state}&code=c&iss=https://id.example"), 1);
    let Callback::Redeem(pending) = callback else { panic!("{callback:?}") };
    let login = Login { identity: Identity::named("ada"), provider_session: None, tokens: Tokens::default() };
    let step =
        auth.on(|provider, visit| provider.finish(&ring, &pending, login, visit, at(1))).expect("a step");
    auth.take(&step.cookies);
    assert!(auth.session(1).is_some());
    let back = Url::parse(&step.location).expect("an address");
    assert!(back.as_str().starts_with("https://app.example/oauth2/callback?state="), "{back}");
    let query = back.query().expect("a query");

    let failed = |tab: &Tab<'_>, second: i64| matches!(tab.callback(query, second), Callback::Failed { .. });
    assert!(failed(&Tab::new(&ring, central(), "app.example"), 1), "another browser");
    let mut elsewhere = Tab::new(&ring, central(), "other.example");
    elsewhere.jar.clone_from(&app.jar);
    assert!(failed(&elsewhere, 1), "another host");
    assert!(failed(&app, 61), "too late");
    let Callback::Go(step) = app.callback(query, 2) else { panic!("not taken") };
    assert_eq!(step.location, "/page?x=1");
    app.take(&step.cookies);
    assert_eq!(app.session(2).expect("a session").0.identity.user, "ada");
    assert!(failed_or_home(&app.callback(query, 3)), "a ticket is good once");

    // The second application needs no login.
    let mut second = Tab::new(&ring, central(), "second.example");
    let step = second.on(|provider, visit| provider.begin(&ring, None, visit, "/two", Manner::Asking, at(3)));
    let step = step.expect("a step");
    second.take(&step.cookies);
    let sealed = value(&Url::parse(&step.location).expect("an address"), "request");
    let step = take(&auth, &sealed, 3).expect("for us").expect("a step");
    let back = Url::parse(&step.location).expect("an address");
    assert_eq!(back.host_str(), Some("second.example"));
    assert!(matches!(second.callback(back.query().expect("a query"), 3), Callback::Go(_)));
}

fn failed_or_home(callback: &Callback) -> bool {
    matches!(callback, Callback::Go(step) if step.location == "/")
        || matches!(callback, Callback::Failed { .. })
}

#[test]
fn documents_that_do_not_fit_are_refused_with_the_reason() {
    let parse = |change: &dyn Fn(&mut serde_json::Value), settings: &Settings| {
        let mut document = document();
        change(&mut document);
        Metadata::parse(Some(document.to_string().as_bytes()), settings)
    };
    let unchanged = |_: &mut serde_json::Value| {};
    assert!(parse(&unchanged, &settings()).is_ok());
    let slash = Settings { issuer: "https://id.example/".into(), ..settings() };
    assert!(matches!(parse(&unchanged, &slash), Err(MetadataError::Issuer { .. })));
    assert!(matches!(
        parse(&|document| document["jwks_uri"] = json!("ftp://id.example/"), &settings()),
        Err(MetadataError::Address { name: "jwks", .. })
    ));
    let only_secret = |document: &mut serde_json::Value| {
        document["id_token_signing_alg_values_supported"] = json!(["HS256"]);
    };
    assert!(parse(&only_secret, &settings()).is_ok());
    let public = Settings { client_secret: None, ..settings() };
    assert_eq!(parse(&only_secret, &public).expect_err("no secret"), MetadataError::Algorithms);
    assert!(matches!(Metadata::parse(Some(b"<html>"), &settings()), Err(MetadataError::Form(_))));
    assert_eq!(
        Metadata::parse(None, &settings()).expect_err("nothing is known"),
        MetadataError::Missing { name: "authorization" }
    );
    let given = Endpoints {
        authorization: Some("https://id.example/a".into()),
        token: Some("http://dex.auth.svc:5556/token".into()),
        jwks: Some("https://id.example/k".into()),
        ..Endpoints::default()
    };
    let given = Settings { endpoints: given, ..settings() };
    assert!(discovery_address(&given).is_none());
    assert!(Metadata::parse(None, &given).is_ok(), "one by one");
    assert_eq!(
        discovery_address(&slash).as_deref(),
        Some("https://id.example/.well-known/openid-configuration")
    );
}
