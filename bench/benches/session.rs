//! What it costs to know who asks by a session in a cookie: `cargo bench --package bench --bench session`.
//!
//! The whole check of one request: the cookie is found among others, opened and read, its worth and the rules are judged, the
//! application's headers are set, and the cookie is taken out. 2 µs are allowed for a cookie of 600 bytes; allocations are
//! counted, and `tests/tests/session_allocations.rs` holds them.

#![allow(clippy::print_stdout, reason = "standard output is where the numbers go")]

use std::hint::black_box;
use std::time::Duration;

use auth::session::{
    Cookies, KeyRing, Lifetimes, Reading, SameSite, Session, Transport, Worth, strip_cookies,
};
use auth::{HeaderPreset, HeaderRules, Identity, Policy};
use http::header::{ACCEPT, COOKIE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;

/// Requests of one round, and rounds of one measurement.
const REQUESTS: u32 = 20_000;
const ROUNDS: usize = 31;
const SITE: &str = "app.example";

fn main() {
    let now = Timestamp::from_second(1_790_000_000).expect("a time");
    let ring = KeyRing::new(now).expect("random bytes");
    let cookies = Cookies::new("dex\nhttps://id.example\nedge", None, SameSite::Lax);
    let policy = Policy::parse(Some("group:admins, domain:example.com"), None, None).expect("rules");
    let rules = HeaderRules::from(HeaderPreset::OAuth2Proxy);
    for (name, groups) in [("a small identity", 2), ("a cookie of 600 bytes", 20), ("a hundred groups", 100)]
    {
        let session = Session::begin(ada(groups), Some("s-1".into()), &Lifetimes::default(), now);
        let set = cookies.write(&ring, &session, &HeaderMap::new(), Transport::Tls, SITE, now);
        let set = set.expect("cookies");
        let cookie = set[0].to_str().expect("ASCII").split(';').next().expect("a pair").to_owned();
        let plain = request(None);
        let guarded = request(Some(&cookie));
        let know = |headers: &mut HeaderMap| {
            let reading =
                cookies.read(&ring, headers, Transport::Tls, SITE, &Lifetimes::default(), black_box(now));
            let Reading::Session(session, Worth::Live) = reading else { panic!("a session") };
            policy.judge(&session.identity).expect("allowed");
            rules.apply(Some(&session.identity), headers);
            strip_cookies(headers);
        };
        let check = measure(&guarded, know);
        let open = measure(&plain, strip_cookies);
        println!(
            "{:>6.0} ns (best {:.0})  {:>2} allocations  {:>4} bytes  {name}; {:.0} ns where there is no session",
            check.median,
            check.best,
            check.allocations,
            cookie.len(),
            open.median,
        );
    }
}

fn ada(groups: usize) -> Identity {
    Identity {
        subject: "8a4f0c2e-7b1d-4c55-9d0e-2f6a1b3c4d5e".into(),
        user: "ada".into(),
        name: Some("Ada Lovelace".into()),
        email: Some("ada@example.com".into()),
        email_verified: true,
        groups: (0..groups).map(|number| format!("department-{number:03}")).collect(),
        ..Identity::default()
    }
}

/// The headers of a browser, with a cookie of the application, and perhaps with ours.
fn request(ours: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static(SITE));
    headers.insert(
        USER_AGENT,
        HeaderValue::from_static("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101"),
    );
    headers.insert(ACCEPT, HeaderValue::from_static("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"));
    let own = "theme=dark; _ga=GA1.1.1234567890.1234567890";
    let text = ours.map_or_else(|| own.to_owned(), |ours| format!("{own}; {ours}"));
    headers.insert(COOKIE, HeaderValue::from_str(&text).expect("a value"));
    headers
}

/// What one call costs.
struct Cost {
    /// Nanoseconds: of the round in the middle, and of the best one, which other work on the machine disturbed least.
    median: f64,
    best: f64,
    allocations: u64,
}

/// Each call has a copy of the headers. Making it is no part of the cost: it is measured in turn with the calls.
fn measure(headers: &HeaderMap, mut act: impl FnMut(&mut HeaderMap)) -> Cost {
    let mut rounds: Vec<f64> =
        (0..ROUNDS).map(|_| (round(headers, &mut act) - round(headers, &mut |_| {})).max(0.0)).collect();
    rounds.sort_by(f64::total_cmp);
    let mut headers = headers.clone();
    let allocations = allocation_counter::measure(|| act(&mut headers)).count_total;
    Cost { median: rounds[ROUNDS / 2], best: rounds[0], allocations }
}

/// Nanoseconds of one call and one copy, on the average of a round.
fn round(headers: &HeaderMap, act: &mut impl FnMut(&mut HeaderMap)) -> f64 {
    let began = on_cpu();
    for _ in 0..REQUESTS {
        let mut headers = black_box(headers).clone();
        act(&mut headers);
        black_box(&headers);
    }
    (on_cpu() - began).as_nanos() as f64 / f64::from(REQUESTS)
}

/// How long this thread has run, as the scheduler counts it: what else the machine does is not in it.
fn on_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    Duration::from_nanos(text.split(' ').next().and_then(|number| number.parse().ok()).expect("a number"))
}
