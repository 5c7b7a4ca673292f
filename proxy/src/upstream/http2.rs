//! HTTP/2 to an upstream: shared connections, one stream a request. Used for h2c, gRPC and `appProtocol` HTTP/2.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream, SendStream};
use http::StatusCode;
use http_body::{Body as _, Frame, SizeHint};
use tokio::task::JoinHandle;

use super::exchange::{Failure, Outgoing, Patience};
use super::pool::{CONNECTION_AGE_MAX, IDLE_TIMEOUT, InFlight, Pool};
use crate::message::{Body, BodyError, Interim, Response};
use crate::request::forward::is_open_ended;
use crate::request::sanitize::sanitize_response;
use crate::transport::Transport;
use crate::worker::Worker;
use crate::worker::clock::Watch;

/// Streams on one connection before the next one is opened; most servers allow 100.
const STREAMS_MAX: usize = 90;
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
const HEADER_LIST_BYTES_MAX: u32 = 64 << 10;
/// Upload bytes handed to the connection ahead of the upstream's window.
const SEND_BUFFER_BYTES: usize = 64 << 10;

/// A connection that takes further requests.
pub(crate) struct Sender {
    send: SendRequest<Bytes>,
    streams: Cell<usize>,
    /// Cleared by the connection's own task when it ends.
    open: Rc<Cell<bool>>,
    opened_ms: u64,
    last_used_ms: Cell<u64>,
}

impl Sender {
    /// Can take one more stream.
    pub(crate) fn has_room(&self, now_ms: u64) -> bool {
        self.streams.get() < STREAMS_MAX.min(self.send.current_max_send_streams()) && self.is_usable(now_ms)
    }

    /// Open, and either in use or neither old nor long idle.
    pub(crate) fn is_usable(&self, now_ms: u64) -> bool {
        let younger_than =
            |since: u64, limit: Duration| now_ms.saturating_sub(since) < limit.as_millis() as u64;
        self.open.get()
            && (self.streams.get() > 0
                || younger_than(self.last_used_ms.get(), IDLE_TIMEOUT)
                    && younger_than(self.opened_ms, CONNECTION_AGE_MAX))
    }
}

impl Pool {
    /// A connection with room for one more stream, if there is one.
    pub(crate) fn http2_sender(&self, now_ms: u64) -> Option<Rc<Sender>> {
        self.http2.borrow().iter().find(|sender| sender.has_room(now_ms)).cloned()
    }
}

/// Starts HTTP/2 on a new connection and puts it into the pool.
pub(crate) async fn open(
    worker: &Rc<Worker>,
    pool: &Rc<Pool>,
    transport: Transport,
) -> Result<Rc<Sender>, Failure> {
    let (send, connection) = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .enable_push(false)
        .handshake(transport)
        .await
        .map_err(|error| failure(&error))?;
    let open = Rc::new(Cell::new(true));
    let now_ms = worker.clock.now_ms();
    let sender = Rc::new(Sender {
        send,
        streams: Cell::new(0),
        open: Rc::clone(&open),
        opened_ms: now_ms,
        last_used_ms: Cell::new(now_ms),
    });
    tokio::task::spawn_local(async move {
        // Each stream learns of an error by itself; the connection as a whole has nobody to tell.
        let _ = connection.await;
        open.set(false);
    });
    pool.http2.borrow_mut().push(Rc::clone(&sender));
    Ok(sender)
}

/// Sends one request as a stream and returns once the head of the final answer is there.
pub(crate) async fn send(
    worker: &Rc<Worker>,
    sender: Rc<Sender>,
    outgoing: Outgoing<'_>,
    body: Body,
    interim: &Interim,
    patience: Patience,
    in_flight: InFlight,
) -> Result<Response, Failure> {
    let request = request_head(&outgoing)?;
    let now_ms = worker.clock.now_ms();
    sender.last_used_ms.set(now_ms);
    sender.streams.set(sender.streams.get() + 1);
    let stream = StreamGuard(Rc::clone(&sender));
    let mut ready = sender.send.clone();
    let watch = worker.clock.watch();
    watch.arm(&worker.clock, patience.head);

    std::future::poll_fn(|cx| ready.poll_ready(cx)).await.map_err(|_| Failure::Unprocessed)?;
    let (mut answer, upload) =
        ready.send_request(request, body.is_empty()).map_err(|error| failure(&error))?;
    let upload = Upload::start(body, upload);
    let head = std::future::poll_fn(|cx| {
        while let Poll::Ready(Some(Ok(informational))) = answer.poll_informational(cx) {
            let (parts, ()) = informational.into_parts();
            if parts.status != StatusCode::CONTINUE {
                let mut headers = parts.headers;
                sanitize_response(&mut headers);
                interim.push(parts.status, headers);
            }
        }
        if let Poll::Ready(head) = Pin::new(&mut answer).poll(cx) {
            return Poll::Ready(head.map_err(|error| failure(&error)));
        }
        if let Some(error) = upload.failed() {
            return Poll::Ready(Err(Failure::Upload(error)));
        }
        if watch.poll_expired(&worker.clock, cx) {
            Poll::Ready(Err(Failure::TimedOut))
        } else {
            Poll::Pending
        }
    })
    .await?;

    let (parts, receive) = head.into_parts();
    let read_limit = if is_open_ended(&parts.headers) { Duration::ZERO } else { patience.read };
    watch.arm(&worker.clock, read_limit);
    let body = if receive.is_end_stream() {
        Body::Empty
    } else {
        Body::Stream(Box::pin(ResponseBody {
            receive,
            data_ended: false,
            watch,
            read_limit,
            worker: Rc::clone(worker),
            _upload: upload,
            _stream: stream,
            _in_flight: in_flight,
        }))
    };
    Ok(Response { status: parts.status, headers: parts.headers, body, upgraded: None })
}

fn request_head(outgoing: &Outgoing<'_>) -> Result<http::Request<()>, Failure> {
    let authority = outgoing.headers.get(http::header::HOST).map_or(&b""[..], |host| host.as_bytes());
    let uri = http::Uri::builder()
        .scheme(outgoing.scheme)
        .authority(authority)
        .path_and_query(outgoing.target)
        .build()
        .map_err(|_| Failure::Protocol("the target cannot be written for HTTP/2"))?;
    let mut request = http::Request::new(());
    *request.method_mut() = outgoing.method.clone();
    *request.uri_mut() = uri;
    *request.version_mut() = http::Version::HTTP_2;
    *request.headers_mut() = outgoing.headers.clone();
    request.headers_mut().remove(http::header::HOST);
    Ok(request)
}

/// Gives the stream's place back.
struct StreamGuard(Rc<Sender>);

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
    }
}

/// The request's body on its way, on a task of its own that ends with the exchange.
struct Upload {
    task: Option<JoinHandle<()>>,
    error: Rc<Cell<Option<BodyError>>>,
}

impl Upload {
    fn start(body: Body, stream: SendStream<Bytes>) -> Self {
        let error = Rc::new(Cell::new(None));
        if body.is_empty() {
            return Upload { task: None, error };
        }
        let slot = Rc::clone(&error);
        let task = tokio::task::spawn_local(async move {
            if let Err(broken) = copy(body, stream).await {
                slot.set(Some(broken));
            }
        });
        Upload { task: Some(task), error }
    }

    fn failed(&self) -> Option<BodyError> {
        self.error.take()
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Copies a body into a stream, never more at a time than the peer's window takes.
///
/// Ends early and well when the peer resets the stream: the answer, or its absence, tells why.
pub(crate) async fn copy(mut body: Body, mut stream: SendStream<Bytes>) -> Result<(), BodyError> {
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.inspect_err(|_| stream.send_reset(Reason::INTERNAL_ERROR))?;
        match frame.into_data() {
            Ok(mut data) => {
                while !data.is_empty() {
                    stream.reserve_capacity(data.len());
                    let capacity = std::future::poll_fn(|cx| match stream.poll_reset(cx) {
                        Poll::Ready(_) => Poll::Ready(None),
                        Poll::Pending => stream.poll_capacity(cx),
                    });
                    let Some(Ok(capacity)) = capacity.await else { return Ok(()) };
                    let part = data.split_to(capacity.min(data.len()));
                    let last = data.is_empty() && body.is_empty();
                    if stream.send_data(part, last).is_err() || last {
                        return Ok(());
                    }
                }
            }
            Err(frame) => {
                // A stream that was reset meanwhile needs no trailers.
                let _ = stream.send_trailers(frame.into_trailers().unwrap_or_default());
                return Ok(());
            }
        }
    }
    let _ = stream.send_data(Bytes::new(), true);
    Ok(())
}

struct ResponseBody {
    receive: RecvStream,
    data_ended: bool,
    watch: Rc<Watch>,
    read_limit: Duration,
    worker: Rc<Worker>,
    _upload: Upload,
    _stream: StreamGuard,
    _in_flight: InFlight,
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let polled = poll_received(&mut this.receive, &mut this.data_ended, cx);
        match &polled {
            Poll::Ready(_) => this.watch.arm(&this.worker.clock, this.read_limit),
            Poll::Pending if this.watch.poll_expired(&this.worker.clock, cx) => {
                return Poll::Ready(Some(Err(BodyError::Stalled)));
            }
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.receive.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// The next frame of a received stream. Window is given back as data is taken, so a slow receiver slows the sender.
pub(crate) fn poll_received(
    receive: &mut RecvStream,
    data_ended: &mut bool,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
    let broken = |error: h2::Error| BodyError::Sender(error.to_string().into());
    if !*data_ended {
        match ready!(receive.poll_data(cx)) {
            Some(Ok(data)) => {
                // Fails only when the stream is gone already, which the next poll reports.
                let _ = receive.flow_control().release_capacity(data.len());
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            Some(Err(error)) => return Poll::Ready(Some(Err(broken(error)))),
            None => *data_ended = true,
        }
    }
    match ready!(receive.poll_trailers(cx)) {
        Ok(Some(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
        Ok(None) => Poll::Ready(None),
        Err(error) => Poll::Ready(Some(Err(broken(error)))),
    }
}

fn failure(error: &h2::Error) -> Failure {
    match error.reason() {
        Some(Reason::REFUSED_STREAM) => Failure::Unprocessed,
        // A GOAWAY that names a lower stream: ours was not looked at.
        Some(_) if error.is_go_away() && error.is_remote() => Failure::Unprocessed,
        Some(reason) => Failure::Reset(reason.description().into()),
        None => Failure::Closed { reused: true },
    }
}
