mod cookies;
mod rings;

use std::time::Duration;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + second).expect("a time")
}

fn ada() -> Identity {
    Identity {
        subject: "8a4f0c2e-7b1d-4c55-9d0e-2f6a1b3c4d5e".into(),
        user: "ada".into(),
        name: Some("Ada Lovelace".into()),
        email: Some("ada@example.com".into()),
        email_verified: true,
        groups: ["admins", "staff"].into(),
        claims: [("tenant".to_owned(), ["blue"].into())].into(),
    }
}

fn session() -> Session {
    Session::begin(ada(), Some("provider-session-1".into()), &Lifetimes::default(), at(0))
}

#[test]
fn a_session_survives_being_bytes() {
    let plain = Session::begin(Identity::named("bob"), None, &Lifetimes::default(), at(5));
    for session in [session(), plain] {
        assert_eq!(Session::decode(&session.encode()), Some(session));
    }
}

#[test]
fn bytes_that_are_cut_or_too_long_are_no_session() {
    let bytes = session().encode();
    for length in 0..bytes.len() {
        assert_eq!(Session::decode(&bytes[..length]), None, "{length}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(Session::decode(&longer), None);
    let mut newer = bytes;
    newer[0] = 2;
    assert_eq!(Session::decode(&newer), None);
}

#[test]
fn a_list_that_claims_to_be_endless_is_not_believed() {
    let mut bytes = Session::begin(Identity::named("a"), None, &Lifetimes::default(), at(0)).encode();
    // The last two bytes are the lengths of two empty lists.
    bytes.truncate(bytes.len() - 2);
    codec::number(codec::LIST_LEN_MAX + 1, &mut bytes);
    bytes.extend(std::iter::repeat_n(0, codec::LIST_LEN_MAX as usize + 2));
    assert_eq!(Session::decode(&bytes), None);
}

#[test]
fn a_session_ends_by_its_age_or_by_rest() {
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let lifetimes = Lifetimes { session: hours(24), idle: Some(hours(8)), renew: Some(hours(2)) };
    let session = Session::begin(ada(), None, &lifetimes, at(0));
    for (second, worth) in [
        (0, Worth::Live),
        (3599, Worth::Live),
        (3600, Worth::Reseal),
        (7200, Worth::Renew),
        (8 * 3600 - 1, Worth::Renew),
        (8 * 3600, Worth::Expired),
    ] {
        assert_eq!(session.worth(&lifetimes, at(second)), worth, "{second}");
    }
    let busy = Session { seen: at(23 * 3600), confirmed: at(23 * 3600), ..session.clone() };
    assert_eq!(busy.worth(&lifetimes, at(23 * 3600)), Worth::Live);
    assert_eq!(busy.worth(&lifetimes, at(24 * 3600)), Worth::Expired);
    let shortened = Lifetimes { session: hours(1), idle: None, renew: None };
    assert_eq!(session.worth(&shortened, at(3600)), Worth::Expired, "as the operator has it now");
    let lengthened = Lifetimes { session: hours(48), idle: None, renew: None };
    assert_eq!(session.worth(&lengthened, at(24 * 3600)), Worth::Expired, "as it was promised at the login");
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_fail(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            if let Some(session) = Session::decode(&bytes) {
                // What is read at all can be written again.
                prop_assert_eq!(Session::decode(&session.encode()), Some(session));
            }
        }

        #[test]
        fn one_changed_byte_is_never_the_same_session(at in 0_usize..200, with in 1_u8..) {
            let bytes = session().encode();
            let mut changed = bytes.clone();
            let index = at % bytes.len();
            changed[index] ^= with;
            prop_assert_ne!(Session::decode(&changed), Some(session()));
        }
    }
}
