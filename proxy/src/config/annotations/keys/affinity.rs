//! Readers of the keys that keep clients on endpoints. Their errors follow "cannot be used:".

use std::time::Duration;

use super::setters::absolute_path;
use super::{Key, Setter, Takes, key, text};
use crate::config::values::parse_header_name;
use crate::request::external::Template;
use crate::route::affinity::{Reach, SameSite};
use crate::route::host::Host;

pub(super) const AFFINITY: Key = text(
    "affinity",
    Takes::Ingress,
    "\"cookie\"",
    |a, value| match value {
        "cookie" => {
            a.affinity.by_cookie = true;
            Ok(())
        }
        _ => Err("only a cookie keeps clients on an endpoint".into()),
    },
    "Keeps a client on the endpoint that answered it first, by a cookie; on an HTTPRoute write sessionPersistence.",
);

pub(super) const MODE: Key = text(
    "affinity-mode",
    Takes::Ingress,
    "\"balanced\" or \"persistent\"",
    |a, value| {
        if !["balanced", "persistent"].contains(&value) {
            return Err("it is neither of the two".into());
        }
        a.affinity.mode = Some(());
        Ok(())
    },
    "Both are the same: a client stays for as long as its endpoint exists, also when others are added.",
);

pub(super) const CANARY_BEHAVIOR: Key = text(
    "affinity-canary-behavior",
    Takes::Ingress,
    "\"sticky\" or \"legacy\"",
    |a, value| {
        a.affinity.reach = Some(match value {
            "sticky" => Reach::AllBackends,
            "legacy" => Reach::OneBackend,
            _ => return Err("it is neither of the two".into()),
        });
        Ok(())
    },
    "Whether a client also stays with the canary, or away from it (sticky), or is chosen for it at each request (legacy). Default: sticky.",
);

pub(super) const NAME: Key = text(
    "session-cookie-name",
    Takes::Ingress,
    "the name of a cookie",
    |a, value| {
        // A token, as the name of a header is, but with its letter case (RFC 6265 §4.1.1).
        parse_header_name(value).map_err(|_| "it is no name of a cookie")?;
        a.affinity.name = Some(value.into());
        Ok(())
    },
    "The cookie of affinity. Default: INGRESSCOOKIE.",
);

pub(super) const PATH: Key = text(
    "session-cookie-path",
    Takes::Ingress,
    "a path such as \"/app\"",
    |a, value| {
        let path = absolute_path(value)?;
        if path.contains([';', ',']) {
            return Err("it holds a character that no cookie may".into());
        }
        a.affinity.path = Some((&*path).into());
        Ok(())
    },
    "The path of that cookie. Default: the path of the rule, or / where that is an expression.",
);

pub(super) const DOMAIN: Key = text(
    "session-cookie-domain",
    Takes::Ingress,
    "a domain such as \"example.com\"",
    |a, value| {
        let host = Host::parse(value.trim_start_matches('.')).map_err(|error| error.to_string())?;
        a.affinity.domain = Some(host.as_str().into());
        Ok(())
    },
    "The domain of that cookie. Default: none, which is the host alone.",
);

pub(super) const MAX_AGE: Key = text(
    "session-cookie-max-age",
    Takes::Ingress,
    SECONDS,
    |a, value| seconds(value).map(|seconds| a.affinity.max_age = Some(seconds)),
    "Seconds for which browsers keep that cookie (Max-Age). Default: until they are closed.",
);

pub(super) const EXPIRES: Key = text(
    "session-cookie-expires",
    Takes::Ingress,
    SECONDS,
    |a, value| seconds(value).map(|seconds| a.affinity.expires = Some(seconds)),
    "The same for very old browsers (Expires).",
);

pub(super) const SAME_SITE: Key = text(
    "session-cookie-samesite",
    Takes::Ingress,
    "\"None\", \"Lax\" or \"Strict\"",
    |a, value| {
        let words = [SameSite::None, SameSite::Lax, SameSite::Strict];
        let found = words.into_iter().find(|word| word.as_str().eq_ignore_ascii_case(value));
        a.affinity.same_site = Some(found.ok_or("it is none of these words")?);
        Ok(())
    },
    "SameSite of that cookie. Default: left out.",
);

pub(super) const SECURE: Key = key(
    "session-cookie-secure",
    Takes::Ingress,
    Setter::Flag(|a| &mut a.affinity.secure),
    "Whether that cookie is Secure also where the request came in the clear. Default: as the request.",
);

pub(super) const CHANGE_ON_FAILURE: Key = key(
    "session-cookie-change-on-failure",
    Takes::Ingress,
    Setter::Flag(|a| &mut a.affinity.moves_on_failure),
    "Whether a client stays with the endpoint that answered in place of its own, which failed. Default: false, it comes back.",
);

pub(super) const HASH_BY: Key = text(
    "upstream-hash-by",
    Takes::Routes,
    "a text with variables such as \"$request_uri\" or \"$http_x_tenant\"",
    |a, value| {
        let template = Template::parse(value).map_err(|error| error.to_string())?;
        if template.as_text().is_some() {
            return Err("it has no variable, so all requests would go to one endpoint".into());
        }
        a.affinity.hash_by = Some(template);
        Ok(())
    },
    "Requests for which this text is the same go to the same endpoint; few move when endpoints come and go.",
);

pub(super) const HASH_SUBSET: Key = key(
    "upstream-hash-by-subset",
    Takes::Routes,
    Setter::Flag(|a| &mut a.affinity.hash_subset),
    "Whether several endpoints share the requests of one text. Default: false.",
);

pub(super) const HASH_SUBSET_SIZE: Key = text(
    "upstream-hash-by-subset-size",
    Takes::Routes,
    "a number from 1 to 65535",
    |a, value| {
        let size = value.parse::<u16>().ok().filter(|size| *size > 0);
        a.affinity.hash_subset_size = Some(size.ok_or("it is no such number")?);
        Ok(())
    },
    "How many endpoints share them. Default: 3.",
);

fn seconds(value: &str) -> Result<Duration, String> {
    let seconds = value.parse::<u32>().map_err(|_| "it is no number of seconds")?;
    Ok(Duration::from_secs(u64::from(seconds)))
}

const SECONDS: &str = "a number of seconds";
