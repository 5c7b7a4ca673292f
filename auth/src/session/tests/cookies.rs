use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use super::super::cookie::FLOWS_LEN_MAX;
use super::*;
use crate::Texts;

const HOST: &str = "app.example";

struct Browser {
    ring: KeyRing,
    cookies: Cookies,
    jar: Vec<(String, String)>,
}

impl Browser {
    fn new(domain: Option<&str>) -> Self {
        let ring = KeyRing::new(at(0)).expect("a ring");
        Browser { ring, cookies: Cookies::new("dex", domain, SameSite::Lax), jar: Vec::new() }
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let pairs: Vec<String> = self.jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !pairs.is_empty() {
            headers.insert(COOKIE, HeaderValue::from_str(&pairs.join("; ")).expect("a value"));
        }
        headers
    }

    fn take(&mut self, set: &[HeaderValue]) {
        for value in set {
            let text = value.to_str().expect("ASCII");
            let (pair, attributes) = text.split_once(';').expect("attributes");
            let (name, value) = pair.split_once('=').expect("a pair");
            self.jar.retain(|(known, _)| known != name);
            if !attributes.contains("Max-Age=0;") {
                self.jar.push((name.to_owned(), value.to_owned()));
            }
        }
    }

    fn write(&mut self, session: &Session) -> Vec<HeaderValue> {
        let set = self.cookies.write(&self.ring, session, &self.headers(), Transport::Tls, HOST, at(0));
        let set = set.expect("cookies");
        self.take(&set);
        set
    }

    fn read_at(&self, host: &str, second: i64) -> Reading {
        self.cookies.read(
            &self.ring,
            &self.headers(),
            Transport::Tls,
            host,
            &Lifetimes::default(),
            at(second),
        )
    }

    fn read(&self) -> Reading {
        self.read_at(HOST, 0)
    }
}

/// A session with `bytes` more to carry, that no compression could shorten.
fn large(bytes: usize) -> Session {
    let mut session = session();
    session.identity.groups = ["x".repeat(bytes)].into();
    session
}

#[test]
fn a_session_comes_back_in_one_cookie() {
    let mut browser = Browser::new(None);
    assert_eq!(browser.read(), Reading::Absent);
    let set = browser.write(&session());
    let [cookie] = set.as_slice() else { panic!("{set:?}") };
    let text = cookie.to_str().expect("ASCII");
    assert!(text.starts_with("__Host-vb_"), "{text}");
    assert!(text.ends_with("; Path=/; Max-Age=86400; HttpOnly; Secure; SameSite=Lax"), "{text}");
    assert!(!text.contains("Domain") && !text.contains("ada"), "{text}");
    assert_eq!(browser.read(), Reading::Session(Box::new(session()), Worth::Live));
    assert_eq!(browser.read_at(HOST, 24 * 3600), Reading::Session(Box::new(session()), Worth::Expired));
    assert_eq!(browser.read_at("other.example", 0), Reading::Unreadable, "a session is for one host");
}

#[test]
fn a_session_for_a_domain_is_good_on_its_hosts() {
    let mut browser = Browser::new(Some("Example"));
    let set = browser.write(&session());
    let text = set[0].to_str().expect("ASCII");
    assert!(text.starts_with("__Secure-vb_") && text.contains("; Domain=example;"), "{text}");
    assert!(matches!(browser.read_at("other.example", 0), Reading::Session(..)));
    for (host, reached) in [
        ("app.example", true),
        ("example", true),
        ("a.b.example", true),
        ("badexample", false),
        ("example.org", false),
    ] {
        assert_eq!(browser.cookies.reach(host), reached, "{host}");
    }
}

#[test]
fn what_was_set_in_the_clear_counts_nothing_under_tls() {
    let browser = Browser::new(None);
    let set =
        browser.cookies.write(&browser.ring, &session(), &HeaderMap::new(), Transport::Plain, HOST, at(0));
    let text = set.expect("cookies")[0].to_str().expect("ASCII").to_owned();
    assert!(text.starts_with("vb_") && !text.contains("Secure"), "{text}");
    let value = text.split(['=', ';']).nth(1).expect("a value").to_owned();
    for name in [Transport::Plain, Transport::Tls].map(|transport| browser.cookies.name(transport).to_owned())
    {
        let browser = Browser {
            ring: KeyRing::parse(&browser.ring.to_text()).expect("a ring"),
            cookies: browser.cookies.clone(),
            jar: vec![(name, value.clone())],
        };
        assert!(!matches!(browser.read(), Reading::Session(..)));
    }
}

#[test]
fn a_long_session_is_cut_and_put_together() {
    let mut browser = Browser::new(None);
    let mut sizes = Vec::new();
    for bytes in [100, 2500, 3500, 5000, 9000, 10_000, 5000, 100] {
        let set = browser.write(&large(bytes));
        for cookie in &set {
            assert!(cookie.len() <= COOKIE_BYTES_MAX, "{}", cookie.len());
        }
        assert_eq!(browser.read(), Reading::Session(Box::new(large(bytes)), Worth::Live), "{bytes}");
        sizes.push(browser.jar.len());
    }
    assert_eq!(sizes, [1, 1, 2, 2, 4, 4, 2, 1], "parts that are not needed any more are gone");
}

#[test]
fn a_session_that_is_too_long_is_an_error_that_names_the_cause() {
    let browser = Browser::new(None);
    let mut session = large(12_000);
    let write = |session: &Session| {
        browser.cookies.write(&browser.ring, session, &HeaderMap::new(), Transport::Tls, HOST, at(0))
    };
    let error = write(&session).expect_err("too large").to_string();
    assert!(error.contains("the groups"), "{error}");
    session.identity.groups = Texts::default();
    session.identity.claims.insert("roles".into(), ["x".repeat(12_000)].into());
    let error = write(&session).expect_err("too large").to_string();
    assert!(error.contains("the claim roles"), "{error}");
}

#[test]
fn a_part_that_is_missing_or_foreign_spoils_the_session() {
    let mut browser = Browser::new(None);
    browser.write(&large(5000));
    assert_eq!(browser.jar.len(), 2);
    let whole = browser.jar.clone();
    browser.jar.truncate(1);
    assert_eq!(browser.read(), Reading::Unreadable);
    browser.jar = whole;
    browser.jar[1].1 = browser.jar[1].1.replace('A', "B");
    assert_eq!(browser.read(), Reading::Unreadable);
    for value in ["", "1", "0.AAAA", "5.AAAA", "99999999999999999999.A", "x.y", "1.", "2.AAAA"] {
        browser.jar = vec![(browser.cookies.name(Transport::Tls).to_owned(), value.to_owned())];
        assert_eq!(browser.read(), Reading::Unreadable, "{value}");
    }
}

#[test]
fn a_logout_deletes_every_part_that_there_is() {
    let mut browser = Browser::new(None);
    browser.write(&large(9000));
    assert_eq!(browser.jar.len(), 4);
    let set = browser.cookies.clear(&browser.headers(), Transport::Tls);
    assert_eq!(set.len(), 4);
    browser.take(&set);
    assert_eq!(browser.read(), Reading::Absent);
    assert!(browser.cookies.clear(&browser.headers(), Transport::Tls).is_empty());
}

#[test]
fn our_cookies_do_not_go_to_the_application() {
    for (sent, kept) in [
        ("a=1; __Host-vb_12345678=x; b=2", Some("a=1; b=2")),
        (
            "__Host-vb_12345678=x; __Host-vb_12345678.1=y; __Host-vbf_1=z; __Secure-vb_1=y; vb_1=q; vbf_2=r",
            None,
        ),
        ("a=1;b=2 ; vb_x=1;", Some("a=1; b=2")),
        ("a=vb_1; avb_=1; __Host-other=2", Some("a=vb_1; avb_=1; __Host-other=2")),
        ("  vb_1 = 5; a=\"x y\"", Some("a=\"x y\"")),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::from_static(sent));
        strip_cookies(&mut headers);
        assert_eq!(headers.get(COOKIE).map(|value| value.to_str().expect("ASCII")), kept, "{sent}");
    }
    // What is not ours stays byte for byte.
    let mut headers = HeaderMap::new();
    headers.append(COOKIE, HeaderValue::from_static("a=1;b=2 "));
    headers.append(COOKIE, HeaderValue::from_static("c"));
    let before = headers.clone();
    strip_cookies(&mut headers);
    assert_eq!(headers, before);
}

#[test]
fn logins_in_several_tabs_have_cookies_of_their_own() {
    let mut browser = Browser::new(None);
    let mut ids = Vec::new();
    for tab in 0..FLOWS_LEN_MAX + 2 {
        let id = FlowCookie::new_id(at(tab as i64)).expect("random");
        let flow = FlowCookie::new(&id, Transport::Tls).expect("an id");
        assert!(flow.name().starts_with("__Host-vbf_"));
        let set = flow.write("sealed", &browser.headers(), Transport::Tls);
        let text = set[0].to_str().expect("ASCII");
        assert!(text.ends_with("=sealed; Path=/; Max-Age=600; HttpOnly; Secure; SameSite=Lax"), "{text}");
        browser.take(&set);
        ids.push(flow);
    }
    assert_eq!(browser.jar.len(), FLOWS_LEN_MAX);
    assert_eq!(ids[0].read(&browser.headers()), None, "the oldest is dropped");
    assert_eq!(ids[FLOWS_LEN_MAX + 1].read(&browser.headers()), Some("sealed"));
    let under_way =
        |second: i64| FlowCookie::is_under_way(&browser.headers(), Transport::Tls, 60, at(second));
    assert!(under_way(6) && under_way(65) && !under_way(66) && !under_way(0), "the newest began at 6");
    assert!(!FlowCookie::is_under_way(&HeaderMap::new(), Transport::Tls, 60, at(6)));
    browser.take(&[ids[3].clear(Transport::Tls).expect("a value")]);
    assert_eq!(ids[3].read(&browser.headers()), None);
    for id in ["", "../x", "0123", &"0".repeat(33), &"g".repeat(32)] {
        assert_eq!(FlowCookie::new(id, Transport::Tls), None, "{id}");
    }
}
