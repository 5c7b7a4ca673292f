//! Providers: the named ways to find out who is asking, as the operator writes them.
//!
//! A provider is a name with one kind: `oidc`, `jwt`, `basic` or `external`. Routes choose by name
//! (`vestibule.dev/auth: dex`), one provider or a chain of them (`jwt, else dex`). The same shape, in the key `provider` of
//! a labelled Secret, defines a provider for one namespace. Secrets are named here, never written.

mod chain;
mod secret;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::auth::{HeaderRules, Policy};
use schemars::JsonSchema;
use serde::Deserialize;

use super::units::{self, Bytes};
use super::{Fault, Settings};
use crate::config::providers::check_external;

pub use chain::{CHAIN_LEN_MAX, Chain, ChainError, NONE, PROVIDER_NAME_BYTES_MAX, is_provider_name};
pub use secret::{SecretKey, SecretSource};

/// A named way to find out who is asking: one kind, with what it needs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Provider {
    /// Login with an OpenID provider, and a session in a cookie. (live)
    Oidc(Box<OidcProvider>),
    /// Bearer tokens that are signed JWTs. (live)
    Jwt(Box<JwtProvider>),
    /// Names and passwords from an htpasswd file. (live)
    Basic(BasicProvider),
    /// Another server is asked about each request. (live)
    External(Box<ExternalProvider>),
}

/// Login with an OpenID provider.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OidcProvider {
    /// The issuer, as the provider writes it into its tokens. (live)
    pub issuer: Arc<str>,
    /// The client that is registered there. (live)
    pub client_id: Arc<str>,
    /// Its secret. Default: a public client. (live)
    #[serde(default)]
    pub client_secret: Option<SecretSource>,
    /// What is asked for besides `openid`. Default: `[profile, email]`. (live)
    #[serde(default)]
    pub scopes: Option<Vec<Arc<str>>>,
    /// How the secret is shown to the provider. Default: `basic`. (live)
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// Addresses that win over those of the provider's discovery document. With `authorization`, `token` and `jwks` the
    /// document is not asked for. (live)
    #[serde(default)]
    pub endpoints: OidcEndpoints,
    /// Further parameters of the request to log in, such as `prompt` or `acr_values`. Default: none. (live)
    #[serde(default)]
    #[schemars(with = "std::collections::BTreeMap<String, String>")]
    pub parameters: std::collections::BTreeMap<Arc<str>, Arc<str>>,
    /// Which claims say what. (live)
    #[serde(default)]
    pub claims: ClaimNames,
    /// Claims that sessions keep besides, for `claim:…` rules and own headers. Default: none. (live)
    #[serde(default)]
    pub keep_claims: Vec<Arc<str>>,
    /// How long sessions last. (live)
    #[serde(default)]
    pub session: OidcSession,
    /// The one host, as `host` or `host:port`, whose `/oauth2/callback` is registered at the provider; a route of it must
    /// use this provider. Applications on other hosts send people there and back. Default: each host by itself. (live)
    #[serde(default)]
    pub auth_host: Option<Arc<str>>,
    /// Where the provider is reached from here, as `host:port` or `http://host:port`, when its public name leads elsewhere.
    /// Default: where its addresses say. (live)
    #[serde(default)]
    pub connect_to: Option<Arc<str>>,
}

/// How a client shows its secret to the provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ClientAuth {
    /// By HTTP Basic authentication.
    #[default]
    Basic,
    /// In the body of the request.
    Post,
}

/// The addresses of an OpenID provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct OidcEndpoints {
    /// Where people log in. (live)
    pub authorization: Option<Arc<str>>,
    /// Where codes are redeemed. (live)
    pub token: Option<Arc<str>>,
    /// Where the keys are. (live)
    pub jwks: Option<Arc<str>>,
    /// Where claims are, that the id token does not hold. (live)
    pub userinfo: Option<Arc<str>>,
    /// Where people log out. (live)
    pub end_session: Option<Arc<str>>,
}

/// Which claims say what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClaimNames {
    /// The name that people know an account by. Default: `preferred_username`. (live)
    pub user: Option<Arc<str>>,
    /// The mail address. Default: `email`. (live)
    pub email: Option<Arc<str>>,
    /// The groups; a dotted path such as `realm_access.roles` reaches into objects. Default: `groups`. (live)
    pub groups: Option<Arc<str>>,
    /// Takes mail addresses for verified whatever the provider says of them. Only for providers where nobody chooses their
    /// own address. Default: false. (live)
    pub trust_email: bool,
}

/// How long sessions last, and where they are good.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct OidcSession {
    /// From login to the end, however busy. Default: 24h. (live)
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub lifetime: Duration,
    /// The end without any request; 0s for none. Default: 0s. (live)
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub idle: Duration,
    /// After this the provider is asked again, unseen, when a page is opened; 0s for never. Default: 1h. (live)
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub renew_after: Duration,
    /// When browsers send the session with what other sites cause. Default: `lax`. (live)
    pub same_site: CookieSameSite,
    /// One session for all hosts of this domain. Every one of their applications then sees the cookie before it is removed.
    /// Default: each host has its own. (live)
    pub cookie_domain: Option<Arc<str>>,
    /// Where sessions are: `cookie`, in the browser; or `shared`, in the `sharedStore`, with refresh tokens, which then keep
    /// them new, and the browser has their name. Without the store nobody is let in. Default: `cookie`. (live)
    pub store: SessionPlace,
    /// Tokens of the provider that sessions keep for own headers, as the claims `access_token` and `id_token`; with `shared`
    /// only. Default: none. (live)
    pub keep_tokens: Vec<KeptToken>,
}

/// Where sessions are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SessionPlace {
    /// In the browser.
    #[default]
    Cookie,
    /// In the store that all replicas share.
    Shared,
}

/// A token of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum KeptToken {
    Access,
    Id,
}

/// When browsers send a cookie with what other sites cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum CookieSameSite {
    /// When a link is followed.
    #[default]
    Lax,
    /// Never.
    Strict,
    /// Always: for applications in frames of other sites.
    None,
}

impl Default for OidcSession {
    fn default() -> Self {
        OidcSession {
            lifetime: Duration::from_secs(24 * 3600),
            idle: Duration::ZERO,
            renew_after: Duration::from_secs(3600),
            same_site: CookieSameSite::Lax,
            cookie_domain: None,
            store: SessionPlace::Cookie,
            keep_tokens: Vec::new(),
        }
    }
}

/// Bearer tokens that are signed JWTs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JwtProvider {
    /// The issuer, as it stands in the tokens. (live)
    pub issuer: Arc<str>,
    /// A token must be meant for one of these. (live)
    pub audiences: Vec<Arc<str>>,
    /// Where the keys are. Default: what the issuer's discovery document says. (live)
    #[serde(default)]
    pub jwks_url: Option<Arc<str>>,
    /// The algorithms that are taken. Default: all that sign with a key pair. (live)
    #[serde(default)]
    pub algorithms: Vec<Arc<str>>,
    /// Which claims say what. (live)
    #[serde(default)]
    pub claims: ClaimNames,
    /// Claims that are read besides, for `claim:…` rules and own headers. Default: none. (live)
    #[serde(default)]
    pub keep_claims: Vec<Arc<str>>,
    /// Where the issuer is reached from here, as `host:port` or `http://host:port`. Default: where its addresses say. (live)
    #[serde(default)]
    pub connect_to: Option<Arc<str>>,
}

/// Names and passwords.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BasicProvider {
    /// Where the lines `name:hash` stand, as htpasswd writes them: bcrypt, argon2, apr1. (live)
    pub users: SecretSource,
    /// What browsers show when they ask for a name. Default: the provider's name. (live)
    #[serde(default)]
    pub realm: Option<Arc<str>>,
    /// Groups that all of these users are in. Default: none. (live)
    #[serde(default)]
    pub groups: Vec<Arc<str>>,
}

/// Another server is asked about each request: a 2xx answer lets it pass.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExternalProvider {
    /// What the server is: sets the path, the headers, and what counts as an identity. Default: none. (live)
    #[serde(default)]
    pub preset: Option<ExternalPreset>,
    /// The Service of the server. Either this or `url`. (live)
    #[serde(default)]
    pub service: Option<ServicePort>,
    /// The server's address with the path that is asked, such as `https://auth.example.com/verify`. A name in the form
    /// `name.namespace.svc` means the Service. (live)
    #[serde(default)]
    pub url: Option<Arc<str>>,
    /// The path that is asked. Default: the preset's, else that of `url`. (live)
    #[serde(default)]
    pub path: Option<Arc<str>>,
    /// The method of the question. Default: `get`. (live)
    #[serde(default)]
    pub method: Question,
    /// Sends the Host of the request instead of the server's own. Default: false. (live)
    #[serde(default)]
    pub pass_host: bool,
    /// The client's headers that the server is sent; `*` stands for all that do not concern the connection. Default: the
    /// preset's, else `*`. (live)
    #[serde(default)]
    pub request_headers: Option<Vec<Arc<str>>>,
    /// Headers that the server is sent besides, with these values. (live)
    #[serde(default)]
    #[schemars(with = "std::collections::BTreeMap<String, String>")]
    pub set_headers: std::collections::BTreeMap<Arc<str>, Arc<str>>,
    /// The server's headers that the application is told, in place of the client's own. Default: the preset's, else none.
    /// (live)
    #[serde(default)]
    pub response_headers: Option<Vec<Arc<str>>>,
    /// A 2xx answer without one of these headers is not an identity, and refuses. Default: the preset's, else none. (live)
    #[serde(default)]
    pub require_headers: Option<Vec<Arc<str>>>,
    /// Header of the answer → part of the identity (`user`, `email`, `name`, `groups`), for `auth-allow`. Default: the
    /// preset's. (live)
    #[serde(default)]
    pub identity: Option<IdentityHeaders>,
    /// The part of a request's body that the server is sent; a longer one gets 413. Default: 0, no body. (live)
    #[serde(default)]
    pub forward_body: Bytes,
    /// Where a person is sent after a 401; the address that was asked for is added as a parameter. Default: the preset's,
    /// else the answer is passed on. (live)
    #[serde(default)]
    pub signin: Option<Arc<str>>,
    /// The name of that parameter. Default: `rd`. (live)
    #[serde(default)]
    pub signin_parameter: Option<Arc<str>>,
    /// Paths of the server itself that every guarded host sends to it, without asking it first. Default: the preset's.
    /// (live)
    #[serde(default)]
    pub own_paths: Option<Vec<Arc<str>>>,
    /// Keeps answers for a while. Default: none is kept. (live)
    #[serde(default)]
    pub cache: Option<AnswerCache>,
    /// How long the question may take, all in all; after it the request gets 503. Default: 5s. (live)
    #[serde(default = "external_timeout", deserialize_with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub timeout: Duration,
}

/// What an authentication server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExternalPreset {
    /// An outpost of authentik, embedded or of its own.
    Authentik,
    /// Authelia 4.38 and later.
    Authelia,
    /// OAuth2-Proxy with `--reverse-proxy` and `--set-xauthrequest`.
    Oauth2Proxy,
}

/// The method of the question.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Question {
    #[default]
    Get,
    Head,
    Post,
    /// That of the request.
    Preserve,
}

/// Which header of an answer says what of the identity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct IdentityHeaders {
    /// The name that the application knows the person by. (live)
    pub user: Option<Arc<str>>,
    /// The mail address. (live)
    pub email: Option<Arc<str>>,
    /// The name for people. (live)
    pub name: Option<Arc<str>>,
    /// The groups. (live)
    pub groups: Option<Arc<str>>,
    /// What stands between two groups. Default: `,`. (live)
    pub groups_separator: Option<char>,
}

/// How answers of an authentication server are kept.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AnswerCache {
    /// Requests with the same key get the same answer: variables as nginx has them, such as
    /// `$cookie_session$http_authorization`. Host and route belong to the key always. (live)
    pub key: Arc<str>,
    /// For how long. Default: 5m. (live)
    #[serde(default = "cache_duration", deserialize_with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub duration: Duration,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServicePort {
    /// The Service's namespace. In a namespace's own provider it is that namespace. (live)
    #[serde(default)]
    pub namespace: Option<Arc<str>>,
    /// The Service's name. (live)
    pub name: Arc<str>,
    /// The number of its port. (live)
    pub port: u16,
}

/// What holds for routes that say nothing of authentication themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AuthDefaults {
    /// A provider, or a chain such as `jwt, else dex`. Default: none; such routes are open. (live)
    pub provider: Option<Chain>,
    /// Who may enter, as in `auth-allow`. Default: whoever the provider knows. (live)
    pub allow: Option<Arc<str>>,
    /// How applications are told who is asking, as in `auth-headers`. Default: `oauth2-proxy`. (live)
    pub headers: Option<Arc<str>>,
    /// Forbids routes to opt out: by `none`, by `auth-skip`, or by a provider that is not the operator's. Default: false.
    /// (live)
    pub mandatory: bool,
    /// Namespaces where `mandatory` does not hold. Default: none. (live)
    pub opt_out_namespaces: Vec<Arc<str>>,
    /// WebSockets, event streams and other answers end after this, and with the session that they began with, as in
    /// `auth-stream-age`; 0s for never. Default: 0s. (live)
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub stream_age: Duration,
    /// Header names besides the presets that routes may have set by `auth-headers`; they count in the `auth` of the whole
    /// edge only. Default: none. (live)
    pub custom_headers: Vec<Arc<str>>,
    /// The keys that sessions are sealed with, in the `auth` of the whole edge only: all replicas need the same. A file that
    /// is not there is made, and its keys are replaced in time; so are those in a Secret of Vestibule's own namespace, by the
    /// replica that leads. Default: keys that live as long as the process. (live)
    pub session_keys: Option<SecretSource>,
}

impl Provider {
    /// The secrets that it names.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &SecretSource> {
        match self {
            Provider::Oidc(oidc) => oidc.client_secret.as_ref(),
            Provider::Basic(basic) => Some(&basic.users),
            Provider::Jwt(_) | Provider::External(_) => None,
        }
        .into_iter()
    }

    /// Lets relative files start at `directory`.
    pub(super) fn resolve_files(&mut self, directory: &Path) {
        let secret = match self {
            Provider::Oidc(oidc) => oidc.client_secret.as_mut(),
            Provider::Basic(basic) => Some(&mut basic.users),
            Provider::Jwt(_) | Provider::External(_) => None,
        };
        if let Some(SecretSource::File(file)) = secret {
            *file = directory.join(&*file);
        }
    }
}

impl Settings {
    /// Finds the first provider that cannot be used as it is written, and the first default that names none.
    pub(super) fn validate_providers(&self) -> Result<(), Fault> {
        for (name, provider) in &self.providers {
            let field = format!("providers.{name}");
            if !is_provider_name(name) || &**name == NONE {
                let message =
                    "is no name of a provider; write one of lower-case letters, digits and `-`, not `none`";
                return Err(Fault::new(field, message));
            }
            if let Provider::External(external) = provider {
                let one_place = external.service.is_some() != external.url.is_some();
                let message = "needs either `service` or `url`, one of the two".to_owned();
                let checked = if one_place { check_external(external) } else { Err(message) };
                checked.map_err(|message| Fault::new(format!("{field}.external"), message))?;
            }
        }
        self.validate_default("auth", &self.auth)?;
        for (index, class) in self.classes.iter().enumerate() {
            if let Some(auth) = &class.auth {
                self.validate_default(&format!("classes[{index}].auth"), auth)?;
            }
        }
        Ok(())
    }

    fn validate_default(&self, field: &str, auth: &AuthDefaults) -> Result<(), Fault> {
        if let Some(Chain::Providers(names)) = &auth.provider
            && let Some(name) = names.iter().find(|name| !self.providers.contains_key(*name))
        {
            let message = format!("there is no provider `{name}`; define it under `providers`");
            return Err(Fault::new(format!("{field}.provider"), message));
        }
        if let Err(error) = Policy::parse(auth.allow.as_deref(), None, None) {
            return Err(Fault::new(format!("{field}.allow"), error.to_string()));
        }
        if let Some(Err(error)) = auth.headers.as_deref().map(HeaderRules::parse) {
            return Err(Fault::new(format!("{field}.headers"), error.to_string()));
        }
        if auth.mandatory && auth.provider.as_ref().is_none_or(|chain| *chain == Chain::None) {
            let message = "nothing can be mandatory without a default; name a provider in `provider`";
            return Err(Fault::new(format!("{field}.mandatory"), message));
        }
        Ok(())
    }
}

fn external_timeout() -> Duration {
    EXTERNAL_TIMEOUT
}

fn cache_duration() -> Duration {
    CACHE_DURATION
}

/// How long an authentication server may take.
pub const EXTERNAL_TIMEOUT: Duration = Duration::from_secs(5);
const CACHE_DURATION: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests;
