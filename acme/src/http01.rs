//! Proving names by HTTP-01 (RFC 8555 §8.3): the answer is a token of the CA's and the thumbprint of our account's key, so
//! whoever knows the thumbprint can answer for any token. It is published once, and every replica answers from then on.
//!
//! The thumbprint is no secret. Who may publish it may have names proved to an account of their own: it is kept as Secrets are.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http::{Request, header};

use crate::dns::{Dns, Propagation};
use crate::http::Http;
use crate::name::{Name, is_within};

/// Proves names by answering on the plain listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http01 {
    /// Only names in these domains; empty takes any.
    pub zones: Vec<String>,
    /// Where a CA asks: 80 everywhere but in tests.
    pub port: u16,
    /// Whether, and how long, the answer is looked for before the CA is told to.
    pub propagation: Propagation,
}

/// Whether a name is proved by HTTP-01 where an issuer has solvers of both kinds, each with its zones: the longest zone
/// decides, and DNS where they are equal. Wildcards never are: HTTP-01 cannot.
pub fn is_proved_by_http<'z, Z: AsRef<str> + 'z>(
    name: &Name,
    by_http: impl Iterator<Item = &'z [Z]>,
    by_dns: impl Iterator<Item = &'z [Z]>,
) -> bool {
    let fit = |zones: &[Z]| match zones.is_empty() {
        true => Some(0),
        false => zones.iter().map(AsRef::as_ref).filter(|zone| name.is_within(zone)).map(str::len).max(),
    };
    !name.is_wildcard() && by_http.filter_map(fit).max() > by_dns.filter_map(fit).max()
}

/// What a CA wants to read for this token; `None` for one that is none, and for one of unreasonable length.
pub fn key_authorization(token: &str, thumbprint: &str) -> Option<String> {
    let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let is_token = (1..=TOKEN_LEN_MAX).contains(&token.len()) && token.bytes().all(is_base64url);
    is_token.then(|| format!("{token}.{thumbprint}"))
}

/// What the world gets that asks for a proof.
pub(crate) enum Answered {
    /// By every address of the name, what the CA wants.
    Rightly,
    /// In words, what else.
    Otherwise(String),
}

/// Asks every address of a name for its proof.
pub(crate) async fn ask(
    dns: &Dns,
    http: &dyn Http,
    port: u16,
    name: &Name,
    token: &str,
    wanted: &str,
) -> Answered {
    let addresses = match dns.addresses(name.as_str()).await {
        Ok(addresses) if addresses.is_empty() => {
            return Answered::Otherwise(format!("{name} has no address"));
        }
        Ok(addresses) => addresses,
        Err(error) => return Answered::Otherwise(error.to_string()),
    };
    for address in addresses {
        if let Err(words) = ask_one(http, SocketAddr::new(address, port), name, token, wanted).await {
            return Answered::Otherwise(words);
        }
    }
    Answered::Rightly
}

/// The words say nothing of a wrong answer's body: it is a stranger's.
async fn ask_one(
    http: &dyn Http,
    at: SocketAddr,
    name: &Name,
    token: &str,
    wanted: &str,
) -> Result<(), String> {
    let request = Request::get(format!("http://{at}{CHALLENGE_PATH}{token}"));
    let request = request.header(header::HOST, name.as_str()).body(Bytes::new());
    let answer = http.send(request.map_err(|error| error.to_string())?).await;
    let answer = answer.map_err(|error| format!("{at} does not answer: {error}"))?;
    match answer.status().as_u16() {
        200 if answer.body().trim_ascii_end() == wanted.as_bytes() => Ok(()),
        200 => Err(format!("{at} answers with something else; it may not be this edge")),
        status => Err(format!("{at} answers with the status {status}; it may not be this edge")),
    }
}

impl Http01 {
    pub(crate) fn is_for(&self, name: &Name) -> bool {
        self.zones.is_empty() || self.zones.iter().any(|zone| is_within(name.base(), zone))
    }
}

/// Where CAs ask, before the token.
pub const CHALLENGE_PATH: &str = "/.well-known/acme-challenge/";
/// Tokens have 128 bits at least, which are 22 characters; CAs use 43.
pub const TOKEN_LEN_MAX: usize = 128;
/// Addresses of one name that are asked.
pub(crate) const ADDRESSES_MAX: usize = 8;

/// For [`Dns::addresses`].
pub(crate) fn bounded(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = addresses.collect();
    all.sort_unstable();
    all.dedup();
    all.truncate(ADDRESSES_MAX);
    all
}

#[cfg(test)]
mod tests;
