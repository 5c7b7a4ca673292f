use std::net::Ipv4Addr;

use super::*;

#[tokio::test]
async fn workers_share_the_port_that_the_system_chose() {
    let bound = bind(loopback(0), workers(3), &mut Inherited::default()).unwrap();
    assert_ne!(bound.address.port(), 0);
    assert_eq!(bound.sockets.len(), 3);
    for socket in &bound.sockets {
        assert_eq!(socket.local_addr().unwrap(), bound.address);
    }
    assert_accepts(bound).await;
}

#[test]
fn a_port_in_use_is_refused_though_both_could_share_it() {
    let first = bind(loopback(0), workers(2), &mut Inherited::default()).unwrap();
    let error = bind(first.address, workers(2), &mut Inherited::default()).unwrap_err();
    assert!(matches!(error, BindError::InUse { address } if address == first.address));
    let text = error.to_string();
    assert!(text.starts_with(&format!("address already in use: {}: ", first.address)), "{text}");
    assert!(text.contains("--http"), "{text}");
}

#[test]
fn a_port_is_free_again_when_its_sockets_are_closed() {
    let first = bind(loopback(0), workers(2), &mut Inherited::default()).unwrap();
    let address = first.address;
    drop(first);
    assert_eq!(bind(address, workers(2), &mut Inherited::default()).unwrap().address, address);
}

#[test]
fn both_families_bind_one_port() {
    let ipv6 = bind("[::]:0".parse().unwrap(), workers(1), &mut Inherited::default()).unwrap();
    let ipv4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), ipv6.address.port());
    assert_eq!(bind(ipv4, workers(1), &mut Inherited::default()).unwrap().address, ipv4);
}

#[test]
fn an_address_of_another_machine_is_named() {
    let address = "192.0.2.1:0".parse().unwrap();
    let error = bind(address, workers(1), &mut Inherited::default()).unwrap_err();
    assert!(matches!(error, BindError::NotLocal { .. }));
    assert!(error.to_string().starts_with("192.0.2.1:0 is not an address of this machine"));
}

#[test]
fn refusals_of_the_system_are_told_apart() {
    let address = loopback(80);
    let of = |kind: io::ErrorKind| BindError::new(address, kind.into());
    assert!(of(io::ErrorKind::PermissionDenied).to_string().contains("CAP_NET_BIND_SERVICE"));
    assert!(matches!(of(io::ErrorKind::OutOfMemory), BindError::Other { .. }));
}

#[tokio::test]
async fn an_inherited_socket_is_used_by_all_workers() {
    let parent = TcpListener::bind(loopback(0)).unwrap();
    let address = parent.local_addr().unwrap();
    let mut inherited = Inherited::new(vec![parent]).unwrap();
    assert_eq!(inherited.unused().collect::<Vec<_>>(), [address]);
    let bound = bind(address, workers(2), &mut inherited).unwrap();
    assert_eq!((bound.address, bound.sockets.len()), (address, 2));
    assert_eq!(inherited.unused().count(), 0);
    assert_accepts(bound).await;
}

/// Runs itself in a child process, as a parent that hands over its socket would run the edge.
#[test]
fn sockets_come_from_the_environment() {
    if let Ok(address) = std::env::var(CHILD_ADDRESS) {
        let address = address.parse().unwrap();
        let mut inherited = Inherited::from_environment().unwrap();
        assert_eq!(inherited.unused().collect::<Vec<_>>(), [address]);
        assert_eq!(bind(address, workers(2), &mut inherited).unwrap().address, address);
        assert!(std::env::var_os("LISTEN_FDS").is_none(), "a child of this process must not take them too");
        return;
    }
    let parent = TcpListener::bind(loopback(0)).unwrap();
    SockRef::from(&parent).set_cloexec(false).unwrap();
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&parent);
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "listen::tests::sockets_come_from_the_environment"])
        .env(CHILD_ADDRESS, parent.local_addr().unwrap().to_string())
        .env("LISTEN_FDS", "1")
        .env("LISTEN_FDS_FIRST_FD", descriptor.to_string())
        .env_remove("LISTEN_PID")
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && output.contains("1 passed"), "{output}");
}

const CHILD_ADDRESS: &str = "TEST_INHERITED_ADDRESS";

#[test]
fn an_inherited_dual_stack_socket_serves_both_families() {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
    socket.set_only_v6(false).unwrap();
    socket.bind(&"[::]:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(1).unwrap();
    let parent = TcpListener::from(socket);
    let ipv6 = parent.local_addr().unwrap();
    let ipv4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), ipv6.port());
    let mut inherited = Inherited::new(vec![parent]).unwrap();
    assert!(inherited.take(loopback(ipv6.port())).is_none());
    assert!(inherited.take(ipv4).is_some());
    assert!(inherited.take(ipv6).is_some());
}

#[test]
fn an_inherited_ipv6_only_socket_does_not_serve_ipv4() {
    let socket = open("[::]:0".parse().unwrap(), false).unwrap();
    socket.listen(1).unwrap();
    let parent = TcpListener::from(socket);
    let port = parent.local_addr().unwrap().port();
    let mut inherited = Inherited::new(vec![parent]).unwrap();
    assert!(inherited.take(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)).is_none());
}

#[test]
fn a_lost_connection_costs_no_pause_and_a_full_table_costs_more_each_time() {
    let mut backoff = AcceptBackoff::default();
    assert_eq!(backoff.failed(&io::ErrorKind::ConnectionAborted.into()), None);
    let too_many_files = io::Error::from_raw_os_error(24);
    let pauses = (0..40).map(|_| backoff.failed(&too_many_files).unwrap()).collect::<Vec<_>>();
    assert_eq!(pauses[0], ACCEPT_PAUSE_MIN);
    assert_eq!(pauses[1], 2 * ACCEPT_PAUSE_MIN);
    assert!(pauses.is_sorted());
    assert_eq!(*pauses.last().unwrap(), ACCEPT_PAUSE_MAX);
    backoff.succeeded();
    assert_eq!(backoff.failed(&too_many_files), Some(ACCEPT_PAUSE_MIN));
}

/// Connects until every socket of a `SO_REUSEPORT` group, or any handle of a shared queue, has accepted.
async fn assert_accepts(bound: ListenerSockets) {
    let shared = bound.sockets.len();
    let listeners = bound
        .sockets
        .into_iter()
        .map(|socket| tokio::net::TcpListener::from_std(socket).unwrap())
        .collect::<Vec<_>>();
    for _ in 0..4 * shared {
        let client = TcpStream::connect(bound.address).await.unwrap();
        let mut backoffs = std::iter::repeat_with(AcceptBackoff::default).take(shared).collect::<Vec<_>>();
        let accepts = listeners
            .iter()
            .zip(&mut backoffs)
            .map(|(listener, backoff)| Box::pin(accept(listener, backoff, || ())));
        let (stream, peer) = first_of(accepts.collect()).await;
        assert_eq!(peer, client.local_addr().unwrap());
        assert!(stream.nodelay().unwrap());
    }
}

async fn first_of<F: Future + Unpin>(mut futures: Vec<F>) -> F::Output {
    std::future::poll_fn(move |cx| {
        for future in &mut futures {
            if let std::task::Poll::Ready(output) = std::pin::Pin::new(future).poll(cx) {
                return std::task::Poll::Ready(output);
            }
        }
        std::task::Poll::Pending
    })
    .await
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)
}

fn workers(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}
