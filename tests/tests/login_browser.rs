//! Logins with a real browser and a real OpenID provider: `tests/run auth`.

use std::time::{Duration, Instant};

use tests::chromium::Chromium;
use tests::logins::{APP, Site};
use tests::wait::eventually;

/// Fills in the provider's form, which is open now, and agrees to what is asked the first time.
fn log_in(browser: &Chromium, account: &str) {
    browser.fill("input[name=login]", account);
    browser.fill("input[name=password]", "password");
    browser.click("button");
    browser.click("button[name=ok]");
    browser.wait_for(&["app"]);
}

#[test]
fn a_person_logs_in_and_out_with_a_real_browser() {
    let site = Site::new("", "");
    let edge = site.edge.http();
    let browser = Chromium::start(&[("app.example", edge)]);
    browser.open(&format!("{APP}/deep/link?a=b#part"));
    log_in(&browser, "ada");
    assert_eq!(browser.location(), format!("{APP}/deep/link?a=b#part"));
    assert_eq!(browser.script("return document.cookie"), "", "no script reads the session");
    let requests = site.app.requests();
    assert_eq!(requests[0].fields.all("x-auth-request-email"), ["ada@example.test"]);

    // A script of the page is let in too, and a new page needs no login.
    browser.open(&format!("{APP}/again"));
    browser.wait_for(&["app"]);
    browser.open(&format!("{APP}/oauth2/sign_out"));
    browser.click("button[value=yes]");
    browser.wait_for(&["Signed out"]);
    browser.show_on(1280, 800, false);
    browser.keep_screenshot("signed-out");
    browser.show_on(390, 844, true);
    browser.keep_screenshot("signed-out-phone-dark");
    browser.open(&format!("{APP}/"));
    browser.fill("input[name=login]", "ada");
}

#[test]
fn a_session_that_is_over_is_renewed_and_nobody_sees_it() {
    let site = Site::new("      session: {lifetime: 2s, renewAfter: 0s}", "");
    let browser = Chromium::start(&[("app.example", site.edge.http())]);
    browser.open(&format!("{APP}/first"));
    log_in(&browser, "ada");
    let begun = Instant::now();
    eventually("the session is over", || begun.elapsed() > Duration::from_secs(3));
    // The provider has signed with keys that the edge has not seen, and vouches for nobody by the old ones.
    site.provider.rotate(false);
    browser.open(&format!("{APP}/second?c=d"));
    browser.wait_for(&["app"]);
    assert_eq!(browser.location(), format!("{APP}/second?c=d"), "no form, and the page that was wanted");
    let last = site.app.requests().into_iter().rfind(|request| request.target == "/second?c=d");
    assert_eq!(last.expect("a request").fields.one("x-auth-request-user"), Some("ada"));
}

#[test]
fn while_the_provider_is_stopped_a_page_says_so() {
    let mut site = Site::new("", "auth-allow: \"group:admins\"");
    let browser = Chromium::start(&[("app.example", site.edge.http())]);
    browser.open(&format!("{APP}/"));
    log_in(&browser, "ada");
    site.provider.stop();
    browser.open(&format!("{APP}/still"));
    browser.wait_for(&["app"]);

    // A new edge knows nothing of the provider, and its visitor has no session.
    let edge = tests::logins::replica(&site.yaml);
    let visitor = Chromium::start(&[("app.example", edge.http())]);
    visitor.open(&format!("{APP}/deep"));
    visitor.wait_for(&["Sign-in is not available", "not your fault"]);
    visitor.show_on(1280, 800, false);
    visitor.keep_screenshot("sign-in-unavailable");
    visitor.show_on(390, 844, true);
    visitor.keep_screenshot("sign-in-unavailable-phone-dark");
    site.provider.start();
    eventually("the form is there again", || {
        visitor.open(&format!("{APP}/deep"));
        visitor.location().contains("/interaction/")
    });
    // And who may not enter hears why.
    visitor.fill("input[name=login]", "bob");
    visitor.fill("input[name=password]", "password");
    visitor.click("button");
    visitor.click("button[name=ok]");
    visitor.wait_for(&["bob@example.test"]);
    visitor.keep_screenshot("forbidden-phone-dark");
}
