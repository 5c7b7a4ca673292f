//! Readers of the keys about client certificates. Their errors follow "cannot be used:".

use super::setters::location;
use super::{Key, Setter, Takes, guard, key, text};
use crate::config::annotations::VerifyClient;
use crate::route::RegexPattern;

pub(super) const SECRET: Key = guard(text(
    "auth-tls-secret",
    Takes::Ingress,
    "the name of a Secret, or namespace/name of its own namespace",
    |a, value| {
        let clean = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-./".contains(&byte));
        if value.is_empty() || !clean {
            return Err("it is no name of a Secret".into());
        }
        a.client.secret = Some(value.into());
        Ok(())
    },
    "A Secret whose ca.crt holds the authorities that client certificates must come from, and whose ca.crl, if any, those that were \
     revoked; for the whole host, and only over TLS.",
));

pub(super) const VERIFY: Key = guard(text(
    "auth-tls-verify-client",
    Takes::Ingress,
    "\"on\", \"optional\", \"optional_no_ca\" or \"off\"",
    |a, value| {
        a.client.verify = Some(match value {
            "on" => VerifyClient::On,
            "optional" => VerifyClient::Optional,
            "optional_no_ca" => VerifyClient::OptionalWithoutAuthority,
            "off" => VerifyClient::Off,
            _ => return Err("it is none of these words".into()),
        });
        Ok(())
    },
    "Whether a certificate is needed (on), is verified where one is shown (optional), or is only told of (optional_no_ca); else 400. \
     Default: on.",
));

pub(super) const DEPTH: Key = guard(text(
    "auth-tls-verify-depth",
    Takes::Ingress,
    "a number from 0 to 6",
    |a, value| {
        let depth = value.parse::<u32>().ok().filter(|depth| *depth <= DEPTH_MAX);
        a.client.depth = Some(depth.ok_or(format!("it is no number up to {DEPTH_MAX}"))?);
        Ok(())
    },
    "How many certificates may stand between the client's and an authority. Default: 1.",
));

pub(super) const SUBJECT: Key = guard(text(
    "auth-tls-match-cn",
    Takes::Ingress,
    "an expression that begins with CN=, such as \"CN=.*\\.example\\.com\"",
    |a, value| {
        if !value.starts_with("CN=") {
            return Err("it does not begin with `CN=`".into());
        }
        a.client.subject = Some(RegexPattern::search(value).map_err(|error| error.to_string())?);
        Ok(())
    },
    "An expression that is searched in the subject of the client certificate (\"CN=ada,O=Example\"); without a match 403.",
));

pub(super) const PASSES: Key = guard(key(
    "auth-tls-pass-certificate-to-upstream",
    Takes::Ingress,
    Setter::Flag(|a| &mut a.client.passes_certificate),
    "Whether the backend gets the certificate in ssl-client-cert, besides ssl-client-verify, -subject-dn and -issuer-dn.",
));

pub(super) const ERROR_PAGE: Key = text(
    "auth-tls-error-page",
    Takes::Ingress,
    "a URL such as \"https://example.com/no-certificate\"",
    |a, value| location(value).map(|location| a.client.error_page = Some(location)),
    "Where those are sent by 302 who have no good certificate, in place of 400.",
);

/// What the verifier bears (webpki).
const DEPTH_MAX: u32 = 6;
