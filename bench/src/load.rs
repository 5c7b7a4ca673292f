//! The load generator: one thread, many kept-alive connections, one request at a time on each.
//!
//! It reads the measured process's counters itself, at the moments at which it reads its own count of answers, so that
//! setting up connections and warming up is in neither.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustls::{ClientConfig, ClientConnection};
use serde::{Deserialize, Serialize};

use crate::child::PROXY_CPU;
use crate::failure::{Doing, Failure};
use crate::procfs::{self, Ticks, Usage};
use crate::workload::{PLAIN_HOST, SECURE_HOST, Shape, requests};
use crate::{http1, tls};

/// What to send, where to, and whom to watch.
#[derive(Debug, clap::Args)]
pub(crate) struct LoadOptions {
    #[arg(long)]
    pub(crate) address: SocketAddr,
    #[arg(long, value_enum)]
    pub(crate) shape: Shape,
    /// A PEM file; with it the load is TLS 1.3
    #[arg(long)]
    pub(crate) root: Option<PathBuf>,
    /// Spread the requests over this many generated hosts; 0 is one fixed host
    #[arg(long, default_value_t = 0)]
    pub(crate) hosts: usize,
    #[arg(long)]
    pub(crate) connections: usize,
    #[arg(long)]
    pub(crate) warm_up_ms: u64,
    #[arg(long)]
    pub(crate) window_ms: u64,
    /// The processes whose CPU time is counted
    #[arg(long, value_delimiter = ',')]
    pub(crate) pids: Vec<u32>,
}

/// What happened between the two ends of one measured window.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Window {
    /// Whole answers with status 200.
    pub(crate) requests: u64,
    /// Other answers, broken ones, connections that failed or ended before an answer.
    pub(crate) errors: u64,
    /// The first error in words.
    pub(crate) error: Option<String>,
    /// Connections that the other side closed after an answer, and that were opened again.
    pub(crate) reconnects: u64,
    pub(crate) elapsed_ns: u64,
    /// CPU time of the watched processes.
    pub(crate) cpu_ns: u64,
    /// How long their threads could have run and did not.
    pub(crate) wait_ns: u64,
    /// How often one of their threads was put on a CPU.
    pub(crate) slices: u64,
    /// Time that CPU 1 spent on anything else, as a part of the window.
    pub(crate) intruders: f64,
    /// Time that the hypervisor took from CPUs 0 and 1, as a part of the window (the worse of both).
    pub(crate) steal: f64,
}

impl Window {
    /// CPU microseconds of the watched processes per request.
    pub(crate) fn cost_us(&self) -> f64 {
        self.cpu_ns as f64 / 1000.0 / self.requests as f64
    }
}

/// Sends requests for the warm-up and the window, and says what the window held.
pub(crate) fn run(options: &LoadOptions) -> Result<Window, Failure> {
    let mut load = Load::start(options)?;
    load.until(Instant::now() + Duration::from_millis(options.warm_up_ms))?;
    let before = Snapshot::take(&load, options)?;
    load.until(before.at + Duration::from_millis(options.window_ms))?;
    let after = Snapshot::take(&load, options)?;
    Ok(after.since(&before, load.error))
}

struct Load {
    poll: Poll,
    clients: Vec<Client>,
    requests: Vec<Vec<u8>>,
    random: fastrand::Rng,
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    answers: u64,
    errors: u64,
    error: Option<String>,
    reconnects: u64,
}

impl Load {
    fn start(options: &LoadOptions) -> Result<Load, Failure> {
        let tls = options.root.as_deref().map(tls::client).transpose()?;
        let host = if tls.is_some() { SECURE_HOST } else { PLAIN_HOST };
        let mut load = Load {
            poll: Poll::new().doing(|| "make an epoll instance".into())?,
            clients: Vec::new(),
            requests: requests(options.shape, host, options.hosts),
            random: fastrand::Rng::with_seed(SEED),
            address: options.address,
            tls,
            answers: 0,
            errors: 0,
            error: None,
            reconnects: 0,
        };
        for place in 0..options.connections {
            let client = load.open(place)?;
            load.clients.push(client);
        }
        Ok(load)
    }

    /// Connects and sends the first request.
    fn open(&mut self, place: usize) -> Result<Client, Failure> {
        let doing = || format!("connect to {}", self.address);
        let stream = std::net::TcpStream::connect(self.address).doing(doing)?;
        stream.set_nodelay(true).and_then(|()| stream.set_nonblocking(true)).doing(doing)?;
        let mut stream = TcpStream::from_std(stream);
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(place), interest).doing(doing)?;
        let session = match &self.tls {
            Some(config) => Some(Box::new(ClientConnection::new(config.clone(), tls::server_name())?)),
            None => None,
        };
        let input = vec![0; http1::MESSAGE_BYTES_MAX];
        let mut client = Client { stream, session, input, filled: 0, output: Vec::new() };
        client.send(&self.requests[self.random.usize(..self.requests.len())]).doing(doing)?;
        Ok(client)
    }

    /// Keeps every connection busy until `end`.
    fn until(&mut self, end: Instant) -> Result<(), Failure> {
        let mut events = Events::with_capacity(self.clients.len());
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            match self.poll.poll(&mut events, Some(end - now)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other.doing(|| "wait for events".into())?,
            }
            for event in &events {
                let place = event.token().0;
                let request = &self.requests[self.random.usize(..self.requests.len())];
                let reopen = match self.clients[place].advance(event.is_read_closed(), request) {
                    Ok(Progress::Waiting) => false,
                    Ok(Progress::Answered) => {
                        self.answers += 1;
                        false
                    }
                    Ok(Progress::Closed) => {
                        self.answers += 1;
                        self.reconnects += 1;
                        true
                    }
                    Err(error) => {
                        self.errors += 1;
                        self.error.get_or_insert_with(|| error.to_string());
                        true
                    }
                };
                if reopen {
                    // A program that refuses everything must not keep this loop from its end.
                    if self.errors > ERRORS_MAX {
                        return Err(Failure::Load(self.error.take().unwrap_or_default()));
                    }
                    self.clients[place] = self.open(place)?;
                }
            }
        }
    }
}

/// What became of a connection's request.
enum Progress {
    Waiting,
    /// The answer came and the next request is on its way.
    Answered,
    /// The answer came and the connection ends with it.
    Closed,
}

struct Client {
    stream: TcpStream,
    session: Option<Box<ClientConnection>>,
    /// Room for the largest answer; the first `filled` bytes have come.
    input: Vec<u8>,
    filled: usize,
    /// Bytes that the socket has not taken yet.
    output: Vec<u8>,
}

impl Client {
    fn send(&mut self, request: &[u8]) -> io::Result<()> {
        match &mut self.session {
            Some(session) => session.writer().write_all(request)?,
            // Once the socket was full, order is kept by the buffer.
            None if self.output.is_empty() => {
                let written = some(self.stream.write(request))?;
                self.output.extend(&request[written..]);
                return Ok(());
            }
            None => self.output.extend(request),
        }
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(session) = &mut self.session {
            while session.wants_write() {
                if some(session.write_tls(&mut self.stream))? == 0 {
                    break;
                }
            }
        } else if !self.output.is_empty() {
            let written = some(self.stream.write(&self.output))?;
            self.output.drain(..written);
        }
        Ok(())
    }

    /// Reads what has come; behind a whole answer sends `next`.
    fn advance(&mut self, read_closed: bool, next: &[u8]) -> io::Result<Progress> {
        self.flush()?;
        loop {
            let read = match self.read() {
                Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "closed before the answer")),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Progress::Waiting),
                Err(error) => return Err(error),
            };
            self.filled += read;
            if let Some(answer) = http1::response(&self.input[..self.filled]).map_err(io::Error::other)? {
                if answer.status != 200 || answer.len != self.filled {
                    let text = String::from_utf8_lossy(&self.input[..self.filled.min(80)]).into_owned();
                    return Err(io::Error::other(format!("unexpected answer {text:?}")));
                }
                self.filled = 0;
                if answer.close {
                    return Ok(Progress::Closed);
                }
                self.send(next)?;
                return Ok(Progress::Answered);
            }
            // A short read has emptied a plain socket; a TLS session is read until it says so.
            if self.session.is_none() && !read_closed {
                return Ok(Progress::Waiting);
            }
        }
    }

    fn read(&mut self) -> io::Result<usize> {
        let room = &mut self.input[self.filled..];
        let Some(session) = &mut self.session else { return self.stream.read(room) };
        loop {
            match session.reader().read(room) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => return other,
            }
            if session.read_tls(&mut self.stream)? == 0 {
                return Ok(0);
            }
            session.process_new_packets().map_err(io::Error::other)?;
            while session.wants_write() {
                if some(session.write_tls(&mut self.stream))? == 0 {
                    break;
                }
            }
        }
    }
}

/// A full socket takes nothing.
fn some(written: io::Result<usize>) -> io::Result<usize> {
    match written {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}

/// All counters at one moment.
struct Snapshot {
    at: Instant,
    usage: Usage,
    proxy_cpu: Ticks,
    load_cpu: Ticks,
    answers: u64,
    errors: u64,
    reconnects: u64,
}

impl Snapshot {
    fn take(load: &Load, options: &LoadOptions) -> Result<Snapshot, Failure> {
        Ok(Snapshot {
            at: Instant::now(),
            usage: procfs::usage(&options.pids)?,
            proxy_cpu: procfs::ticks(PROXY_CPU)?,
            load_cpu: procfs::ticks(crate::child::LOAD_CPU)?,
            answers: load.answers,
            errors: load.errors,
            reconnects: load.reconnects,
        })
    }

    fn since(&self, before: &Snapshot, error: Option<String>) -> Window {
        let elapsed_ns = (self.at - before.at).as_nanos() as u64;
        let part = |nanoseconds: u64| nanoseconds as f64 / elapsed_ns as f64;
        let cpu_ns = self.usage.cpu_ns.saturating_sub(before.usage.cpu_ns);
        let busy_ns = (self.proxy_cpu.busy - before.proxy_cpu.busy) * procfs::TICK_NS;
        let steal =
            (self.proxy_cpu.steal - before.proxy_cpu.steal).max(self.load_cpu.steal - before.load_cpu.steal);
        Window {
            requests: self.answers - before.answers,
            // An error while warming up spoils the window too.
            errors: self.errors,
            error,
            reconnects: self.reconnects - before.reconnects,
            elapsed_ns,
            cpu_ns,
            wait_ns: self.usage.wait_ns.saturating_sub(before.usage.wait_ns),
            slices: self.usage.slices.saturating_sub(before.usage.slices),
            intruders: part(busy_ns.saturating_sub(cpu_ns)),
            steal: part(steal * procfs::TICK_NS),
        }
    }
}

/// The same hosts are asked in the same order in every run.
const SEED: u64 = 3;
const ERRORS_MAX: u64 = 1000;
