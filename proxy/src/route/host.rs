//! Host names: what a request names, what routes and listeners write, and the map from the one to the other.

use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasher as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use foldhash::fast::RandomState;
use smallvec::SmallVec;

/// The host that one request (or one TLS client, by SNI) names: lower case, without port or trailing dot.
///
/// Either a DNS name of 1 to [`HOST_BYTES_MAX`] ASCII bytes, an IPv4 address, or an IPv6 address in brackets in its
/// canonical form (RFC 5952). Names of usual length live inside the value, so that parsing one costs no allocation.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(SmallVec<[u8; HOST_INLINE_BYTES]>);

/// Why a text is no host name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    #[error("the host name is empty")]
    Empty,
    #[error("the host name has {bytes} bytes; at most {HOST_BYTES_MAX} are allowed")]
    TooLong { bytes: usize },
    #[error("the host name has an empty label; write one dot between labels")]
    EmptyLabel,
    #[error("a label of the host name is longer than {LABEL_BYTES_MAX} bytes")]
    LabelTooLong,
    #[error("the host name holds a port; write the name alone")]
    Port,
    #[error("the host name is not ASCII; write its A-label (`xn--…`)")]
    NotAscii,
    #[error("the host name holds {0:?}; letters, digits, `-`, `_` and `.` are allowed")]
    Character(char),
    #[error("the host ends in a number and is no IPv4 address in dotted decimal")]
    Ipv4,
    #[error("the host is no IPv6 address in brackets")]
    Ipv6,
    #[error("`*` stands only for the first label of a longer name, as in `*.example.com`")]
    Wildcard,
}

impl Host {
    /// Reads a host as a Host header, `:authority` or SNI carries it, once its port is cut off.
    ///
    /// Underscores are tolerated (RFC 1123 forbids them, many cluster names have them), non-ASCII is not. A name whose last
    /// label is a number must be an IPv4 address in dotted decimal, because other software would read it as one.
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Self, HostError> {
        let text = text.as_ref();
        if text.first() == Some(&b'[') {
            return Self::parse_ipv6(text);
        }
        let text = text.strip_suffix(b".").unwrap_or(text);
        if text.is_empty() {
            return Err(HostError::Empty);
        }
        if text.len() > HOST_BYTES_MAX {
            return Err(HostError::TooLong { bytes: text.len() });
        }
        let mut label_start = 0;
        for (at, &byte) in text.iter().enumerate() {
            if byte == b'.' {
                check_label(at - label_start)?;
                label_start = at + 1;
            } else if !is_label_byte(byte) {
                return Err(match byte {
                    b':' => HostError::Port,
                    b'*' => HostError::Wildcard,
                    0x80.. => HostError::NotAscii,
                    _ => HostError::Character(char::from(byte)),
                });
            }
        }
        check_label(text.len() - label_start)?;
        let mut name = SmallVec::from_slice(text);
        name.make_ascii_lowercase();
        if is_number(&name[label_start..]) && ascii(&name).parse::<Ipv4Addr>().is_err() {
            return Err(HostError::Ipv4);
        }
        Ok(Host(name))
    }

    fn parse_ipv6(text: &[u8]) -> Result<Self, HostError> {
        let Some(inner) = text[1..].strip_suffix(b"]") else {
            return Err(if text.contains(&b']') { HostError::Port } else { HostError::Ipv6 });
        };
        let address: Ipv6Addr = ascii(inner).parse().map_err(|_| HostError::Ipv6)?;
        Ok(Host(format!("[{address}]").into_bytes().into()))
    }

    pub fn as_str(&self) -> &str {
        ascii(&self.0)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// True for an IPv4 or IPv6 address.
    pub fn is_address(&self) -> bool {
        // A name that ends in a number and is no address was refused by `parse`.
        self.0.first() == Some(&b'[') || self.0.rsplit(|&byte| byte == b'.').next().is_some_and(is_number)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Host({})", self.as_str())
    }
}

/// The hosts that a route or a listener takes. The derived order is alphabetical; for precedence see
/// [`HostPattern::specificity`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// Every host, and requests that name none.
    Any,
    /// One host, written as [`Host`] writes it.
    Exact(Arc<str>),
    /// `*.example.com`, stored as `.example.com`. Never matches `example.com` itself.
    Wildcard { suffix: Arc<str>, labels: WildcardLabels },
}

/// How many labels the `*` of a wildcard stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WildcardLabels {
    /// Exactly one (Ingress v1, `IngressRule.host`; certificates, RFC 9525 §6.3).
    One,
    /// One or more (Gateway API v1, `Hostname`).
    OneOrMore,
}

/// How narrow a pattern is. Greater is narrower: exact names, then wildcards by the length of their suffix, then any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Specificity {
    kind: u8,
    bytes: usize,
    one_label: bool,
}

impl HostPattern {
    /// Reads a host as Ingress, HTTPRoute and Gateway write it. The absent host is [`HostPattern::Any`], never a text.
    pub fn parse(text: &str, labels: WildcardLabels) -> Result<Self, HostError> {
        match text.strip_prefix("*.") {
            None => Ok(HostPattern::Exact(Host::parse(text)?.as_str().into())),
            Some(parent) => {
                let parent = Host::parse(parent)?;
                if parent.is_address() {
                    return Err(HostError::Wildcard);
                }
                Ok(HostPattern::Wildcard { suffix: format!(".{parent}").into(), labels })
            }
        }
    }

    pub fn matches(&self, host: &Host) -> bool {
        match self {
            HostPattern::Any => true,
            HostPattern::Exact(name) => name.as_bytes() == host.as_bytes(),
            HostPattern::Wildcard { suffix, labels } => wildcard_matches(suffix, *labels, host.as_str()),
        }
    }

    /// The hosts that both take, or `None` when there are none: always one of the two patterns, the narrower.
    ///
    /// This is how an HTTPRoute's hostname meets the hostname of a listener (Gateway API v1, `HTTPRoute.spec.hostnames`).
    pub fn intersect(&self, other: &HostPattern) -> Option<HostPattern> {
        let (narrow, wide) =
            if self.specificity() >= other.specificity() { (self, other) } else { (other, self) };
        let within = match (narrow, wide) {
            (_, HostPattern::Any) => true,
            (HostPattern::Exact(name), HostPattern::Exact(other)) => name == other,
            (HostPattern::Exact(name), HostPattern::Wildcard { suffix, labels }) => {
                wildcard_matches(suffix, *labels, name)
            }
            (
                HostPattern::Wildcard { suffix: narrow, .. },
                HostPattern::Wildcard { suffix: wide, labels },
            ) => narrow == wide || (*labels == WildcardLabels::OneOrMore && narrow.ends_with(&**wide)),
            // `narrow` is at least as specific as `wide`, so these cannot come.
            (HostPattern::Any, HostPattern::Exact(_) | HostPattern::Wildcard { .. })
            | (HostPattern::Wildcard { .. }, HostPattern::Exact(_)) => false,
        };
        within.then(|| narrow.clone())
    }

    pub fn specificity(&self) -> Specificity {
        match self {
            HostPattern::Any => Specificity { kind: 0, bytes: 0, one_label: false },
            HostPattern::Wildcard { suffix, labels } => {
                Specificity { kind: 1, bytes: suffix.len(), one_label: *labels == WildcardLabels::One }
            }
            HostPattern::Exact(name) => Specificity { kind: 2, bytes: name.len(), one_label: false },
        }
    }
}

impl fmt::Display for HostPattern {
    /// As it was written; `*` for any.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Any => f.write_str("*"),
            HostPattern::Exact(name) => f.write_str(name),
            HostPattern::Wildcard { suffix, .. } => write!(f, "*{suffix}"),
        }
    }
}

/// Values by host pattern, found from the most specific to the least without allocating.
///
/// A name costs a hash, or two where there are many names, and one more for each of its labels when there are wildcards at
/// all. A copy shares the entries: [`HostMap::with`] makes a map with one other host among ten thousand in microseconds.
#[derive(Clone, Debug)]
pub struct HostMap<V> {
    exact: Names<V>,
    wildcards: Arc<HashMap<Arc<str>, Wildcards<V>, RandomState>>,
    any: Option<V>,
}

/// Values by whole name, in shards that copies of the map share.
#[derive(Clone, Debug)]
struct Names<V> {
    /// A power of two of them.
    shards: Box<[Arc<Shard<V>>]>,
    len: usize,
    // The fast hasher, seeded per map: keys are chosen by the operator, and clients only look up. A client can make one look-up
    // collide but cannot fill the map, so there is nothing to gain for it.
    hasher: RandomState,
}

type Shard<V> = HashMap<Arc<str>, V, RandomState>;

#[derive(Clone, Debug)]
struct Wildcards<V> {
    one: Option<V>,
    one_or_more: Option<V>,
}

/// One entry of a [`HostMap`] that takes the host.
#[derive(Debug)]
pub struct HostHit<'a, V> {
    pub value: &'a V,
    key: HitKey<'a>,
}

#[derive(Clone, Copy, Debug)]
enum HitKey<'a> {
    Any,
    Exact(&'a Arc<str>),
    Wildcard(&'a Arc<str>, WildcardLabels),
}

// By hand, because a derived copy would ask that `V` be one too.
impl<V> Clone for HostHit<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for HostHit<'_, V> {}

impl<V> HostHit<'_, V> {
    /// The pattern that took the host.
    pub fn pattern(&self) -> HostPattern {
        match self.key {
            HitKey::Any => HostPattern::Any,
            HitKey::Exact(name) => HostPattern::Exact(Arc::clone(name)),
            HitKey::Wildcard(suffix, labels) => HostPattern::Wildcard { suffix: Arc::clone(suffix), labels },
        }
    }
}

impl<V> HostMap<V> {
    /// The first `Some` that `visit` gives over the entries that take the host, most specific first. A request without a host
    /// is taken by [`HostPattern::Any`] alone.
    pub fn find_map<'a, R>(
        &'a self,
        host: Option<&Host>,
        mut visit: impl FnMut(HostHit<'a, V>) -> Option<R>,
    ) -> Option<R> {
        if let Some(host) = host {
            let name = host.as_str();
            if let Some((key, value)) = self.exact.find(name)
                && let Some(result) = visit(HostHit { value, key: HitKey::Exact(key) })
            {
                return Some(result);
            }
            if !self.wildcards.is_empty()
                && let Some(result) = self.find_map_wildcard(name, &mut visit)
            {
                return Some(result);
            }
        }
        self.any.as_ref().and_then(|value| visit(HostHit { value, key: HitKey::Any }))
    }

    fn find_map_wildcard<'a, R>(
        &'a self,
        name: &str,
        visit: &mut impl FnMut(HostHit<'a, V>) -> Option<R>,
    ) -> Option<R> {
        let dots = memchr::memchr_iter(b'.', name.as_bytes());
        for (labels, dot) in dots.enumerate() {
            let Some((key, entry)) = self.wildcards.get_key_value(&name[dot..]) else { continue };
            let one = if labels == 0 { entry.one.as_ref() } else { None };
            let hits = [(one, WildcardLabels::One), (entry.one_or_more.as_ref(), WildcardLabels::OneOrMore)];
            for (value, labels) in hits {
                if let Some(value) = value
                    && let Some(result) = visit(HostHit { value, key: HitKey::Wildcard(key, labels) })
                {
                    return Some(result);
                }
            }
        }
        None
    }

    /// The value of the most specific pattern that takes the host.
    pub fn best(&self, host: Option<&Host>) -> Option<&V> {
        self.find_map(host, |hit| Some(hit.value))
    }

    /// The value kept for this very pattern.
    pub fn at(&self, pattern: &HostPattern) -> Option<&V> {
        match pattern {
            HostPattern::Any => self.any.as_ref(),
            HostPattern::Exact(name) => self.exact.find(name).map(|(_, value)| value),
            HostPattern::Wildcard { suffix, labels } => {
                let entry = self.wildcards.get(suffix)?;
                match labels {
                    WildcardLabels::One => entry.one.as_ref(),
                    WildcardLabels::OneOrMore => entry.one_or_more.as_ref(),
                }
            }
        }
    }

    /// All entries, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = (HostPattern, &V)> {
        let exact = self.exact.iter().map(|(name, value)| (HostPattern::Exact(Arc::clone(name)), value));
        let wildcards = self.wildcards.iter().flat_map(|(suffix, entry)| {
            let one = entry.one.as_ref().map(|value| (WildcardLabels::One, value));
            let more = entry.one_or_more.as_ref().map(|value| (WildcardLabels::OneOrMore, value));
            one.into_iter()
                .chain(more)
                .map(|(labels, value)| (HostPattern::Wildcard { suffix: Arc::clone(suffix), labels }, value))
        });
        exact.chain(wildcards).chain(self.any.iter().map(|value| (HostPattern::Any, value)))
    }

    /// Number of patterns.
    pub fn len(&self) -> usize {
        let wildcards =
            self.wildcards.values().map(|entry| entry.one.iter().count() + entry.one_or_more.iter().count());
        self.exact.len + wildcards.sum::<usize>() + self.any.iter().count()
    }

    pub fn is_empty(&self) -> bool {
        self.exact.len == 0 && self.wildcards.is_empty() && self.any.is_none()
    }
}

impl<V: Clone> HostMap<V> {
    /// The same map, but for these patterns: with another value, or without them. What stays is shared.
    pub fn with(&self, changes: impl IntoIterator<Item = (HostPattern, Option<V>)>) -> Self {
        let mut map = self.clone();
        for (pattern, value) in changes {
            match pattern {
                HostPattern::Any => map.any = value,
                HostPattern::Exact(name) => map.exact.set(name, value),
                HostPattern::Wildcard { suffix, labels } => {
                    let wildcards = Arc::make_mut(&mut map.wildcards);
                    let entry = wildcards.entry(suffix.clone()).or_default();
                    *entry.of(labels) = value;
                    if entry.one.is_none() && entry.one_or_more.is_none() {
                        wildcards.remove(&suffix);
                    }
                }
            }
        }
        if map.exact.len > map.exact.shards.len() * SHARD_NAMES_MAX {
            let entries = map.exact.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
            map.exact = Names::new(entries);
        }
        map
    }
}

impl<V> Default for HostMap<V> {
    fn default() -> Self {
        HostMap { exact: Names::new(Vec::new()), wildcards: Arc::default(), any: None }
    }
}

impl<V> FromIterator<(HostPattern, V)> for HostMap<V> {
    /// Of two values for one pattern the first stays.
    fn from_iter<I: IntoIterator<Item = (HostPattern, V)>>(entries: I) -> Self {
        let mut exact = Vec::new();
        let mut wildcards: HashMap<Arc<str>, Wildcards<V>, RandomState> = HashMap::default();
        let mut any = None;
        for (pattern, value) in entries {
            match pattern {
                HostPattern::Any => {
                    any.get_or_insert(value);
                }
                HostPattern::Exact(name) => exact.push((name, value)),
                HostPattern::Wildcard { suffix, labels } => {
                    wildcards.entry(suffix).or_default().of(labels).get_or_insert(value);
                }
            }
        }
        wildcards.shrink_to_fit();
        HostMap { exact: Names::new(exact), wildcards: Arc::new(wildcards), any }
    }
}

impl<V> Names<V> {
    fn new(entries: Vec<(Arc<str>, V)>) -> Self {
        let hasher = RandomState::default();
        let count = entries.len().div_ceil(SHARD_NAMES).next_power_of_two();
        let mut shards: Vec<Shard<V>> = Vec::new();
        shards.resize_with(count, || HashMap::with_hasher(hasher.clone()));
        for (name, value) in entries {
            let at = shard_of(&hasher, &name, count);
            shards[at].entry(name).or_insert(value);
        }
        let len = shards.iter().map(HashMap::len).sum();
        let shards = shards.into_iter().map(|mut shard| {
            shard.shrink_to_fit();
            Arc::new(shard)
        });
        Names { shards: shards.collect(), len, hasher }
    }

    fn find(&self, name: &str) -> Option<(&Arc<str>, &V)> {
        self.shards[shard_of(&self.hasher, name, self.shards.len())].get_key_value(name)
    }

    fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &V)> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }
}

impl<V: Clone> Names<V> {
    fn set(&mut self, name: Arc<str>, value: Option<V>) {
        let at = shard_of(&self.hasher, &name, self.shards.len());
        let shard = Arc::make_mut(&mut self.shards[at]);
        self.len -= shard.len();
        match value {
            Some(value) => drop(shard.insert(name, value)),
            None => drop(shard.remove(&name)),
        }
        self.len += shard.len();
    }
}

impl<V> Wildcards<V> {
    fn of(&mut self, labels: WildcardLabels) -> &mut Option<V> {
        match labels {
            WildcardLabels::One => &mut self.one,
            WildcardLabels::OneOrMore => &mut self.one_or_more,
        }
    }
}

impl<V> Default for Wildcards<V> {
    fn default() -> Self {
        Wildcards { one: None, one_or_more: None }
    }
}

/// By bits of the hash that the map within the shard does not look at first. `count` is a power of two.
fn shard_of(hasher: &RandomState, name: &str, count: usize) -> usize {
    if count == 1 { 0 } else { (hasher.hash_one(name) >> 32) as usize & (count - 1) }
}

fn wildcard_matches(suffix: &str, labels: WildcardLabels, name: &str) -> bool {
    match name.strip_suffix(suffix) {
        None | Some("") => false,
        Some(front) => labels == WildcardLabels::OneOrMore || !front.contains('.'),
    }
}

fn check_label(bytes: usize) -> Result<(), HostError> {
    match bytes {
        0 => Err(HostError::EmptyLabel),
        1..=LABEL_BYTES_MAX => Ok(()),
        _ => Err(HostError::LabelTooLong),
    }
}

fn is_label_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// What resolvers read as a number: decimal, or hexadecimal after `0x`.
fn is_number(label: &[u8]) -> bool {
    let hexadecimal =
        label.strip_prefix(b"0x").is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    hexadecimal || label.iter().all(u8::is_ascii_digit)
}

/// Text of bytes that were found to be ASCII; the empty text, which names no host, for all others.
fn ascii(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// Longest DNS name without trailing dot (RFC 1035 §2.3.4).
pub const HOST_BYTES_MAX: usize = 253;
/// Longest label of a DNS name (RFC 1035 §2.3.4).
pub const LABEL_BYTES_MAX: usize = 63;
const HOST_INLINE_BYTES: usize = 48;
/// Names in a shard of a new map, on average.
const SHARD_NAMES: usize = 64;
/// When the average is above this, the map is laid out anew.
const SHARD_NAMES_MAX: usize = 256;

#[cfg(test)]
mod tests;
