//! Canaries: some of a route's requests go to another backend, by header, cookie or chance.

use std::fmt;

use http::header::COOKIE;
use http::{HeaderMap, HeaderName};

use super::WeightedBackend;
use super::expression::RegexPattern;
use super::matches::header_value;
use crate::config::problem::ObjectRef;

/// Who goes to the other backend. A header decides before a cookie, a cookie before chance, as in ingress-nginx.
#[derive(Clone, Debug)]
pub struct Canary {
    /// The Ingress that asks for it.
    pub origin: ObjectRef,
    pub by_header: Option<CanaryHeader>,
    /// The name of a cookie whose value `always` or `never` decides.
    pub by_cookie: Option<Box<str>>,
    pub chance: Chance,
    /// Where its requests go; its weight means nothing.
    pub share: WeightedBackend,
}

/// A header that decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanaryHeader {
    pub name: HeaderName,
    pub value: CanaryValue,
}

/// What the value of the header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CanaryValue {
    /// `always` and `never` decide; any other value leaves it to the cookie.
    Word,
    /// This value goes to the canary; any other leaves it to the cookie.
    Exact(Box<[u8]>),
    /// What the expression is found in goes to the canary; any other value leaves it to the cookie.
    Pattern(RegexPattern),
}

/// A share of the requests that nothing else decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chance {
    pub weight: u32,
    /// Never less than [`CANARY_WEIGHT_TOTAL_MIN`].
    pub total: u32,
}

impl Canary {
    /// Whether this request goes to the canary. Never while it has no endpoint: the others serve on.
    pub(crate) fn takes(&self, headers: &HeaderMap) -> bool {
        self.is_chosen(headers, |total| fastrand::u32(..total)) && self.can_serve()
    }

    fn can_serve(&self) -> bool {
        self.share.backend.as_ref().map_or(true, |backend| !backend.endpoints().is_empty())
    }

    /// `draw` gives a number below its argument.
    fn is_chosen(&self, headers: &HeaderMap, draw: impl FnOnce(u32) -> u32) -> bool {
        let by_header = self.by_header.as_ref().and_then(|header| header.decide(headers));
        let decided = by_header.or_else(|| decide(cookie(headers, self.by_cookie.as_deref()?)?));
        decided.unwrap_or_else(|| self.chance.weight > 0 && draw(self.chance.total) < self.chance.weight)
    }
}

impl CanaryHeader {
    fn decide(&self, headers: &HeaderMap) -> Option<bool> {
        let value = header_value(headers, &self.name)?;
        match &self.value {
            CanaryValue::Word => decide(&value),
            CanaryValue::Exact(wanted) => (**wanted == *value).then_some(true),
            CanaryValue::Pattern(pattern) => pattern.is_match(&value).then_some(true),
        }
    }
}

impl fmt::Display for Canary {
    /// `header x-canary = "1", cookie canary, 10 of 100`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(CanaryHeader { name, value }) = &self.by_header {
            match value {
                CanaryValue::Word => write!(f, "header {name}, ")?,
                CanaryValue::Exact(value) => write!(f, "header {name} = \"{}\", ", value.escape_ascii())?,
                CanaryValue::Pattern(pattern) => write!(f, "header {name} ~ \"{}\", ", pattern.text())?,
            }
        }
        if let Some(name) = &self.by_cookie {
            write!(f, "cookie {name}, ")?;
        }
        write!(f, "{} of {}", self.chance.weight, self.chance.total)
    }
}

fn decide(word: &[u8]) -> Option<bool> {
    match word {
        b"always" => Some(true),
        b"never" => Some(false),
        _ => None,
    }
}

/// The value of the first cookie of this name (RFC 6265 §5.4: pairs parted by `;`, perhaps over several fields).
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let pairs = headers.get_all(COOKIE).into_iter().flat_map(|field| field.as_bytes().split(|b| *b == b';'));
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

/// A share is of a hundred, or finer; a smaller total counts as this.
pub const CANARY_WEIGHT_TOTAL_MIN: u32 = 100;

#[cfg(test)]
mod tests;
