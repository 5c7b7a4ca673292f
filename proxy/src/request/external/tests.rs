use std::rc::Rc;
use std::time::Duration;

use super::cache::{ANSWERS_LEN_MAX, Answers};
use super::*;

#[test]
fn what_speaks_of_the_exchange_cannot_tell_of_a_person() {
    for name in ["remote-user", "x-forwarded-user", "x-auth-request-email", "authorization", "x-team"] {
        assert!(may_tell(name), "{name}");
    }
    for name in [
        "host",
        "cookie",
        "set-cookie",
        "content-length",
        "transfer-encoding",
        "connection",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-uri",
        "x-real-ip",
        "x-original-url",
        "x-request-id",
        "www-authenticate",
        "sec-fetch-mode",
        "access-control-allow-origin",
    ] {
        assert!(!may_tell(name), "{name}");
    }
}

#[test]
fn a_worker_keeps_so_many_answers_and_each_for_its_time() {
    let mut answers = Answers::default();
    let key = |number: usize| number.to_string().into_bytes().into_boxed_slice();
    for number in 0..=ANSWERS_LEN_MAX {
        answers.keep(key(number), Rc::default(), 1_000, Duration::from_secs(5));
    }
    assert_eq!(answers.len(), ANSWERS_LEN_MAX);
    assert!(answers.find(&key(0), 1_000).is_none(), "the oldest has gone");
    assert!(answers.find(&key(1), 5_999).is_some());
    assert!(answers.find(&key(1), 6_000).is_none());
    // Asked again, it is kept anew, and once.
    answers.keep(key(1), Rc::default(), 6_000, Duration::from_secs(5));
    assert_eq!(answers.len(), ANSWERS_LEN_MAX);
    assert!(answers.find(&key(1), 6_000).is_some());
}
