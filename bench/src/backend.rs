//! The server behind the proxies: one thread, a fixed answer, as little work as can be.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::failure::{Doing, Failure};
use crate::http1;

/// Serves on `address` until the process ends. Reads every request to its end and answers with
/// [`http1::ANSWER`], or chunked on [`http1::CHUNKED_PATH`].
pub(crate) fn serve(address: SocketAddr) -> Result<(), Failure> {
    let mut poll = Poll::new().doing(|| "make an epoll instance".into())?;
    let mut listener = TcpListener::bind(address).doing(|| format!("listen on {address}"))?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)
        .doing(|| "watch the listener".into())?;
    let mut events = Events::with_capacity(EVENTS_MAX);
    let mut connections = HashMap::new();
    let mut next = LISTENER.0 + 1;
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other.doing(|| "wait for events".into())?,
        }
        for event in &events {
            if event.token() != LISTENER {
                let open = connections.get_mut(&event.token()).is_some_and(|connection: &mut Connection| {
                    connection.advance(event.is_read_closed()).is_ok_and(|open| open)
                });
                if !open {
                    connections.remove(&event.token());
                }
                continue;
            }
            while let Ok((mut stream, _)) = listener.accept() {
                let token = Token(next);
                next += 1;
                // Without this an answer could wait for the peer's delayed acknowledgement.
                let ready = stream.set_nodelay(true).is_ok()
                    && poll.registry().register(&mut stream, token, Interest::READABLE).is_ok();
                if ready {
                    connections.insert(
                        token,
                        Connection { stream, input: vec![0; http1::MESSAGE_BYTES_MAX], filled: 0 },
                    );
                }
            }
        }
    }
}

struct Connection {
    stream: TcpStream,
    /// Room for the largest request; the first `filled` bytes are not answered yet.
    input: Vec<u8>,
    filled: usize,
}

impl Connection {
    /// Reads what is there and answers every whole request; `false` or an error ends the connection.
    fn advance(&mut self, read_closed: bool) -> std::io::Result<bool> {
        loop {
            let read = match self.stream.read(&mut self.input[self.filled..]) {
                Ok(0) => return Ok(false),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            };
            self.filled += read;
            let all = self.filled == self.input.len();
            if !self.answer()? {
                return Ok(false);
            }
            // A read that leaves room has emptied the socket; the next bytes come with a new event. After the
            // peer's end of stream there is no new event, so read on to see it.
            if !all && !read_closed {
                return Ok(true);
            }
        }
    }

    fn answer(&mut self) -> std::io::Result<bool> {
        let mut done = 0;
        let mut open = true;
        while open && done < self.filled {
            let rest = &self.input[done..self.filled];
            let request = http1::request(rest).map_err(std::io::Error::other)?;
            let Some(request) = request else { break };
            let chunked = &rest[request.target] == http1::CHUNKED_PATH.as_bytes();
            // An answer always fits into an empty send buffer, and nobody here pipelines deeply: a short write
            // means that something is wrong with the peer.
            self.stream.write_all(if chunked { http1::ANSWER_CHUNKED } else { http1::ANSWER })?;
            open = !request.close;
            done += request.len;
        }
        self.input.copy_within(done..self.filled, 0);
        self.filled -= done;
        Ok(open)
    }
}

const LISTENER: Token = Token(0);
const EVENTS_MAX: usize = 1024;
