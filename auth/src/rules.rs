//! Who may enter, and which requests need nobody.
//!
//! A [`Policy`] is read whole or not at all: an entry that cannot be read makes the route refuse every request, because a
//! rule that is left out would let in whom it was meant to keep out.

mod skip;
#[cfg(test)]
mod tests;

use std::fmt;

use http::Method;

use crate::identity::{Identity, OWN_CLAIMS};

pub use skip::Skip;

/// The rules of one route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Empty: everyone whom the provider knows.
    allow: Vec<Rule>,
    /// Wins over `allow`.
    deny: Vec<Rule>,
    skip: Vec<Skip>,
}

/// One entry of `auth-allow` or `auth-deny`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    Group(String),
    Subject(String),
    User(String),
    /// In lower case.
    Email(String),
    /// In lower case, without the `@`.
    Domain(String),
    Claim {
        name: String,
        value: String,
    },
}

/// Why rules cannot be used. Each names the entry that is wrong and the mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error("an entry is empty: remove the comma")]
    Empty,
    #[error(
        "`{0}` is not a rule: write group:NAME, email:ADDRESS, email:*@DOMAIN, domain:DOMAIN, user:NAME, sub:ID or \
         claim:NAME=VALUE"
    )]
    Form(String),
    #[error("`{0}` is not an address with exactly one `@`")]
    Address(String),
    #[error(
        "`{0}` is neither a path (/healthz), a prefix (/public/*) nor an expression (~^/v[0-9]+/status$)"
    )]
    Path(String),
    #[error(
        "`{0}` is not a path as it is matched: without query, dot segments, `//`, `\\`, `;` and `%`-encoded letters"
    )]
    NotNormal(String),
    #[error("`{0}` is not a method")]
    Method(String),
    #[error("`{entry}`: {cause}")]
    Expression { entry: String, cause: String },
    #[error("there are more than {RULES_LEN_MAX} entries")]
    TooMany,
}

/// Why someone who is known may not enter; for the page that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// None of the rules admits this identity. The words list what would (`group admins, or an address at example.com`).
    NotAllowed { wanted: String },
    /// The same, but the address would have done, had the provider vouched for it.
    EmailUnverified,
    /// A rule of `auth-deny` names this identity.
    Excluded,
}

impl Policy {
    /// Reads the values of `auth-allow`, `auth-deny` and `auth-skip`; an absent one asks for nothing.
    pub fn parse(allow: Option<&str>, deny: Option<&str>, skip: Option<&str>) -> Result<Self, RuleError> {
        Ok(Policy {
            allow: allow.map(parse_rules).transpose()?.unwrap_or_default(),
            deny: deny.map(parse_rules).transpose()?.unwrap_or_default(),
            skip: skip.map(Skip::parse_list).transpose()?.unwrap_or_default(),
        })
    }

    /// True for requests that need nobody. `path` is the normalised path, without a query.
    pub fn skips(&self, method: &Method, path: &str) -> bool {
        self.skip.iter().any(|skip| skip.matches(method, path))
    }

    /// Whether this identity may enter.
    pub fn judge(&self, identity: &Identity) -> Result<(), Denied> {
        // An address that nobody vouches for must not admit, and must not help to get round a denial either.
        let address = identity.email.as_deref().and_then(Address::parse);
        let verified = address.as_ref().filter(|_| identity.email_verified);
        let unreadable = identity.email.is_some() && address.is_none();
        if self
            .deny
            .iter()
            .any(|rule| rule.matches(identity, address.as_ref()) || unreadable && rule.is_about_address())
        {
            return Err(Denied::Excluded);
        }
        if self.allow.is_empty() || self.allow.iter().any(|rule| rule.matches(identity, verified)) {
            return Ok(());
        }
        if self.allow.iter().any(|rule| rule.matches(identity, address.as_ref())) {
            return Err(Denied::EmailUnverified);
        }
        Err(Denied::NotAllowed { wanted: describe(&self.allow) })
    }

    /// The claims that these rules need beyond the fields of [`Identity`].
    pub fn extra_claims(&self) -> impl Iterator<Item = &str> {
        self.allow.iter().chain(&self.deny).filter_map(|rule| match rule {
            Rule::Claim { name, .. } if !OWN_CLAIMS.contains(&name.as_str()) => Some(name.as_str()),
            Rule::Claim { .. }
            | Rule::Group(_)
            | Rule::Subject(_)
            | Rule::User(_)
            | Rule::Email(_)
            | Rule::Domain(_) => None,
        })
    }
}

impl Rule {
    fn parse(entry: &str) -> Result<Self, RuleError> {
        let form = || RuleError::Form(entry.to_owned());
        let (kind, value) = entry.split_once(':').ok_or_else(form)?;
        let (kind, value) = (kind.trim(), value.trim());
        if value.is_empty() {
            return Err(form());
        }
        match kind {
            "group" => Ok(Rule::Group(value.to_owned())),
            "user" => Ok(Rule::User(value.to_owned())),
            "sub" => Ok(Rule::Subject(value.to_owned())),
            "domain" => domain(value).map(Rule::Domain).ok_or_else(form),
            "email" => match value.strip_prefix("*@") {
                Some(rest) => domain(rest).map(Rule::Domain),
                None => Address::parse(value).map(|_| Rule::Email(value.to_ascii_lowercase())),
            }
            .ok_or_else(|| RuleError::Address(value.to_owned())),
            "claim" => {
                let (name, value) = value.split_once('=').ok_or_else(form)?;
                if name.is_empty() || value.is_empty() {
                    return Err(form());
                }
                Ok(Rule::Claim { name: name.to_owned(), value: value.to_owned() })
            }
            _ => Err(form()),
        }
    }

    fn matches(&self, identity: &Identity, address: Option<&Address<'_>>) -> bool {
        match self {
            Rule::Group(group) => identity.groups.contains(group),
            Rule::Subject(subject) => identity.subject == *subject,
            Rule::User(user) => identity.user == *user,
            Rule::Email(wanted) => address.is_some_and(|address| wanted.eq_ignore_ascii_case(address.whole)),
            Rule::Domain(wanted) => {
                address.is_some_and(|address| wanted.eq_ignore_ascii_case(address.domain))
            }
            // An address is one only as a whole, and only when it is vouched for.
            Rule::Claim { name, value } if name == "email" => {
                address.is_some_and(|address| value.eq_ignore_ascii_case(address.whole))
            }
            Rule::Claim { name, value } => identity.values(name).contains(&value.as_str()),
        }
    }
}

impl Rule {
    fn is_about_address(&self) -> bool {
        match self {
            Rule::Email(_) | Rule::Domain(_) => true,
            Rule::Claim { name, .. } => name == "email",
            Rule::Group(_) | Rule::Subject(_) | Rule::User(_) => false,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Group(group) => write!(f, "group {group}"),
            Rule::Subject(_) | Rule::User(_) | Rule::Email(_) => f.write_str("certain accounts"),
            Rule::Domain(domain) => write!(f, "an address at {domain}"),
            Rule::Claim { name, value } => write!(f, "{name} {value}"),
        }
    }
}

/// What would have helped. Who else may enter is not for everyone to read, so accounts are not named.
fn describe(rules: &[Rule]) -> String {
    let mut words: Vec<String> = rules.iter().map(Rule::to_string).collect();
    words.sort();
    words.dedup();
    words.join(", or ")
}

/// An address with exactly one `@`, and something on both sides of it.
struct Address<'a> {
    whole: &'a str,
    domain: &'a str,
}

impl<'a> Address<'a> {
    fn parse(whole: &'a str) -> Option<Self> {
        let (local, domain) = whole.split_once('@')?;
        let one = !local.is_empty() && !domain.is_empty() && !domain.contains('@');
        let clean = !whole.bytes().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control());
        (one && clean).then_some(Address { whole, domain })
    }
}

fn domain(text: &str) -> Option<String> {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.') || !byte.is_ascii();
    let is_one = !text.is_empty() && text.bytes().all(valid) && !text.starts_with('.');
    is_one.then(|| text.to_ascii_lowercase())
}

fn parse_rules(text: &str) -> Result<Vec<Rule>, RuleError> {
    entries(text)?.into_iter().map(Rule::parse).collect()
}

/// The entries of a list that is separated by commas or line ends. A line end at the very end separates nothing.
fn entries(text: &str) -> Result<Vec<&str>, RuleError> {
    let entries: Vec<&str> = text.trim_end().split([',', '\n']).map(str::trim).collect();
    if entries.iter().any(|entry| entry.is_empty()) {
        return Err(RuleError::Empty);
    }
    if entries.len() > RULES_LEN_MAX { Err(RuleError::TooMany) } else { Ok(entries) }
}

/// Entries in each of a route's three lists.
pub const RULES_LEN_MAX: usize = 128;
