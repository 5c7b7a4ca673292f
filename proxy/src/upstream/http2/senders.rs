//! The HTTP/2 connections of one worker to one endpoint: who may send on which, and who opens the next.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use tokio::sync::Notify;

use crate::request::forward::Miss;
use crate::transport::Transport;
use crate::upstream::connect::ConnectError;
use crate::upstream::exchange::Failure;
use crate::upstream::pool::{CONNECTION_AGE_MAX, IDLE_TIMEOUT, Pool};
use crate::worker::clock::Clock;

/// Streams on one connection before the next one is opened; most servers allow 100.
pub(super) const STREAMS_MAX: usize = 90;
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
const HEADER_LIST_BYTES_MAX: u32 = 64 << 10;
/// Upload bytes handed to the connection ahead of the upstream's window.
const SEND_BUFFER_BYTES: usize = 64 << 10;

/// The connections to one endpoint, and the one that is being opened.
#[derive(Default)]
pub(crate) struct Senders {
    senders: RefCell<Vec<Rc<Sender>>>,
    opening: RefCell<Weak<Opening>>,
}

impl Senders {
    /// Forgets connections that are of no more use. Requests that are under way on one keep it open.
    pub(crate) fn sweep(&self, now_ms: u64) {
        self.senders.borrow_mut().retain(|sender| sender.is_usable(now_ms));
    }

    fn with_room(&self, now_ms: u64) -> Option<Lease> {
        let senders = self.senders.borrow();
        let sender = senders.iter().find(|sender| sender.has_room(now_ms) && sender.accepts())?;
        Some(Lease::new(sender, now_ms))
    }
}

/// One place on a connection, free again when it is dropped.
pub(crate) struct Lease(Rc<Sender>);

/// A place on a connection that is there, or on a new one over what `connect` gives.
///
/// One connection is opened at a time: whoever comes meanwhile waits for it, or hundred requests to a cold endpoint would
/// open hundred connections. That it failed is told to all who wait; when its opener gives up, another one opens.
pub(crate) async fn lease(
    clock: &Clock,
    pool: &Pool,
    connect: impl Future<Output = Result<Transport, Miss>>,
) -> Result<Lease, Miss> {
    let senders = &pool.http2;
    let opening = loop {
        if let Some(lease) = senders.with_room(clock.now_ms()) {
            return Ok(lease);
        }
        let Some(opening) = senders.opening.borrow().upgrade() else { break Opening::begin(senders) };
        opening.done.notified().await;
        if let Some(miss) = &*opening.failed.borrow() {
            return Err(again(miss));
        }
    };
    let opened = match connect.await {
        Ok(transport) => open(transport, clock.now_ms()).await.map_err(Miss::Exchange),
        Err(miss) => Err(miss),
    };
    match opened {
        Ok(sender) => {
            // The opener's own place is taken before anyone else is woken.
            let lease = Lease::new(&sender, clock.now_ms());
            senders.senders.borrow_mut().push(sender);
            Ok(lease)
        }
        Err(miss) => {
            *opening.of.failed.borrow_mut() = Some(again(&miss));
            Err(miss)
        }
    }
}

/// A connection that is being opened.
#[derive(Default)]
struct Opening {
    done: Notify,
    failed: RefCell<Option<Miss>>,
}

/// Held by the one who opens. When it is dropped, whatever the reason, all who wait look again.
struct Opener<'a> {
    of: Rc<Opening>,
    senders: &'a Senders,
}

impl Opening {
    fn begin(senders: &Senders) -> Opener<'_> {
        let of = Rc::new(Opening::default());
        *senders.opening.borrow_mut() = Rc::downgrade(&of);
        Opener { of, senders }
    }
}

impl Drop for Opener<'_> {
    fn drop(&mut self) {
        *self.senders.opening.borrow_mut() = Weak::new();
        self.of.done.notify_waiters();
    }
}

/// The same failure for one more request.
fn again(miss: &Miss) -> Miss {
    match miss {
        Miss::Exchange(failure) => Miss::Exchange(failure.clone()),
        Miss::Connect(error) => Miss::Connect(match error {
            ConnectError::Refused { address, source } => ConnectError::Refused {
                address: *address,
                source: std::io::Error::new(source.kind(), source.to_string()),
            },
            ConnectError::TimedOut(limit) => ConnectError::TimedOut(*limit),
            ConnectError::Unresolved { name, cause } => {
                ConnectError::Unresolved { name: Arc::clone(name), cause: cause.clone() }
            }
            ConnectError::Forbidden { name, address } => {
                ConnectError::Forbidden { name: Arc::clone(name), address: *address }
            }
            ConnectError::Tls(cause) => ConnectError::Tls(cause.clone()),
        }),
    }
}

/// Starts HTTP/2 on a new connection.
async fn open(transport: Transport, now_ms: u64) -> Result<Rc<Sender>, Failure> {
    let (send, connection) = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .enable_push(false)
        .handshake(transport)
        .await
        .map_err(|error| failure(&error, false))?;
    let sender = Rc::new(Sender::new(send, now_ms));
    let open = Rc::clone(&sender.open);
    tokio::task::spawn_local(async move {
        // Each stream learns of an error by itself; the connection as a whole has nobody to tell.
        let _ = connection.await;
        open.set(false);
    });
    Ok(sender)
}

/// A connection that takes further requests.
struct Sender {
    send: RefCell<SendRequest<Bytes>>,
    streams: Cell<usize>,
    /// Cleared when the connection ends, and as soon as it is known to take no more requests: that can be long before,
    /// because after GOAWAY it lives on for the streams it has.
    open: Rc<Cell<bool>>,
    /// It has answered a request, so it was alive once.
    answered: Cell<bool>,
    opened_ms: u64,
    last_used_ms: Cell<u64>,
}

impl Sender {
    fn new(send: SendRequest<Bytes>, now_ms: u64) -> Self {
        Sender {
            send: RefCell::new(send),
            streams: Cell::new(0),
            open: Rc::new(Cell::new(true)),
            answered: Cell::new(false),
            opened_ms: now_ms,
            last_used_ms: Cell::new(now_ms),
        }
    }

    /// Can take one more stream. One that is never idle ends by its age too, or load would never follow new endpoints.
    fn has_room(&self, now_ms: u64) -> bool {
        self.open.get()
            && self.streams.get() < STREAMS_MAX.min(self.send.borrow().current_max_send_streams())
            && is_within(CONNECTION_AGE_MAX, self.opened_ms, now_ms)
            && (self.streams.get() > 0 || is_within(IDLE_TIMEOUT, self.last_used_ms.get(), now_ms))
    }

    /// Open, and either in use or neither old nor long idle.
    fn is_usable(&self, now_ms: u64) -> bool {
        self.open.get()
            && (self.streams.get() > 0
                || is_within(IDLE_TIMEOUT, self.last_used_ms.get(), now_ms)
                    && is_within(CONNECTION_AGE_MAX, self.opened_ms, now_ms))
    }

    /// Asks the connection itself, which has perhaps been told to go away.
    fn accepts(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let refuses = matches!(self.send.borrow_mut().poll_ready(&mut cx), Poll::Ready(Err(_)));
        if refuses {
            self.open.set(false);
        }
        !refuses
    }
}

impl Lease {
    fn new(sender: &Rc<Sender>, now_ms: u64) -> Self {
        sender.streams.set(sender.streams.get() + 1);
        sender.last_used_ms.set(now_ms);
        Lease(Rc::clone(sender))
    }

    /// Opens the stream. `ends`: the head is the whole request.
    pub(super) async fn start(
        &self,
        request: http::Request<()>,
        ends: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), Failure> {
        let mut send = self.0.send.borrow().clone();
        if std::future::poll_fn(|cx| send.poll_ready(cx)).await.is_err() {
            self.0.open.set(false);
            return Err(Failure::Unprocessed);
        }
        send.send_request(request, ends).map_err(|error| self.failure(&error))
    }

    /// The head of an answer has come.
    pub(super) fn answered(&self) {
        self.0.answered.set(true);
    }

    /// What `error` means for the request. A connection that is lost takes no other one.
    pub(super) fn failure(&self, error: &h2::Error) -> Failure {
        if error.is_go_away() || error.is_io() {
            self.0.open.set(false);
        }
        failure(error, self.0.answered.get())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
    }
}

fn is_within(limit: Duration, since_ms: u64, now_ms: u64) -> bool {
    now_ms.saturating_sub(since_ms) < limit.as_millis() as u64
}

fn failure(error: &h2::Error, reused: bool) -> Failure {
    match error.reason() {
        Some(Reason::REFUSED_STREAM) => Failure::Unprocessed,
        // A GOAWAY that names a lower stream: ours was not looked at.
        Some(_) if error.is_go_away() && error.is_remote() => Failure::Unprocessed,
        Some(_) if error.is_library() => Failure::Protocol("its HTTP/2 cannot be followed"),
        Some(reason) => Failure::Reset(reason.description().into()),
        None if error.is_io() => Failure::Closed { reused },
        // `h2` refused to send it.
        None => Failure::Unsendable("the request cannot be written for HTTP/2"),
    }
}

#[cfg(test)]
mod tests;
