//! The certificate of a client, where the host asks for one: whether it is good enough, and what the backend is told of it.
//!
//! The names of these headers were removed from every request before (`sanitize`), so they say only what is found here.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::redirect;
use crate::message::Response;
use crate::reject::Reject;
use crate::route::client_certificates::{ClientCertificates, Demand};
use crate::tls::accept::TlsInfo;

/// Judges the certificate of a TLS connection and writes into `headers` what it says. An answer in place of the backend's
/// sends people to the page for those who have none.
pub(super) fn judge(
    rules: &ClientCertificates,
    tls: &TlsInfo,
    headers: &mut HeaderMap,
) -> Result<Option<Response>, Reject> {
    let certificate = tls.client_certificate.as_deref();
    let fault = match (rules.demand, certificate) {
        (Demand::Required, None) => Some("no client certificate was sent"),
        (Demand::Required | Demand::IfShown, Some(_)) if !tls.client_verified => {
            Some("no authority that is trusted here has signed the client certificate")
        }
        (Demand::Required | Demand::IfShown | Demand::Nothing, _) => None,
    };
    if let Some(words) = fault {
        return match &rules.error_page {
            Some(page) => Ok(Some(redirect::to_fixed(page, StatusCode::FOUND))),
            None => Err(Reject::ClientCertificate(words)),
        };
    }
    let told = certificate.map(|certificate| certificate.told());
    if let Some(subject) = &rules.subject
        && !subject.is_match(told.map_or(b"", |told| told.subject.as_bytes()))
    {
        return Err(Reject::SubjectDenied);
    }
    let verified = match (certificate, tls.client_verified) {
        (None, _) => "NONE",
        (Some(_), true) => "SUCCESS",
        (Some(_), false) => "FAILED:unable to verify the certificate",
    };
    headers.insert(VERIFY, HeaderValue::from_static(verified));
    if let Some(told) = told {
        headers.insert(SUBJECT, told.subject.clone());
        headers.insert(ISSUER, told.issuer.clone());
        if rules.passes_certificate {
            headers.insert(CERTIFICATE, told.escaped_pem.clone());
        }
    }
    Ok(None)
}

const VERIFY: HeaderName = HeaderName::from_static("ssl-client-verify");
const SUBJECT: HeaderName = HeaderName::from_static("ssl-client-subject-dn");
const ISSUER: HeaderName = HeaderName::from_static("ssl-client-issuer-dn");
const CERTIFICATE: HeaderName = HeaderName::from_static("ssl-client-cert");
