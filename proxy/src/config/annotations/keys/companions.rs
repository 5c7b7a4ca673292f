//! Readers of the keys about error pages and mirrors. Their errors follow "cannot be used:".

use http::{HeaderValue, StatusCode};

use super::{Key, Setter, Takes, key, text};
use crate::config::values::items;
use crate::request::external::Template;

pub(super) const CUSTOM_HTTP_ERRORS: Key = text(
    "custom-http-errors",
    Takes::Ingress,
    "statuses from 400 to 599 such as \"404, 503\"",
    |a, value| codes(value).map(|codes| a.errors.codes = Some(codes)),
    "Statuses for which default-backend is asked for a page, by GET / with X-Code, X-Format, X-Original-URI and the like; what it \
     answers is the answer.",
);

pub(super) const DEFAULT_BACKEND: Key = text(
    "default-backend",
    Takes::Ingress,
    "the name of a Service of the same namespace",
    |a, value| {
        let clean =
            value.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if value.is_empty() || !clean {
            return Err("it is no name of a Service".into());
        }
        a.errors.backend = Some(value.into());
        Ok(())
    },
    "A Service, by its first port, that takes the requests of one without endpoints and writes the pages of custom-http-errors.",
);

pub(super) const EDGE_ERRORS_ONLY: Key = key(
    "disable-proxy-intercept-errors",
    Takes::Ingress,
    Setter::Flag(|a| &mut a.errors.edge_only),
    "Whether answers of the backend keep their own pages, whatever custom-http-errors says. Default: false.",
);

pub(super) const MIRROR_TARGET: Key = text(
    "mirror-target",
    Takes::Ingress,
    "a URL such as \"https://test.example$request_uri\"",
    |a, value| {
        if !value.starts_with("http://") && !value.starts_with("https://") {
            return Err("it is no http or https URL".into());
        }
        Template::parse(value).map_err(|error| error.to_string())?;
        a.mirror.target = Some(value.into());
        Ok(())
    },
    "Who gets a copy of each request, whose answers are thrown away; without a path, the path of the request. Bodies longer than \
     64 kB, or of unknown length, are not copied, and neither are their requests.",
);

pub(super) const MIRROR_HOST: Key = text(
    "mirror-host",
    Takes::Ingress,
    "a host name",
    |a, value| {
        let authority: http::uri::Authority = value.parse().map_err(|_| "it is no host name")?;
        if authority.as_str().contains('@') {
            return Err("it is no host name".into());
        }
        a.mirror.host = Some(HeaderValue::from_str(value).map_err(|_| "it is no host name")?);
        Ok(())
    },
    "The Host of the copies. Default: that of mirror-target.",
);

pub(super) const MIRROR_BODY: Key = key(
    "mirror-request-body",
    Takes::Ingress,
    Setter::Flag(|a| &mut a.mirror.body),
    "Whether copies have the body of the request. Default: on.",
);

/// Statuses of errors.
pub(super) fn codes(value: &str) -> Result<Vec<StatusCode>, String> {
    let code = |item: &str| {
        let code = item.parse::<u16>().ok().filter(|code| (400..600).contains(code));
        code.and_then(|code| StatusCode::from_u16(code).ok())
            .ok_or_else(|| format!("`{item}` is no status of an error (400 to 599)"))
    };
    let codes: Vec<StatusCode> = items(value).map(code).collect::<Result<_, _>>()?;
    if codes.is_empty() { Err("it is empty".into()) } else { Ok(codes) }
}
