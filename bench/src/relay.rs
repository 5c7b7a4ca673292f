//! The null relay: the floor under every proxy.
//!
//! One thread, one epoll instance, one upstream connection for each connection; bytes are copied and never looked at.
//! Whoever parses, routes and pools pays this much at least: receive, send, receive, send.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::failure::{Doing, Failure};

/// Relays every connection to `listen` on to `upstream`, until the process ends.
pub(crate) fn serve(listen: SocketAddr, upstream: SocketAddr) -> Result<(), Failure> {
    let mut poll = Poll::new().doing(|| "make an epoll instance".into())?;
    let mut listener = TcpListener::bind(listen).doing(|| format!("listen on {listen}"))?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)
        .doing(|| "watch the listener".into())?;
    let mut events = Events::with_capacity(EVENTS_MAX);
    let mut pairs = Pairs::default();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other.doing(|| "wait for events".into())?,
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((client, _)) = listener.accept() {
                    // A connection that cannot be relayed is dropped, which its client sees as an error.
                    let _ = pairs.open(&poll, client, upstream);
                }
            } else {
                pairs.advance(event, &mut buffer);
            }
        }
    }
}

/// The open pairs; the place of a pair and its side make its tokens.
#[derive(Default)]
struct Pairs {
    places: Vec<Option<Pair>>,
    free: Vec<usize>,
}

impl Pairs {
    fn open(&mut self, poll: &Poll, mut client: TcpStream, upstream: SocketAddr) -> io::Result<()> {
        client.set_nodelay(true)?;
        let mut server = TcpStream::connect(upstream)?;
        server.set_nodelay(true)?;
        let place = self.free.pop().unwrap_or(self.places.len());
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut client, Token(2 * place + 1), both)?;
        poll.registry().register(&mut server, Token(2 * place + 2), both)?;
        let pair = Pair { client, server, to_server: Direction::default(), to_client: Direction::default() };
        match self.places.get_mut(place) {
            Some(empty) => *empty = Some(pair),
            None => self.places.push(Some(pair)),
        }
        Ok(())
    }

    fn advance(&mut self, event: &mio::event::Event, buffer: &mut [u8]) {
        let place = (event.token().0 - 1) / 2;
        let Some(Some(pair)) = self.places.get_mut(place) else { return };
        let from_client = (event.token().0 - 1).is_multiple_of(2);
        if !pair.advance(event, from_client, buffer).is_ok_and(|open| open) {
            self.places[place] = None;
            self.free.push(place);
        }
    }
}

struct Pair {
    client: TcpStream,
    server: TcpStream,
    to_server: Direction,
    to_client: Direction,
}

impl Pair {
    /// Copies what the event allows; `false` or an error ends the pair.
    fn advance(
        &mut self,
        event: &mio::event::Event,
        from_client: bool,
        buffer: &mut [u8],
    ) -> io::Result<bool> {
        let (near, far, outward, inward) = if from_client {
            (&mut self.client, &mut self.server, &mut self.to_server, &mut self.to_client)
        } else {
            (&mut self.server, &mut self.client, &mut self.to_client, &mut self.to_server)
        };
        if event.is_error() {
            return Ok(false);
        }
        if event.is_readable() {
            outward.copy(near, far, event.is_read_closed(), buffer)?;
        }
        // Bytes that this socket could not take before.
        if event.is_writable() && !inward.pending.is_empty() {
            inward.copy(far, near, true, buffer)?;
        }
        Ok(!(self.to_server.ended && self.to_client.ended))
    }
}

/// One way through a pair.
#[derive(Default)]
struct Direction {
    /// Bytes that were read and not yet taken. While there are any, nothing more is read.
    pending: Vec<u8>,
    ended: bool,
}

impl Direction {
    /// Copies until the source is empty or the sink is full. `drain` reads on after a short read, which otherwise
    /// tells without another call that the source is empty.
    fn copy(
        &mut self,
        source: &mut TcpStream,
        sink: &mut TcpStream,
        drain: bool,
        buffer: &mut [u8],
    ) -> io::Result<()> {
        while !self.ended {
            if !self.pending.is_empty() {
                let written = write(sink, &self.pending)?;
                self.pending.drain(..written);
                if !self.pending.is_empty() {
                    return Ok(());
                }
            }
            let read = match source.read(buffer) {
                Ok(0) => {
                    self.ended = true;
                    return sink.shutdown(Shutdown::Write);
                }
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let written = write(sink, &buffer[..read])?;
            self.pending.extend(&buffer[written..read]);
            if read < buffer.len() && !drain {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Writes what the socket takes; a full or still connecting socket takes nothing.
fn write(sink: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match sink.write(bytes) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => Ok(0),
        other => other,
    }
}

const LISTENER: Token = Token(0);
const EVENTS_MAX: usize = 1024;
const BUFFER_BYTES: usize = 64 * 1024;
