//! Who reads the answer: a person whose browser changes pages, or a program.

use http::header::ACCEPT;
use http::{HeaderMap, HeaderName, Method};

use crate::reject::page::Format;

/// Who reads an answer that asks for a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// A person, in a tab of a browser: they can be sent elsewhere.
    Navigation,
    /// A gRPC client.
    Grpc,
    /// A script, a program, a picture: a redirect would lead it astray, and beginning a login for it would overwrite the one
    /// that a person has begun.
    Program,
}

/// Says who reads the answer: by `Sec-Fetch-*`, which scripts cannot set (Fetch Metadata), else by Accept.
pub(crate) fn audience_of(method: &Method, headers: &HeaderMap) -> Audience {
    if Format::of(headers) == Format::Grpc {
        return Audience::Grpc;
    }
    // A form that is sent would be lost on the way to a login and back.
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Audience::Program;
    }
    let navigates = match headers.get(SEC_FETCH_MODE) {
        Some(mode) => {
            mode == "navigate"
                && headers.get(SEC_FETCH_DEST).is_none_or(|destination| destination == "document")
        }
        None => {
            let wants_html = headers.get_all(ACCEPT).iter().any(|value| {
                value.as_bytes().split(|byte| *byte == b',').any(|range| {
                    let media_type = range.split(|byte| *byte == b';').next().unwrap_or_default();
                    media_type.trim_ascii().eq_ignore_ascii_case(b"text/html")
                })
            });
            wants_html && !headers.contains_key(X_REQUESTED_WITH)
        }
    };
    if navigates { Audience::Navigation } else { Audience::Program }
}

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const X_REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");

#[cfg(test)]
mod tests;
