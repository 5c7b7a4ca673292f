//! External providers: from the words of settings, keys and filters to a server that can be asked.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};

use super::url::ServerUrl;
use super::{Home, OwnPath, OwnTarget};
use crate::config::backend::{Speech, Through, numbered_port};
use crate::config::lower::Scope;
use crate::config::objects::httproute::ExternalAuth;
use crate::config::values::parse_header_name;
use crate::request::external::{
    CACHE_DURATION_MAX, CacheRules, DEADLINE_MAX, External, IdentityNames, NamePattern,
    QUESTION_BODY_BYTES_MAX, QuestionMethod, QuestionTarget, Selection, Signin, Success, Template, may_tell,
    may_tell_all, usual_request_headers,
};
use crate::route::{Handling, PathPattern};
use crate::settings::providers::{
    AnswerCache, EXTERNAL_TIMEOUT, ExternalPreset, ExternalProvider, IdentityHeaders, Question, ServicePort,
};
use crate::upstream::{Backend, BackendProtocol, BackendTls, Verify};

/// A server that can be asked, with what its routes need besides.
#[derive(Clone, Debug)]
pub(super) struct Compiled {
    pub(super) external: External,
    pub(super) told_by: Vec<NamePattern>,
    pub(super) own_paths: Vec<OwnPath>,
}

/// What is written of a provider, apart from where it is.
pub(super) struct Manner {
    method: QuestionMethod,
    target: Option<Template>,
    pass_host: bool,
    request_headers: Selection,
    set_headers: Vec<(HeaderName, Template)>,
    response_headers: Vec<NamePattern>,
    /// Names that are told when the server says them, and otherwise are the client's to send.
    lenient: Vec<NamePattern>,
    require_headers: Vec<HeaderName>,
    identity: IdentityNames,
    body_bytes_max: u64,
    signin: Option<Signin>,
    own_paths: Vec<PathPattern>,
    cache: Option<CacheRules>,
    deadline: Duration,
}

/// Reads a provider of the settings or of a tenant's Secret. The error is for a sentence that begins with the provider.
pub(super) fn compile(
    scope: &mut Scope<'_>,
    written: &ExternalProvider,
    home: &Home,
) -> Result<Compiled, String> {
    let manner = Manner::of(written)?;
    let (backend, host, url_target) = match (&written.service, &written.url) {
        (Some(service), None) => {
            let (backend, host) = service_backend(scope, service, home)?;
            (backend, host, None)
        }
        (None, Some(url)) => {
            let url = ServerUrl::parse(url).map_err(|error| format!("has a bad `url`: {error}"))?;
            let backend = url_backend(scope, &url, home)?;
            (backend, url.host_header(), Some(url.target))
        }
        (Some(_), Some(_)) | (None, None) => return Err(ONE_PLACE.into()),
    };
    let target = manner.target.or(url_target).ok_or("has no path: write one under `path`")?;
    let host = HeaderValue::from_str(&host).map_err(|_| "has a host that is no header value")?;
    let own_paths =
        manner.own_paths.into_iter().map(|path| OwnPath { path, to: OwnTarget::Server(backend.clone()) });
    let own_paths = own_paths.collect();
    let selected = manner.response_headers.iter().chain(&manner.lenient).cloned().collect();
    Ok(Compiled {
        own_paths,
        told_by: manner.response_headers,
        external: External {
            backend,
            handling: Handling::default(),
            deadline: manner.deadline,
            method: manner.method,
            target: QuestionTarget::Fixed(target),
            host: (!manner.pass_host).then_some(host),
            request_headers: manner.request_headers,
            set_headers: manner.set_headers,
            redirect: None,
            body_bytes_max: manner.body_bytes_max,
            success: Success::Any2xx,
            response_headers: Selection::Only(selected),
            require_headers: manner.require_headers,
            identity: manner.identity,
            signin: manner.signin,
            cache: manner.cache,
        },
    })
}

impl Manner {
    /// Reads everything that can be read without objects; also how settings are checked.
    pub(super) fn of(written: &ExternalProvider) -> Result<Manner, String> {
        let preset = written.preset.map(Preset::of).unwrap_or_default();
        let target = written.path.as_deref().or(preset.path).map(path_template).transpose()?;
        let names = |list: &[Arc<str>], key: &str| patterns(list.iter().map(|name| &**name), key);
        let response_headers = match &written.response_headers {
            Some(list) => told_names(list.iter().map(|name| &**name), "responseHeaders")?,
            None => told_names(preset.response_headers.iter().copied(), "responseHeaders")?,
        };
        let lenient = match written.response_headers {
            Some(_) => Vec::new(),
            None => {
                preset.lenient.iter().map(|name| NamePattern::Exact(HeaderName::from_static(name))).collect()
            }
        };
        let request_headers = match &written.request_headers {
            Some(list) if list.iter().any(|name| &**name == "*") => Selection::All,
            Some(list) => Selection::Only(names(list, "requestHeaders")?),
            None if written.preset.is_some() => usual_request_headers(),
            None => Selection::All,
        };
        let require_headers: Vec<&str> = match &written.require_headers {
            Some(list) => list.iter().map(|name| &**name).collect(),
            None => preset.require_headers.to_vec(),
        };
        let require_headers: Result<Vec<_>, String> =
            require_headers.into_iter().map(|text| name(text, "requireHeaders")).collect();
        let own_paths: Vec<&str> = match &written.own_paths {
            Some(list) => list.iter().map(|path| &**path).collect(),
            None => preset.own_paths.to_vec(),
        };
        let own_paths: Result<Vec<_>, String> = own_paths.into_iter().map(own_path).collect();
        let signin = written.signin.as_deref().or(preset.signin);
        let signin = signin.map(|text| signin_of(text, written.signin_parameter.as_deref())).transpose()?;
        let set_headers: Result<Vec<_>, String> =
            written.set_headers.iter().map(|(name, value)| set_header(name, value)).collect();
        let deadline = written.timeout;
        if deadline.is_zero() || deadline > DEADLINE_MAX {
            return Err(format!(
                "has a `timeout` of {deadline:?}: write one above 0 and up to {DEADLINE_MAX:?}"
            ));
        }
        let body_bytes_max = written.forward_body.0;
        if body_bytes_max > QUESTION_BODY_BYTES_MAX {
            return Err(format!("has a `forwardBody` above {QUESTION_BODY_BYTES_MAX} bytes"));
        }
        Ok(Manner {
            method: match written.method {
                Question::Get => QuestionMethod::Fixed(Method::GET),
                Question::Head => QuestionMethod::Fixed(Method::HEAD),
                Question::Post => QuestionMethod::Fixed(Method::POST),
                Question::Preserve => QuestionMethod::Preserve,
            },
            target,
            pass_host: written.pass_host,
            request_headers,
            set_headers: set_headers?,
            response_headers,
            lenient,
            require_headers: require_headers?,
            identity: identity_names(&preset, written.identity.as_ref())?,
            body_bytes_max,
            signin,
            own_paths: own_paths?,
            cache: written.cache.as_ref().map(cache).transpose()?,
            deadline,
        })
    }
}

/// The filter `ExternalAuth` of an HTTPRoute rule, where its backend was found.
pub(crate) fn filter(written: &ExternalAuth, backend: Arc<Backend>) -> Result<External, String> {
    match written.protocol.as_deref() {
        Some("HTTP") => {}
        Some("GRPC") => return Err("ext_authz by gRPC is not supported: write `protocol: HTTP`".into()),
        Some(word) => return Err(format!("`{word}` is no protocol: write HTTP")),
        None => return Err("the filter has no `protocol`: write HTTP".into()),
    }
    let http = written.http.clone().unwrap_or_default();
    let prefix = http.path.as_deref().unwrap_or_default().trim_end_matches('/');
    let prefix = if prefix.is_empty() { Ok(String::new()) } else { plain_path(prefix) }?;
    let request_headers = patterns(http.allowed_headers.iter().map(|name| &**name), "allowedHeaders")?;
    let always = [http::header::AUTHORIZATION, http::header::CONTENT_TYPE].map(NamePattern::Exact);
    let response_headers = match &*http.allowed_response_headers {
        [] => Selection::All,
        list => Selection::Only(told_names(list.iter().map(|name| &**name), "allowedResponseHeaders")?),
    };
    let body_bytes_max = u64::from(written.forward_body.as_ref().map_or(0, |body| body.max_size));
    if body_bytes_max > QUESTION_BODY_BYTES_MAX {
        return Err(format!("forwardBody.maxSize is above {QUESTION_BODY_BYTES_MAX}"));
    }
    Ok(External {
        backend,
        handling: Handling::default(),
        deadline: EXTERNAL_TIMEOUT,
        method: QuestionMethod::Preserve,
        target: QuestionTarget::Before(prefix.into()),
        host: None,
        request_headers: Selection::Only(always.into_iter().chain(request_headers).collect()),
        set_headers: Vec::new(),
        redirect: None,
        body_bytes_max,
        success: Success::Only200,
        response_headers,
        require_headers: Vec::new(),
        identity: IdentityNames::default(),
        signin: None,
        cache: None,
    })
}

/// The backend of a Service, and its name as Host.
fn service_backend(
    scope: &mut Scope<'_>,
    service: &ServicePort,
    home: &Home,
) -> Result<(Arc<Backend>, String), String> {
    let namespace = match (home, &service.namespace) {
        (Home::Operator, Some(namespace)) => namespace.clone(),
        (Home::Operator, None) => return Err("has a `service` without a namespace".into()),
        (Home::Namespace(own), None) => own.clone(),
        (Home::Namespace(own), Some(written)) if own == written => own.clone(),
        (Home::Namespace(own), Some(written)) => {
            return Err(format!("is of the namespace {own} and names a Service of {written}"));
        }
    };
    let backend = backend_of_service(scope, &namespace, &service.name, service.port, None)?;
    Ok((backend, format!("{}.{namespace}.svc", service.name)))
}

/// The backend that a URL means: a Service, or a server somewhere else.
pub(super) fn url_backend(
    scope: &mut Scope<'_>,
    url: &ServerUrl,
    home: &Home,
) -> Result<Arc<Backend>, String> {
    if let Some((namespace, name)) = url.service() {
        let (namespace, name): (Arc<str>, Arc<str>) = (namespace.into(), name.into());
        return backend_of_service(scope, &namespace, &name, url.port, Some(url.tls));
    }
    let tls = url.tls.then(|| Arc::new(BackendTls::new(Some(url.host.as_str().into()), Verify::System)));
    // What the operator writes is meant; what a tenant writes is resolved and judged like an ExternalName.
    let through = match home {
        Home::Operator if IpAddr::from_str(&url.host).is_ok() => Through::Address,
        Home::Operator | Home::Namespace(_) => Through::Name,
    };
    Ok(scope.outside_backend(&url.host, url.port, tls, through))
}

fn backend_of_service(
    scope: &mut Scope<'_>,
    namespace: &Arc<str>,
    name: &Arc<str>,
    port: u16,
    tls: Option<bool>,
) -> Result<Arc<Backend>, String> {
    let Some(service) = scope.service(namespace, name) else {
        return Err(format!("needs the Service {namespace}/{name}, which does not exist"));
    };
    let Some(port) = numbered_port(service, port) else {
        return Err(format!("needs the Service {namespace}/{name}, which has no TCP port {port}"));
    };
    let speech = match tls {
        None => port.speech(),
        Some(tls) => Speech { protocol: BackendProtocol::Http1, tls },
    };
    scope.server(service, port, speech).map_err(|message| {
        format!("needs the Service {namespace}/{name}, to which TLS cannot be had: {message}")
    })
}

/// What is known of a kind of server.
#[derive(Clone, Copy, Default)]
struct Preset {
    path: Option<&'static str>,
    response_headers: &'static [&'static str],
    lenient: &'static [&'static str],
    require_headers: &'static [&'static str],
    /// User, email, name, groups.
    identity: [Option<&'static str>; 4],
    groups_separator: Option<char>,
    signin: Option<&'static str>,
    own_paths: &'static [&'static str],
}

impl Preset {
    fn of(preset: ExternalPreset) -> Self {
        match preset {
            ExternalPreset::Authentik => Preset {
                path: Some("/outpost.goauthentik.io/auth/traefik"),
                response_headers: &["x-authentik-*"],
                lenient: &["authorization"],
                require_headers: &["x-authentik-username"],
                identity: [
                    Some("x-authentik-username"),
                    Some("x-authentik-email"),
                    Some("x-authentik-name"),
                    Some("x-authentik-groups"),
                ],
                groups_separator: Some('|'),
                signin: None,
                own_paths: &["/outpost.goauthentik.io"],
            },
            ExternalPreset::Authelia => Preset {
                path: Some("/api/authz/forward-auth"),
                response_headers: &["remote-user", "remote-groups", "remote-name", "remote-email"],
                lenient: &[],
                require_headers: &["remote-user"],
                identity: [
                    Some("remote-user"),
                    Some("remote-email"),
                    Some("remote-name"),
                    Some("remote-groups"),
                ],
                groups_separator: Some(','),
                signin: None,
                own_paths: &[],
            },
            ExternalPreset::Oauth2Proxy => Preset {
                path: Some("/oauth2/auth"),
                response_headers: &[
                    "x-auth-request-user",
                    "x-auth-request-email",
                    "x-auth-request-groups",
                    "x-auth-request-preferred-username",
                    "x-auth-request-access-token",
                ],
                lenient: &["authorization"],
                require_headers: &["gap-auth"],
                identity: [
                    Some("x-auth-request-user"),
                    Some("x-auth-request-email"),
                    None,
                    Some("x-auth-request-groups"),
                ],
                groups_separator: Some(','),
                signin: Some("/oauth2/start"),
                own_paths: &["/oauth2"],
            },
        }
    }
}

fn identity_names(preset: &Preset, written: Option<&IdentityHeaders>) -> Result<IdentityNames, String> {
    let [user, email, display, groups] = preset.identity;
    let Some(written) = written else {
        let fixed = |name: Option<&'static str>| name.map(HeaderName::from_static);
        return Ok(IdentityNames {
            user: fixed(user),
            email: fixed(email),
            name: fixed(display),
            groups: fixed(groups),
            groups_separator: separator(preset.groups_separator)?,
        });
    };
    let own = |text: &Option<Arc<str>>| text.as_deref().map(|text| name(text, "identity")).transpose();
    Ok(IdentityNames {
        user: own(&written.user)?,
        email: own(&written.email)?,
        name: own(&written.name)?,
        groups: own(&written.groups)?,
        groups_separator: separator(written.groups_separator.or(preset.groups_separator))?,
    })
}

fn separator(written: Option<char>) -> Result<u8, String> {
    let separator = written.unwrap_or(',');
    match u8::try_from(separator) {
        Ok(byte) if byte.is_ascii_punctuation() || byte == b' ' => Ok(byte),
        Ok(_) | Err(_) => Err("has a `groupsSeparator` that is no punctuation mark".into()),
    }
}

fn cache(written: &AnswerCache) -> Result<CacheRules, String> {
    let key = Template::parse(&written.key).map_err(|error| format!("has a bad `cache.key`: {error}"))?;
    let duration = written.duration;
    if duration.is_zero() || duration > CACHE_DURATION_MAX {
        return Err(format!(
            "has a `cache.duration` of {duration:?}: write one up to {CACHE_DURATION_MAX:?}"
        ));
    }
    let statuses = [200, 202, 204].map(|code| http::StatusCode::from_u16(code).unwrap_or_default());
    Ok(CacheRules { key, durations: statuses.map(|status| (status, duration)).into() })
}

/// A URL or a path where people sign in.
pub(super) fn signin_of(text: &str, parameter: Option<&str>) -> Result<Signin, String> {
    let location = Template::parse(text).map_err(|error| format!("has a bad sign-in address: {error}"))?;
    let is_path = text.starts_with('/') && !text.starts_with("//") && !text.contains('\\');
    if !is_path && !text.starts_with("https://") && !text.starts_with("http://") {
        return Err("has a sign-in address that is neither a URL nor a path".into());
    }
    let parameter = parameter.unwrap_or("rd");
    let plain = parameter.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if parameter.is_empty() || !plain {
        return Err("has a sign-in parameter that is no name".into());
    }
    Ok(Signin { location, is_path, parameter: parameter.into() })
}

pub(super) fn set_header(name: &str, value: &str) -> Result<(HeaderName, Template), String> {
    let parsed =
        parse_header_name(name).map_err(|error| format!("sets a header that cannot be set: {error}"))?;
    let value =
        Template::parse_text(value).map_err(|error| format!("sets `{parsed}` to a bad value: {error}"))?;
    Ok((parsed, value))
}

/// Names, or beginnings of names with an asterisk behind them.
fn patterns<'t>(list: impl Iterator<Item = &'t str>, key: &str) -> Result<Vec<NamePattern>, String> {
    list.map(|text| match text.strip_suffix('*') {
        Some(prefix) if prefix.len() >= PREFIX_BYTES_MIN => {
            Ok(NamePattern::Prefix(name(prefix, key)?.as_str().into()))
        }
        Some(_) => Err(format!("`{text}` in `{key}` is too short a beginning")),
        None => Ok(NamePattern::Exact(name(text, key)?)),
    })
    .collect()
}

/// Names that the application may be told by. Those that frame a message, or say where it comes from, are none.
pub(super) fn told_names<'t>(
    list: impl Iterator<Item = &'t str>,
    key: &str,
) -> Result<Vec<NamePattern>, String> {
    // Cookies go to the browser always; some manuals list them here, too.
    let patterns = patterns(list.filter(|name| !name.eq_ignore_ascii_case("set-cookie")), key)?;
    if patterns.len() > TOLD_NAMES_LEN_MAX {
        return Err(format!("has more than {TOLD_NAMES_LEN_MAX} names in `{key}`"));
    }
    for pattern in &patterns {
        let (text, may) = match pattern {
            NamePattern::Exact(name) => (name.as_str(), may_tell(name.as_str())),
            NamePattern::Prefix(prefix) => (&**prefix, may_tell_all(prefix)),
        };
        if !may {
            return Err(format!("has `{text}` in `{key}`, which says something else on every request"));
        }
    }
    Ok(patterns)
}

fn name(text: &str, key: &str) -> Result<HeaderName, String> {
    parse_header_name(text).map_err(|error| format!("has a bad name in `{key}`: {error}"))
}

fn path_template(text: &str) -> Result<Template, String> {
    if !text.starts_with('/') || text.contains('#') {
        return Err(format!("has the path `{}`, which does not begin with `/`", text.escape_debug()));
    }
    Template::parse(text).map_err(|error| format!("has a bad `path`: {error}"))
}

/// A path without query and variables, in its normal form.
fn plain_path(text: &str) -> Result<String, String> {
    let bad = || format!("`{}` is no path that begins with `/`", text.escape_debug());
    if !text.starts_with('/') || text.contains(['?', '#', '$']) {
        return Err(bad());
    }
    crate::request::target::written_path(text).map_err(|_| bad())
}

fn own_path(text: &str) -> Result<PathPattern, String> {
    let path =
        plain_path(text.trim_end_matches('/')).map_err(|error| format!("has bad `ownPaths`: {error}"))?;
    Ok(PathPattern::Prefix(path.into()))
}

const ONE_PLACE: &str = "needs either `service` or `url`, one of the two";
/// The shortest beginning of header names; a shorter one would cover what was not meant.
const PREFIX_BYTES_MIN: usize = 3;
/// Names in one list.
const TOLD_NAMES_LEN_MAX: usize = 64;
