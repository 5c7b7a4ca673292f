//! Questions to name servers: where a proof has to stand, and whether everyone can see it.
//!
//! Answers are taken as what a stranger says: their number, their names and their loops are bounded.

mod wire;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};

use crate::http01::bounded;
pub(crate) use wire::{exchange_tcp, question};

/// Whom to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Servers that find any name, tried in order. Usually those of `/etc/resolv.conf`.
    pub resolvers: Vec<SocketAddr>,
    /// The port of authoritative servers: 53 everywhere but in tests.
    pub authoritative_port: u16,
}

/// How to see that a record is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Propagation {
    pub check: Check,
    /// Waited after every server had it, or in the place of looking.
    pub delay: Duration,
    /// Given up after.
    pub timeout: Duration,
}

/// Who must have the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// Every authoritative server that the zone names.
    Authoritative,
    /// These servers, asked as authoritative ones: a hidden primary, or the outer side of a split horizon.
    Servers(Vec<SocketAddr>),
    /// The resolvers, which answer for the world.
    Resolvers(Vec<SocketAddr>),
    /// Nobody is asked.
    Off,
}

impl Default for Propagation {
    fn default() -> Self {
        let (delay, timeout) = (Duration::ZERO, Duration::from_secs(300));
        Propagation { check: Check::Authoritative, delay, timeout }
    }
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    #[error("{server} does not answer ({error})")]
    Silent { server: SocketAddr, error: String },
    #[error("{server} answers {code} for {name}")]
    Refused { server: SocketAddr, name: String, code: String },
    #[error("{server} answers nonsense: {error}")]
    Nonsense { server: SocketAddr, error: String },
    #[error("there is no resolver to ask: /etc/resolv.conf names none; set resolvers")]
    NoResolver,
    #[error("{0} is no name of DNS")]
    Name(String),
    #[error("the zone {0} names no server that has an address")]
    NoServer(String),
}

/// What one server said about a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub server: SocketAddr,
    /// The values there, or why they are not known.
    pub values: Result<Vec<String>, DnsError>,
}

impl Dns {
    /// Where the aliases of `name` end: itself where it is none. At most [`ALIASES_MAX`] steps; a loop ends where it began.
    pub async fn follow(&self, name: &str) -> Result<String, DnsError> {
        let mut current = name.to_owned();
        for _ in 0..ALIASES_MAX {
            let answer = self.ask_resolvers(&parse(&current)?, RecordType::CNAME).await?;
            let wanted = parse(&current)?;
            let next = answer.answers.iter().find_map(|record| match &record.data {
                RData::CNAME(target) if record.name == wanted => Some(text(&target.0)),
                _ => None,
            });
            match next {
                Some(next) if next != name => current = next,
                Some(_) => return Ok(name.to_owned()),
                None => return Ok(current),
            }
        }
        Ok(name.to_owned())
    }

    /// What each server that counts says about the TXT record `name`.
    pub async fn look(&self, check: &Check, zone: &str, name: &str) -> Result<Vec<Seen>, DnsError> {
        let (servers, is_recursive) = match check {
            Check::Off => return Ok(Vec::new()),
            Check::Authoritative => (self.authoritative(zone).await?, false),
            Check::Servers(servers) => (servers.clone(), false),
            Check::Resolvers(servers) if servers.is_empty() => (self.resolvers.clone(), true),
            Check::Resolvers(servers) => (servers.clone(), true),
        };
        let name = parse(name)?;
        let mut seen = Vec::with_capacity(servers.len());
        for server in servers {
            let answer = wire::exchange(server, &question(&name, RecordType::TXT, is_recursive)).await;
            let values = answer.and_then(|answer| txt_values(server, &name, &answer));
            seen.push(Seen { server, values });
        }
        Ok(seen)
    }

    /// The addresses of every server that the zone names.
    async fn authoritative(&self, zone: &str) -> Result<Vec<SocketAddr>, DnsError> {
        let answer = self.ask_resolvers(&parse(zone)?, RecordType::NS).await?;
        let names = answer.answers.iter().filter_map(|record| match &record.data {
            RData::NS(server) => Some(server.0.clone()),
            _ => None,
        });
        let names: Vec<Name> = names.take(SERVERS_MAX).collect();
        let mut servers = BTreeSet::new();
        for name in names {
            // One that cannot be found is none of those that can be asked.
            let addresses = self.addresses_of(&name).await.unwrap_or_default();
            let addresses = addresses.into_iter();
            servers.extend(addresses.map(|address| SocketAddr::new(address, self.authoritative_port)));
        }
        if servers.is_empty() {
            return Err(DnsError::NoServer(zone.to_owned()));
        }
        Ok(servers.into_iter().take(SERVERS_MAX).collect())
    }

    /// The addresses of a host, at most a handful; none where it has none.
    pub(crate) async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, DnsError> {
        Ok(bounded(self.addresses_of(&parse(host)?).await?.into_iter()))
    }

    /// The error is that of the last question, where no question has an answer.
    async fn addresses_of(&self, name: &Name) -> Result<Vec<IpAddr>, DnsError> {
        let (mut addresses, mut failed) = (Vec::new(), None);
        for record_type in [RecordType::A, RecordType::AAAA] {
            let answer = match self.ask_resolvers(name, record_type).await {
                Ok(answer) => answer,
                Err(error) => {
                    failed = Some(error);
                    continue;
                }
            };
            addresses.extend(answer.answers.iter().filter_map(|record| match &record.data {
                RData::A(address) => Some(IpAddr::V4(address.0)),
                RData::AAAA(address) => Some(IpAddr::V6(address.0)),
                _ => None,
            }));
        }
        // A host without addresses of one of the two kinds is usual.
        match failed {
            Some(error) if addresses.is_empty() => Err(error),
            Some(_) | None => Ok(addresses),
        }
    }

    /// The first resolver's answer that is one. A name that does not exist is an empty answer.
    async fn ask_resolvers(&self, name: &Name, record_type: RecordType) -> Result<Message, DnsError> {
        let mut last = DnsError::NoResolver;
        for server in &self.resolvers {
            match wire::exchange(*server, &question(name, record_type, true)).await {
                Ok(answer) => match answer.metadata.response_code {
                    ResponseCode::NoError | ResponseCode::NXDomain => return Ok(answer),
                    code => last = refused(*server, name, code),
                },
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// Judges what the servers said: `Ok` when the record is published with all `values`.
///
/// Every server that answered must have them, and more than half must have answered; one that is down does not stop the
/// rest, because the CA asks from several places and takes a majority itself.
pub fn judge(seen: &[Seen], values: &[String]) -> Result<(), String> {
    let has_all = |there: &[String]| values.iter().all(|value| there.contains(value));
    let answered = seen.iter().filter(|seen| seen.values.is_ok()).count();
    let lacking = seen.iter().any(|seen| seen.values.as_ref().is_ok_and(|there| !has_all(there)));
    if !lacking && answered * 2 > seen.len() {
        return Ok(());
    }
    Err(describe(seen))
}

/// What each server said, in one line.
pub fn describe(seen: &[Seen]) -> String {
    let each = seen.iter().map(|seen| match &seen.values {
        Ok(values) if values.is_empty() => format!("{} has no such record", seen.server),
        Ok(values) => format!("{} has {}", seen.server, values.join(", ")),
        Err(error) => error.to_string(),
    });
    let text = each.collect::<Vec<_>>().join("; ");
    if text.is_empty() { "no server was asked".to_owned() } else { text }
}

/// A name as DNS has it, absolute.
pub(crate) fn parse(name: &str) -> Result<Name, DnsError> {
    let mut parsed = Name::from_ascii(name).map_err(|_| DnsError::Name(name.to_owned()))?;
    parsed.set_fqdn(true);
    Ok(parsed)
}

/// A name as this crate has it: lower case, without the final dot.
pub(crate) fn text(name: &Name) -> String {
    let text = name.to_lowercase().to_ascii();
    text.strip_suffix('.').unwrap_or(&text).to_owned()
}

fn refused(server: SocketAddr, name: &Name, code: ResponseCode) -> DnsError {
    DnsError::Refused { server, name: text(name), code: code.to_string() }
}

/// Values may be split into strings of 255 bytes; the CA joins them. A resolver's answer may come with the aliases before it.
fn txt_values(server: SocketAddr, name: &Name, answer: &Message) -> Result<Vec<String>, DnsError> {
    match answer.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => {}
        code => return Err(refused(server, name, code)),
    }
    let values = answer.answers.iter().filter_map(|record| match &record.data {
        RData::TXT(value) => Some(String::from_utf8_lossy(&value.txt_data.concat()).into_owned()),
        _ => None,
    });
    Ok(values.take(VALUES_MAX).collect())
}

/// Steps of delegation that are followed.
pub const ALIASES_MAX: usize = 10;
/// Authoritative servers that are asked.
pub const SERVERS_MAX: usize = 32;
/// Values of one record that are looked at.
pub const VALUES_MAX: usize = 100;

#[cfg(test)]
pub(crate) mod tests;
