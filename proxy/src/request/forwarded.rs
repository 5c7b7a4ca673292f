//! Who the client is and what the upstream is told of it.
//!
//! [`Peer`] is made once for a connection, from the socket or the PROXY protocol. [`ClientView::of`] then decides, for
//! each request and before `sanitize`, what the client's address, scheme and port are: the peer's own, unless the peer
//! is a trusted proxy that speaks for somebody else. [`Forwarded`] is the result, which goes out after `sanitize`.

mod parse;
mod request_id;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use super::target::Scheme;
use crate::message::detach;

pub use request_id::{REQUEST_ID_BYTES_MAX, RequestId};

/// The proxies in front of this edge whose word is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    ranges: Vec<IpNet>,
    cloudflare: Vec<IpNet>,
}

/// How far a peer's word about its client is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PeerTrust {
    #[default]
    Untrusted,
    /// X-Forwarded-* and Forwarded are believed.
    Forwarded,
    /// And CF-Connecting-IP before them.
    Cloudflare,
}

/// The other end of one client connection, with what its requests need ready made.
#[derive(Clone, Debug)]
pub struct Peer {
    /// IPv4 where an IPv4 client came in on an IPv6 socket.
    pub address: IpAddr,
    /// The scheme of the listener.
    pub scheme: Scheme,
    /// The port of the listener as clients know it.
    pub port: u16,
    pub trust: PeerTrust,
    address_value: HeaderValue,
    port_value: HeaderValue,
}

/// The client of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientView {
    pub address: IpAddr,
    pub scheme: Scheme,
    /// The port the client connected to.
    pub port: u16,
    /// The host the client asked a trusted proxy for, where that differs from Host. Never used to find a route.
    pub host: Option<HeaderValue>,
    /// A request id given by a trusted proxy.
    pub request_id: Option<RequestId>,
    /// `None`: the peer is the client, and its ready-made value serves.
    behind_proxy: Option<Chain>,
}

/// What upstreams are told beyond X-Forwarded-For, -Proto, -Host, -Port and X-Real-IP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForwardedRules {
    /// X-Forwarded-Scheme and X-Scheme, as ingress-nginx sends them.
    pub nginx_names: bool,
    /// Forwarded (RFC 7239).
    pub standard: bool,
    /// A `traceparent` where the client sent none or a malformed one (W3C Trace Context).
    pub start_traces: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Chain {
    address: HeaderValue,
    /// `client, proxy, peer`.
    forwarded_for: HeaderValue,
}

impl TrustedProxies {
    /// Trusts the peers in `ranges`, and those in `cloudflare` as far as Cloudflare can be.
    pub fn new(ranges: Vec<IpNet>, cloudflare: Vec<IpNet>) -> Self {
        TrustedProxies { ranges, cloudflare }
    }

    /// How far `address` is trusted; an IPv4-mapped IPv6 address is its IPv4 address.
    pub fn judge(&self, address: IpAddr) -> PeerTrust {
        let address = address.to_canonical();
        if self.cloudflare.iter().any(|range| range.contains(&address)) {
            PeerTrust::Cloudflare
        } else if self.ranges.iter().any(|range| range.contains(&address)) {
            PeerTrust::Forwarded
        } else {
            PeerTrust::Untrusted
        }
    }
}

impl Peer {
    /// `client` as the socket or the PROXY protocol has it; `port` is the listener's port as clients know it, which
    /// behind a Service is not the one that is bound.
    pub fn new(client: SocketAddr, scheme: Scheme, port: u16, trusted: &TrustedProxies) -> Peer {
        let address = client.ip().to_canonical();
        Peer {
            address,
            scheme,
            port,
            trust: trusted.judge(address),
            address_value: address_value(address),
            port_value: port_value(port),
        }
    }

    /// The address as header value, made once.
    pub fn address_value(&self) -> &HeaderValue {
        &self.address_value
    }
}

impl ClientView {
    /// Decides who the client is. Reads headers only when the peer is trusted, and must see them before `sanitize`.
    pub fn of(peer: &Peer, headers: &HeaderMap, trusted: &TrustedProxies) -> ClientView {
        match peer.trust {
            PeerTrust::Untrusted => ClientView::direct(peer),
            PeerTrust::Forwarded | PeerTrust::Cloudflare => ClientView::behind(peer, headers, trusted),
        }
    }

    /// Copies what it has of the buffer that a request was read into, so that it no longer keeps that buffer.
    pub(crate) fn detach(&mut self) {
        self.host.iter_mut().for_each(detach);
        // The record has it.
        self.request_id = None;
    }

    /// True when a trusted proxy named another client than the peer.
    pub fn is_behind_proxy(&self) -> bool {
        self.behind_proxy.is_some()
    }

    fn direct(peer: &Peer) -> ClientView {
        ClientView {
            address: peer.address,
            scheme: peer.scheme,
            port: peer.port,
            host: None,
            request_id: None,
            behind_proxy: None,
        }
    }

    fn behind(peer: &Peer, headers: &HeaderMap, trusted: &TrustedProxies) -> ClientView {
        let said = parse::Said::by(headers);
        let mut hops = said.hops(trusted);
        if peer.trust == PeerTrust::Cloudflare
            && let Some(address) = parse::single_address(headers, &CF_CONNECTING_IP)
        {
            // Cloudflare's own word goes before what the client may have put into X-Forwarded-For.
            hops = vec![address];
        }
        let scheme = said.scheme.unwrap_or(peer.scheme);
        // A proxy that names another scheme but no port means the usual port of that scheme.
        let other = (scheme != peer.scheme).then(|| scheme.default_port());
        ClientView {
            address: hops.last().copied().unwrap_or(peer.address),
            scheme,
            port: said.port.or(other).unwrap_or(peer.port),
            host: said.host,
            request_id: headers.get(X_REQUEST_ID).and_then(RequestId::accept),
            behind_proxy: Chain::of(&hops, peer),
        }
    }
}

impl Chain {
    /// From the nearest hop to the client. What stood before the client in the list is nobody's word and is left out.
    fn of(hops: &[IpAddr], peer: &Peer) -> Option<Chain> {
        let client = hops.last()?;
        let mut list = String::with_capacity(hops.len() * 18 + 18);
        for hop in hops.iter().rev() {
            list.push_str(&hop.to_string());
            list.push_str(", ");
        }
        list.push_str(&peer.address.to_string());
        let forwarded_for = HeaderValue::from_maybe_shared(Bytes::from(list)).ok()?;
        Some(Chain { address: address_value(*client), forwarded_for })
    }
}

/// What an upstream is told of the client in the names that nobody else may set (`sanitize` removes them, and no list or
/// filter touches them): X-Forwarded-For, -Proto, -Host, -Port and X-Real-IP.
///
/// They stand beside the header map unless something looks for them there: a map takes five times as long to take a field as
/// a writer takes to write it.
#[derive(Debug)]
pub struct Forwarded<'a> {
    forwarded_for: &'a HeaderValue,
    address: &'a HeaderValue,
    host: &'a HeaderValue,
    port: Port<'a>,
    scheme: &'static HeaderValue,
}

/// Few clients are said to have come to another port than that of the listener.
#[derive(Debug)]
enum Port<'a> {
    Listener(&'a HeaderValue),
    Other(Box<HeaderValue>),
}

impl<'a> Forwarded<'a> {
    /// For a request of `client` for `host`, which is the Host it asked for.
    pub fn of(peer: &'a Peer, client: &'a ClientView, host: &'a HeaderValue) -> Forwarded<'a> {
        let (address, forwarded_for) = match &client.behind_proxy {
            Some(chain) => (&chain.address, &chain.forwarded_for),
            None => (&peer.address_value, &peer.address_value),
        };
        Forwarded {
            forwarded_for,
            address,
            host: client.host.as_ref().unwrap_or(host),
            port: match client.port == peer.port {
                true => Port::Listener(&peer.port_value),
                false => Port::Other(Box::new(port_value(client.port))),
            },
            scheme: match client.scheme {
                Scheme::Http => &HTTP,
                Scheme::Https => &HTTPS,
            },
        }
    }

    /// The fields, each once.
    pub fn fields(&self) -> [(&'static HeaderName, &HeaderValue); 5] {
        let Forwarded { forwarded_for, address, host, port, scheme } = self;
        let port = match port {
            Port::Listener(value) => value,
            Port::Other(value) => &**value,
        };
        [
            (&X_FORWARDED_FOR, forwarded_for),
            (&X_REAL_IP, address),
            (&X_FORWARDED_HOST, host),
            (&X_FORWARDED_PORT, port),
            (&X_FORWARDED_PROTO, scheme),
        ]
    }

    /// Puts them over whatever `headers` has.
    pub fn insert_into(&self, headers: &mut HeaderMap) {
        for (name, value) in self.fields() {
            headers.insert(name, value.clone());
        }
    }
}

/// Tells the upstream which request this is, and what trace it belongs to: X-Request-ID and, where `rules` say so, more.
///
/// The client's `traceparent` passes if it is well formed; else it and `tracestate` go.
pub fn set_request_id(
    headers: &mut HeaderMap,
    client: &ClientView,
    host: &HeaderValue,
    request_id: &RequestId,
    rules: ForwardedRules,
) {
    headers.insert(X_REQUEST_ID, request_id.value().clone());
    if rules.nginx_names {
        let scheme = HeaderValue::from_static(client.scheme.as_str());
        headers.insert(X_FORWARDED_SCHEME, scheme.clone());
        headers.insert(X_SCHEME, scheme);
    }
    if rules.standard
        && let Some(value) = standard_value(client, client.host.as_ref().unwrap_or(host))
    {
        headers.insert(FORWARDED, value);
    }
    set_trace(headers, request_id, rules);
}

fn set_trace(headers: &mut HeaderMap, request_id: &RequestId, rules: ForwardedRules) {
    let valid = match headers.get(TRACEPARENT) {
        Some(value) => parse::is_traceparent(value.as_bytes()),
        None if rules.start_traces => false,
        None => return,
    };
    if valid && headers.get_all(TRACEPARENT).iter().count() == 1 {
        return;
    }
    headers.remove(TRACEPARENT);
    headers.remove(TRACESTATE);
    if rules.start_traces {
        headers.insert(TRACEPARENT, request_id.traceparent());
    }
}

/// `for="[2001:db8::1]";host=example.com;proto=https` (RFC 7239 §4).
fn standard_value(client: &ClientView, host: &HeaderValue) -> Option<HeaderValue> {
    let node = match client.address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("\"[{address}]\""),
    };
    let host = host.to_str().ok()?;
    let text = format!("for={node};host=\"{host}\";proto={}", client.scheme.as_str());
    HeaderValue::from_maybe_shared(Bytes::from(text)).ok()
}

fn address_value(address: IpAddr) -> HeaderValue {
    // Digits, dots and colons are always a header value.
    HeaderValue::from_maybe_shared(Bytes::from(address.to_string()))
        .unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

fn port_value(port: u16) -> HeaderValue {
    match port {
        80 => HeaderValue::from_static("80"),
        443 => HeaderValue::from_static("443"),
        other => HeaderValue::from(other),
    }
}

/// Hops of a chain that are looked at, from the nearest; what lies beyond is not believed.
pub const FORWARDED_HOPS_MAX: usize = 32;

static HTTP: HeaderValue = HeaderValue::from_static("http");
static HTTPS: HeaderValue = HeaderValue::from_static("https");
static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
static X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_FORWARDED_SCHEME: HeaderName = HeaderName::from_static("x-forwarded-scheme");
const X_SCHEME: HeaderName = HeaderName::from_static("x-scheme");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const CF_CONNECTING_IP: HeaderName = HeaderName::from_static("cf-connecting-ip");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
