use ::auth::Secret;

use super::*;

/// `openssl passwd -apr1 -salt abcdefgh secret`.
const ADA: &str = "ada:$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/";

fn users() -> Arc<Listed> {
    Arc::new(Listed(Users::parse(ADA, ["staff"].into()).expect("users")))
}

fn shown(password: &str) -> Credentials {
    Credentials { user: "ada".into(), password: Secret::new(password) }
}

#[test]
fn more_than_may_wait_are_turned_away_and_leave_their_places() {
    let count = AtomicUsize::new(0);
    let all: Vec<_> = (0..WAITING_LEN_MAX).map(|_| Waiting::enter(&count)).collect();
    assert!(all.iter().all(Option::is_some));
    assert!(Waiting::enter(&count).is_none());
    drop(all);
    assert_eq!(count.load(Ordering::Relaxed), 0);
    assert!(Waiting::enter(&count).is_some());
}

#[test]
fn a_good_password_is_hashed_once() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let passwords = Passwords::new(runtime.handle().clone());
    let users = users();
    assert!(!passwords.recalls(&users.0, &shown("secret")));
    let checked = runtime.block_on(passwords.check(&users, shown("secret")));
    let Ok(Checked::Good(identity)) = checked else { panic!("{checked:?}") };
    assert_eq!((&*identity.user, &identity.groups), ("ada", &["staff"].into()));
    // From now on no turn is needed.
    passwords.turns.close();
    assert!(matches!(runtime.block_on(passwords.check(&users, shown("secret"))), Ok(Checked::Good(_))));
    assert_eq!(runtime.block_on(passwords.check(&users, shown("other"))), Err(Reject::Overloaded));
}

#[test]
fn a_wrong_password_is_never_remembered() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let passwords = Passwords::new(runtime.handle().clone());
    let users = users();
    for _ in 0..2 {
        let checked = runtime.block_on(passwords.check(&users, shown("wrong")));
        assert_eq!(checked, Ok(Checked::Bad(Invalid::Password)));
        assert!(!passwords.recalls(&users.0, &shown("wrong")));
    }
}
