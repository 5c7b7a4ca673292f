//! Ports for programs that cannot be told to listen on port 0 and to say which one it was.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

/// An address of loopback that nothing listens on, by TCP or by UDP.
///
/// The system gives its port to nobody who asks for any (it does so from 32768 on), and no second call in this process
/// returns it: a program may bind it later, end, and come back to it.
pub fn unused() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        // Processes that run at the same time begin to look at different places.
        let number = std::process::id().wrapping_mul(31).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = FIRST + (number % u32::from(COUNT)) as u16;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;
