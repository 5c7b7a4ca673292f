//! HTTP/2 to an upstream: shared connections, one stream a request. Used for h2c, gRPC and `appProtocol` HTTP/2.

pub(crate) mod senders;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::header::{CONTENT_LENGTH, EXPECT, HOST};
use http::{HeaderValue, Method, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::task::JoinHandle;

use super::exchange::{Failure, INTERIM_MAX, Outgoing, Patience};
use super::pool::InFlight;
use crate::http2::stream::{Broken, Pump, Receiver, announced_length};
use crate::message::{Body, BodyError, Interim, Response};
use crate::request::forward::is_open_ended;
use crate::request::sanitize::sanitize_response;
use crate::worker::Worker;
use crate::worker::clock::Watch;

pub(crate) use senders::{Lease, Senders, lease};

/// Sends one request as a stream and returns once the head of the final answer is there.
///
/// Until then the body is sent from here, so the caller's task is the one that reads from the client. What is left of it
/// when the answer begins goes on by itself, or a client that is slow to read would hold up its own upload.
pub(crate) async fn send(
    worker: &Rc<Worker>,
    lease: Lease,
    outgoing: Outgoing<'_>,
    body: Body,
    interim: &Interim,
    patience: Patience,
    in_flight: InFlight,
) -> Result<Response, Failure> {
    let request = request_head(&outgoing, body.exact_length())?;
    let watch = worker.clock.watch();
    let ends = body.is_empty();
    watch.arm(&worker.clock, if ends { patience.head } else { patience.send });
    let (mut answer, stream) = lease.start(request, ends).await?;
    let mut upload = (!ends).then(|| Pump::new(body, stream));
    let mut interims = 0;
    let head = std::future::poll_fn(|cx| {
        // The upload comes first: that the client failed must be known before the reset which that causes comes back as
        // if it were the upstream's.
        if let Some(pump) = &mut upload {
            let mut moved = 0;
            let polled = pump.poll(cx, &mut moved);
            if moved > 0 {
                watch.arm(&worker.clock, patience.send);
            }
            match polled {
                Poll::Ready(Err(Broken::Body(error))) => {
                    pump.reset(Reason::CANCEL);
                    return Poll::Ready(Err(Failure::Upload(error)));
                }
                // An upstream may answer without having read everything; what follows tells whether it did.
                Poll::Ready(Ok(()) | Err(Broken::Peer)) => {
                    upload = None;
                    watch.arm(&worker.clock, patience.head);
                }
                Poll::Pending => {}
            }
        }
        while let Poll::Ready(Some(Ok(informational))) = answer.poll_informational(cx) {
            interims += 1;
            if interims > INTERIM_MAX {
                return Poll::Ready(Err(Failure::Protocol("too many informational answers")));
            }
            let (parts, ()) = informational.into_parts();
            // The client's own expectation of 100 is met when its body is first read.
            if parts.status != StatusCode::CONTINUE {
                let mut headers = parts.headers;
                sanitize_response(&mut headers);
                interim.push(parts.status, headers);
            }
        }
        if let Poll::Ready(head) = Pin::new(&mut answer).poll(cx) {
            return Poll::Ready(head.map_err(|error| lease.failure(&error)));
        }
        if watch.poll_expired(&worker.clock, cx) {
            Poll::Ready(Err(Failure::TimedOut))
        } else {
            Poll::Pending
        }
    })
    .await?;
    lease.answered();

    let (parts, receive) = head.into_parts();
    let read_limit = if is_open_ended(&parts.headers) { Duration::ZERO } else { patience.read };
    watch.arm(&worker.clock, read_limit);
    let body = if receive.is_end_stream() {
        Body::Empty
    } else {
        let upload = upload.map(|pump| Upload::start(pump, worker, &watch, read_limit));
        Body::Stream(Box::pin(ResponseBody {
            receiver: Receiver::new(receive, announced_length(&parts.headers)),
            watch,
            read_limit,
            worker: Rc::clone(worker),
            upload,
            _lease: lease,
            _in_flight: in_flight,
        }))
    };
    Ok(Response { status: parts.status, headers: parts.headers, body, upgraded: None })
}

fn request_head(outgoing: &Outgoing<'_>, length: Option<u64>) -> Result<http::Request<()>, Failure> {
    let authority = outgoing.headers.get(HOST).map_or(&b""[..], |host| host.as_bytes());
    if authority.is_empty() {
        return Err(Failure::Unsendable("a request without a host cannot be sent over HTTP/2"));
    }
    let uri = http::Uri::builder()
        .scheme(outgoing.scheme)
        .authority(authority)
        .path_and_query(&*writable(outgoing.target))
        .build()
        .map_err(|_| Failure::Unsendable("the target cannot be written for HTTP/2"))?;
    let mut request = http::Request::new(());
    *request.method_mut() = outgoing.method.clone();
    *request.uri_mut() = uri;
    *request.version_mut() = http::Version::HTTP_2;
    *request.headers_mut() = outgoing.headers.clone();
    let headers = request.headers_mut();
    if let Some(forwarded) = outgoing.forwarded {
        forwarded.insert_into(headers);
    }
    headers.remove(HOST);
    // Answered on this hop already (RFC 9110 §10.1.1).
    headers.remove(EXPECT);
    // What the client announced is not what is sent: it may have been said twice, or be about a body that was replaced.
    let announced = headers.remove(CONTENT_LENGTH).is_some();
    // RFC 9110 §8.6: a method that anticipates content says that there is none.
    let anticipated = matches!(*outgoing.method, Method::POST | Method::PUT | Method::PATCH);
    if let Some(length) = length.filter(|length| *length > 0 || announced || anticipated) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(request)
}

/// The target with `"`, `<` and `>` percent-encoded. RFC 3986 has no place for them and `http::Uri` does not take them, but
/// clients send them in queries.
fn writable(target: &[u8]) -> Cow<'_, [u8]> {
    const REFUSED: [u8; 3] = *b"\"<>";
    if !target.iter().any(|byte| REFUSED.contains(byte)) {
        return Cow::Borrowed(target);
    }
    let mut encoded = Vec::with_capacity(target.len() + 16);
    for &byte in target {
        match byte {
            b'"' => encoded.extend_from_slice(b"%22"),
            b'<' => encoded.extend_from_slice(b"%3C"),
            b'>' => encoded.extend_from_slice(b"%3E"),
            _ => encoded.push(byte),
        }
    }
    Cow::Owned(encoded)
}

/// What was left of the request's body when the answer began, on a task of its own that ends with the answer.
struct Upload {
    task: JoinHandle<()>,
    progress: Rc<Progress>,
}

#[derive(Default)]
struct Progress {
    failed: RefCell<Option<BodyError>>,
    /// The task that reads the answer. Woken at the end of the upload, because from then on it is the one that has to
    /// notice when the client goes.
    reader: RefCell<Option<Waker>>,
}

impl Upload {
    fn start(mut pump: Pump, worker: &Rc<Worker>, watch: &Rc<Watch>, read_limit: Duration) -> Self {
        let progress = Rc::new(Progress::default());
        let (worker, watch, shared) = (Rc::clone(worker), Rc::clone(watch), Rc::clone(&progress));
        let task = tokio::task::spawn_local(async move {
            let outcome = std::future::poll_fn(|cx| {
                let mut moved = 0;
                let polled = pump.poll(cx, &mut moved);
                if moved > 0 {
                    // An upstream that still reads is not silent.
                    watch.arm(&worker.clock, read_limit);
                }
                polled
            })
            .await;
            if let Err(Broken::Body(error)) = outcome {
                *shared.failed.borrow_mut() = Some(error);
                pump.reset(Reason::CANCEL);
            }
            if let Some(reader) = shared.reader.take() {
                reader.wake();
            }
        });
        Upload { task, progress }
    }

    /// True when the client failed; otherwise the task is woken when the upload ends.
    fn poll_failed(&self, cx: &Context<'_>) -> bool {
        if self.progress.failed.borrow().is_some() {
            return true;
        }
        let mut reader = self.progress.reader.borrow_mut();
        match &*reader {
            Some(known) if known.will_wake(cx.waker()) => {}
            _ => *reader = Some(cx.waker().clone()),
        }
        false
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct ResponseBody {
    receiver: Receiver,
    watch: Rc<Watch>,
    read_limit: Duration,
    worker: Rc<Worker>,
    upload: Option<Upload>,
    _lease: Lease,
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
        if this.upload.as_ref().is_some_and(|upload| upload.poll_failed(cx)) {
            // The client broke its upload; the answer cannot be trusted to be about the whole request.
            return this.receiver.fail(BodyError::Receiver);
        }
        let polled = this.receiver.poll_frame(cx);
        match &polled {
            Poll::Ready(_) => this.watch.arm(&this.worker.clock, this.read_limit),
            Poll::Pending if this.watch.poll_expired(&this.worker.clock, cx) => {
                return this.receiver.fail(BodyError::Stalled);
            }
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.receiver.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.receiver.remaining().map(SizeHint::with_exact).unwrap_or_default()
    }
}
