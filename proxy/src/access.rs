//! The access log: one line for each request, written off the path.
//!
//! A worker appends lines to a buffer of its own and hands full buffers to one writer thread by a bounded queue. When the
//! writer cannot keep up, lines are dropped and counted; a request never waits for its line. Nothing is allocated for a
//! line: buffers go round.
//!
//! The fields are a fixed vocabulary, [`FIELDS`]; a field that does not apply is left out. What clients send is escaped, so
//! that a line is always one line of valid JSON, or of `key=value` pairs that no terminal acts upon. The query string often
//! holds secrets and is left out unless the settings ask for it.

mod text;
mod writer;

use std::fmt::{Display, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use jiff::Timestamp;

use crate::message::Protocol;
use crate::settings::{AccessLog as AccessLogSettings, AccessLogFormat};
use text::{Escaped, push_decimal, push_json, push_text};
pub use writer::{Sink, Writer};

/// What one line tells.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    /// When the answer ended.
    pub time: Timestamp,
    pub request_id: &'a str,
    /// The client's address, as far as trust goes.
    pub client: IpAddr,
    /// Who asks, where that had to be known.
    pub user: Option<&'a str>,
    pub method: &'a str,
    pub scheme: &'static str,
    pub host: &'a [u8],
    /// Normalised, without the query.
    pub path: &'a [u8],
    pub query: Option<&'a [u8]>,
    pub protocol: Protocol,
    pub status: u16,
    /// Why the edge answered itself.
    pub reason: Option<&'static str>,
    /// `HTTPRoute shop/web`.
    pub route: Option<&'a dyn Display>,
    /// `shop/web:80`.
    pub backend: Option<&'a dyn Display>,
    pub endpoint: Option<SocketAddr>,
    pub upstream_status: Option<u16>,
    /// From sending the request to the answer's head.
    pub upstream: Option<Duration>,
    /// Tries at endpoints beyond the first.
    pub retries: u32,
    /// From the request's first byte to the answer's last.
    pub duration: Duration,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
    pub user_agent: Option<&'a [u8]>,
    pub referer: Option<&'a [u8]>,
    /// `TLSv1.3`.
    pub tls_version: Option<&'static str>,
}

/// What the line of a connection, or of a client of UDP, tells that was passed on unread.
#[derive(Clone, Copy)]
pub struct SessionEntry<'a> {
    /// When it ended.
    pub time: Timestamp,
    pub client: IpAddr,
    /// The name asked for by SNI.
    pub host: Option<&'a str>,
    /// TCP, TLS or UDP.
    pub protocol: &'static str,
    /// Why it ended otherwise than both sides meant.
    pub reason: Option<&'static str>,
    pub route: Option<&'a dyn Display>,
    pub backend: Option<&'a dyn Display>,
    pub endpoint: Option<SocketAddr>,
    pub duration: Duration,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

/// Every field that a line can have, in its order.
pub const FIELDS: [(&str, &str); 24] = [
    ("time", "when the answer ended, RFC 3339 with milliseconds, UTC"),
    ("request_id", "the id that error pages and the upstream see"),
    ("client", "the client's address, as far as trust goes"),
    ("user", "who asks, as the route's provider knows them; absent where nobody had to be known"),
    ("method", "the request's method"),
    ("scheme", "http or https"),
    ("host", "the host asked for, lower case, without port"),
    ("path", "the normalised path"),
    ("query", "the query string; only where accessLog.query is true"),
    ("protocol", "HTTP/1.0, HTTP/1.1 or HTTP/2.0; TCP, TLS or UDP for what is passed on unread"),
    ("status", "the status that was sent"),
    ("reason", "why the edge answered itself; absent when the upstream answered"),
    ("route", "kind and name of the object whose rule matched"),
    ("backend", "namespace/service:port"),
    ("endpoint", "the address that answered"),
    ("upstream_status", "the status that the upstream sent"),
    ("upstream_ms", "milliseconds from sending the request to the answer's head"),
    ("retries", "tries at endpoints beyond the first; absent when there were none"),
    ("duration_ms", "milliseconds from the request's first byte to the answer's last"),
    ("bytes_in", "bytes of the request's body"),
    ("bytes_out", "bytes of the answer's body"),
    ("user_agent", "the User-Agent header"),
    ("referer", "the Referer header, without its query"),
    ("tls_version", "TLSv1.2 or TLSv1.3"),
];

/// One worker's end of the access log.
#[derive(Debug)]
pub struct AccessLog {
    format: AccessLogFormat,
    query: bool,
    lines: writer::Lines,
    /// The second that `clock_text` is the text of.
    clock: Option<i64>,
    clock_text: String,
}

impl AccessLog {
    pub(crate) fn new(sink: &Sink, settings: &AccessLogSettings) -> Self {
        AccessLog {
            format: settings.format,
            query: settings.query,
            lines: writer::Lines::new(sink.clone()),
            clock: None,
            clock_text: String::new(),
        }
    }

    /// Takes up changed settings for the lines to come.
    pub fn configure(&mut self, settings: &AccessLogSettings) {
        self.format = settings.format;
        self.query = settings.query;
    }

    /// True when there is no use in building an [`Entry`].
    pub fn is_off(&self) -> bool {
        self.format == AccessLogFormat::Off
    }

    /// Appends one line. Hands the buffer on when it is full.
    pub fn log(&mut self, entry: &Entry<'_>) {
        if self.is_off() {
            return;
        }
        self.set_clock(entry.time);
        let mut line = Line { out: self.lines.buffer(), format: self.format, first: true };
        line.begin();
        line.time(&self.clock_text, entry.time);
        write_fields(&mut line, entry, self.query);
        line.end();
        self.lines.end_line();
    }

    /// Appends the line of a session.
    pub fn log_session(&mut self, entry: &SessionEntry<'_>) {
        if self.is_off() {
            return;
        }
        self.set_clock(entry.time);
        let mut line = Line { out: self.lines.buffer(), format: self.format, first: true };
        line.begin();
        line.time(&self.clock_text, entry.time);
        line.address("client", &entry.client);
        if let Some(host) = entry.host {
            line.text("host", host.as_bytes());
        }
        line.text("protocol", entry.protocol.as_bytes());
        if let Some(reason) = entry.reason {
            line.text("reason", reason.as_bytes());
        }
        if let Some(route) = entry.route {
            line.display("route", route);
        }
        if let Some(backend) = entry.backend {
            line.display("backend", backend);
        }
        if let Some(endpoint) = &entry.endpoint {
            line.address("endpoint", endpoint);
        }
        line.milliseconds("duration_ms", entry.duration);
        line.number("bytes_in", entry.bytes_in);
        line.number("bytes_out", entry.bytes_out);
        line.end();
        self.lines.end_line();
    }

    /// Hands on what is gathered. Called by the worker's clock a few times a second, and at the end.
    pub fn flush(&mut self) {
        self.lines.flush();
    }

    /// Dates are made once a second.
    fn set_clock(&mut self, time: Timestamp) {
        let second = time.as_second();
        if self.clock != Some(second) {
            self.clock = Some(second);
            self.clock_text.clear();
            // A `String` takes whatever is written to it.
            let _ = write!(self.clock_text, "{}", time.strftime("%Y-%m-%dT%H:%M:%S"));
        }
    }
}

fn write_fields(line: &mut Line<'_>, entry: &Entry<'_>, query: bool) {
    line.text("request_id", entry.request_id.as_bytes());
    line.address("client", &entry.client);
    if let Some(user) = entry.user.filter(|user| !user.is_empty()) {
        line.text("user", user.as_bytes());
    }
    line.text("method", entry.method.as_bytes());
    line.text("scheme", entry.scheme.as_bytes());
    line.text("host", entry.host);
    line.text("path", entry.path);
    if query && let Some(query) = entry.query {
        line.text("query", query);
    }
    line.text("protocol", entry.protocol.as_str().as_bytes());
    line.number("status", u64::from(entry.status));
    if let Some(reason) = entry.reason {
        line.text("reason", reason.as_bytes());
    }
    if let Some(route) = entry.route {
        line.display("route", route);
    }
    if let Some(backend) = entry.backend {
        line.display("backend", backend);
    }
    if let Some(endpoint) = &entry.endpoint {
        line.address("endpoint", endpoint);
    }
    if let Some(status) = entry.upstream_status {
        line.number("upstream_status", u64::from(status));
    }
    if let Some(upstream) = entry.upstream {
        line.milliseconds("upstream_ms", upstream);
    }
    if entry.retries > 0 {
        line.number("retries", u64::from(entry.retries));
    }
    line.milliseconds("duration_ms", entry.duration);
    line.number("bytes_in", entry.bytes_in);
    line.number("bytes_out", entry.bytes_out);
    if let Some(user_agent) = entry.user_agent {
        line.text("user_agent", user_agent);
    }
    if let Some(referer) = entry.referer {
        // Its query is as secret as that of the request.
        let end = memchr::memchr2(b'?', b'#', referer).unwrap_or(referer.len());
        line.text("referer", &referer[..end]);
    }
    if let Some(version) = entry.tls_version {
        line.text("tls_version", version.as_bytes());
    }
}

/// A line being written. Field names are ours and need no escape.
struct Line<'a> {
    out: &'a mut Vec<u8>,
    format: AccessLogFormat,
    first: bool,
}

impl Line<'_> {
    fn begin(&mut self) {
        if self.format == AccessLogFormat::Json {
            self.out.push(b'{');
        }
    }

    fn end(&mut self) {
        if self.format == AccessLogFormat::Json {
            self.out.push(b'}');
        }
        self.out.push(b'\n');
    }

    fn name(&mut self, name: &str) {
        if self.format == AccessLogFormat::Json {
            self.out.extend_from_slice(if self.first { b"\"" } else { b",\"" });
            self.out.extend_from_slice(name.as_bytes());
            self.out.extend_from_slice(b"\":");
        } else if self.first {
            // The time stands alone at the start of a text line.
        } else {
            self.out.push(b' ');
            self.out.extend_from_slice(name.as_bytes());
            self.out.push(b'=');
        }
        self.first = false;
    }

    fn time(&mut self, seconds: &str, time: Timestamp) {
        self.name("time");
        let quote = self.format == AccessLogFormat::Json;
        if quote {
            self.out.push(b'"');
        }
        self.out.extend_from_slice(seconds.as_bytes());
        let milliseconds = time.subsec_millisecond().unsigned_abs();
        self.out.push(b'.');
        for digit in [milliseconds / 100, milliseconds / 10 % 10, milliseconds % 10] {
            self.out.push(b'0' + digit as u8);
        }
        self.out.push(b'Z');
        if quote {
            self.out.push(b'"');
        }
    }

    fn text(&mut self, name: &str, value: &[u8]) {
        self.name(name);
        let is_cut = value.len() > FIELD_BYTES_MAX;
        let value = &value[..value.len().min(FIELD_BYTES_MAX)];
        match self.format {
            AccessLogFormat::Json => push_json(self.out, value, is_cut),
            AccessLogFormat::Text | AccessLogFormat::Off => push_text(self.out, value, is_cut),
        }
    }

    /// For what is written by its own `Display`: it goes through the same escapes, piece by piece.
    fn display(&mut self, name: &str, value: &dyn Display) {
        self.name(name);
        let mut escaped = Escaped::new(self.out, self.format == AccessLogFormat::Json);
        // Escaping does not fail, so only a `Display` that reports an error of its own could; then the field is short.
        let _ = write!(escaped, "{value}");
        escaped.finish();
    }

    /// For what cannot hold anything to escape.
    fn address(&mut self, name: &str, value: &dyn Display) {
        self.name(name);
        let quote: &[u8] = if self.format == AccessLogFormat::Json { b"\"" } else { b"" };
        self.out.extend_from_slice(quote);
        // A `Vec` takes whatever is written to it.
        let _ = std::io::Write::write_fmt(self.out, format_args!("{value}"));
        self.out.extend_from_slice(quote);
    }

    fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        push_decimal(self.out, value);
    }

    /// `12.345`: microseconds are the finest that means anything.
    fn milliseconds(&mut self, name: &str, value: Duration) {
        self.name(name);
        let microseconds = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
        push_decimal(self.out, microseconds / 1000);
        self.out.push(b'.');
        let rest = microseconds % 1000;
        for digit in [rest / 100, rest / 10 % 10, rest % 10] {
            self.out.push(b'0' + digit as u8);
        }
    }
}

/// Bytes of one field that are written; what is longer is cut and ends in `…`.
pub const FIELD_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests;
