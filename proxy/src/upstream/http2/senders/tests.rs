use std::time::Instant;

use super::*;
use crate::http2::fixtures::run;
use crate::upstream::pool::Pools;
use crate::upstream::{Endpoint, EndpointAddress, EndpointSpec};

fn pool() -> (Arc<Endpoint>, Rc<Pool>) {
    let address = EndpointAddress::Socket("127.0.0.1:1".parse().expect("an address"));
    let endpoint = Arc::new(Endpoint::new(EndpointSpec { address, local: false }));
    let pool = Pools::default().of(&endpoint);
    (endpoint, pool)
}

/// A connection over which nothing was ever said.
async fn sender(opened_ms: u64) -> (Rc<Sender>, tokio::io::DuplexStream) {
    let (near, far) = tokio::io::duplex(1 << 10);
    let (send, connection) = h2::client::handshake(near).await.expect("a handshake");
    tokio::task::spawn_local(async move {
        let _ = connection.await;
    });
    (Rc::new(Sender::new(send, opened_ms)), far)
}

fn after(limit: Duration) -> u64 {
    limit.as_millis() as u64
}

#[test]
fn a_connection_that_is_never_idle_ends_by_its_age() {
    run(async {
        let (sender, _far) = sender(0).await;
        assert!(sender.has_room(after(IDLE_TIMEOUT) - 1));
        assert!(!sender.has_room(after(IDLE_TIMEOUT)));
        let lease = Lease::new(&sender, 0);
        assert!(sender.has_room(after(CONNECTION_AGE_MAX) - 1));
        assert!(!sender.has_room(after(CONNECTION_AGE_MAX)));
        assert!(sender.is_usable(after(CONNECTION_AGE_MAX)), "what is under way is not cut off");
        drop(lease);
        assert!(!sender.is_usable(after(CONNECTION_AGE_MAX)));
    });
}

#[test]
fn a_connection_has_a_bounded_number_of_places() {
    run(async {
        let (sender, _far) = sender(0).await;
        let mut leases: Vec<_> = (1..STREAMS_MAX).map(|_| Lease::new(&sender, 0)).collect();
        assert!(sender.has_room(0));
        leases.push(Lease::new(&sender, 0));
        assert!(!sender.has_room(0));
        leases.pop();
        assert!(sender.has_room(0));
    });
}

#[test]
fn only_a_connection_that_answered_once_may_have_closed_while_idle() {
    run(async {
        let (sender, far) = sender(0).await;
        let lease = Lease::new(&sender, 0);
        let request = || http::Request::builder().uri("http://shop.example/").body(()).expect("a request");
        let (answer, _) = lease.start(request(), true).await.expect("sent");
        drop(far);
        let error = answer.await.expect_err("no answer");
        sender.open.set(true);
        assert!(matches!(lease.failure(&error), Failure::Closed { reused: false }), "{error:?}");
        assert!(!sender.open.get(), "it takes no more requests");
        lease.answered();
        assert!(matches!(lease.failure(&error), Failure::Closed { reused: true }));
        assert!(!sender.accepts());
    });
}

#[test]
fn that_no_connection_could_be_opened_is_told_to_all_who_wait() {
    run(async {
        let clock = Clock::new(Instant::now());
        let (_endpoint, pool) = pool();
        let tries = Cell::new(0);
        let connect = || async {
            tries.set(tries.get() + 1);
            tokio::task::yield_now().await;
            Err(Miss::Connect(ConnectError::TimedOut(Duration::from_secs(5))))
        };
        let one = || async { lease(&clock, &pool, connect()).await.err().expect("no connection") };
        let misses = tokio::join!(one(), one(), one());
        for miss in [misses.0, misses.1, misses.2] {
            assert!(matches!(miss, Miss::Connect(ConnectError::TimedOut(_))), "{miss}");
        }
        assert_eq!(tries.get(), 1);
        // The next request tries anew.
        one().await;
        assert_eq!(tries.get(), 2);
    });
}

#[test]
fn an_opener_that_gives_up_leaves_the_work_to_another() {
    run(async {
        let clock = Clock::new(Instant::now());
        let (_endpoint, pool) = pool();
        let mut first = Box::pin(lease(&clock, &pool, std::future::pending()));
        let failing = std::future::ready(Err(Miss::Exchange(Failure::TimedOut)));
        let mut second = Box::pin(lease(&clock, &pool, failing));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(first.as_mut().poll(&mut cx).is_pending());
        assert!(second.as_mut().poll(&mut cx).is_pending());
        drop(first);
        let miss = second.await.err().expect("its own failure");
        assert!(matches!(miss, Miss::Exchange(Failure::TimedOut)), "{miss}");
    });
}
