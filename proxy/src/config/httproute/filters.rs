//! The filters of an HTTPRoute rule and of its backends. A filter that cannot be used is never skipped: its rule answers 500.

use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode};

use crate::config::cors::parse_origin;
use crate::config::objects::httproute::{
    BackendReference, CorsFilter, ExternalAuth, FilterType, HeaderModifier, HttpRouteFilter, PathModifier,
    PathModifierType, RequestMirror, RequestRedirect, UrlRewrite,
};
use crate::config::objects::metadata::{Known, Words};
use crate::config::problem::Kind;
use crate::config::values::{parse_header, parse_header_name};
use crate::request::target::Scheme;
use crate::route::host::Host;
use crate::route::{Cors, HeaderEdits, PathRewrite, Redirect, Rewrite};

/// The filters of one rule, together.
#[derive(Debug, Default)]
pub(super) struct Filters {
    pub(super) request_headers: HeaderEdits,
    pub(super) response_headers: HeaderEdits,
    pub(super) redirect: Option<Redirect>,
    pub(super) rewrite: Option<Rewrite>,
    pub(super) cors: Option<Arc<Cors>>,
    pub(super) mirrors: Vec<WantedMirror>,
    pub(super) external_auth: Option<WantedAuth>,
}

/// An `ExternalAuth` whose backend is still to be found.
#[derive(Debug)]
pub(super) struct WantedAuth {
    /// Index of its filter.
    pub(super) position: usize,
    pub(super) filter: ExternalAuth,
    pub(super) target: BackendReference,
}

/// A `RequestMirror` whose backend is still to be found.
#[derive(Debug)]
pub(super) struct WantedMirror {
    /// Index of its filter.
    pub(super) position: usize,
    pub(super) target: BackendReference,
    pub(super) numerator: u32,
    pub(super) denominator: u32,
}

/// Index of the filter, Gateway API's word, and the words for people.
type Fault = (usize, &'static str, String);

/// Reads the filters of a rule of a route of this kind; `only_prefixes` says that all of its matches are path prefixes.
pub(super) fn lower(route: Kind, filters: &[HttpRouteFilter], only_prefixes: bool) -> Result<Filters, Fault> {
    let mut lowered = Filters::default();
    let mut seen: Vec<FilterType> = Vec::new();
    for (position, filter) in filters.iter().enumerate() {
        let kind = known(filter).map_err(|message| (position, "UnsupportedValue", message))?;
        if route == Kind::GRPCRoute && !is_for_grpc(kind) {
            let message = format!("{} is no filter of a GRPCRoute", kind.as_str());
            return Err((position, "UnsupportedValue", message));
        }
        if kind != FilterType::RequestMirror && seen.contains(&kind) {
            let message = format!("the filter {} may stand in a rule once", kind.as_str());
            return Err((position, "IncompatibleFilters", message));
        }
        let other = match kind {
            FilterType::RequestRedirect => FilterType::UrlRewrite,
            _ => FilterType::RequestRedirect,
        };
        if matches!(kind, FilterType::RequestRedirect | FilterType::UrlRewrite) && seen.contains(&other) {
            let message = "RequestRedirect and URLRewrite exclude each other: a redirect is not forwarded";
            return Err((position, "IncompatibleFilters", message.into()));
        }
        seen.push(kind);
        apply(&mut lowered, position, kind, filter, only_prefixes)
            .map_err(|message| (position, "UnsupportedValue", message))?;
    }
    Ok(lowered)
}

/// Reads the filters of one backend: only headers can be changed there.
pub(super) fn for_backend(filters: &[HttpRouteFilter]) -> Result<(HeaderEdits, HeaderEdits), Fault> {
    let mut edits = (HeaderEdits::default(), HeaderEdits::default());
    for (position, filter) in filters.iter().enumerate() {
        let fault = |message: String| (position, "UnsupportedValue", message);
        match known(filter).map_err(fault)? {
            FilterType::RequestHeaderModifier => {
                edits.0 = headers(filter.request_header_modifier.as_ref()).map_err(fault)?;
            }
            FilterType::ResponseHeaderModifier => {
                edits.1 = headers(filter.response_header_modifier.as_ref()).map_err(fault)?;
            }
            kind => {
                let message = format!("the filter {} is not supported on a backend", kind.as_str());
                return Err(fault(message));
            }
        }
    }
    Ok(edits)
}

/// The filters that a GRPCRoute may have (Gateway API v1, `GRPCRouteFilterType`).
fn is_for_grpc(kind: FilterType) -> bool {
    match kind {
        FilterType::RequestHeaderModifier
        | FilterType::ResponseHeaderModifier
        | FilterType::RequestMirror
        | FilterType::ExtensionRef => true,
        FilterType::RequestRedirect
        | FilterType::UrlRewrite
        | FilterType::Cors
        | FilterType::ExternalAuth => false,
    }
}

fn known(filter: &HttpRouteFilter) -> Result<FilterType, String> {
    match &filter.filter_type {
        Known::Value(kind) => Ok(*kind),
        Known::Unknown(word) => Err(format!("the filter `{word}` is not known")),
    }
}

fn apply(
    lowered: &mut Filters,
    position: usize,
    kind: FilterType,
    filter: &HttpRouteFilter,
    only_prefixes: bool,
) -> Result<(), String> {
    match kind {
        FilterType::RequestHeaderModifier => {
            lowered.request_headers = headers(filter.request_header_modifier.as_ref())?;
        }
        FilterType::ResponseHeaderModifier => {
            lowered.response_headers = headers(filter.response_header_modifier.as_ref())?;
        }
        FilterType::RequestRedirect => {
            lowered.redirect = Some(redirect(configured(&filter.request_redirect)?, only_prefixes)?);
        }
        FilterType::UrlRewrite => {
            lowered.rewrite = Some(rewrite(configured(&filter.url_rewrite)?, only_prefixes)?);
        }
        FilterType::RequestMirror => {
            lowered.mirrors.push(mirror(position, configured(&filter.request_mirror)?)?);
        }
        FilterType::Cors => lowered.cors = Some(Arc::new(cors(configured(&filter.cors)?)?)),
        FilterType::ExtensionRef => {
            return Err("no extension is known here: remove the filter ExtensionRef".into());
        }
        FilterType::ExternalAuth => {
            let filter = configured(&filter.external_auth)?.clone();
            let target = filter.backend_ref.clone().ok_or("the filter ExternalAuth has no `backendRef`")?;
            lowered.external_auth = Some(WantedAuth { position, filter, target });
        }
    }
    Ok(())
}

fn configured<T>(part: &Option<T>) -> Result<&T, String> {
    part.as_ref().ok_or_else(|| "the filter lacks the field that its type names".into())
}

fn headers(modifier: Option<&HeaderModifier>) -> Result<HeaderEdits, String> {
    let modifier = modifier.ok_or("the filter lacks the field that its type names")?;
    let pairs = |pairs: &[crate::config::objects::httproute::HeaderValuePair]| {
        pairs.iter().map(|pair| parse_header(&pair.name, &pair.value)).collect::<Result<Vec<_>, _>>()
    };
    Ok(HeaderEdits {
        set: pairs(&modifier.set)?,
        add: pairs(&modifier.add)?,
        remove: modifier.remove.iter().map(|name| parse_header_name(name)).collect::<Result<_, _>>()?,
    })
}

fn redirect(written: &RequestRedirect, only_prefixes: bool) -> Result<Redirect, String> {
    let scheme = match written.scheme.as_deref() {
        None => None,
        Some("http") => Some(Scheme::Http),
        Some("https") => Some(Scheme::Https),
        Some(word) => return Err(format!("`{word}` is no scheme: write http or https")),
    };
    let status = match written.status_code.unwrap_or(302) {
        code @ (301 | 302 | 303 | 307 | 308) => StatusCode::from_u16(code).unwrap_or(StatusCode::FOUND),
        code => return Err(format!("{code} is no redirect: write 301, 302, 303, 307 or 308")),
    };
    let host = match written.hostname.as_deref() {
        None => None,
        Some(host) => Some(Host::parse(host).map_err(|error| error.to_string())?.as_str().into()),
    };
    if written.port == Some(0) {
        return Err("0 is no port".into());
    }
    let path = written.path.as_ref().map(|path| path_rewrite(path, only_prefixes)).transpose()?;
    Ok(Redirect { scheme, host, port: written.port, path, status })
}

fn rewrite(written: &UrlRewrite, only_prefixes: bool) -> Result<Rewrite, String> {
    let host = match written.hostname.as_deref() {
        None => None,
        Some(host) => {
            let host = Host::parse(host).map_err(|error| error.to_string())?;
            Some(HeaderValue::from_str(host.as_str()).map_err(|error| error.to_string())?)
        }
    };
    let path = written.path.as_ref().map(|path| path_rewrite(path, only_prefixes)).transpose()?;
    Ok(Rewrite { host, path })
}

fn path_rewrite(written: &PathModifier, only_prefixes: bool) -> Result<PathRewrite, String> {
    let checked = |text: Option<&str>| -> Result<Arc<str>, String> {
        let text = text.ok_or("the path modifier lacks the field that its type names")?;
        let clean = text.bytes().all(|byte| (0x21..0x7f).contains(&byte) && !matches!(byte, b'?' | b'#'));
        if clean { Ok(Arc::from(text)) } else { Err(format!("`{}` is no path", text.escape_debug())) }
    };
    match &written.modifier_type {
        Known::Value(PathModifierType::ReplaceFullPath) => {
            let path = checked(written.replace_full_path.as_deref())?;
            if path.is_empty() || path.starts_with('/') {
                Ok(PathRewrite::Full(if path.is_empty() { "/".into() } else { path }))
            } else {
                Err(format!("the path `{path}` does not begin with `/`"))
            }
        }
        Known::Value(PathModifierType::ReplacePrefixMatch) if only_prefixes => {
            Ok(PathRewrite::Prefix(checked(written.replace_prefix_match.as_deref())?))
        }
        Known::Value(PathModifierType::ReplacePrefixMatch) => {
            Err("ReplacePrefixMatch needs matches of type PathPrefix alone".into())
        }
        Known::Unknown(word) => {
            Err(format!("`{word}` is no path modifier: write ReplaceFullPath or ReplacePrefixMatch"))
        }
    }
}

fn mirror(position: usize, written: &RequestMirror) -> Result<WantedMirror, String> {
    let (numerator, denominator) = match (written.percent, written.fraction) {
        (Some(_), Some(_)) => return Err("write percent or fraction, not both".into()),
        (Some(percent), None) => (percent, 100),
        (None, Some(fraction)) => (fraction.numerator, fraction.denominator.unwrap_or(100)),
        (None, None) => (1, 1),
    };
    if denominator == 0 || numerator > denominator {
        return Err(format!("{numerator} of {denominator} is no share"));
    }
    Ok(WantedMirror { position, target: written.backend_ref.clone(), numerator, denominator })
}

fn cors(written: &CorsFilter) -> Result<Cors, String> {
    let any = |items: &[Box<str>]| items.iter().any(|item| is_any(item));
    let names = |list: &[Box<str>]| {
        let named = list.iter().filter(|item| !is_any(item));
        named
            .map(|name| {
                http::HeaderName::from_bytes(name.as_bytes())
                    .map_err(|_| format!("`{name}` is no header name"))
            })
            .collect::<Result<Vec<_>, _>>()
    };
    let methods = written.allow_methods.iter().filter(|item| !is_any(item));
    let methods: Result<Vec<_>, _> = methods
        .map(|name| Method::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is no method")))
        .collect();
    let max_age = written.max_age.unwrap_or(CORS_MAX_AGE_DEFAULT);
    Ok(Cors {
        origins: written.allow_origins.iter().map(|origin| parse_origin(origin)).collect::<Result<_, _>>()?,
        methods: methods?,
        any_method: any(&written.allow_methods),
        headers: names(&written.allow_headers)?,
        any_header: any(&written.allow_headers),
        expose: names(&written.expose_headers)?,
        any_expose: any(&written.expose_headers),
        credentials: written.allow_credentials.unwrap_or(false),
        max_age: Some(u32::try_from(max_age).map_err(|_| format!("maxAge is {max_age}, less than zero"))?),
    })
}

fn is_any(item: &str) -> bool {
    item == "*"
}

/// Seconds (Gateway API v1, `HTTPCORSFilter.maxAge`).
const CORS_MAX_AGE_DEFAULT: i32 = 5;
