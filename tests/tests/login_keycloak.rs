//! Logins with a real Keycloak, which many have: `tests/run nightly`. What is special about it are its claims, its cookies,
//! and how it logs out.

use std::collections::BTreeSet;

use tests::edge::Edge;
use tests::keycloak::Keycloak;
use tests::logins::{APP, browser, replica};
use tests::manifests;
use tests::message::Answer;
use tests::openid::Browser;
use tests::redis::Redis;
use tests::upstream::Upstream;
use tests::wait::{eventually, eventually_some};

const SECRET: &str = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: client, namespace: shop}\n\
                      stringData: {secret: edge-secret-0123456789abcdef0123}\n";

/// One start of Keycloak is as long as all of this, so that it is one test; each part has a realm and edges of its own.
#[test]
#[ignore = "a whole Keycloak: tests/run nightly"]
fn people_log_in_with_keycloak_and_out_again() {
    let keycloak = Keycloak::start();
    a_login_says_who_it_is_and_rules_count(&keycloak);
    a_session_is_renewed_unseen(&keycloak);
    a_logout_ends_the_session_at_keycloak_too(&keycloak);
    keycloak_logs_out_at_every_replica(&keycloak);
    refresh_tokens_keep_a_session_new_and_each_is_used_once(&keycloak);
}

fn a_login_says_who_it_is_and_rules_count(keycloak: &Keycloak) {
    let site = Site::new(keycloak, "", "auth-allow: group:admins", "", 60);
    let mut ada = site.browser();
    let form = ada.visit(&format!("{APP}/deep/link?a=b"));
    let asked = ada.visited[1].clone();
    assert!(asked.starts_with(&keycloak.issuer()) && asked.contains("code_challenge_method=S256"), "{asked}");
    let answer = log_in(&mut ada, &form, "ada");
    assert_eq!((answer.status, &*answer.text()), (200, "app"), "{:#?}", ada.visited);
    assert_eq!(ada.visited.last().map(String::as_str), Some("http://app.example/deep/link?a=b"));
    let request = site.app.requests().pop().expect("a request");
    assert_eq!(request.fields.all("x-auth-request-email"), ["ada@example.test"]);
    assert_eq!(request.fields.all("x-auth-request-preferred-username"), ["ada"]);
    assert_eq!(site.groups(), ["admins", "ops"].map(str::to_owned).into());
    assert!(!request.fields.has("cookie"), "{:?}", request.fields);

    let mut eve = site.browser();
    let form = eve.visit(&format!("{APP}/"));
    let answer = log_in(&mut eve, &form, "eve");
    assert_eq!(answer.status, 403, "{:#?}", eve.visited);
    assert!(answer.text().contains("eve@example.test"), "{}", answer.text());
}

fn a_session_is_renewed_unseen(keycloak: &Keycloak) {
    let site = Site::new(keycloak, "{renewAfter: 1s}", "", "", 60);
    let mut ada = site.logged_in("ada");
    keycloak.leave_groups("ada");
    let asked = eventually_some("a page asks Keycloak", || {
        let answer = ada.open(&format!("{APP}/page"));
        let asks = answer.fields.one("location").is_some_and(|location| location.contains("prompt=none"));
        asks.then_some(answer)
    });
    let answer = ada.follow(&format!("{APP}/page"), asked);
    assert_eq!((answer.status, &*answer.text()), (200, "app"), "{:#?}", ada.visited);
    assert_eq!(site.groups(), BTreeSet::new(), "what has changed is known");
    // Who was logged out there is asked to log in.
    keycloak.log_out("ada");
    eventually("Keycloak wants to see the person", || {
        ada.visit(&format!("{APP}/page")).text().contains("name=\"password\"")
    });
}

fn a_logout_ends_the_session_at_keycloak_too(keycloak: &Keycloak) {
    let site = Site::new(keycloak, "", "", "", 60);
    let mut ada = site.logged_in("ada");
    let stolen = ada.cookies("app.example");
    // Without the id token, for which no cookie has room, Keycloak asks whether that is wanted.
    let ask = ada.visit(&format!("{APP}/oauth2/sign_out"));
    assert!(ask.text().contains("confirmLogout"), "{}", ask.text());
    let answer = ada.submit(&ask, "confirmLogout=Logout");
    assert_eq!(answer.status, 200, "{:#?}", ada.visited);
    assert!(answer.text().contains("Signed out"), "{}", answer.text());
    let form = ada.visit(&format!("{APP}/"));
    assert!(form.text().contains("name=\"password\""), "Keycloak asks again: {}", form.text());
    let mut thief = site.browser();
    stolen.iter().for_each(|(name, value)| thief.plant("app.example", name, value));
    assert_eq!(thief.fetch(&format!("{APP}/")).status, 401);
}

/// Replicas that share a store: the logout token comes to one of them.
fn keycloak_logs_out_at_every_replica(keycloak: &Keycloak) {
    let redis = Redis::start();
    let site = Site::new(keycloak, "{store: shared}", "", &redis.settings(), 60);
    let other = replica(&site.yaml);
    let mut ada = site.logged_in("ada");
    let mut elsewhere = browser(other.http());
    ada.cookies("app.example").iter().for_each(|(name, value)| elsewhere.plant("app.example", name, value));
    assert_eq!(elsewhere.fetch(&format!("{APP}/")).status, 200);
    keycloak.log_out("ada");
    eventually("the session is over", || ada.fetch(&format!("{APP}/")).status == 401);
    eventually("at the other replica, too", || elsewhere.fetch(&format!("{APP}/")).status == 401);

    // Where the store has the id token, Keycloak knows whose session it is, and asks nothing.
    let mut ada = site.logged_in("ada");
    let answer = ada.visit(&format!("{APP}/oauth2/sign_out"));
    assert_eq!(answer.status, 200, "{:#?}", ada.visited);
    assert!(answer.text().contains("Signed out"), "{}", answer.text());
}

fn refresh_tokens_keep_a_session_new_and_each_is_used_once(keycloak: &Keycloak) {
    let redis = Redis::start();
    let settings = format!("{}\nauth: {{customHeaders: [x-forwarded-access-token]}}", redis.settings());
    let annotations = "auth-headers: \"x-forwarded-access-token=access_token\"";
    let site = Site::new(keycloak, "{store: shared, keepTokens: [access]}", annotations, &settings, 4);
    let mut ada = site.logged_in("ada");
    let mut token = || {
        assert_eq!(ada.fetch(&format!("{APP}/api")).status, 200);
        let request = site.app.requests().pop().expect("a request");
        request.fields.one("x-forwarded-access-token").expect("a token").to_owned()
    };
    // Keycloak takes a refresh token that comes a second time for stolen, and ends the session: three in a row are three.
    let mut last = token();
    for _ in 0..3 {
        last = eventually_some("there is a newer token", || Some(token()).filter(|newer| *newer != last));
    }
    keycloak.log_out("ada");
    eventually("and when Keycloak has ended it, it has ended", || {
        ada.fetch(&format!("{APP}/api")).status == 401
    });
}

/// An application and an edge before it, whose provider is a fresh realm.
struct Site {
    app: Upstream,
    edge: Edge,
    yaml: String,
}

impl Site {
    /// `session` are the settings of sessions, `settings` further ones; access tokens are good for so many seconds.
    fn new(
        keycloak: &Keycloak,
        session: &str,
        annotations: &str,
        settings: &str,
        access_seconds: u32,
    ) -> Self {
        let session = if session.is_empty() { "{}" } else { session };
        let app = Upstream::saying("app");
        let yaml = [
            manifests::settings(&format!(
                "providers:\n  house:\n    oidc:\n      issuer: {}\n      clientId: edge\n      \
                 clientSecret: {{secretRef: {{namespace: shop, name: client, key: secret}}}}\n      \
                 session: {session}\n{settings}\n",
                keycloak.issuer()
            )),
            SECRET.to_owned(),
            manifests::site(&format!("auth: house\n{annotations}"), app.address),
        ]
        .concat();
        let edge = replica(&yaml);
        assert_eq!(edge.problems(), []);
        keycloak.realm(&format!("http://{}/oauth2/backchannel-logout", edge.http()), access_seconds);
        Site { app, edge, yaml }
    }

    fn browser(&self) -> Browser {
        browser(self.edge.http())
    }

    #[track_caller]
    fn logged_in(&self, account: &str) -> Browser {
        let mut browser = self.browser();
        let form = browser.visit(&format!("{APP}/"));
        let answer = log_in(&mut browser, &form, account);
        assert_eq!((answer.status, &*answer.text()), (200, "app"), "{:#?}", browser.visited);
        browser
    }

    /// What the application was told last.
    fn groups(&self) -> BTreeSet<String> {
        let request = self.app.requests().pop().expect("a request");
        let told = request.fields.one("x-auth-request-groups").unwrap_or_default();
        told.split(',').filter(|group| !group.is_empty()).map(str::to_owned).collect()
    }
}

#[track_caller]
fn log_in(browser: &mut Browser, form: &Answer, account: &str) -> Answer {
    assert!(form.text().contains("name=\"password\""), "no form: {} {}", form.status, form.text());
    browser.submit(form, &format!("username={account}&password=password"))
}
