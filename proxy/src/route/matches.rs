//! What a rule asks of a request besides its path, and which of two rules is tried first.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use smallvec::SmallVec;

use super::expression::RegexPattern;
use super::host::Host;
use super::{PathPattern, Route};
use crate::config::problem::ObjectRef;

/// The parts of one request that choose its route.
#[derive(Clone, Copy, Debug)]
pub struct Lookup<'a> {
    /// `None` when the request names no host (HTTP/1.0).
    pub host: Option<&'a Host>,
    /// The normalised path.
    pub path: &'a [u8],
    pub method: &'a Method,
    pub headers: &'a HeaderMap,
    /// As received, without the `?`; `None` when there is none.
    pub query: Option<&'a [u8]>,
}

/// One match of one rule on one host, as configuration writes it: what `HostRoutes` is built from.
#[derive(Clone, Debug)]
pub struct Rule {
    pub path: PathPattern,
    pub conditions: Conditions,
    pub precedence: Precedence,
    pub route: Arc<Route>,
}

/// What decides between two rules that match a request equally well (Gateway API v1, `HTTPRouteRule.matches`): the older
/// object, then the name `namespace/name` in alphabetical order, then the first rule and the first match of the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Precedence {
    /// `metadata.creationTimestamp`. Objects without one (from files) count as younger than all that have one.
    pub created: Option<Timestamp>,
    pub object: ObjectRef,
    /// Index into `spec.rules`.
    pub rule: usize,
    /// Index into the rule's matches (the paths of an Ingress rule).
    pub entry: usize,
}

impl Ord for Precedence {
    /// Less is tried first.
    fn cmp(&self, other: &Self) -> Ordering {
        let age = match (&self.created, &other.created) {
            (Some(own), Some(other)) => own.cmp(other),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        };
        age.then_with(|| full_name(&self.object).cmp(full_name(&other.object)))
            .then_with(|| self.object.kind.cmp(&other.object.kind))
            .then_with(|| self.rule.cmp(&other.rule))
            .then_with(|| self.entry.cmp(&other.entry))
    }
}

impl PartialOrd for Precedence {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// `namespace/name` as one text: `a-b/x` comes before `a/x`, because `-` sorts before `/`.
fn full_name(object: &ObjectRef) -> impl Iterator<Item = u8> + '_ {
    object.namespace.bytes().chain([b'/']).chain(object.name.bytes())
}

/// What a request must have besides its path; all of it must hold. Cheap to clone; the default matches every request and
/// costs nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions(Option<Arc<Parts>>);

#[derive(Debug, PartialEq, Eq)]
struct Parts {
    method: Option<Method>,
    headers: Box<[HeaderMatch]>,
    query: Box<[QueryMatch]>,
}

/// A header and its value. Header names compare without regard to case.
///
/// Repeated headers count as one, their values joined by `, ` (RFC 9110 §5.3), so that nobody passes by repeating one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderMatch {
    pub name: HeaderName,
    pub value: ValueMatch,
}

/// A query parameter and its value, both compared after percent-decoding, `+` being a space (WHATWG URL,
/// `application/x-www-form-urlencoded`). The first parameter of that name counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryMatch {
    pub name: Box<[u8]>,
    pub value: ValueMatch,
}

/// How a value is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueMatch {
    /// Byte for byte.
    Exact(Box<[u8]>),
    /// Over the whole value: build it with [`RegexPattern::value`].
    Regex(RegexPattern),
}

/// The first condition that a request does not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch<'a> {
    Method(&'a Method),
    Header(&'a HeaderMatch),
    Query(&'a QueryMatch),
}

impl Conditions {
    /// Of several entries for one header or one query parameter the first counts and the others are dropped (Gateway API v1,
    /// `HTTPHeaderMatch.name`, `HTTPQueryParamMatch.name`).
    pub fn new(method: Option<Method>, headers: Vec<HeaderMatch>, query: Vec<QueryMatch>) -> Self {
        let headers = first_of_each(headers, |header| &header.name);
        let query = first_of_each(query, |parameter| &parameter.name);
        if method.is_none() && headers.is_empty() && query.is_empty() {
            return Conditions(None);
        }
        Conditions(Some(Arc::new(Parts { method, headers, query })))
    }

    /// True when every request meets them.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub fn method(&self) -> Option<&Method> {
        self.0.as_ref()?.method.as_ref()
    }

    pub fn headers(&self) -> &[HeaderMatch] {
        self.0.as_ref().map_or(&[], |parts| &parts.headers)
    }

    pub fn query(&self) -> &[QueryMatch] {
        self.0.as_ref().map_or(&[], |parts| &parts.query)
    }

    /// `Ok` when the request meets all of them.
    pub fn check(&self, lookup: &Lookup<'_>) -> Result<(), Mismatch<'_>> {
        match &self.0 {
            None => Ok(()),
            Some(parts) => parts.check(lookup),
        }
    }

    /// Less is tried first: a method, then more headers, then more query parameters (Gateway API v1,
    /// `HTTPRouteRule.matches`).
    pub(crate) fn cmp_precedence(&self, other: &Self) -> Ordering {
        let rank = |conditions: &Self| {
            (conditions.method().is_some(), conditions.headers().len(), conditions.query().len())
        };
        rank(other).cmp(&rank(self))
    }
}

impl Parts {
    fn check(&self, lookup: &Lookup<'_>) -> Result<(), Mismatch<'_>> {
        if let Some(method) = &self.method
            && method != lookup.method
        {
            return Err(Mismatch::Method(method));
        }
        if let Some(header) = self.headers.iter().find(|header| !header.holds(lookup.headers)) {
            return Err(Mismatch::Header(header));
        }
        match self.query.iter().find(|parameter| !parameter.holds(lookup.query.unwrap_or_default())) {
            Some(parameter) => Err(Mismatch::Query(parameter)),
            None => Ok(()),
        }
    }
}

impl HeaderMatch {
    fn holds(&self, headers: &HeaderMap) -> bool {
        header_value(headers, &self.name).is_some_and(|value| self.value.holds(&value))
    }
}

/// The value of a header. Repeated fields count as one, their values joined by `, ` (RFC 9110 §5.3).
pub(super) fn header_value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<HeaderBytes<'a>> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    Some(match values.next() {
        None => HeaderBytes::One(first.as_bytes()),
        Some(second) => HeaderBytes::Joined(joined([first, second].into_iter().chain(values))),
    })
}

/// The bytes of a header's value.
pub(super) enum HeaderBytes<'a> {
    One(&'a [u8]),
    Joined(SmallVec<[u8; VALUE_INLINE_BYTES]>),
}

impl std::ops::Deref for HeaderBytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            HeaderBytes::One(bytes) => bytes,
            HeaderBytes::Joined(bytes) => bytes,
        }
    }
}

impl QueryMatch {
    fn holds(&self, query: &[u8]) -> bool {
        let wanted = parameters(query).find(|(name, _)| decoded(name).eq(self.name.iter().copied()));
        let Some((_, raw)) = wanted else { return false };
        match &self.value {
            ValueMatch::Exact(value) => decoded(raw).eq(value.iter().copied()),
            ValueMatch::Regex(pattern) if raw.iter().any(|byte| matches!(byte, b'%' | b'+')) => {
                let value: SmallVec<[u8; VALUE_INLINE_BYTES]> = decoded(raw).collect();
                pattern.is_match(&value)
            }
            ValueMatch::Regex(pattern) => pattern.is_match(raw),
        }
    }
}

impl ValueMatch {
    fn holds(&self, value: &[u8]) -> bool {
        match self {
            ValueMatch::Exact(wanted) => **wanted == *value,
            ValueMatch::Regex(pattern) => pattern.is_match(value),
        }
    }
}

impl fmt::Display for Conditions {
    /// `GET, header x-canary = "1", query q ~ "^a"`; nothing when there are none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(method) = self.method() {
            write!(f, "{method}")?;
            separator = ", ";
        }
        for header in self.headers() {
            write!(f, "{separator}{header}")?;
            separator = ", ";
        }
        for parameter in self.query() {
            write!(f, "{separator}{parameter}")?;
            separator = ", ";
        }
        Ok(())
    }
}

impl fmt::Display for HeaderMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "header {} {}", self.name, self.value)
    }
}

impl fmt::Display for QueryMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "query {} {}", self.name.escape_ascii(), self.value)
    }
}

impl fmt::Display for ValueMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueMatch::Exact(value) => write!(f, "= \"{}\"", value.escape_ascii()),
            ValueMatch::Regex(pattern) => write!(f, "~ \"{}\"", pattern.text()),
        }
    }
}

impl fmt::Display for Mismatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mismatch::Method(method) => write!(f, "the method is not {method}"),
            Mismatch::Header(header) => write!(f, "{header} does not hold"),
            Mismatch::Query(parameter) => write!(f, "{parameter} does not hold"),
        }
    }
}

fn first_of_each<T, K: PartialEq>(entries: Vec<T>, key: impl Fn(&T) -> &K) -> Box<[T]> {
    let mut kept: Vec<T> = Vec::with_capacity(entries.len());
    for entry in entries {
        if !kept.iter().any(|earlier| key(earlier) == key(&entry)) {
            kept.push(entry);
        }
    }
    kept.into_boxed_slice()
}

fn joined<'a>(values: impl Iterator<Item = &'a HeaderValue>) -> SmallVec<[u8; VALUE_INLINE_BYTES]> {
    let mut all = SmallVec::new();
    for (at, value) in values.enumerate() {
        if at > 0 {
            all.extend_from_slice(b", ");
        }
        all.extend_from_slice(value.as_bytes());
    }
    all
}

/// Names and values of a query, still encoded. A parameter without `=` has the empty value.
fn parameters(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    query.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        match memchr::memchr(b'=', pair) {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &pair[pair.len()..]),
        }
    })
}

/// The bytes that an encoded name or value stands for. A `%` that no two hexadecimal digits follow stands for itself.
fn decoded(raw: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut rest = raw;
    std::iter::from_fn(move || {
        let (byte, taken) = match *rest {
            [] => return None,
            [b'+', ..] => (b' ', 1),
            [b'%', high, low, ..] => match (hex(high), hex(low)) {
                (Some(high), Some(low)) => (high << 4 | low, 3),
                _ => (b'%', 1),
            },
            [byte, ..] => (byte, 1),
        };
        rest = &rest[taken..];
        Some(byte)
    })
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// Values up to this length are decoded or joined without allocating.
const VALUE_INLINE_BYTES: usize = 256;

#[cfg(test)]
mod tests;
