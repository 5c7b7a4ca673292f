use super::*;

#[tokio::test]
async fn a_full_queue_is_an_answer_at_once() {
    let logins = Arc::new(Logins::new(Handle::current()));
    let (release, released) = tokio::sync::watch::channel(false);
    let jobs: Vec<_> = (0..JOBS_LEN_MAX)
        .map(|_| {
            let (logins, mut released) = (Arc::clone(&logins), released.clone());
            tokio::spawn(async move {
                logins.on_control(async move { released.wait_for(|now| *now).await.is_ok() }).await
            })
        })
        .collect();
    while logins.jobs.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(logins.on_control(async {}).await, Err(Reject::Overloaded));
    release.send(true).expect("jobs wait");
    for job in jobs {
        assert_eq!(job.await.expect("no panic"), Ok(true));
    }
    assert_eq!(logins.on_control(async { 7 }).await, Ok(7), "and there is room again");
}

#[tokio::test]
async fn without_a_ring_nobody_is_let_in() {
    let logins = Logins::new(Handle::current());
    assert!(matches!(logins.ring(), Err(Reject::AuthUnavailable(_))));
    logins.set_ring(Arc::new(KeyRing::new(wall_clock()).expect("random bytes")));
    assert!(logins.ring().is_ok());
}

#[tokio::test]
async fn a_revocation_counts_for_all_workers_at_once() {
    use ::auth::oidc::logout::Ends;

    let logins = Logins::new(Handle::current());
    let now = wall_clock();
    let revocation =
        Revocation { provider: "p".into(), ends: Ends::Subject("ada".into()), token: "t".into() };
    assert!(logins.revoked().is_empty());
    logins.revoke(revocation.clone(), Duration::from_secs(60), now).expect("new");
    assert!(!logins.revoked().is_empty());
    assert_eq!(logins.revoke(revocation, Duration::from_secs(60), now), Err(LogoutError::Seen));
}
