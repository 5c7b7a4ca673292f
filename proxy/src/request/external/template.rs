//! Texts with variables, as ingress-nginx has them in `auth-url`, `auth-signin` and `auth-cache-key`:
//! `https://$host/oauth2/start?rd=$escaped_request_uri`.
//!
//! Only variables with a meaning here are known; any other one makes the text a bad one. What they stand for is always what
//! was normalised and cleaned, never what the client wrote.

use std::fmt;
use std::net::IpAddr;

use http::{HeaderMap, HeaderName, Method};

use crate::request::target::Target;

/// A text with variables, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Box<[Part]>,
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error(
        "the variable `${0}` is not known; write $host, $request_uri, $scheme, $http_NAME, $cookie_NAME, $arg_NAME …"
    )]
    Unknown(Box<str>),
    #[error("a `$` is followed by no name of a variable")]
    Bare,
    #[error("it holds a character that no URL and no header may hold")]
    Character,
    #[error("it is longer than {TEMPLATE_BYTES_MAX} bytes")]
    TooLong,
}

/// The request that the variables speak of, after its headers were cleaned and its target was normalised.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) method: &'a Method,
    pub(crate) target: &'a Target,
    pub(crate) headers: &'a HeaderMap,
    /// Host, with the port if the client wrote one.
    pub(crate) host: &'a [u8],
    /// The client's.
    pub(crate) address: IpAddr,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Variable(Variable),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Variable {
    RequestMethod,
    Scheme,
    /// Without the port.
    Host,
    /// With the port as the client wrote it.
    HttpHost,
    RequestUri,
    EscapedRequestUri,
    Uri,
    Args,
    RemoteAddress,
    Header(HeaderName),
    Cookie(Box<str>),
    Argument(Box<str>),
}

impl Template {
    /// Reads `$name` and `${name}` in a text without spaces, such as a URL.
    pub fn parse(text: &str) -> Result<Template, TemplateError> {
        if text.contains(' ') { Err(TemplateError::Character) } else { Template::parse_text(text) }
    }

    /// The same in the value of a header.
    pub fn parse_text(text: &str) -> Result<Template, TemplateError> {
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(TemplateError::TooLong);
        }
        if text.bytes().any(|byte| !(b' '..=b'~').contains(&byte)) {
            return Err(TemplateError::Character);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            if dollar > 0 {
                parts.push(Part::Text(rest[..dollar].into()));
            }
            let (name, after) = split_name(&rest[dollar + 1..]).ok_or(TemplateError::Bare)?;
            parts.push(Part::Variable(Variable::parse(name)?));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        Ok(Template { parts: parts.into() })
    }

    /// The text, when it has no variable.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match &*self.parts {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The text with its variables filled in; a value that is absent is empty.
    pub(crate) fn fill(&self, subject: Subject<'_>) -> Vec<u8> {
        let mut filled = Vec::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => filled.extend_from_slice(text.as_bytes()),
                Part::Variable(variable) => variable.write(subject, &mut filled),
            }
        }
        filled
    }

    /// As [`Template::fill`], with the length of each value in front of it: two different sets of values never give the
    /// same bytes.
    pub(crate) fn fill_distinct(&self, subject: Subject<'_>) -> Vec<u8> {
        let mut filled = Vec::new();
        for part in &self.parts {
            if let Part::Variable(variable) = part {
                let start = filled.len();
                filled.extend_from_slice(&[0; 4]);
                variable.write(subject, &mut filled);
                let length = u32::try_from(filled.len() - start - 4).unwrap_or(u32::MAX);
                filled[start..start + 4].copy_from_slice(&length.to_be_bytes());
            }
        }
        filled
    }
}

impl fmt::Display for Template {
    /// With the names of its variables: `https://$host/x`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Variable(variable) => write!(f, "${variable}"),
        })
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Variable::RequestMethod => f.write_str("request_method"),
            Variable::Scheme => f.write_str("scheme"),
            Variable::Host => f.write_str("host"),
            Variable::HttpHost => f.write_str("http_host"),
            Variable::RequestUri => f.write_str("request_uri"),
            Variable::EscapedRequestUri => f.write_str("escaped_request_uri"),
            Variable::Uri => f.write_str("uri"),
            Variable::Args => f.write_str("args"),
            Variable::RemoteAddress => f.write_str("remote_addr"),
            Variable::Header(name) => write!(f, "http_{}", name.as_str().replace('-', "_")),
            Variable::Cookie(name) => write!(f, "cookie_{name}"),
            Variable::Argument(name) => write!(f, "arg_{name}"),
        }
    }
}

impl Variable {
    fn parse(name: &str) -> Result<Variable, TemplateError> {
        let unknown = || TemplateError::Unknown(name.into());
        Ok(match name {
            "request_method" => Variable::RequestMethod,
            "scheme" | "pass_access_scheme" => Variable::Scheme,
            "host" => Variable::Host,
            "http_host" | "best_http_host" => Variable::HttpHost,
            "request_uri" => Variable::RequestUri,
            "escaped_request_uri" => Variable::EscapedRequestUri,
            "uri" => Variable::Uri,
            "args" | "query_string" => Variable::Args,
            "remote_addr" | "proxy_add_x_forwarded_for" | "the_real_ip" => Variable::RemoteAddress,
            _ => {
                if let Some(header) = name.strip_prefix("http_") {
                    let header = header.replace('_', "-");
                    Variable::Header(HeaderName::from_bytes(header.as_bytes()).map_err(|_| unknown())?)
                } else if let Some(cookie) = name.strip_prefix("cookie_").filter(|name| !name.is_empty()) {
                    Variable::Cookie(cookie.into())
                } else if let Some(argument) = name.strip_prefix("arg_").filter(|name| !name.is_empty()) {
                    Variable::Argument(argument.into())
                } else {
                    return Err(unknown());
                }
            }
        })
    }

    fn write(&self, subject: Subject<'_>, out: &mut Vec<u8>) {
        let target = subject.target;
        match self {
            Variable::RequestMethod => out.extend_from_slice(subject.method.as_str().as_bytes()),
            Variable::Scheme => out.extend_from_slice(target.scheme.as_str().as_bytes()),
            Variable::Host => out.extend_from_slice(target.host_str().as_bytes()),
            Variable::HttpHost => out.extend_from_slice(subject.host),
            Variable::RequestUri => out.extend_from_slice(target.path_and_query.as_bytes()),
            Variable::EscapedRequestUri => escape(target.path_and_query.as_bytes(), out),
            Variable::Uri => out.extend_from_slice(target.path()),
            Variable::Args => out.extend_from_slice(target.query().unwrap_or_default()),
            Variable::RemoteAddress => out.extend_from_slice(subject.address.to_string().as_bytes()),
            Variable::Header(name) => {
                if let Some(value) = subject.headers.get(name) {
                    out.extend_from_slice(value.as_bytes());
                }
            }
            Variable::Cookie(name) => {
                out.extend_from_slice(cookie(subject.headers, name).unwrap_or_default());
            }
            Variable::Argument(name) => {
                out.extend_from_slice(argument(target.query().unwrap_or_default(), name).unwrap_or_default());
            }
        }
    }
}

/// Percent-encodes all but unreserved characters (RFC 3986 §2.3).
pub(crate) fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }
}

/// The value of the first cookie of this name.
fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    headers.get_all(http::header::COOKIE).iter().find_map(|value| {
        value.as_bytes().split(|byte| *byte == b';').find_map(|pair| {
            let pair = pair.trim_ascii();
            pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
        })
    })
}

/// The value of the first parameter of this name, as it was written.
fn argument<'q>(query: &'q [u8], name: &str) -> Option<&'q [u8]> {
    query.split(|byte| *byte == b'&').find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

fn split_name(text: &str) -> Option<(&str, &str)> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let (name, rest) = match text.strip_prefix('{') {
        Some(braced) => braced.split_once('}')?,
        None => text.split_at(text.bytes().take_while(|byte| is_name(*byte)).count()),
    };
    (!name.is_empty() && name.bytes().all(is_name)).then_some((name, rest))
}

/// The longest text with variables.
pub const TEMPLATE_BYTES_MAX: usize = 2048;

#[cfg(test)]
mod tests;
