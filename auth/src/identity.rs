//! Who asks, whichever provider said so.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::texts::Texts;

/// Who asks. Text is as the provider gave it; what goes into headers is made safe by [`crate::headers`].
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The provider's own, unchanging name for this account: `sub`, or the user name of basic authentication. Never empty.
    pub subject: String,
    /// The name that people know it by: `preferred_username`; the subject where there is none.
    pub user: String,
    /// For display only.
    pub name: Option<String>,
    pub email: Option<String>,
    /// Rules about addresses count only addresses that the provider vouches for.
    pub email_verified: bool,
    pub groups: Texts,
    /// Further claims that rules or headers of some route ask for, each with all its values.
    pub claims: BTreeMap<String, Texts>,
}

/// What kind of thing a provider is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProviderKind {
    /// OpenID Connect: people log in, and a sealed cookie remembers them.
    Oidc,
    /// `Authorization: Bearer` with a JSON Web Token (RFC 6750, RFC 9068).
    Jwt,
    /// `Authorization: Basic` against an htpasswd file (RFC 7617).
    Basic,
    /// A server that is asked about every request.
    External,
}

/// What one provider says about one request. In a chain the first that does not say [`Answer::Absent`] decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This is who asks.
    Known(Box<Identity>),
    /// The request shows nothing that this provider could judge.
    Absent,
    /// The request shows something that is not good; 401.
    Invalid(Invalid),
    /// Nobody can tell at the moment; 503. The words are for the log.
    Unavailable(&'static str),
}

/// Why credentials are not good. Visitors hear none of this, save that `expired` and the like stand in
/// `WWW-Authenticate` (RFC 6750 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Invalid {
    #[error("the credentials cannot be read")]
    Malformed,
    #[error("the signature, the key or the algorithm is not acceptable")]
    Signature,
    #[error("the issuer is not the one that is asked for")]
    Issuer,
    #[error("the audience is not the one that is asked for")]
    Audience,
    #[error("the credentials have expired")]
    Expired,
    #[error("the credentials are not valid yet")]
    NotYet,
    #[error("the user or the password is wrong")]
    Password,
    #[error("the session was ended by its provider")]
    Revoked,
}

/// Which claims say what. Providers differ in little but this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimNames {
    /// Default: `preferred_username`.
    pub user: String,
    /// Default: `email`.
    pub email: String,
    /// Default: `groups`. A dotted path reaches into objects: `realm_access.roles`.
    pub groups: String,
    /// Takes an address whose `email_verified` is absent or false for verified; for providers that never say.
    pub trust_email: bool,
}

impl std::fmt::Debug for Identity {
    /// Claims by their names: one of them may be a token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Identity { subject, user, name, email, email_verified, groups, claims } = self;
        f.debug_struct("Identity")
            .field("subject", subject)
            .field("user", user)
            .field("name", name)
            .field("email", email)
            .field("email_verified", email_verified)
            .field("groups", groups)
            .field("claims", &claims.keys())
            .finish()
    }
}

impl Default for ClaimNames {
    fn default() -> Self {
        ClaimNames {
            user: "preferred_username".into(),
            email: "email".into(),
            groups: "groups".into(),
            trust_email: false,
        }
    }
}

impl Identity {
    /// An account that has no more than a name.
    pub fn named(user: &str) -> Self {
        Identity { subject: user.to_owned(), user: user.to_owned(), ..Identity::default() }
    }

    /// Reads the claims of a token or of the userinfo endpoint; `extra` are the claims that rules and headers name besides.
    /// `None` without a `sub`, which every one of them must have (OpenID Connect Core §5.1).
    pub fn from_claims(claims: &Map<String, Value>, names: &ClaimNames, extra: &[String]) -> Option<Self> {
        let text = |name: &str| find(claims, name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let subject = text("sub")?.to_owned();
        let verified = match claims.get("email_verified") {
            Some(Value::Bool(verified)) => *verified,
            // Some providers write it as a string.
            Some(Value::String(word)) => word == "true",
            Some(_) | None => false,
        };
        Some(Identity {
            user: text(&names.user).map_or_else(|| subject.clone(), str::to_owned),
            subject,
            name: text("name").map(str::to_owned),
            email: text(&names.email).map(str::to_owned),
            email_verified: verified || names.trust_email,
            groups: find(claims, &names.groups).map(texts).unwrap_or_default(),
            claims: extra
                .iter()
                .filter_map(|name| Some((name.clone(), texts(find(claims, name)?))))
                .filter(|(_, values)| !values.is_empty())
                .collect(),
        })
    }

    /// All values of a claim by its name in tokens, whether it has a field of its own or not.
    pub fn values<'i>(&'i self, claim: &str) -> Vec<&'i str> {
        match claim {
            "sub" => vec![&self.subject],
            "preferred_username" => vec![&self.user],
            "name" => self.name.as_deref().into_iter().collect(),
            "email" => self.email.as_deref().into_iter().collect(),
            "groups" => self.groups.iter().collect(),
            other => self.claims.get(other).into_iter().flat_map(Texts::iter).collect(),
        }
    }
}

/// True for claims that every identity has a field for, so that no provider has to be told to keep them.
pub fn has_field(claim: &str) -> bool {
    OWN_CLAIMS.contains(&claim)
}

/// The claims that have a field of their own in [`Identity`].
pub(crate) const OWN_CLAIMS: [&str; 5] = ["sub", "preferred_username", "name", "email", "groups"];

/// A claim by its name, else by a dotted path. Names such as `https://example.com/roles` hold dots themselves.
fn find<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    let mut steps = name.split('.');
    let mut value = claims.get(steps.next()?)?;
    for step in steps {
        value = value.as_object()?.get(step)?;
    }
    Some(value)
}

/// The values of a claim that can be compared with text. What is nested deeper says nothing here.
fn texts(value: &Value) -> Texts {
    match value {
        Value::Array(values) => values.iter().filter_map(text).collect(),
        other => text(other).into_iter().collect(),
    }
}

fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Bool(_) | Value::Number(_) => Some(Cow::Owned(value.to_string())),
        Value::Null | Value::Object(_) | Value::Array(_) => None,
    }
}
