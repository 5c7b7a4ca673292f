//! What becomes of sessions after a login with a real OpenID provider: renewal, logout, new keys, outages: `tests/run auth`.

use auth::session::KeyRing;
use tests::logins::{APP, APPS, KEYS, Site, replica};
use tests::openid::OpenIdProvider;
use tests::wait::{eventually, eventually_some};

#[test]
fn a_logout_ends_the_session_here_and_at_the_provider() {
    let site = Site::new("", "");
    let mut browser = site.logged_in("ada");
    let ask = browser.visit(&format!("{APP}/oauth2/sign_out"));
    assert!(browser.cookies("app.example").is_empty());
    assert_eq!(ask.status, 200, "{:#?}", browser.visited);
    let answer = browser.submit(&ask, "logout=yes");
    assert_eq!(answer.status, 200, "{:#?}", browser.visited);
    assert!(answer.text().contains("Signed out"), "{}", answer.text());
    assert_eq!(
        browser.visited.last().map(|at| at.split('?').next().unwrap_or_default().to_owned()).as_deref(),
        Some("http://app.example/oauth2/signed_out")
    );
    let form = browser.visit(&format!("{APP}/"));
    assert!(form.text().contains("name=password"), "the provider asks again: {}", form.text());

    // A picture on another site logs nobody out.
    let mut browser = site.logged_in("bob");
    let lines = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\n";
    browser.send("GET", &format!("{APP}/oauth2/sign_out"), lines, "");
    assert_eq!(browser.open(&format!("{APP}/")).status, 200);
}

#[test]
fn a_session_that_is_over_is_renewed_unseen() {
    let site = Site::new("      session: {lifetime: 2s, renewAfter: 0s}", "");
    let mut browser = site.logged_in("ada");
    assert_eq!(browser.open(&format!("{APP}/page")).status, 200);
    eventually("the session ends", || browser.fetch(&format!("{APP}/page")).status == 401);
    // The script's refusal took the cookie, so the next page asks, and the provider still knows who it is.
    let answer = browser.visit(&format!("{APP}/page?again"));
    assert_eq!(
        (answer.status, browser.visited.last().map(String::as_str)),
        (200, Some("http://app.example/page?again"))
    );
}

#[test]
fn the_provider_is_asked_again_in_the_background() {
    let site = Site::new("      session: {renewAfter: 1s}", "");
    let mut browser = site.logged_in("ada");
    site.provider.account(r#"{"id": "ada", "groups": ["newcomers"]}"#);
    let asked = eventually_some("a page asks the provider, and nobody sees it", || {
        let answer = browser.open(&format!("{APP}/page"));
        let asks = answer.fields.one("location").is_some_and(|location| location.contains("prompt=none"));
        asks.then_some(answer)
    });
    assert_eq!(browser.fetch(&format!("{APP}/api")).status, 200, "scripts go on meanwhile");
    assert_eq!(browser.open(&format!("{APP}/page")).status, 200, "and a second page is not sent away, too");
    let answer = browser.follow(&format!("{APP}/page"), asked);
    assert_eq!(answer.status, 200);
    let groups = |site: &Site| {
        site.app.requests().pop().expect("a request").fields.one("x-auth-request-groups").map(str::to_owned)
    };
    assert_eq!(groups(&site).as_deref(), Some("newcomers"), "and what has changed is known");

    // Who was logged out at the provider is asked to log in.
    let mut browser = site.logged_in("bob");
    browser.plant(&site.provider.address().to_string(), "_session", "gone");
    eventually("the provider wants to see the person", || {
        browser.visit(&format!("{APP}/page")).text().contains("name=password")
    });
}

#[test]
fn without_the_provider_sessions_go_on_and_logins_wait() {
    let mut site = Site::new("      session: {renewAfter: 1s}", "");
    let mut inside = site.logged_in("ada");
    site.provider.stop();
    let mut renewals = 0;
    for _ in 0..200 {
        renewals += usize::from(inside.open(&format!("{APP}/")).status != 200);
        tests::wait::pause();
    }
    // At most the one that was found out to be in vain; after that the session is good as it is.
    assert!(renewals <= 1, "{renewals} pages were lost");
    drop(site.edge);

    // A new replica, which knows nothing of the provider.
    site.edge = replica(&site.yaml);
    inside.point("app.example", site.edge.http());
    assert_eq!(inside.open(&format!("{APP}/")).status, 200);
    let mut outside = site.browser();
    let answer = outside.open(&format!("{APP}/"));
    assert_eq!(answer.status, 503);
    assert!(
        answer.text().contains("Sign-in is not available") && answer.fields.has("retry-after"),
        "{}",
        answer.text()
    );
    assert!(!answer.fields.has("set-cookie"));
    assert_eq!(outside.fetch(&format!("{APP}/")).status, 401, "scripts hear what they always hear");

    site.provider.start();
    let mut form = None;
    eventually("people can log in again", || {
        let answer = outside.visit(&format!("{APP}/"));
        let asks = answer.status == 200;
        form = asks.then_some(answer);
        asks
    });
    assert_eq!(outside.log_in(&form.expect("a form"), "bob").status, 200);
}

#[test]
fn new_keys_of_the_provider_lock_nobody_out() {
    let site = Site::new("", "");
    let mut browser = site.logged_in("ada");
    for keep in [true, false] {
        site.provider.rotate(keep);
        assert_eq!(browser.open(&format!("{APP}/")).status, 200, "sessions do not depend on them");
        assert_eq!(
            site.logged_in("bob").open(&format!("{APP}/")).status,
            200,
            "and logins find the new ones"
        );
    }
}

#[test]
fn new_keys_of_the_edge_lock_nobody_out() {
    let site = Site::new("", "");
    let mut browser = site.logged_in("ada");
    let ring = KeyRing::parse(&KEYS).expect("a ring");
    #[expect(clippy::disallowed_methods, reason = "the new key is new now")]
    let now = jiff::Timestamp::now();
    site.edge.set_session_keys(&ring.with_new_key(now).expect("random bytes").to_text());
    assert_eq!(browser.open(&format!("{APP}/")).status, 200);
    let mut newcomer = site.logged_in("bob");
    // A replica that has not heard of the new key reads what this one seals.
    let other = replica(&site.yaml);
    newcomer.point("app.example", other.http());
    assert_eq!(newcomer.open(&format!("{APP}/")).status, 200);
    // With keys of its own, an edge knows nobody.
    site.edge.set_session_keys(&KeyRing::new(now).expect("random bytes").to_text());
    assert_eq!(browser.fetch(&format!("{APP}/")).status, 401);
}

#[test]
fn any_replica_can_go_on_where_another_began() {
    let site = Site::new("", "");
    let other = replica(&site.yaml);
    let mut browser = site.browser();
    let form = browser.visit(&format!("{APP}/page"));
    browser.point("app.example", other.http());
    let answer = browser.log_in(&form, "ada");
    assert_eq!(answer.status, 200, "the callback came to the other one: {:#?}", browser.visited);
    browser.point("app.example", site.edge.http());
    assert_eq!(browser.open(&format!("{APP}/page")).status, 200);
}

#[test]
fn a_logout_at_the_provider_ends_sessions_here() {
    let provider = OpenIdProvider::new(&APPS);
    let mut site = Site::before_start(provider, "", "");
    let address = format!("http://{}/oauth2/backchannel-logout", site.edge.http());
    let provider = std::mem::replace(&mut site.provider, OpenIdProvider::new(&APPS));
    site.provider = provider.with_backchannel(address);
    site.provider.start();

    let mut browser = site.logged_in("ada");
    let session = browser.cookies("app.example");
    assert_eq!(browser.fetch(&format!("{APP}/")).status, 200);
    let ask = browser.visit(&format!("{APP}/oauth2/sign_out"));
    browser.submit(&ask, "logout=yes");
    // The cookie that a thief kept is worth nothing any more.
    let (name, value) = session.iter().next().expect("a session");
    let mut thief = site.browser();
    eventually("the session is over", || {
        thief.plant("app.example", name, value);
        thief.fetch(&format!("{APP}/")).status == 401
    });
    for body in ["", "logout_token=", "logout_token=a.b.c", "x=y"] {
        let answer = thief.send("POST", &format!("{APP}/oauth2/backchannel-logout"), "", body);
        assert_eq!(answer.status, 400, "{body}");
    }
}
