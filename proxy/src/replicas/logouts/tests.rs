use tokio::net::TcpListener;
use tokio::runtime::Handle;

use super::super::key::CallKeys;
use super::super::members::of_list;
use super::*;
use crate::options::Role;

fn revocation(ends: Ends) -> Revocation {
    Revocation { provider: "dex\nhttps://id.example\nedge".into(), ends, token: "t1".into() }
}

#[test]
fn what_is_told_is_what_is_heard() {
    let now = wall_clock();
    for ends in [
        Ends::ProviderSession("s1".into()),
        Ends::Subject("ada".into()),
        Ends::Login { subject: "ada".into(), began: 7 },
    ] {
        let told = Revoked::new(revocation(ends.clone()), Duration::from_secs(60), now);
        let heard: Revoked =
            serde_json::from_str(&serde_json::to_string(&told).expect("JSON")).expect("ours");
        assert_eq!(heard.take(now), (revocation(ends), Duration::from_secs(60), now));
    }
}

#[test]
fn a_clock_that_is_ahead_ends_no_later_login_and_nothing_is_kept_for_ever() {
    let now = wall_clock();
    let ahead = now.checked_add(Duration::from_secs(50)).expect("a time");
    let told = Revoked::new(revocation(Ends::Subject("ada".into())), Duration::MAX, ahead);
    let (_, lifetime, at) = told.take(now);
    assert_eq!((lifetime, at), (LIFETIME_MAX, now));
}

#[tokio::test]
async fn a_logout_reaches_all_others_and_whoever_was_silent_later() {
    let text = CallKeys::new(wall_clock()).expect("random bytes").to_text();
    let mut all = Vec::new();
    for _ in 0..3 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let replicas = Replicas::start(listener, Role::All);
        let logins = Arc::new(Logins::new(Handle::current()));
        logins.join(&replicas);
        all.push((replicas, logins, address));
    }
    let addresses: Vec<SocketAddr> = all.iter().map(|(_, _, address)| *address).collect();
    for (replicas, _, _) in &all {
        replicas.set_members(of_list(&addresses));
    }
    // The third has no keys yet, so it believes nobody.
    for (replicas, _, _) in &all[..2] {
        replicas.set_keys(CallKeys::parse(&text).expect("our own text"));
    }
    let ends = revocation(Ends::Subject("ada".into()));
    all[0].1.revoke_everywhere(ends.clone(), Duration::from_secs(60), wall_clock()).expect("new");
    let heard = |index: usize| !all[index].1.revoked().is_empty();
    assert!(heard(0), "at once where it was taken up");
    while !heard(1) {
        tokio::task::yield_now().await;
    }
    assert!(!heard(2));
    all[2].0.set_keys(CallKeys::parse(&text).expect("our own text"));
    while !heard(2) {
        sleep(Duration::from_millis(10)).await;
    }
    let again = all[0].1.revoke_everywhere(ends, Duration::from_secs(60), wall_clock());
    assert_eq!(again, Err(LogoutError::Seen));
}
