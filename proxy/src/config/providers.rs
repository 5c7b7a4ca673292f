//! From what is written about authentication to what a route does: providers by name, defaults, and the keys of an object.
//!
//! Nothing here opens a route by accident: a provider that cannot be used, a rule that cannot be read, or a key without the
//! provider that it needs becomes a refusal.

mod basic;
mod external;
mod guard;
mod login;
mod nginx;
mod outside;
mod url;

use std::sync::Arc;

use http::HeaderValue;

use super::certs::{SEALED, is_sealed};
use super::lower::Scope;
use super::objects::Secret;
use super::objects::core::SecretBytes;
use crate::login::OidcProvider;
use crate::request::external::{NamePattern, Template};
use crate::route::auth::{Provider, ProviderKind};
use crate::route::{PathPattern, Route};
use crate::settings::providers::{ExternalProvider, Provider as Written, SecretSource};
use crate::upstream::Backend;

pub(crate) use self::external::filter;
pub(crate) use self::guard::{Guard, guard};
pub use self::outside::Outside;

/// A server that an object names by its URL.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) backend: Arc<Backend>,
    /// As it knows itself.
    pub(crate) host: HeaderValue,
    /// Path and query; those of the request where the URL has none.
    pub(crate) target: Template,
}

/// The server of a URL that a tenant wrote: a Service, or a name that is resolved and judged like an ExternalName. The error
/// follows "the server".
pub(crate) fn server_at(scope: &mut Scope<'_>, text: &str) -> Result<Server, String> {
    let named = text.split_once("://").is_some_and(|(_, rest)| rest.contains(['/', '?', '$']));
    let text = if named { text.to_owned() } else { format!("{text}$request_uri") };
    // A variable may follow the host at once, as in nginx.
    let text = match text.split_once("://") {
        Some((scheme, rest)) => match rest.find(['/', '?', '$']) {
            Some(at) if rest[at..].starts_with('$') => format!("{scheme}://{}/{}", &rest[..at], &rest[at..]),
            Some(_) | None => text,
        },
        None => text,
    };
    let url =
        url::ServerUrl::parse(&text).map_err(|error| format!("cannot be read from its URL: {error}"))?;
    let home = Home::Namespace(scope.source.namespace.clone());
    let backend = external::url_backend(scope, &url, &home)?;
    let host = HeaderValue::from_str(&url.host_header()).map_err(|_| "has a host that is no header value")?;
    Ok(Server { backend, host, target: url.target })
}

/// A provider that can be used, with what its routes need besides.
#[derive(Clone, Debug)]
pub(crate) struct Usable {
    pub(crate) provider: Arc<Provider>,
    /// Header names by which it tells the application who asks, and which only it may set.
    pub(crate) told_by: Vec<NamePattern>,
    pub(crate) own_paths: Vec<OwnPath>,
    /// Claims that it can say besides those that every identity has; `None`: it is asked for whatever is wanted.
    pub(crate) claims: Option<Vec<String>>,
}

/// A path of an authentication server that guarded hosts send to it, unasked.
#[derive(Clone, Debug)]
pub(crate) struct OwnPath {
    pub(crate) path: PathPattern,
    pub(crate) to: OwnTarget,
}

/// Who answers there.
#[derive(Clone, Debug)]
pub(crate) enum OwnTarget {
    /// The authentication server.
    Server(Arc<Backend>),
    /// This edge: logging in and out.
    Login(Arc<OidcProvider>),
}

/// Whose provider it is: what a tenant writes reaches only what is the tenant's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    Operator,
    /// The Secret that defines it, or the object whose keys do, is of this namespace.
    Namespace(Arc<str>),
}

impl Usable {
    /// One that tells the application by the headers of the route alone.
    fn telling_by_headers(name: Arc<str>, kind: ProviderKind) -> Self {
        Usable {
            provider: Arc::new(Provider { name, kind }),
            told_by: Vec::new(),
            own_paths: Vec::new(),
            claims: Some(Vec::new()),
        }
    }
}

impl Scope<'_> {
    /// The value that a provider of `home` names; `definition` is the provider's own name. Errors name the place, never what
    /// stands there.
    fn secret_value(
        &mut self,
        source: &SecretSource,
        home: &Home,
        definition: &Arc<str>,
    ) -> Result<SecretBytes, String> {
        let key = match (source, home) {
            (SecretSource::SecretRef(key), _) => key,
            (SecretSource::File(_) | SecretSource::Env(_), Home::Operator) => {
                return self.outside.value(source);
            }
            (SecretSource::File(_) | SecretSource::Env(_), Home::Namespace(_)) => {
                return Err(
                    "names a file or variable of the edge, which only the operator may: use `secretRef`"
                        .into(),
                );
            }
        };
        let (namespace, name) = match (home, &key.namespace, &key.name) {
            (Home::Operator, Some(namespace), Some(name)) => (namespace, name),
            (Home::Operator, _, _) => return Err("has a `secretRef` without namespace or name".into()),
            (Home::Namespace(own), Some(namespace), _) if own != namespace => {
                return Err(format!("is of the namespace {own} and names a Secret of {namespace}"));
            }
            (Home::Namespace(own), _, name) => (own, name.as_ref().unwrap_or(definition)),
        };
        let Some(secret) = self.secret(namespace, name) else {
            return Err(format!("needs the Secret {namespace}/{name}, which does not exist"));
        };
        if is_sealed(secret) {
            return Err(format!("needs the Secret {namespace}/{name}, but {SEALED}"));
        }
        let value = secret.data.get(&*key.key).cloned();
        value.ok_or_else(|| {
            format!("needs the key `{}` of the Secret {namespace}/{name}, which it has not", key.key)
        })
    }

    /// The provider of this name: the operator's, else that of the object's own namespace. The error is for a sentence
    /// that begins with the provider.
    fn provider(&mut self, name: &Arc<str>) -> Result<(Usable, Home), String> {
        if let Some(written) = self.settings.providers.get(name) {
            let usable = self.compile_provider(name, written, &Home::Operator)?;
            return Ok((usable, Home::Operator));
        }
        let namespace = self.source.namespace.clone();
        let secret = self.secret(&namespace, name).filter(|secret| is_definition(secret));
        let Some(secret) = secret else {
            return Err(format!(
                "is not known: define it in the settings under `providers`, or in a Secret {namespace}/{name} with the label `{PROVIDER_LABEL}: \"true\"`"
            ));
        };
        if is_sealed(secret) {
            return Err(format!("is defined by a Secret, but {SEALED}"));
        }
        let text = secret.data.get(DEFINITION_KEY).ok_or_else(|| {
            format!("is defined by the Secret {namespace}/{name}, which has no key `{DEFINITION_KEY}`")
        })?;
        let text = std::str::from_utf8(text.expose())
            .map_err(|_| format!("is defined by the Secret {namespace}/{name}, which is not in UTF-8"))?;
        // The parser's words could repeat what stands there, which may be a secret that was written by mistake.
        let written: Written = crate::yaml::from_str(text).map_err(|error| {
            format!(
                "cannot be read: line {} of `{DEFINITION_KEY}` in the Secret {namespace}/{name} is wrong",
                error.line
            )
        })?;
        let home = Home::Namespace(namespace);
        let usable = self.compile_provider(name, &written, &home)?;
        Ok((usable, home))
    }

    fn compile_provider(
        &mut self,
        name: &Arc<str>,
        written: &Written,
        home: &Home,
    ) -> Result<Usable, String> {
        match written {
            Written::External(written) => {
                let compiled = external::compile(self, written, home)?;
                let kind = ProviderKind::External(Box::new(compiled.external));
                let provider = Arc::new(Provider { name: name.clone(), kind });
                Ok(Usable {
                    provider,
                    told_by: compiled.told_by,
                    own_paths: compiled.own_paths,
                    claims: Some(Vec::new()),
                })
            }
            Written::Oidc(written) => login::oidc(self, name, written, home),
            Written::Jwt(written) => login::jwt(self, name, written, home),
            Written::Basic(written) => {
                let basic = basic::compile(self, name, written, home)?;
                Ok(Usable::telling_by_headers(name.clone(), ProviderKind::Basic(basic)))
            }
        }
    }
}

/// Whether a provider of this kind can be used, as far as that is seen without objects; the error says why not.
pub(crate) fn check_external(written: &ExternalProvider) -> Result<(), String> {
    external::Manner::of(written)?;
    match &written.url {
        Some(url) => check_url(url).map_err(|error| format!("has a bad `url`: {error}")),
        None => Ok(()),
    }
}

/// Whether a text can be the value of `auth-url`; the error says why not.
pub(crate) fn check_url(text: &str) -> Result<(), String> {
    url::ServerUrl::parse(text).map(|_| ()).map_err(|error| error.to_string())
}

/// Whether a text can be the value of `auth-signin`.
pub(crate) fn check_signin(text: &str) -> Result<(), String> {
    external::signin_of(text, None).map(|_| ()).map_err(|error| format!("it {error}"))
}

/// Whether these can be the names of `auth-response-headers`.
pub(crate) fn check_told(names: &[Arc<str>]) -> Result<(), String> {
    if names.is_empty() {
        return Err("it names no header".into());
    }
    external::told_names(names.iter().map(|name| &**name), "auth-response-headers")
        .map(|_| ())
        .map_err(|error| format!("it {error}"))
}

fn is_definition(secret: &Arc<Secret>) -> bool {
    secret.metadata.labels.get(PROVIDER_LABEL) == Some("true")
}

/// Whether a route is one of [`OwnPath`].
pub(crate) fn is_own_path(route: &Route) -> bool {
    route.origin.name.as_deref() == Some(OWN_PATH_NAME)
}

/// The name of such routes; no rule and no path of an Ingress can have it, because it does not begin with `/` and has a space.
pub(crate) const OWN_PATH_NAME: &str = "authentication server";
/// Marks the Secrets that define a provider for their namespace.
pub(crate) const PROVIDER_LABEL: &str = "vestibule.dev/provider";
/// The key of such a Secret that holds the definition.
const DEFINITION_KEY: &str = "provider";

#[cfg(test)]
mod tests;
