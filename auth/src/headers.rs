//! How the application is told who asks: header names and what goes into them.
//!
//! A value is printable ASCII. Every other byte of a claim, and `%` itself, is percent-encoded as UTF-8, so that no value
//! can end a header early, and no two accounts look the same to the application. In lists, the separator is
//! percent-encoded, too: a group called `a,admins` is not a member of `admins`.

#[cfg(test)]
mod tests;

use std::fmt::Write;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::identity::Identity;
use crate::texts::Texts;

/// Header names that applications know from other authenticating proxies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HeaderPreset {
    /// `X-Auth-Request-User`, `-Email`, `-Groups`, `-Preferred-Username`: OAuth2-Proxy behind nginx or Traefik.
    #[default]
    OAuth2Proxy,
    /// `X-Forwarded-User`, `-Email`, `-Groups`, `-Preferred-Username`: OAuth2-Proxy in front of an application.
    Forwarded,
    /// `Remote-User`, `-Groups`, `-Name`, `-Email`.
    Authelia,
    /// `X-authentik-username`, `-groups` (separated by `|`), `-email`, `-name`, `-uid`.
    Authentik,
}

/// Which headers say what about who asks. Two that say the same are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderRules {
    rules: Vec<HeaderRule>,
    /// Names that are no preset's: the edge removes those from requests only where they are configured.
    custom: bool,
}

/// Why header rules cannot be used. Each names the part that is wrong and the mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderRulesError {
    #[error(
        "`{0}` is neither a preset (oauth2-proxy, forwarded, authelia, authentik) nor of the form Header-Name=claim"
    )]
    Form(String),
    #[error("an entry is empty: remove the comma")]
    Empty,
    #[error("`{0}` is not a header name")]
    Name(String),
    #[error("`{0}` may not carry an identity: it means something else on every request")]
    Protected(String),
    #[error("`{0}` is given twice")]
    Twice(String),
    #[error("more than {HEADER_RULES_LEN_MAX} headers are named")]
    TooMany,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct HeaderRule {
    name: HeaderName,
    source: Source,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Subject,
    User,
    Name,
    Email,
    Groups(char),
    Claim(String),
}

impl HeaderPreset {
    /// By the name that people write.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "oauth2-proxy" => Some(HeaderPreset::OAuth2Proxy),
            "forwarded" => Some(HeaderPreset::Forwarded),
            "authelia" => Some(HeaderPreset::Authelia),
            "authentik" => Some(HeaderPreset::Authentik),
            _ => None,
        }
    }

    fn rules(self) -> Vec<HeaderRule> {
        let table: &[(&'static str, Source)] = match self {
            HeaderPreset::OAuth2Proxy => &[
                ("x-auth-request-user", Source::Subject),
                ("x-auth-request-email", Source::Email),
                ("x-auth-request-groups", Source::Groups(',')),
                ("x-auth-request-preferred-username", Source::User),
            ],
            HeaderPreset::Forwarded => &[
                ("x-forwarded-user", Source::Subject),
                ("x-forwarded-email", Source::Email),
                ("x-forwarded-groups", Source::Groups(',')),
                ("x-forwarded-preferred-username", Source::User),
            ],
            HeaderPreset::Authelia => &[
                ("remote-user", Source::User),
                ("remote-groups", Source::Groups(',')),
                ("remote-name", Source::Name),
                ("remote-email", Source::Email),
            ],
            HeaderPreset::Authentik => &[
                ("x-authentik-username", Source::User),
                ("x-authentik-groups", Source::Groups('|')),
                ("x-authentik-email", Source::Email),
                ("x-authentik-name", Source::Name),
                ("x-authentik-uid", Source::Subject),
            ],
        };
        table
            .iter()
            .map(|(name, source)| HeaderRule { name: HeaderName::from_static(name), source: source.clone() })
            .collect()
    }
}

impl Default for HeaderRules {
    fn default() -> Self {
        HeaderRules::from(HeaderPreset::default())
    }
}

impl From<HeaderPreset> for HeaderRules {
    fn from(preset: HeaderPreset) -> Self {
        HeaderRules { rules: preset.rules(), custom: false }
    }
}

impl HeaderRules {
    /// Tells nothing.
    pub fn none() -> Self {
        HeaderRules { rules: Vec::new(), custom: false }
    }

    /// Reads the name of a preset, or `Name=claim` pairs separated by commas: `X-User=email, X-Teams=groups`.
    ///
    /// A claim of several values is joined by commas. Names that frame a message, route it or carry credentials are refused.
    pub fn parse(text: &str) -> Result<Self, HeaderRulesError> {
        let text = text.trim();
        if let Some(preset) = HeaderPreset::parse(text) {
            return Ok(preset.into());
        }
        let mut rules: Vec<HeaderRule> = Vec::new();
        for entry in text.split(',').map(str::trim) {
            if entry.is_empty() {
                return Err(HeaderRulesError::Empty);
            }
            let form = || HeaderRulesError::Form(entry.to_owned());
            let (name, claim) = entry.split_once('=').ok_or_else(form)?;
            let (name, claim) = (name.trim(), claim.trim());
            if claim.is_empty() {
                return Err(form());
            }
            let wrong = |_| HeaderRulesError::Name(name.to_owned());
            let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(wrong)?;
            if is_protected(parsed.as_str()) {
                return Err(HeaderRulesError::Protected(name.to_owned()));
            }
            if rules.iter().any(|rule| rule.name == parsed) {
                return Err(HeaderRulesError::Twice(name.to_owned()));
            }
            if rules.len() == HEADER_RULES_LEN_MAX {
                return Err(HeaderRulesError::TooMany);
            }
            rules.push(HeaderRule { name: parsed, source: Source::of(claim) });
        }
        Ok(HeaderRules { rules, custom: true })
    }

    /// Every name that these rules may set. All of them are removed from what a client sends.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.rules.iter().map(|rule| &rule.name)
    }

    /// True when the names were written by hand. The operator says which of those may be (`auth.headers`).
    pub fn is_custom(&self) -> bool {
        self.custom
    }

    /// The claims that these rules need beyond the fields of [`Identity`].
    pub fn extra_claims(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().filter_map(|rule| match &rule.source {
            Source::Claim(name) => Some(name.as_str()),
            Source::Subject | Source::User | Source::Name | Source::Email | Source::Groups(_) => None,
        })
    }

    /// What the application is told about `identity`; names without a value are left out.
    pub fn values<'r>(
        &'r self,
        identity: &'r Identity,
    ) -> impl Iterator<Item = (&'r HeaderName, HeaderValue)> {
        self.rules.iter().filter_map(|rule| Some((&rule.name, rule.source.value(identity)?)))
    }

    /// Removes every name of these rules from `headers`, then sets what is known of `identity`.
    pub fn apply(&self, identity: Option<&Identity>, headers: &mut HeaderMap) {
        for rule in &self.rules {
            match identity.and_then(|identity| rule.source.value(identity)) {
                Some(value) => {
                    headers.insert(&rule.name, value);
                }
                None => {
                    headers.remove(&rule.name);
                }
            }
        }
    }
}

impl Source {
    fn of(claim: &str) -> Self {
        match claim {
            "sub" => Source::Subject,
            "preferred_username" => Source::User,
            "name" => Source::Name,
            "email" => Source::Email,
            "groups" => Source::Groups(','),
            other => Source::Claim(other.to_owned()),
        }
    }

    fn value(&self, identity: &Identity) -> Option<HeaderValue> {
        match self {
            Source::Subject => one(&identity.subject),
            Source::User => one(&identity.user),
            Source::Name => one(identity.name.as_deref()?),
            Source::Email => one(identity.email.as_deref()?),
            Source::Groups(separator) => list(&identity.groups, *separator),
            Source::Claim(name) => list(identity.claims.get(name)?, ','),
        }
    }
}

fn one(text: &str) -> Option<HeaderValue> {
    if text.is_empty() {
        return None;
    }
    if text.bytes().all(is_plain) {
        return HeaderValue::from_str(text).ok();
    }
    let mut encoded = String::with_capacity(text.len() + 8);
    encode(text, None, &mut encoded);
    HeaderValue::from_maybe_shared(bytes::Bytes::from(encoded)).ok()
}

fn list(values: &Texts, separator: char) -> Option<HeaderValue> {
    let said = || values.iter().filter(|value| !value.is_empty());
    // Exactly what is needed where nothing is encoded: a value with room to spare is moved once more.
    let mut joined = String::with_capacity(values.bytes_len() + said().count().saturating_sub(1));
    for value in said() {
        if !joined.is_empty() {
            joined.push(separator);
        }
        encode(value, Some(separator), &mut joined);
    }
    if joined.is_empty() {
        return None;
    }
    HeaderValue::from_maybe_shared(bytes::Bytes::from(joined)).ok()
}

fn encode(text: &str, separator: Option<char>, into: &mut String) {
    let stays = |byte: u8| is_plain(byte) && separator != Some(char::from(byte));
    // Nearly all of them do, and are copied whole.
    if text.bytes().all(stays) {
        into.push_str(text);
        return;
    }
    for byte in text.bytes() {
        if stays(byte) {
            into.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(into, "%{byte:02X}");
        }
    }
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'%'
}

/// Folded as applications do that take `_` and `.` for `-`.
fn is_protected(name: &str) -> bool {
    let folded: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    PROTECTED.contains(&folded.as_str())
        || PROTECTED_PREFIXES.iter().any(|prefix| folded.starts_with(prefix))
            && !PRESET_PREFIXES.iter().any(|prefix| folded.starts_with(prefix))
}

/// Headers that one route may set.
pub const HEADER_RULES_LEN_MAX: usize = 16;

const PROTECTED: [&str; 27] = [
    "accept",
    "accept-encoding",
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "origin",
    "proxy",
    "range",
    "referer",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-real-ip",
    "x-request-id",
];
/// What the edge says of the request itself, and what browsers say of its circumstances.
const PROTECTED_PREFIXES: [&str; 6] =
    ["x-forwarded-", "x-original-", "proxy-", "sec-", "if-", "access-control-"];
/// Identity among the forwarding headers.
const PRESET_PREFIXES: [&str; 5] = [
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-preferred-username",
    "x-forwarded-access-token",
];
