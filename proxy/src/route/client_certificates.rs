//! What a host asks of the certificates of its clients (ingress-nginx, `auth-tls-*`).
//!
//! The handshake takes any certificate, or none: who may not enter is told so in an answer, which people can read, and not by a
//! connection that breaks.

use std::fmt;

use http::HeaderValue;

use super::RegexPattern;

/// The rules of one host. All its routes have them, whichever object they are of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    pub demand: Demand,
    /// Searched in the subject, as RFC 4514 writes it. Without a certificate the subject is empty.
    pub subject: Option<RegexPattern>,
    /// Whether the backend gets the certificate itself, besides what it says.
    pub passes_certificate: bool,
    /// Where those are sent who have no good certificate, in place of a refusal.
    pub error_page: Option<HeaderValue>,
}

/// Which certificates are good enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// One of the authorities has to have signed it (`on`).
    Required,
    /// The same of a certificate that is shown; none is good, too (`optional`).
    IfShown,
    /// Any, or none: the backend is told which it is (`optional_no_ca`).
    Nothing,
}

impl fmt::Display for ClientCertificates {
    /// `required, subject ^CN=.*\.example`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.demand {
            Demand::Required => "required",
            Demand::IfShown => "verified if shown",
            Demand::Nothing => "not verified",
        })?;
        match &self.subject {
            Some(subject) => write!(f, ", subject {}", subject.text()),
            None => Ok(()),
        }
    }
}
