//! A name server that takes updates (RFC 2136), signed with a shared key (TSIG, RFC 8945): BIND, Knot, PowerDNS.

use std::net::SocketAddr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::rdata::tsig::{TsigAlgorithm, TsigError};
use hickory_proto::rr::{DNSClass, RData, Record, RecordType, TSigner};

use super::{DnsProvider, ProviderError, Zone};
use crate::Clock;
use crate::dns::{DnsError, exchange_tcp, parse, question, text};
use crate::http::BoxFuture;
use crate::secret::Secret;

/// One key on one server.
pub struct Rfc2136 {
    server: SocketAddr,
    signer: TSigner,
    clock: Clock,
}

/// How updates are signed. MD5 and SHA-1 are not offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    HmacSha256,
    HmacSha384,
    HmacSha512,
}

/// Why a key cannot be used. The words hold nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the name of the key is no name of DNS")]
    Name,
    #[error("the key is not base64: copy the text between the quotes after `secret` in the server's file")]
    NotBase64,
    #[error("the key cannot be used with this algorithm")]
    Unusable,
}

impl Rfc2136 {
    /// `key` is base64, as `tsig-keygen` prints it.
    pub fn new(
        server: SocketAddr,
        key_name: &str,
        algorithm: Algorithm,
        key: &Secret,
        clock: Clock,
    ) -> Result<Rfc2136, KeyError> {
        let name = parse(key_name).map_err(|_| KeyError::Name)?;
        let bytes = BASE64_STANDARD.decode(key.expose().trim()).map_err(|_| KeyError::NotBase64)?;
        let algorithm = match algorithm {
            Algorithm::HmacSha256 => TsigAlgorithm::HmacSha256,
            Algorithm::HmacSha384 => TsigAlgorithm::HmacSha384,
            Algorithm::HmacSha512 => TsigAlgorithm::HmacSha512,
        };
        let signer = TSigner::new(bytes, algorithm, name, FUDGE_SECONDS).map_err(|_| KeyError::Unusable)?;
        Ok(Rfc2136 { server, signer, clock })
    }

    /// Sends one update (RFC 2136 §2.5) and believes only an answer that the key has signed.
    async fn update(&self, zone: &Zone, updates: Vec<Record>) -> Result<(), ProviderError> {
        let refused = |error: &dyn std::fmt::Display| ProviderError::Refused(error.to_string());
        let mut message = Message::query();
        message.metadata.op_code = OpCode::Update;
        message.metadata.recursion_desired = false;
        // What is the question elsewhere is the zone here, and the authorities are the updates.
        message.queries.push(Query::query(name(&zone.name)?, RecordType::SOA));
        message.authorities = updates;
        let now = u64::try_from((self.clock)().as_second()).unwrap_or_default();
        let (signature, verifier) =
            self.signer.sign_message(&message, now).map_err(|error| refused(&error))?;
        message.set_signature(signature);
        let bytes = message.to_vec().map_err(|error| refused(&error))?;
        let answer = exchange_tcp(self.server, &bytes).await.map_err(unavailable)?;
        let parsed = Message::from_vec(&answer).map_err(|error| refused(&error))?;
        match parsed.metadata.response_code {
            ResponseCode::NoError => {}
            code => return Err(self.classify(code, &parsed, zone)),
        }
        let mut verifier = verifier.ok_or_else(|| refused(&"the request was not signed"))?;
        verifier.verify(&answer).map(drop).map_err(|_| {
            let words = format!(
                "{}: its answer is not signed with the key; it may come from someone else",
                self.server
            );
            ProviderError::Credentials(words)
        })
    }

    fn classify(&self, code: ResponseCode, answer: &Message, zone: &Zone) -> ProviderError {
        let signature = answer.signature.as_ref().map(|record| &record.data);
        let (server, key, zone) = (self.server, text(self.signer.signer_name()), &zone.name);
        match (code, signature.and_then(|tsig| tsig.error)) {
            (_, Some(TsigError::BadTime)) => {
                let theirs = signature.map(|tsig| tsig.time).unwrap_or_default();
                let ours = (self.clock)().as_second();
                ProviderError::Credentials(format!(
                    "{server} says that the clocks differ: it is {ours} here and was {theirs} in its answer; set them"
                ))
            }
            (_, Some(TsigError::BadKey)) => {
                ProviderError::Credentials(format!("{server} does not know the key `{key}`"))
            }
            (_, Some(TsigError::BadSig)) => {
                ProviderError::Credentials(format!("{server} has another secret for the key `{key}`"))
            }
            (ResponseCode::NotAuth, _) => ProviderError::Credentials(format!(
                "{server} does not take the key `{key}`, or is not primary for {zone}"
            )),
            (ResponseCode::Refused, _) => ProviderError::Credentials(format!(
                "{server} does not let the key `{key}` change TXT records in {zone}"
            )),
            (ResponseCode::NotZone, _) => {
                ProviderError::Refused(format!("{server} is not primary for {zone}"))
            }
            (ResponseCode::ServFail, _) => {
                ProviderError::Unavailable(format!("{server} answers SERVFAIL for {zone}"))
            }
            (code, _) => ProviderError::Refused(format!("{server} answers {code}")),
        }
    }
}

impl DnsProvider for Rfc2136 {
    fn kind(&self) -> &'static str {
        "the name server"
    }

    fn zone<'a>(&'a self, zone: &'a str) -> BoxFuture<'a, Result<Option<Zone>, ProviderError>> {
        Box::pin(async move {
            let wanted = name(zone)?;
            let bytes = question(&wanted, RecordType::SOA, false).to_vec();
            let bytes = bytes.map_err(|error| ProviderError::Refused(error.to_string()))?;
            let answer = exchange_tcp(self.server, &bytes).await.map_err(unavailable)?;
            let answer =
                Message::from_vec(&answer).map_err(|error| ProviderError::Refused(error.to_string()))?;
            let is_apex = answer.metadata.authoritative
                && answer
                    .answers
                    .iter()
                    .any(|record| record.name == wanted && record.record_type() == RecordType::SOA);
            Ok(is_apex.then(|| Zone::new(zone, "")))
        })
    }

    fn add<'a>(
        &'a self,
        zone: &'a Zone,
        record: &'a str,
        values: &'a [String],
    ) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(async move {
            let owner = name(record)?;
            let add = |value: &String| Record::from_rdata(owner.clone(), TTL, txt(value));
            self.update(zone, values.iter().map(add).collect()).await
        })
    }

    fn remove<'a>(
        &'a self,
        zone: &'a Zone,
        record: &'a str,
        values: &'a [String],
    ) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(async move {
            let owner = name(record)?;
            // Exactly this value (§2.5.4): class NONE, TTL 0.
            let delete = |value: &String| {
                let mut record = Record::from_rdata(owner.clone(), 0, txt(value));
                record.dns_class = DNSClass::NONE;
                record
            };
            self.update(zone, values.iter().map(delete).collect()).await
        })
    }
}

fn txt(value: &str) -> RData {
    RData::TXT(TXT::new(vec![value.to_owned()]))
}

fn name(text: &str) -> Result<hickory_proto::rr::Name, ProviderError> {
    parse(text).map_err(|error| ProviderError::Refused(error.to_string()))
}

fn unavailable(error: DnsError) -> ProviderError {
    ProviderError::Unavailable(error.to_string())
}

/// How far clocks may differ (RFC 8945 §10 recommends it).
const FUDGE_SECONDS: u16 = 300;
/// Seconds that others may keep a value.
const TTL: u32 = 60;

#[cfg(test)]
mod tests;
