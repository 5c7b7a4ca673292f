//! Connections that stay open and carry small messages: WebSockets that are answered, and streams of events.
//!
//! No generator of the distribution does this. Messages are counted by a mark in each, however a proxy frames them anew.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::failure::{Doing, Failure};
use crate::window::{Counted, Meter};

/// Stands once in every message, and nowhere in a head or a frame around it.
pub(crate) const MARK: u8 = b'!';

/// What is said on each connection.
pub(crate) struct Conversation<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) connections: usize,
    /// Opens the stream.
    pub(crate) request: &'a [u8],
    /// The status that the answer to it must have.
    pub(crate) status: u16,
    /// Is sent behind the head and behind each message that comes; nothing, if the other side speaks by itself.
    pub(crate) message: &'a [u8],
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
}

/// Opens all streams, lets them run, and counts the messages of the window.
pub(crate) fn run(conversation: &Conversation<'_>, meter: &mut Meter) -> Result<Counted, Failure> {
    let mut poll = Poll::new().doing(|| "make an epoll instance".into())?;
    let mut streams = Vec::with_capacity(conversation.connections);
    for number in 0..conversation.connections {
        let doing = || format!("open stream {number} to {}", conversation.address);
        let stream = std::net::TcpStream::connect(conversation.address).doing(doing)?;
        let mut stream = open(stream, conversation).doing(doing)?;
        poll.registry().register(&mut stream, Token(number), Interest::READABLE).doing(doing)?;
        streams.push(stream);
    }
    for stream in &mut streams {
        stream.write_all(conversation.message).doing(|| "speak first".into())?;
    }
    messages(&mut poll, &mut streams, conversation, conversation.warm_up)?;
    meter.start()?;
    let answers = messages(&mut poll, &mut streams, conversation, conversation.window)?;
    meter.stop()?;
    Ok(Counted { answers, ..Counted::default() })
}

/// Asks for the stream and reads the head of the answer.
fn open(mut stream: std::net::TcpStream, conversation: &Conversation<'_>) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(conversation.request)?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let expected = format!("HTTP/1.1 {} ", conversation.status);
    if !head.starts_with(expected.as_bytes()) {
        let line = String::from_utf8_lossy(&head[..head.len().min(60)]).into_owned();
        return Err(io::Error::other(format!("unexpected answer {line:?}")));
    }
    stream.set_nonblocking(true)?;
    Ok(TcpStream::from_std(stream))
}

/// Takes and answers messages for `time`; how many came.
fn messages(
    poll: &mut Poll,
    streams: &mut [TcpStream],
    conversation: &Conversation<'_>,
    time: Duration,
) -> Result<u64, Failure> {
    let mut events = Events::with_capacity(streams.len());
    let mut input = [0; 16 * 1024];
    let mut messages = 0;
    let end = Instant::now() + time;
    loop {
        let now = Instant::now();
        if now >= end {
            return Ok(messages);
        }
        match poll.poll(&mut events, Some(end - now)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other.doing(|| "wait for events".into())?,
        }
        for event in &events {
            let stream = &mut streams[event.token().0];
            let read = match stream.read(&mut input) {
                Ok(0) => Err(io::Error::new(ErrorKind::UnexpectedEof, "the stream was closed")),
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                other => other,
            };
            let read = read.doing(|| "read a stream".into())?;
            for _ in input[..read].iter().filter(|byte| **byte == MARK) {
                messages += 1;
                stream.write_all(conversation.message).doing(|| "answer a message".into())?;
            }
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(10);
