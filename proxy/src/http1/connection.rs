//! One HTTP/1 connection of a client: requests in, answers out, strictly in order.
//!
//! Between two requests the connection is parked: it holds its socket and a few words, no buffer and no request state.
//! Everything a request needs lives in one boxed future from its first byte to the last byte of the answer.

mod answer;
mod link;
mod upload;

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;

use super::head::{self, Disposition, ResponseFraming};
use crate::connection::Client;
use crate::message::{BodyError, Protocol};
use crate::request;
use crate::request::record::{self, Record};
use crate::transport::{Rewound, Transport};
use crate::upstream::upgrade::Upgraded;
use crate::worker::Worker;
use crate::worker::clock::Expired;
use crate::worker::connections::SessionGuard;

use link::{Link, Start};

/// Room for one read from a client.
const READ_BYTES: usize = 8 << 10;
/// Bytes read ahead of the request that is being answered (pipelining).
const AHEAD_BYTES_MAX: usize = 32 << 10;
/// What is read and thrown away of a body nobody wanted, so that the connection can be kept.
const DRAIN_BYTES_MAX: usize = 64 << 10;
/// How long that may take, and how long a closing connection waits for the client to have read the answer.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// The start of HTTP/2 without negotiation (RFC 9113 §3.4).
pub(crate) const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a connection became.
pub(crate) enum End {
    /// It is over; the transport was shut down as well as it let itself be.
    Closed,
    /// The client speaks HTTP/2 from its first byte on; these bytes were read already.
    Http2(Bytes, Transport),
}

/// Serves requests until the connection ends.
pub(crate) fn serve(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    transport: Transport,
) -> impl Future<Output = End> {
    // What an `async fn` is given it keeps room for, and this future lives as long as the connection.
    let link = Rc::new(Link::new(Rc::clone(worker), transport));
    serve_link(worker, client, link)
}

async fn serve_link(worker: &Rc<Worker>, client: &Rc<Client>, link: Rc<Link>) -> End {
    let mut served = 0;
    let mut served_when_parked = None;
    // Its client was sent here by somebody who does not know yet that this edge goes; it gets one answer.
    let came_late = worker.is_draining();
    loop {
        // First a look: a request that came with the end of a TLS handshake was read already, and no socket tells of it.
        // Boxed, so that a parked connection does not carry the room for a request.
        match Box::pin(serve_busy(worker, client, &link, &mut served)).await {
            Next::Park => {
                // A socket may wake without a byte for us (half a TLS record); that gives no more time.
                if served_when_parked != Some(served) {
                    served_when_parked = Some(served);
                    let timeouts = &worker.settings().timeouts;
                    let limit = if came_late { timeouts.headers } else { timeouts.keep_alive };
                    link.watch.arm(&worker.clock, limit);
                }
                if !link.park(came_late && served == 0).await {
                    break;
                }
            }
            Next::Close => break,
            Next::Tunnel(upgraded, record) => {
                let session = SessionGuard::begin(worker, client.id);
                Box::pin(tunnel(link, upgraded, record, session)).await;
                return End::Closed;
            }
            Next::Http2 => {
                return match Rc::try_unwrap(link) {
                    Ok(link) => {
                        End::Http2(link.input.into_inner().buffer.freeze(), link.transport.into_inner())
                    }
                    Err(_) => End::Closed,
                };
            }
        }
    }
    link.close().await;
    End::Closed
}

/// What follows after a busy time.
enum Next {
    Park,
    Close,
    Tunnel(Box<Upgraded>, Box<Record>),
    Http2,
}

/// Serves requests as long as the next one is there already.
async fn serve_busy(worker: &Rc<Worker>, client: &Rc<Client>, link: &Rc<Link>, served: &mut u64) -> Next {
    loop {
        let head = match link.read_head(client, *served == 0).await {
            Ok(Start::Request(head)) => head,
            Ok(Start::Http2) => return Next::Http2,
            Ok(Start::Nothing) => return Next::Close,
            Ok(Start::NotYet) => return Next::Park,
            Err(reject) => {
                // Where the next request would start is unknown, so this answer is the last.
                let (mut response, mut record) = request::answer_unreadable(worker, client, reject);
                let last = Disposition::Close;
                link.respond(&Method::GET, Protocol::Http11, &mut response, last, &mut record).await;
                return Next::Close;
            }
        };
        *served += 1;
        let (method, protocol) = (head.method.clone(), head.protocol);
        let wants_more = head.keep_alive && *served < worker.settings().limits.requests_per_connection;
        let mut request = link.begin(*head);
        let mut record = Record::begin(worker, client, &request);
        let mut response = {
            let answer = pin!(request::answer(worker, client, &mut request, &mut record));
            match link.exchange(protocol, answer).await {
                Some(response) => response,
                None => return Next::Close,
            }
        };
        // What it holds of the buffer is given back, and its body is let go.
        drop(request);
        if let Some(upgraded) = response.upgraded.take() {
            let framing =
                ResponseFraming::plan(protocol, &method, response.status, None, Disposition::Upgrade);
            head::write_response_head(
                &mut link.outbox().bytes,
                response.status,
                &response.headers,
                &framing,
                &worker.date(),
            );
            return match link.flush().await {
                Ok(()) => Next::Tunnel(upgraded, Box::new(record)),
                Err(_) => Next::Close,
            };
        }
        let keep =
            wants_more && !worker.ends_connections() && !client.is_old(worker) && !record.closes_connection();
        let wish = if keep { Disposition::KeepAlive } else { Disposition::Close };
        let may = link.respond(&method, protocol, &mut response, wish, &mut record).await;
        drop(record);
        if may != Disposition::KeepAlive || !link.drain().await {
            return Next::Close;
        }
        if link.can_park() {
            return Next::Park;
        }
    }
}

/// Copies bytes both ways until both sides have ended (RFC 9110 §7.8).
async fn tunnel(link: Rc<Link>, upgraded: Box<Upgraded>, mut record: Box<Record>, session: SessionGuard) {
    let Ok(Link { transport, input, .. }) = Rc::try_unwrap(link) else { return };
    let ahead = input.into_inner().buffer.freeze();
    let mut client = Rewound::new(ahead, transport.into_inner());
    let Upgraded { mut stream, in_flight } = *upgraded;
    let both = tokio::io::copy_bidirectional(&mut client, &mut stream);
    let copied = match &record.lasts {
        None => Ok(both.await),
        Some(span) => span.within(both).await,
    };
    match copied {
        Ok(Ok((up, down))) => {
            record.tunnelled(up, down);
            record.ended(record::End::Complete);
        }
        Ok(Err(error)) => record.ended(record::End::Broken(BodyError::Sender(error.to_string().into()))),
        Err(Expired) => record.ended(record::End::Broken(BodyError::TooOld)),
    }
    drop((in_flight, session));
}

#[cfg(test)]
mod tests;
