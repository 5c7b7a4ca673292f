//! Who may use a route, and how that is found out: providers in order, the rules for whom they know, and the headers that tell
//! the application.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::auth::{HeaderRules, Policy};
use http::{HeaderMap, HeaderName};
use smallvec::SmallVec;

use crate::login::{OidcProvider, TokenIssuer};
use crate::request::external::{External, NamePattern};
use crate::request::identity::passwords::Basic;

/// The authentication of one route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// The first that finds something to judge decides. Never empty.
    pub chain: Box<[Arc<Provider>]>,
    /// Who of those that are known may enter, and which requests need nobody.
    pub policy: Policy,
    /// How the application is told; `None` where only the answers of an external provider tell it.
    pub headers: Option<HeaderRules>,
    pub satisfy: Satisfy,
    /// Every name that tells the application something here and that is not removed on every route anyway.
    pub told_by: ToldBy,
    /// What a request of somebody who is known begins ends after this, or with their session: tunnels, events, downloads.
    /// None: it goes on.
    pub stream_age: Option<Duration>,
}

/// A named way to find out who is asking, ready for use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// As routes name it; for one that an object defines by itself, what it is.
    pub name: Arc<str>,
    pub kind: ProviderKind,
}

/// The kinds of providers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderKind {
    External(Box<External>),
    /// People log in, and a cookie remembers them.
    Oidc(Arc<OidcProvider>),
    /// Bearer tokens.
    Jwt(Arc<TokenIssuer>),
    Basic(Basic),
}

/// How the check of addresses and the one of identity count together (`satisfy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Satisfy {
    /// Both have to pass.
    #[default]
    All,
    /// An allowed address needs no identity.
    Any,
}

/// Header names by which an application is told who asks, folded: every byte that is neither letter nor digit is the same one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToldBy(Box<[Folded]>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Folded {
    name: Box<[u8]>,
    /// Stands for all names that begin with it.
    is_prefix: bool,
}

impl ToldBy {
    pub fn new<'n>(patterns: impl IntoIterator<Item = &'n NamePattern>) -> Self {
        let folded = |text: &str| text.bytes().map(fold).collect();
        let mut names: Vec<Folded> = patterns
            .into_iter()
            .map(|pattern| match pattern {
                NamePattern::Exact(name) => Folded { name: folded(name.as_str()), is_prefix: false },
                NamePattern::Prefix(prefix) => Folded { name: folded(prefix), is_prefix: true },
            })
            .collect();
        names.sort();
        names.dedup();
        ToldBy(names.into())
    }

    /// Whether an application may take this name for one of ours.
    pub fn contains(&self, name: &HeaderName) -> bool {
        let name = name.as_str().as_bytes();
        self.0.iter().any(|known| {
            let length = known.name.len();
            let fits = if known.is_prefix { name.len() >= length } else { name.len() == length };
            fits && known.name.iter().zip(name).all(|(known, byte)| *known == fold(*byte))
        })
    }

    /// Removes every such name.
    pub fn strip(&self, headers: &mut HeaderMap) {
        if self.0.is_empty() {
            return;
        }
        let doomed: SmallVec<[HeaderName; 4]> =
            headers.keys().filter(|name| self.contains(name)).cloned().collect();
        for name in &doomed {
            headers.remove(name);
        }
    }
}

fn fold(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' }
}

impl fmt::Display for Auth {
    /// `jwt, else dex`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, provider) in self.chain.iter().enumerate() {
            write!(f, "{}{}", if index > 0 { ", else " } else { "" }, provider.name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
