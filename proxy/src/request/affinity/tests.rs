use super::*;
use crate::route::affinity::SameSite;

fn cookie() -> Cookie {
    Cookie {
        name: "s".into(),
        path: None,
        domain: None,
        max_age: None,
        expires: None,
        same_site: None,
        secure: Secure::AsRequest,
    }
}

fn session(absolute_timeout: Option<Duration>) -> Session {
    Session {
        carrier: Carrier::Cookie(cookie()),
        absolute_timeout,
        after_failure: AfterFailure::Stays,
        reach: Reach::AllBackends,
    }
}

fn headers(cookies: &[&'static str]) -> HeaderMap {
    cookies.iter().map(|text| (COOKIE, HeaderValue::from_static(text))).collect()
}

#[test]
fn the_token_is_found_among_other_cookies() {
    let plain = session(None);
    for (cookies, token) in [
        (&["s=00000000000000ff"][..], Some(0xff)),
        (&["a=b; s=00000000000000ff; c=d"], Some(0xff)),
        (&["a=b", "s=00000000000000ff"], Some(0xff)),
        (&["s=00000000000000ff.0"], Some(0xff)),
        (&["ss=00000000000000ff"], None),
        (&["s=ff"], None),
        (&["s=+0000000000000ff"], Some(0xff)),
        (&["s=zz000000000000ff"], None),
        (&["s="], None),
        (&[], None),
    ] {
        assert_eq!(carried(&plain, &headers(cookies), 0), token, "{cookies:?}");
    }
}

#[test]
fn a_session_ends_with_its_time() {
    let bounded = session(Some(Duration::from_secs(10)));
    let carried = |value: &'static str, now| carried(&bounded, &headers(&[value]), now);
    assert_eq!(carried("s=00000000000000ff.64", 100), Some(0xff));
    assert_eq!(carried("s=00000000000000ff.64", 109), Some(0xff));
    assert_eq!(carried("s=00000000000000ff.64", 110), None);
    assert_eq!(carried("s=00000000000000ff.64", 99), None, "from the future");
    assert_eq!(carried("s=00000000000000ff", 100), None, "without a time");
}

#[test]
fn a_cookie_says_what_was_asked_for() {
    assert_eq!(set_cookie(&cookie(), "v", "/a", Scheme::Http, 0), "s=v; Path=/a; HttpOnly");
    assert_eq!(set_cookie(&cookie(), "v", "/", Scheme::Https, 0), "s=v; Path=/; Secure; HttpOnly");
    let full = Cookie {
        domain: Some("example.com".into()),
        max_age: Some(Duration::from_secs(60)),
        expires: Some(Duration::from_secs(10)),
        same_site: Some(SameSite::Lax),
        secure: Secure::Always,
        ..cookie()
    };
    assert_eq!(
        set_cookie(&full, "v", "/", Scheme::Http, 784_111_767),
        "s=v; Path=/; Domain=example.com; Expires=Sun, 06 Nov 1994 08:49:37 GMT; Max-Age=60; SameSite=Lax; Secure; HttpOnly"
    );
    let endless = Cookie { expires: Some(Duration::MAX), ..cookie() };
    assert!(set_cookie(&endless, "v", "/", Scheme::Http, 1).contains("9999 23:59:59 GMT"));
}
