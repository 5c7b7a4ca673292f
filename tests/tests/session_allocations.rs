//! How often the check of a session asks for memory: as often for many groups as for few.

use auth::session::{
    Cookies, KeyRing, Lifetimes, Reading, SameSite, Session, Transport, Worth, strip_cookies,
};
use auth::{HeaderPreset, HeaderRules, Identity, Policy};
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

const HOST: &str = "app.example";
/// The cookie's bytes before and after it is opened (2), the session and its five texts (6), the list of groups (2), a header
/// for each of four names and room for them (6), and the cookies that are left (1).
const ALLOCATIONS_MAX: u64 = 17;

/// How many allocations the check of one request takes, and how long its cookie is.
fn check(groups: usize) -> (u64, usize) {
    let now = jiff::Timestamp::from_second(1_790_000_000).expect("a time");
    let ring = KeyRing::new(now).expect("random bytes");
    let cookies = Cookies::new("dex\nhttps://id.example\nedge", None, SameSite::Lax);
    let lifetimes = Lifetimes::default();
    let identity = Identity {
        subject: "8a4f0c2e-7b1d-4c55-9d0e-2f6a1b3c4d5e".into(),
        name: Some("Ada Lovelace".into()),
        email: Some("ada@example.com".into()),
        email_verified: true,
        groups: (0..groups).map(|number| format!("department-{number:03}")).collect(),
        ..Identity::named("ada")
    };
    let session = Session::begin(identity, Some("s-1".into()), &lifetimes, now);
    let set = cookies.write(&ring, &session, &HeaderMap::new(), Transport::Tls, HOST, now).expect("cookies");
    let pair = set[0].to_str().expect("ASCII").split(';').next().expect("a pair");
    let mut headers = HeaderMap::new();
    let value = format!("theme=dark; {pair}");
    headers.insert(COOKIE, HeaderValue::from_str(&value).expect("a value"));
    let policy = Policy::parse(Some("group:department-001, domain:example.com"), None, None).expect("rules");
    let rules = HeaderRules::from(HeaderPreset::OAuth2Proxy);
    let mut known = false;
    let counted = allocation_counter::measure(|| {
        let reading = cookies.read(&ring, &headers, Transport::Tls, HOST, &lifetimes, now);
        if let Reading::Session(session, Worth::Live) = reading {
            known = policy.judge(&session.identity).is_ok();
            rules.apply(Some(&session.identity), &mut headers);
            strip_cookies(&mut headers);
        }
    });
    assert!(known && headers[COOKIE] == "theme=dark" && headers.contains_key("x-auth-request-groups"));
    (counted.count_total, pair.len())
}

#[test]
fn a_session_of_many_groups_takes_no_more_allocations_than_one_of_few() {
    let (few, _) = check(2);
    let (many, bytes) = check(20);
    assert!((550..700).contains(&bytes), "what is measured is a cookie of 600 bytes: {bytes}");
    assert!(few > 0, "what is measured here is seen");
    assert_eq!(many, few);
    assert!(many <= ALLOCATIONS_MAX, "{many} allocations");
    assert_eq!(check(100).0, few);
}
