use ::auth::Identity;
use ::auth::session::{Lifetimes, Session};

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + second).expect("a time")
}

fn session(subject: &str, id: Option<&str>, second: i64) -> Session {
    Session::begin(Identity::named(subject), id.map(str::to_owned), &Lifetimes::default(), at(second))
}

fn end(revoked: &Revoked, ends: Ends, token: &str, second: i64) -> Result<(), LogoutError> {
    let revocation = Revocation { provider: "dex".into(), ends, token: token.into() };
    revoked.add(revocation, Duration::from_secs(3600), at(second))
}

#[test]
fn whichever_part_it_is_in_a_logout_is_found() {
    let revoked = Revoked::new();
    assert!(revoked.is_empty() && !revoked.ends("dex", session("ada", Some("s"), 0).marks()));
    for number in 0..2_000 {
        let name = number.to_string();
        let ends = match number % 3 {
            0 => Ends::ProviderSession(name.clone()),
            1 => Ends::Subject(name.clone()),
            _ => Ends::Login { subject: name.clone(), began: at(5).as_second() },
        };
        end(&revoked, ends.clone(), &name, 10).expect("new");
        assert_eq!(end(&revoked, ends, &name, 10), Err(LogoutError::Seen));
    }
    for number in 0..2_000 {
        let name = number.to_string();
        let ended = match number % 3 {
            0 => session("somebody", Some(&name), 5),
            1 | 2 => session(&name, Some("another"), 5),
            _ => unreachable!("a remainder"),
        };
        assert!(revoked.ends("dex", ended.marks()), "{number}");
        assert!(!revoked.ends("other", ended.marks()), "{number}");
        assert!(
            !revoked.ends("dex", session(&name, Some("another"), 11).marks()),
            "{number}: it began later"
        );
    }
    assert_eq!(revoked.begin(at(10)), at(11), "a login counts as begun after every logout so far");
    assert_eq!(revoked.begin(at(12)), at(12));
}

#[test]
fn a_logout_does_not_cost_more_for_every_one_before() {
    let revoked = Revoked::new();
    let count = PARTS_LEN * 200;
    for number in 0..count {
        end(&revoked, Ends::Subject(number.to_string()), &number.to_string(), 10).expect("new");
    }
    let largest =
        revoked.parts.iter().map(|part| format!("{:?}", part.current.load()).matches("Ended {").count());
    let largest = largest.max().expect("parts");
    assert!(largest < 400, "one logout copies {largest} of {count}");
}
