//! The answer that carries a refusal: a page, a problem document, a line of text, or a gRPC status.

use askama::Template;
use bytes::Bytes;
use http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, RETRY_AFTER,
};
use http::header::{WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::Serialize;

use super::Reject;
use super::words::{Frame, Language};
use crate::message::{Body, Response};

/// What the client understands best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Html,
    /// `application/problem+json` (RFC 9457).
    Json,
    Plain,
    /// Trailers-Only: HTTP 200, `grpc-status` and `grpc-message` in the head (gRPC over HTTP/2).
    Grpc,
}

/// What a refusal needs to know of the request it answers.
#[derive(Clone, Copy, Debug)]
pub struct PageContext<'a> {
    pub format: Format,
    pub method: &'a Method,
    pub request_id: &'a str,
    /// Of the pages that are written in more than one.
    pub language: Language,
    /// The operator's contact line: an address, a URL, or plain words.
    pub contact: Option<&'a str>,
}

impl Format {
    /// Chooses by Content-Type (gRPC), then by Accept (RFC 9110 §12.5.1). Plain text where Accept says nothing of use.
    pub fn of(headers: &HeaderMap) -> Format {
        if headers.get(CONTENT_TYPE).is_some_and(|value| is_grpc(value.as_bytes())) {
            return Format::Grpc;
        }
        let mut best = (0, Format::Plain);
        for value in headers.get_all(ACCEPT) {
            for range in value.as_bytes().split(|byte| *byte == b',') {
                let (media_type, weight) = split_range(range);
                let Some(format) = format_of(media_type) else { continue };
                // The first of equals wins: clients name what they want first.
                if weight > best.0 {
                    best = (weight, format);
                }
            }
        }
        best.1
    }
}

impl Reject {
    /// The answer to send. A HEAD request gets the headers of the answer to GET, Content-Length included, without body.
    pub fn into_response(&self, context: &PageContext<'_>) -> Response {
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Ok(id) = HeaderValue::from_str(context.request_id) {
            headers.insert(X_REQUEST_ID, id);
        }
        if context.format == Format::Grpc {
            return self.grpc_response(headers);
        }
        if let Some(after) = self.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(after)));
        }
        if let Reject::MethodNotAllowed(allow) = self {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if let Reject::Unauthenticated(challenges) = self {
            challenge(&mut headers, challenges);
        }
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        let (content_type, text) = match context.format {
            Format::Html => {
                headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
                ("text/html; charset=utf-8", self.html(context))
            }
            Format::Json => ("application/problem+json", self.json(context)),
            Format::Plain | Format::Grpc => ("text/plain; charset=utf-8", self.plain(context)),
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        let body = if *context.method == Method::HEAD {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
            Body::Empty
        } else {
            Body::from(Bytes::from(text))
        };
        Response { status: self.status(), headers, body, upgraded: None }
    }

    fn grpc_response(&self, mut headers: HeaderMap) -> Response {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(GRPC_STATUS, HeaderValue::from(self.grpc_status() as u16));
        let (_, words) = self.words();
        if let Ok(message) = HeaderValue::from_str(&percent_encoded(&format!("{words} ({})", self.reason())))
        {
            headers.insert(GRPC_MESSAGE, message);
        }
        Response { status: StatusCode::OK, headers, body: Body::Empty, upgraded: None }
    }

    fn html(&self, context: &PageContext<'_>) -> String {
        let ((title, words), language) = self.words_in(context.language);
        let frame = language.frame();
        let asks = self.asks_for_access();
        let (before, after) = if asks { frame.ask } else { frame.tell };
        let page = Page {
            language: language.tag(),
            status: self.status().as_u16(),
            title,
            words,
            lines: self.more(language),
            before,
            after,
            nobody: if asks { frame.ask_somebody } else { "" },
            again: None,
            frame,
            request_id: context.request_id,
            contact: context.contact,
            contact_link: context.contact.and_then(link),
        };
        page.render().unwrap_or_else(|_| self.plain(context))
    }

    fn json(&self, context: &PageContext<'_>) -> String {
        let (title, words) = self.words();
        let problem = ProblemDocument {
            r#type: "about:blank",
            title,
            status: self.status().as_u16(),
            detail: [vec![words.to_owned()], self.more(Language::English)].concat().join(" "),
            reason: self.reason(),
            request_id: context.request_id,
            contact: context.contact,
        };
        serde_json::to_string(&problem).unwrap_or_default() + "\n"
    }

    fn plain(&self, context: &PageContext<'_>) -> String {
        let (title, words) = self.words();
        let mut text = format!(
            "{} {title}\n{words}\n{}reason: {}\nrequest id: {}\n",
            self.status().as_u16(),
            self.more(Language::English).into_iter().map(|line| line + "\n").collect::<String>(),
            self.reason(),
            context.request_id
        );
        if let Some(contact) = context.contact {
            text.push_str("contact: ");
            text.push_str(contact);
            text.push('\n');
        }
        text
    }
}

/// The page for someone who has signed out, with a way back.
pub(crate) fn signed_out(context: &PageContext<'_>, again: &str) -> Response {
    let frame = context.language.frame();
    own_page(context, StatusCode::OK, frame.signed_out, None, (again, frame.sign_in_again))
}

/// The page of a login that did not succeed; `why` is for whoever is asked about it.
pub(crate) fn not_signed_in(context: &PageContext<'_>, why: String, again: &str) -> Response {
    let frame = context.language.frame();
    own_page(context, StatusCode::FORBIDDEN, frame.not_signed_in, Some(why), (again, frame.try_again))
}

/// The page of a logout that another site asked for.
pub(crate) fn not_signed_out(context: &PageContext<'_>, again: &str) -> Response {
    let frame = context.language.frame();
    own_page(context, StatusCode::FORBIDDEN, frame.not_signed_out, None, (again, frame.try_again))
}

/// A page that is no refusal of the route's. Who wants no HTML gets the words.
fn own_page(
    context: &PageContext<'_>,
    status: StatusCode,
    (title, words): (&'static str, &'static str),
    line: Option<String>,
    again: (&str, &'static str),
) -> Response {
    let page = Page {
        language: context.language.tag(),
        status: status.as_u16(),
        title,
        words,
        lines: line.into_iter().collect(),
        before: "",
        after: "",
        nobody: "",
        again: Some(again),
        frame: context.language.frame(),
        request_id: context.request_id,
        contact: None,
        contact_link: None,
    };
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let (content_type, text) = match context.format {
        Format::Html => {
            headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
            ("text/html; charset=utf-8", page.render().unwrap_or_default())
        }
        Format::Json | Format::Plain | Format::Grpc => {
            let lines: String = page.lines.iter().map(|line| format!("{line}\n")).collect();
            ("text/plain; charset=utf-8", format!("{title}\n{words}\n{lines}"))
        }
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    Response::full(status, headers, text)
}

/// A 401 says how to do better (RFC 9110 §11.6.1); where a login sets a cookie, that is the way.
fn challenge(headers: &mut HeaderMap, challenges: &[HeaderValue]) {
    for challenge in challenges {
        headers.append(WWW_AUTHENTICATE, challenge.clone());
    }
    if challenges.is_empty() {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Cookie"));
    }
}

#[derive(Template)]
#[template(path = "reject.html")]
struct Page<'a> {
    language: &'static str,
    status: u16,
    title: &'a str,
    words: &'a str,
    lines: Vec<String>,
    /// Around whom to ask or to tell.
    before: &'static str,
    after: &'static str,
    /// In place of the three, where nobody is named; may be empty.
    nobody: &'static str,
    /// An address to go on to, and its words.
    again: Option<(&'a str, &'static str)>,
    frame: &'static Frame,
    request_id: &'a str,
    contact: Option<&'a str>,
    contact_link: Option<String>,
}

/// RFC 9457 §3, with two members of our own.
#[derive(Serialize)]
struct ProblemDocument<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    detail: String,
    reason: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    contact: Option<&'a str>,
}

/// Never too early, and never at once (RFC 9110 §10.2.3).
fn whole_seconds(after: std::time::Duration) -> u64 {
    (after.as_secs() + u64::from(after.subsec_nanos() > 0)).max(1)
}

/// `application/grpc`, alone or with a suffix (`+proto`) or parameters. grpc-web is another protocol.
fn is_grpc(content_type: &[u8]) -> bool {
    let Some((head, rest)) = content_type.split_at_checked(GRPC_TYPE.len()) else { return false };
    head.eq_ignore_ascii_case(GRPC_TYPE) && matches!(rest, [] | [b'+' | b';' | b' ', ..])
}

/// The media type of one range of Accept and its weight in thousandths.
pub(super) fn split_range(range: &[u8]) -> (&[u8], u16) {
    let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let media_type = parts.next().unwrap_or_default();
    let weight = parts
        .find_map(|part| part.strip_prefix(b"q=").or(part.strip_prefix(b"Q=")))
        .map_or(1000, |quality| parse_weight(quality).unwrap_or(0));
    (media_type, weight)
}

/// `0.5` is 500 (RFC 9110 §12.4.2).
fn parse_weight(quality: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(quality).ok()?;
    let weight: f32 = text.parse().ok()?;
    (0.0..=1.0).contains(&weight).then_some((weight * 1000.0) as u16)
}

fn format_of(media_type: &[u8]) -> Option<Format> {
    let is = |name: &[u8]| media_type.eq_ignore_ascii_case(name);
    if is(b"text/html") || is(b"application/xhtml+xml") {
        Some(Format::Html)
    } else if is(b"application/json") || is(b"application/*") || ends_with_json(media_type) {
        Some(Format::Json)
    } else if is(b"text/plain") || is(b"text/*") || is(b"*/*") {
        Some(Format::Plain)
    } else {
        None
    }
}

fn ends_with_json(media_type: &[u8]) -> bool {
    let tail = media_type.len().checked_sub(5).and_then(|start| media_type.get(start..));
    tail.is_some_and(|tail| tail.eq_ignore_ascii_case(b"+json"))
}

/// A link for a contact line that is a mail address or a web address as a whole; words get none.
fn link(contact: &str) -> Option<String> {
    if contact.contains(|character: char| character.is_whitespace() || character.is_control()) {
        None
    } else if contact.starts_with("https://") {
        Some(contact.to_owned())
    } else if contact.split('@').filter(|part| !part.is_empty()).count() == 2 && !contact.contains(':') {
        Some(format!("mailto:{contact}"))
    } else {
        None
    }
}

/// Percent-encoding of `grpc-message`: visible ASCII and space stay, `%` and the rest are encoded (PROTOCOL-HTTP2.md).
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

const GRPC_TYPE: &[u8] = b"application/grpc";
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The page has one inline style sheet and nothing else to load, run, frame or submit.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
