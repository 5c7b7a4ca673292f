//! Sessions in a store that replicas share, with a real Redis and a real OpenID provider: `tests/run auth`.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tests::edge::Edge;
use tests::logins::{APP, APPS, Site, replica};
use tests::openid::{Browser, OpenIdProvider};
use tests::redis::Redis;
use tests::wait::{eventually, eventually_some};

const KEYS: &str = "vestibule:session:";

/// A site whose sessions are in `redis`; `session` are further settings of them.
fn site(redis: &Redis, provider: OpenIdProvider, session: &str, annotations: &str) -> Site {
    let oidc = format!("      session: {{store: shared, {session}}}");
    let more = format!("{}\nauth: {{customHeaders: [x-forwarded-access-token]}}", redis.settings());
    let mut site = Site::with_settings(provider, &oidc, annotations, &more);
    site.provider.start();
    assert_eq!(site.edge.problems(), []);
    site
}

/// A browser with the cookies of another, at this replica.
fn thief(victim: &Browser, edge: &Edge) -> Browser {
    let mut thief = tests::logins::browser(edge.http());
    for (name, value) in victim.cookies("app.example") {
        thief.plant("app.example", &name, &value);
    }
    thief
}

fn header(site: &Site, name: &str) -> Option<String> {
    site.app.requests().pop().expect("a request").fields.one(name).map(str::to_owned)
}

#[test]
fn the_browser_has_a_name_and_the_store_what_nobody_can_read() {
    let redis = Redis::start();
    let site = site(&redis, OpenIdProvider::new(&APPS), "", "");
    let mut browser = site.logged_in("ada");
    let cookies = browser.cookies("app.example");
    let (name, value) = cookies.iter().next().expect("a session");
    assert!(cookies.len() == 1 && value.len() < 150, "{cookies:?}");

    let keys = redis.keys(KEYS);
    assert_eq!(keys.len(), 1, "{keys:?}");
    let stored = redis.command(&["GET", &keys[0]]);
    assert!(stored.len() > 200 && !stored.contains("ada") && !stored.contains("eyJ"), "{stored}");
    let left = redis.command(&["PTTL", &keys[0]]);
    assert!(!left.contains(":-1"), "it ends with the session: {left}");

    // Any replica takes it, and nobody takes anything else.
    let other = replica(&site.yaml);
    assert_eq!(thief(&browser, &other).fetch(&format!("{APP}/")).status, 200);
    assert_eq!(header(&site, "x-auth-request-email").as_deref(), Some("ada@example.test"));
    let mut forger = site.browser();
    forger.plant("app.example", name, &value.replace('A', "B"));
    assert_eq!(forger.fetch(&format!("{APP}/")).status, 401);
    let mut elsewhere = site.browser();
    elsewhere.plant("other.example", name, value);
    assert_eq!(elsewhere.fetch("http://other.example/").status, 401);
    // A session that somebody puts in another's place does not open.
    site.logged_in("bob");
    let of_bob = redis.keys(KEYS).into_iter().find(|key| *key != keys[0]).expect("two sessions");
    redis.command(&["COPY", &of_bob, &keys[0], "REPLACE"]);
    assert_eq!(browser.fetch(&format!("{APP}/")).status, 401);
}

#[test]
fn a_logout_is_one_at_every_replica_at_once() {
    let redis = Redis::start();
    let site = site(&redis, OpenIdProvider::new(&APPS), "", "");
    let other = replica(&site.yaml);
    let mut browser = site.logged_in("ada");
    let mut thief = thief(&browser, &other);
    assert_eq!(thief.fetch(&format!("{APP}/")).status, 200);
    // The provider is told whose session it is, and does not ask whether that is wanted by a name.
    let answer = browser.open(&format!("{APP}/oauth2/sign_out"));
    let location = answer.fields.one("location").expect("to the provider").to_owned();
    assert!(location.contains("&id_token_hint=eyJ"), "{location}");
    assert_eq!(thief.fetch(&format!("{APP}/")).status, 401, "these replicas do not even know each other");
    assert_eq!(redis.keys(KEYS), Vec::<String>::new());

    // So is whatever an administrator takes out of the store.
    let mut browser = site.logged_in("bob");
    assert_eq!(browser.fetch(&format!("{APP}/")).status, 200);
    redis.command(&["FLUSHALL"]);
    assert_eq!(browser.fetch(&format!("{APP}/")).status, 401);
}

#[test]
fn a_logout_at_the_provider_counts_for_replicas_that_begin_later() {
    let redis = Redis::start();
    let mut site = {
        let oidc = "      session: {store: shared}";
        Site::with_settings(OpenIdProvider::new(&APPS), oidc, "", &redis.settings())
    };
    site.provider.backchannel(format!("http://{}/oauth2/backchannel-logout", site.edge.http()));
    site.provider.start();
    let mut browser = site.logged_in("ada");
    let stolen = thief(&browser, &site.edge).cookies("app.example");
    let ask = browser.visit(&format!("{}/session/end", site.provider.issuer()));
    browser.submit(&ask, "logout=yes");
    eventually("the session is gone", || redis.keys(KEYS).is_empty());
    let later = replica(&site.yaml);
    let mut thief = tests::logins::browser(later.http());
    stolen.iter().for_each(|(name, value)| thief.plant("app.example", name, value));
    assert_eq!(thief.fetch(&format!("{APP}/")).status, 401);
}

#[test]
fn without_the_store_nobody_is_let_in() {
    let mut redis = Redis::start();
    let site = site(&redis, OpenIdProvider::new(&APPS), "", "auth-skip: /public/*");
    let mut browser = site.logged_in("ada");
    let served = site.app.requests().len();
    let refused = |browser: &mut Browser| {
        let page = browser.open(&format!("{APP}/page"));
        assert_eq!(page.status, 503, "{:?}", page.fields);
        assert!(page.fields.has("retry-after") && page.text().contains("Sign-in is not available"));
        assert_eq!(browser.fetch(&format!("{APP}/api")).status, 503);
        assert_eq!(browser.fetch(&format!("{APP}/oauth2/auth")).status, 503);
        assert_eq!(browser.fetch(&format!("{APP}/oauth2/userinfo")).status, 503);
        assert_eq!(browser.open(&format!("{APP}/oauth2/sign_out")).status, 503, "it would not be one");
    };

    // One that says nothing is waited for, once, and not by everybody.
    redis.signal(Signal::STOP);
    let begun = Instant::now();
    (0..20).for_each(|_| refused(&mut browser));
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(site.app.requests().len(), served, "nothing reached the application");
    assert_eq!(browser.fetch(&format!("{APP}/public/x")).status, 200, "what needs nobody needs no store");
    assert_eq!(header(&site, "x-auth-request-user"), None);
    redis.signal(Signal::CONT);
    eventually("the session goes on", || browser.fetch(&format!("{APP}/")).status == 200);

    // One that is gone is missed at once; what it held is lost, and the provider still knows who it is.
    redis.stop();
    (0..20).for_each(|_| refused(&mut browser));
    let mut newcomer = site.browser();
    assert_eq!(newcomer.fetch(&format!("{APP}/")).status, 401, "who has no session has nothing to look up");
    let form = newcomer.visit(&format!("{APP}/"));
    assert_eq!(newcomer.log_in(&form, "bob").status, 503, "and nobody gets one");
    assert!(newcomer.cookies("app.example").iter().all(|(name, _)| !name.starts_with("vb_")));
    redis.begin();
    let page = eventually_some("people come back in", || {
        let page = browser.visit(&format!("{APP}/page"));
        (page.status == 200).then_some(page)
    });
    assert_eq!(page.text(), "app");
}

#[test]
fn a_refresh_token_keeps_a_session_new_and_nobody_sees_it() {
    let redis = Redis::start();
    let provider = OpenIdProvider::new(&APPS).with_refresh(300);
    let site = site(&redis, provider, "renewAfter: 1s", "");
    let other = replica(&site.yaml);
    let mut browsers = [site.logged_in("ada"), site.browser()];
    browsers[1] = thief(&browsers[0], &other);
    site.provider.account(r#"{"id": "ada", "groups": ["newcomers"]}"#);
    // Scripts alone ask; nobody is sent to the provider. All of them come at the same time, at two replicas.
    eventually("what has changed is known", || {
        std::thread::scope(|scope| {
            for browser in &browsers {
                for _ in 0..4 {
                    let (cookies, edge) = (browser.cookies("app.example"), &site.edge);
                    let edge = if std::ptr::eq(browser, &browsers[0]) { edge } else { &other };
                    scope.spawn(move || {
                        let mut browser = tests::logins::browser(edge.http());
                        cookies.iter().for_each(|(name, value)| browser.plant("app.example", name, value));
                        assert_eq!(browser.fetch(&format!("{APP}/api")).status, 200);
                    });
                }
            }
        });
        header(&site, "x-auth-request-groups").as_deref() == Some("newcomers")
    });
    let (good, refused) = site.provider.refreshes();
    assert!((1..10).contains(&good) && refused == 0, "{good} {refused}: each token is used once");

    // While the provider does not answer, the session goes on.
    let mut site = site;
    site.provider.stop();
    for _ in 0..200 {
        assert_eq!(browsers[0].fetch(&format!("{APP}/api")).status, 200);
        tests::wait::pause();
    }
}

#[test]
fn an_account_that_is_not_refreshed_is_out() {
    let redis = Redis::start();
    let provider = OpenIdProvider::new(&APPS).with_refresh(300);
    let site = site(&redis, provider, "renewAfter: 1s", "");
    let mut browser = site.logged_in("ada");
    site.provider.forget_refresh_tokens();
    eventually("the session ends", || browser.fetch(&format!("{APP}/api")).status == 401);
    assert_eq!(redis.keys(KEYS), Vec::<String>::new());
    assert_eq!(site.provider.refreshes(), (0, 1), "and is not asked for again");
}

#[test]
fn applications_are_shown_tokens_that_are_still_good() {
    let redis = Redis::start();
    let provider = OpenIdProvider::new(&APPS).with_refresh(2);
    let annotations = "auth-headers: \"x-forwarded-access-token=access_token\"";
    let site = site(&redis, provider, "keepTokens: [access]", annotations);
    let other = replica(&site.yaml);
    let mut browser = site.logged_in("ada");
    let mut elsewhere = thief(&browser, &other);
    let token = |browser: &mut Browser| {
        assert_eq!(browser.fetch(&format!("{APP}/api")).status, 200);
        header(&site, "x-forwarded-access-token").expect("a token")
    };
    let first = token(&mut browser);
    assert!(first.len() > 20, "{first}");
    eventually("a newer one is there before the first is over", || token(&mut browser) != first);
    // After a time in which nobody came, the first to come waits for a new one, and so does the second.
    let before = token(&mut browser);
    let (good, _) = site.provider.refreshes();
    let idle = Instant::now();
    eventually("the token is over", || idle.elapsed() > Duration::from_millis(2500));
    let (one, two) = (token(&mut browser), token(&mut elsewhere));
    assert!(one != before && one == two, "{before} {one} {two}");
    assert_eq!(site.provider.refreshes(), (good + 1, 0));
    assert!(!redis.command(&["GET", &redis.keys(KEYS)[0]]).contains(&one));
}

#[test]
fn one_session_of_many_hosts_ends_at_all_of_them() {
    let redis = Redis::start();
    let oidc = "      session: {store: shared}\n      authHost: auth.example";
    let mut site = Site::with_settings(OpenIdProvider::new(&APPS), oidc, "", &redis.settings());
    site.provider.start();
    let mut browser = site.logged_in("ada");
    assert_eq!(browser.visit("http://other.example/two").status, 200);
    assert_eq!(browser.fetch("http://other.example/two").status, 200);
    assert_eq!(redis.keys(KEYS).len(), 1, "the hosts share it");
    assert_ne!(browser.cookies("app.example"), browser.cookies("other.example"));
    browser.open(&format!("{APP}/oauth2/sign_out"));
    assert_eq!(browser.fetch("http://other.example/two").status, 401);
}
