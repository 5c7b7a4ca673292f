//! `issuers` and `certificates`: who issues certificates, and how names are proved.
//!
//! Credentials are named here and stand elsewhere: in a Secret of Vestibule's own namespace, a file, or the environment. No
//! object of a tenant can name them.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use acme::http01::is_proved_by_http;
use acme::name::Name;
use acme::store::StoreError;
use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::load::Fault;
use super::{ValueSource, units};

/// Where certificates that are ordered are kept.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Certificates {
    /// The namespace of the Secrets that belong to no object, wildcards among them. Default: the namespace of the Pod;
    /// `vestibule` without a cluster. (restart)
    pub namespace: Option<Arc<str>>,
    /// The namespace of what only the process that orders has to read: the credentials that `secretRef` of an issuer
    /// names, accounts, and orders under way. Processes of the role `edge` need no right there. Default: `namespace`.
    /// (restart)
    pub private_namespace: Option<Arc<str>>,
    /// Without a cluster, the directory that they are written to; it must lie in the directory of manifests. Default:
    /// `acme` in it. A relative path starts there. (restart)
    pub directory: Option<PathBuf>,
    /// Name servers that find any name, to follow delegations and to find the servers of a zone. Default: those of
    /// `/etc/resolv.conf`. (live)
    #[schemars(with = "Vec<String>")]
    pub resolvers: Vec<SocketAddr>,
}

/// A CA with the ways to prove names to it. That it is configured means that its terms of service are accepted.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Issuer {
    /// The name in `vestibule.dev/issuer`. (live)
    pub name: Arc<str>,
    /// Orders for objects that name no issuer, too. At most one may. Default: false. (live)
    #[serde(default)]
    pub default: bool,
    /// The URL of the CA's ACME directory, such as `https://acme-v02.api.letsencrypt.org/directory`. (live)
    pub directory: Arc<str>,
    /// The directory of the CA's test side. After a proof failed the next try goes there first, save with `http01`. Default:
    /// Let's Encrypt's for Let's Encrypt, else none. (live)
    #[serde(default)]
    pub staging: Option<Arc<str>>,
    /// Addresses for the CA, such as `ops@example.com`. Default: none. (live)
    #[serde(default)]
    pub contact: Vec<Arc<str>>,
    /// For a CA that wants to know its clients beforehand. Default: none. (live)
    #[serde(default)]
    pub external_account: Option<ExternalAccount>,
    /// Which key a certificate gets; a new one each time. Default: `ecdsa256`. (live)
    #[serde(default)]
    pub key_type: KeyType,
    /// One of the profiles that the CA offers, such as `tlsserver` or `shortlived`. Default: the CA's. (live)
    #[serde(default)]
    pub profile: Option<Arc<str>>,
    /// The common name of a CA certificate; the chain that has it is taken where the CA offers several. Default: the CA's
    /// first. (live)
    #[serde(default)]
    pub preferred_chain: Option<Arc<str>>,
    /// Certificates, in PEM, by which this CA's own server is trusted. Default: those of the system. (live)
    #[serde(default)]
    pub certificate_authorities: Option<CredentialSource>,
    /// Domains whose names may be ordered. Default: the zones of the solvers; every name where one of those lists none.
    /// (live)
    #[serde(default)]
    pub domains: Vec<Arc<str>>,
    /// Wildcards such as `*.example.com` that are ordered in the place of the names under them, once a route has one, and
    /// serve every namespace. Default: none. (live)
    #[serde(default)]
    pub wildcards: Vec<Arc<str>>,
    /// Who writes the proofs into DNS, or `http01`; the longest zone that fits decides. (live)
    pub solvers: Vec<Solver>,
}

/// A binding to an account that the CA knows already.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExternalAccount {
    /// What the CA calls the key. (live)
    pub key_id: Arc<str>,
    /// The key, in base64url as the CA gives it. (live)
    pub key: CredentialSource,
}

/// The kind of a certificate's key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum KeyType {
    /// ECDSA on P-256.
    #[default]
    Ecdsa256,
    /// ECDSA on P-384.
    Ecdsa384,
    /// RSA of 2048 bits.
    Rsa2048,
    /// RSA of 3072 bits.
    Rsa3072,
    /// RSA of 4096 bits.
    Rsa4096,
}

/// Writes the proofs for some zones.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Solver {
    /// Zones such as `example.com`. Default: every zone that the provider has. (live)
    #[serde(default)]
    pub zones: Vec<Arc<str>>,
    /// Who hosts them. (live)
    pub provider: Provider,
    /// How it is seen that a record is published. (live)
    #[serde(default)]
    pub propagation: Propagation,
}

/// Who hosts DNS.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Provider {
    /// Amazon Route 53.
    Route53(Route53),
    /// Cloudflare, by a token.
    Cloudflare(Cloudflare),
    /// Any name server that takes signed updates: BIND, Knot, PowerDNS, Technitium.
    Rfc2136(Rfc2136),
    /// A program of your own, in the form that lego calls `httpreq`.
    Webhook(Webhook),
    /// Nobody: names are proved by HTTP-01, which every replica answers on its plain listener, before and beside all routes. It
    /// cannot prove wildcards. `propagation` says whether (`check: off` or not) and how long the answer is looked for first.
    Http01(Http01),
}

/// Answers on the plain listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Http01 {
    /// Where the CA asks. Default: 80, which is what CAs of the public do. (live)
    pub port: Option<u16>,
}

/// Amazon Route 53. Without keys and web identity, the environment of IAM roles for service accounts counts
/// (`AWS_ROLE_ARN`, `AWS_WEB_IDENTITY_TOKEN_FILE`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Route53 {
    /// The id of a static key. Default: none. (live)
    pub access_key_id: Option<CredentialSource>,
    /// The secret of that key. Default: none. (live)
    pub secret_access_key: Option<CredentialSource>,
    /// Trades a token of the cluster for keys. Default: none. (live)
    pub web_identity: Option<WebIdentity>,
    /// A role to take on with those keys. Default: none. (live)
    pub assume_role: Option<AssumeRole>,
    /// Where STS is asked. Default: `us-east-1`. (live)
    pub region: Option<Arc<str>>,
    /// The zone's id, for keys that may not list zones. Default: found by name. (live)
    pub zone_id: Option<Arc<str>>,
    /// The base URL of the API. Default: that of AWS. (live)
    pub endpoint: Option<Arc<str>>,
    /// The base URL of STS. Default: that of AWS. (live)
    pub sts_endpoint: Option<Arc<str>>,
}

/// A role by the cluster's own word.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebIdentity {
    /// The ARN of the role. (live)
    pub role: Arc<str>,
    /// The file with the token, read each time. (live)
    pub token_file: PathBuf,
}

/// A role of this account or another.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AssumeRole {
    /// The ARN of the role. (live)
    pub role: Arc<str>,
    /// What the other account asks for. Default: none. (live)
    #[serde(default)]
    pub external_id: Option<Arc<str>>,
}

/// Cloudflare.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cloudflare {
    /// A token that may edit DNS and read zones. (live)
    pub token: CredentialSource,
    /// The zone's id, for tokens that may not list zones. Default: found by name. (live)
    #[serde(default)]
    pub zone_id: Option<Arc<str>>,
    /// The base URL of the API. Default: that of Cloudflare. (live)
    #[serde(default)]
    pub endpoint: Option<Arc<str>>,
}

/// A name server that takes updates signed by TSIG.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rfc2136 {
    /// The primary server, as `address:port`. (live)
    #[schemars(with = "String")]
    pub server: SocketAddr,
    /// The name of the key. (live)
    pub key_name: Arc<str>,
    /// The key, in base64. (live)
    pub key: CredentialSource,
    /// How updates are signed. Default: `hmac-sha256`. (live)
    #[serde(default)]
    pub algorithm: Algorithm,
}

/// How updates are signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    #[default]
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
    #[serde(rename = "hmac-sha384")]
    HmacSha384,
    #[serde(rename = "hmac-sha512")]
    HmacSha512,
}

/// A program that writes records.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Webhook {
    /// `/present` and `/cleanup` are posted to below this URL. (live)
    pub endpoint: Arc<str>,
    /// For basic authentication. Default: none. (live)
    #[serde(default)]
    pub user: Option<Arc<str>>,
    /// For basic authentication. Default: none. (live)
    #[serde(default)]
    pub password: Option<CredentialSource>,
}

/// How it is seen that a record is published.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Propagation {
    /// Who must have it. Default: `authoritative`. (live)
    pub check: Check,
    /// Name servers to ask in the place of those that the zone names: behind a split horizon, or of a hidden primary.
    /// Default: none. (live)
    #[schemars(with = "Vec<String>")]
    pub servers: Vec<SocketAddr>,
    /// Waited after everyone had it. Default: 0s. (live)
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub delay: Duration,
    /// Given up after. Default: 5m. (live)
    #[serde(deserialize_with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub timeout: Duration,
}

/// Who must have a record before the CA is told to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Check {
    /// Every authoritative server of the zone, or every one of `servers`.
    #[default]
    Authoritative,
    /// The resolvers, or `servers` as such.
    Resolvers,
    /// Nobody: `delay` alone is waited.
    Off,
}

/// Where a credential stands.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum CredentialSource {
    /// A key of a Secret in Vestibule's own namespace (`certificates.privateNamespace`).
    SecretRef(SecretKey),
    /// A file; a relative path starts at the settings file's directory.
    File(PathBuf),
    /// An environment variable.
    Env(String),
}

/// Names one key of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretKey {
    /// The Secret's name. (live)
    pub name: Arc<str>,
    /// The key in it. (live)
    pub key: Arc<str>,
}

impl Solver {
    /// As names are compared.
    pub(crate) fn zones(&self) -> Vec<String> {
        self.zones.iter().map(|zone| zone.trim_end_matches('.').to_ascii_lowercase()).collect()
    }
}

impl Default for Propagation {
    fn default() -> Self {
        let (delay, timeout) = (Duration::ZERO, Duration::from_secs(300));
        Propagation { check: Check::default(), servers: Vec::new(), delay, timeout }
    }
}

impl Certificates {
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or(NAMESPACE)
    }

    /// Of credentials, accounts and orders.
    pub fn private_namespace(&self) -> &str {
        self.private_namespace.as_deref().unwrap_or_else(|| self.namespace())
    }

    /// The directory for certificates of an edge that reads this directory of manifests, which it must lie in to be read.
    pub(crate) fn directory(&self, manifests: &Path) -> Result<PathBuf, StoreError> {
        let Some(directory) = &self.directory else { return Ok(manifests.join(DIRECTORY)) };
        let directory = manifests.join(directory);
        if directory.starts_with(manifests) && directory != manifests {
            return Ok(directory);
        }
        let (place, manifests) = (directory.display().to_string(), manifests.display());
        let error = format!("it must be a directory in {manifests}, so that what is written there is read");
        Err(StoreError::Unavailable { place, error })
    }
}

impl Issuer {
    /// Which names it may order, and in which form. Names that do not parse are refused by [`validate`].
    pub fn scope(&self) -> acme::plan::Scope {
        let lower = |text: &Arc<str>| Arc::from(text.trim_end_matches('.').to_ascii_lowercase());
        let is_open = self.solvers.iter().any(|solver| solver.zones.is_empty());
        let domains = match (self.domains.is_empty(), is_open) {
            (false, _) => self.domains.iter().map(lower).collect(),
            (true, true) => Vec::new(),
            (true, false) => self.solvers.iter().flat_map(|solver| &solver.zones).map(lower).collect(),
        };
        let wildcards = self.wildcards.iter().filter_map(|name| Name::parse(name).ok()).collect();
        acme::plan::Scope { issuer: self.name.clone(), domains, wildcards }
    }

    /// Whether some names are proved by HTTP-01.
    pub(crate) fn has_http01(&self) -> bool {
        self.solvers.iter().any(|solver| matches!(solver.provider, Provider::Http01(_)))
    }

    /// Whether this name is.
    pub(crate) fn is_proved_by_http(&self, name: &Name) -> bool {
        let zones = |by_http: bool| {
            let of_kind = move |solver: &&Solver| matches!(solver.provider, Provider::Http01(_)) == by_http;
            self.solvers.iter().filter(of_kind).map(Solver::zones).collect::<Vec<_>>()
        };
        let (by_http, by_dns) = (zones(true), zones(false));
        is_proved_by_http(name, by_http.iter().map(|zones| &**zones), by_dns.iter().map(|zones| &**zones))
    }

    /// Under which key the store has its account.
    pub(crate) fn account_key(&self) -> String {
        let external = self.external_account.as_ref().map(|account| &*account.key_id);
        acme::store::account_key(&self.directory, external)
    }

    /// The directory to rehearse at. None with HTTP-01: replicas answer for one account.
    pub fn staging(&self) -> Option<&str> {
        if self.has_http01() {
            return None;
        }
        let known = (*self.directory == *LETS_ENCRYPT).then_some(LETS_ENCRYPT_STAGING);
        self.staging.as_deref().or(known)
    }

    /// Everything that is named, authorities among it.
    pub(crate) fn credentials(&self) -> Vec<&CredentialSource> {
        let mut sources = self.secrets();
        sources.extend(&self.certificate_authorities);
        sources
    }

    /// Every credential that is named.
    pub(crate) fn secrets(&self) -> Vec<&CredentialSource> {
        let mut sources: Vec<&CredentialSource> = Vec::new();
        sources.extend(self.external_account.as_ref().map(|account| &account.key));
        for solver in &self.solvers {
            match &solver.provider {
                Provider::Route53(route53) => {
                    sources.extend(route53.access_key_id.iter().chain(&route53.secret_access_key));
                }
                Provider::Cloudflare(cloudflare) => sources.push(&cloudflare.token),
                Provider::Rfc2136(rfc2136) => sources.push(&rfc2136.key),
                Provider::Webhook(webhook) => sources.extend(&webhook.password),
                Provider::Http01(_) => {}
            }
        }
        sources
    }

    /// Lets relative paths begin at the directory of the settings file.
    pub(super) fn resolve_paths(&mut self, base: &Path) {
        let mut sources: Vec<&mut CredentialSource> = Vec::new();
        sources.extend(self.external_account.as_mut().map(|account| &mut account.key));
        sources.extend(self.certificate_authorities.as_mut());
        for solver in &mut self.solvers {
            match &mut solver.provider {
                Provider::Route53(route53) => {
                    sources.extend(route53.access_key_id.as_mut());
                    sources.extend(route53.secret_access_key.as_mut());
                    if let Some(web) = &mut route53.web_identity {
                        web.token_file = base.join(&web.token_file);
                    }
                }
                Provider::Cloudflare(cloudflare) => sources.push(&mut cloudflare.token),
                Provider::Rfc2136(rfc2136) => sources.push(&mut rfc2136.key),
                Provider::Webhook(webhook) => sources.extend(webhook.password.as_mut()),
                Provider::Http01(_) => {}
            }
        }
        for source in sources {
            if let CredentialSource::File(path) = source {
                *path = base.join(&*path);
            }
        }
    }
}

/// What may be written for a [`CredentialSource`].
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum WrittenSource {
    SecretRef(SecretKey),
    File(PathBuf),
    Env(String),
}

/// Whoever writes a credential itself is told so, in words that do not repeat it.
impl<'de> Deserialize<'de> for CredentialSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = CredentialSource;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("secretRef, file or env: where the credential stands")
            }

            fn visit_str<E: de::Error>(self, _: &str) -> Result<CredentialSource, E> {
                Err(E::custom(
                    "a credential is not written here: write secretRef, file or env, and where it stands",
                ))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<CredentialSource, A::Error> {
                Ok(match WrittenSource::deserialize(MapAccessDeserializer::new(map))? {
                    WrittenSource::SecretRef(key) => CredentialSource::SecretRef(key),
                    WrittenSource::File(path) => CredentialSource::File(path),
                    WrittenSource::Env(name) => CredentialSource::Env(name),
                })
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

impl CredentialSource {
    /// A file or a variable; a Secret has to be found among the objects.
    pub(crate) fn value_source(&self) -> Result<ValueSource, &SecretKey> {
        match self {
            CredentialSource::SecretRef(secret) => Err(secret),
            CredentialSource::File(path) => Ok(ValueSource::File(path.clone())),
            CredentialSource::Env(name) => Ok(ValueSource::Env(name.clone())),
        }
    }
}

/// Finds the first contradiction among the issuers.
pub(super) fn validate(issuers: &[Issuer]) -> Result<(), Fault> {
    for (index, issuer) in issuers.iter().enumerate() {
        let fault =
            |key: &str, message: String| Err(Fault { field: format!("issuers[{index}]{key}"), message });
        let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if issuer.name.is_empty() || issuer.name.len() > NAME_LEN_MAX || !issuer.name.bytes().all(is_word) {
            let message = format!("is not 1 to {NAME_LEN_MAX} lower-case letters, digits and hyphens");
            return fault(".name", message);
        }
        if issuers[..index].iter().any(|other| other.name == issuer.name) {
            return fault(".name", format!("the issuer `{}` is written twice; rename one", issuer.name));
        }
        if issuer.default
            && let Some(other) = issuers[..index].iter().find(|other| other.default)
        {
            return fault(".default", format!("`{}` is the default already; only one may be", other.name));
        }
        for (key, url) in [(".directory", Some(&*issuer.directory)), (".staging", issuer.staging.as_deref())]
        {
            if url.is_some_and(|url| !url.starts_with("https://")) {
                return fault(key, "is no URL that begins with https://".to_owned());
            }
        }
        if issuer.solvers.is_empty() {
            return fault(
                ".solvers",
                "is empty; write at least one, such as cloudflare with its token".to_owned(),
            );
        }
        let proves_by_dns = |solver: &Solver| !matches!(solver.provider, Provider::Http01(_));
        if !issuer.wildcards.is_empty() && !issuer.solvers.iter().any(proves_by_dns) {
            let message = "cannot be proved by http01; add a solver with a provider of DNS".to_owned();
            return fault(".wildcards", message);
        }
        for (position, wildcard) in issuer.wildcards.iter().enumerate() {
            let is_wildcard = Name::parse(wildcard).is_ok_and(|name| name.is_wildcard());
            if !is_wildcard {
                return fault(
                    &format!(".wildcards[{position}]"),
                    format!("`{wildcard}` is no name like *.example.com"),
                );
            }
        }
        let zones = issuer.solvers.iter().flat_map(|solver| &solver.zones);
        if let Some(bad) = issuer.domains.iter().chain(zones).find(|domain| Name::parse(domain).is_err()) {
            return fault("", format!("`{bad}` is no domain like example.com"));
        }
        for (position, solver) in issuer.solvers.iter().enumerate() {
            if let Provider::Route53(route53) = &solver.provider
                && route53.access_key_id.is_some() != route53.secret_access_key.is_some()
            {
                let field = format!(".solvers[{position}].provider.route53");
                return fault(&field, "accessKeyId and secretAccessKey go together".to_owned());
            }
            if solver.propagation.timeout.is_zero() {
                return fault(
                    &format!(".solvers[{position}].propagation.timeout"),
                    "is 0; write a longer time".to_owned(),
                );
            }
        }
    }
    Ok(())
}

const NAMESPACE: &str = "vestibule";
const DIRECTORY: &str = "acme";
/// A part of the names of Secrets.
const NAME_LEN_MAX: usize = 40;
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
const LETS_ENCRYPT_STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

#[cfg(test)]
mod tests;
