//! The server behind the proxies: one thread, fixed answers, as little work as can be.
//!
//! | path | what comes back |
//! |---|---|
//! | [`http1::CHUNKED_PATH`] | a chunked answer |
//! | [`LARGE_PATH`] | [`LARGE_BYTES`] bytes |
//! | [`ECHO_PATH`] | 101, and then a WebSocket frame for each that comes |
//! | [`EVENTS_PATH`] | an event every [`EVENT_PAUSE`], for ever |
//! | anything else | [`http1::ANSWER`], behind the whole request |

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::failure::{Doing, Failure};
use crate::{http1, websocket};

/// Answers with [`LARGE_BYTES`] bytes.
pub(crate) const LARGE_PATH: &str = "/large";

/// The body of a large answer, and of a large upload.
pub(crate) const LARGE_BYTES: usize = 1 << 20;

/// Becomes a WebSocket.
pub(crate) const ECHO_PATH: &str = "/echo";

/// Is a stream of server-sent events.
pub(crate) const EVENTS_PATH: &str = "/events";

/// One event, as a chunk of its own.
pub(crate) const EVENT: &[u8] = b"17\r\ndata: Hello, visitor!\n\n\r\n";

/// From one event of a stream to the next.
pub(crate) const EVENT_PAUSE: Duration = Duration::from_millis(100);

/// Serves on `address` until the process ends.
pub(crate) fn serve(address: SocketAddr) -> Result<(), Failure> {
    let mut poll = Poll::new().doing(|| "make an epoll instance".into())?;
    let mut listener = TcpListener::bind(address).doing(|| format!("listen on {address}"))?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)
        .doing(|| "watch the listener".into())?;
    let mut events = Events::with_capacity(EVENTS_MAX);
    let mut connections: HashMap<Token, Connection> = HashMap::new();
    let mut next = LISTENER.0 + 1;
    let mut due = Instant::now() + EVENT_PAUSE;
    loop {
        let streams = connections.values().any(|connection| connection.mode == Mode::Events);
        let wait = streams.then(|| due.saturating_duration_since(Instant::now()));
        match poll.poll(&mut events, wait) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other.doing(|| "wait for events".into())?,
        }
        for event in &events {
            if event.token() != LISTENER {
                let open = connections
                    .get_mut(&event.token())
                    .is_some_and(|connection| connection.advance(event.is_read_closed()).unwrap_or(false));
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
                    && poll.registry().register(&mut stream, token, BOTH).is_ok();
                if ready {
                    connections.insert(token, Connection::new(stream));
                }
            }
        }
        if streams && Instant::now() >= due {
            due = Instant::now() + EVENT_PAUSE;
            let send = |connection: &mut Connection| {
                connection.mode != Mode::Events || connection.write(EVENT).is_ok()
            };
            connections.retain(|_, connection| send(connection));
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Http,
    Echo,
    Events,
}

struct Connection {
    stream: TcpStream,
    mode: Mode,
    /// Room for the largest message; the first `filled` bytes are not answered yet.
    input: Vec<u8>,
    filled: usize,
    /// Bytes of a request's body that are still to come, and are only counted.
    missing: usize,
    /// Of the answer, what the socket has not taken.
    output: &'static [u8],
}

impl Connection {
    fn new(stream: TcpStream) -> Connection {
        let input = vec![0; http1::MESSAGE_BYTES_MAX];
        Connection { stream, mode: Mode::Http, input, filled: 0, missing: 0, output: &[] }
    }

    /// Reads what is there and answers every whole message; `false` or an error ends the connection.
    fn advance(&mut self, read_closed: bool) -> io::Result<bool> {
        self.write(&[])?;
        loop {
            let read = match self.stream.read(&mut self.input[self.filled..]) {
                Ok(0) => return Ok(false),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            };
            self.filled += read;
            let all = self.filled == self.input.len();
            let open = match self.mode {
                Mode::Http => self.answer()?,
                Mode::Echo => self.echo()?,
                // Whoever listens to events says nothing more.
                Mode::Events => false,
            };
            if !open {
                return Ok(false);
            }
            // A read that leaves room has emptied the socket; the next bytes come with a new event. After the
            // peer's end of stream there is no new event, so read on to see it.
            if !all && !read_closed {
                return Ok(true);
            }
        }
    }

    fn answer(&mut self) -> io::Result<bool> {
        let mut done = self.filled.min(self.missing);
        self.missing -= done;
        if done > 0 && self.missing == 0 {
            self.write(http1::ANSWER)?;
        }
        let mut open = true;
        while open && self.missing == 0 && done < self.filled {
            let rest = &self.input[done..self.filled];
            let request = http1::request(rest).map_err(io::Error::other)?;
            let Some(request) = request else { break };
            let (target, come) = (&rest[request.target], rest.len());
            let answer: &'static [u8] = match target {
                _ if request.len > come => &[],
                target if target == http1::CHUNKED_PATH.as_bytes() => http1::ANSWER_CHUNKED,
                target if target == LARGE_PATH.as_bytes() => &LARGE_ANSWER,
                target if target == ECHO_PATH.as_bytes() => {
                    self.mode = Mode::Echo;
                    websocket::ACCEPT
                }
                target if target == EVENTS_PATH.as_bytes() => {
                    self.mode = Mode::Events;
                    EVENTS_HEAD
                }
                _ => http1::ANSWER,
            };
            self.missing = request.len.saturating_sub(come);
            done += request.len.min(come);
            self.write(answer)?;
            open = !request.close;
        }
        self.input.copy_within(done..self.filled, 0);
        self.filled -= done;
        Ok(open)
    }

    /// Answers every whole frame; they all have one length.
    fn echo(&mut self) -> io::Result<bool> {
        let frames = self.filled / websocket::FRAME_BYTES;
        for _ in 0..frames {
            self.write(websocket::ECHO)?;
        }
        let done = frames * websocket::FRAME_BYTES;
        self.input.copy_within(done..self.filled, 0);
        self.filled -= done;
        Ok(true)
    }

    /// Sends what was left of an answer, or else `bytes`: nobody here asks again before the answer has come.
    fn write(&mut self, bytes: &'static [u8]) -> io::Result<()> {
        if self.output.is_empty() {
            self.output = bytes;
        }
        while !self.output.is_empty() {
            match self.stream.write(self.output) {
                Ok(written) => self.output = &self.output[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

static LARGE_ANSWER: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {LARGE_BYTES}\r\n\r\n");
    [head.into_bytes(), vec![b'x'; LARGE_BYTES]].concat()
});

const EVENTS_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
    Cache-Control: no-store\r\nTransfer-Encoding: chunked\r\n\r\n";

const LISTENER: Token = Token(0);
const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);
const EVENTS_MAX: usize = 1024;
