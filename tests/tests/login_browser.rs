//! Logins with a real browser and a real OpenID provider: `tests/run auth`.

use tests::chromium::Chromium;
use tests::logins::{APP, Site};

#[test]
fn a_person_logs_in_and_out_with_a_real_browser() {
    let site = Site::new("", "");
    let edge = site.edge.http();
    let browser = Chromium::start(&[("app.example", edge)]);
    browser.open(&format!("{APP}/deep/link?a=b#part"));
    browser.fill("input[name=login]", "ada");
    browser.fill("input[name=password]", "password");
    browser.click("button");
    browser.click("button[name=ok]");
    browser.wait_for(&["app"]);
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
