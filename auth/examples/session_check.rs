//! What it costs to know who asks: cookie parsed, session opened, rules judged, headers written.
//!
//! `cargo run --profile quick --package auth --example session_check [ROUNDS]` prints nanoseconds for one check with a cookie
//! of about 650 bytes. Allocations are counted from outside: run it with two numbers of rounds under valgrind and
//! divide the difference of "total heap usage" by theirs: 27 for one check, of which 15 are groups and their list.

use std::hint::black_box;
use std::time::Instant;

use auth::session::{Cookies, KeyRing, Lifetimes, Reading, SameSite, Session, Transport};
use auth::{HeaderPreset, HeaderRules, Identity, Policy};
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;

fn main() {
    let rounds: u32 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let now = Timestamp::from_second(1_790_000_000).expect("a time");
    let ring = KeyRing::new(now).expect("random bytes");
    let cookies = Cookies::new("dex\nhttps://id.example\nedge", None, SameSite::Lax);
    let identity = Identity {
        subject: "8a4f0c2e-7b1d-4c55-9d0e-2f6a1b3c4d5e".into(),
        user: "ada.lovelace".into(),
        name: Some("Ada Lovelace".into()),
        email: Some("ada.lovelace@example.com".into()),
        email_verified: true,
        groups: (0..14).map(|n| format!("department-{n:02}-members")).collect(),
        ..Identity::default()
    };
    let lifetimes = Lifetimes::default();
    let session = Session::begin(identity, Some("0b5e7f5a-53a1-4f3e".into()), &lifetimes, now);
    let set = cookies.write(&ring, &session, &HeaderMap::new(), Transport::Tls, "app.example", now);
    let set = set.expect("cookies");
    let pair = set[0].to_str().expect("ASCII").split(';').next().expect("a pair").to_owned();
    let mut headers = HeaderMap::new();
    headers.insert(COOKIE, HeaderValue::from_str(&pair).expect("a value"));
    headers.insert("accept", HeaderValue::from_static("*/*"));
    let policy = Policy::parse(Some("group:department-13-members, email:*@example.org"), None, None);
    let policy = policy.expect("rules");
    let rules = HeaderRules::from(HeaderPreset::OAuth2Proxy);

    let started = Instant::now();
    for _ in 0..rounds {
        let reading =
            cookies.read(&ring, black_box(&headers), Transport::Tls, "app.example", &lifetimes, now);
        let Reading::Session(session, _) = reading else { panic!("no session") };
        policy.judge(&session.identity).expect("allowed");
        for value in rules.values(&session.identity) {
            black_box(value);
        }
    }
    let spent = started.elapsed();
    let line =
        format!("{} ns a check, cookie of {} bytes\n", spent.as_nanos() / u128::from(rounds), pair.len());
    std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes()).expect("standard output");
}
