//! From the settings to issuers that can act: credentials are read, clients made.
//!
//! An issuer whose credentials cannot be read is left out and told of; the others go on.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;

use acme::Clock;
use acme::dns::{self, Dns};
use acme::http::Http;
use acme::http01::Http01;
use acme::issuer::{ExternalAccount, Issuer, KeyType, Solver};
use acme::provider::DnsProvider;
use acme::provider::aws::{AssumeRole, Credentials, Identity, Keys};
use acme::provider::cloudflare::Cloudflare;
use acme::provider::rfc2136::{Algorithm, Rfc2136};
use acme::provider::route53::Route53;
use acme::provider::webhook::Webhook;
use acme::secret::Secret;

use super::client::Client;
use crate::config::objects::Objects;
use crate::config::problem::{Problem, Severity};
use crate::settings::Settings;
use crate::settings::issuers::{self as written, Check, CredentialSource, Provider};

/// Makes the issuers of the settings. Problems name the issuer and what could not be read.
///
/// Those of `known` that have not changed, their credentials included, are taken as they are, and with them their queues and
/// the keys that they hold for an hour.
pub(crate) fn issuers(
    objects: &Objects,
    settings: &Settings,
    known: &[Arc<Issuer>],
    clock: &Clock,
) -> (Vec<Arc<Issuer>>, Vec<Problem>) {
    let (mut issuers, mut problems) = (Vec::new(), Vec::new());
    let reader = Reader { objects, namespace: settings.certificates.private_namespace() };
    for (index, issuer) in settings.issuers.iter().enumerate() {
        let made = mark(issuer, settings, &reader).and_then(|fingerprint| {
            let is_same =
                |known: &&Arc<Issuer>| known.fingerprint == fingerprint && known.name() == &*issuer.name;
            match known.iter().find(is_same) {
                Some(known) => Ok(known.clone()),
                None => make(issuer, settings, &reader, fingerprint, clock).map(Arc::new),
            }
        });
        match made {
            Ok(issuer) => issuers.push(issuer),
            Err(message) => problems.push(Problem {
                severity: Severity::Degraded,
                object: None,
                field: format!("issuers[{index}]").into(),
                reason: "IssuerUnusable",
                message: format!("the issuer `{}` orders nothing: {message}", issuer.name).into(),
                place: None,
            }),
        }
    }
    (issuers, problems)
}

/// A mark of everything that an issuer is made from.
fn mark(issuer: &written::Issuer, settings: &Settings, reader: &Reader<'_>) -> Result<u64, String> {
    let mut hasher = DefaultHasher::new();
    format!("{issuer:?} {:?}", settings.certificates).hash(&mut hasher);
    for source in issuer.credentials() {
        reader.read(source)?.expose().hash(&mut hasher);
    }
    Ok(hasher.finish())
}

/// Reads credentials.
struct Reader<'a> {
    objects: &'a Objects,
    namespace: &'a str,
}

impl Reader<'_> {
    /// The words of an error name the place and never the value.
    fn read(&self, source: &CredentialSource) -> Result<Secret, String> {
        let bytes = match source.value_source() {
            Ok(source) => source.read().map_err(|error| error.to_string())?,
            Err(key) => {
                let place = format!("the Secret {}/{}", self.namespace, key.name);
                let secret = self.objects.secrets.find(self.namespace, &key.name);
                let secret =
                    secret.ok_or_else(|| format!("there is no {}", place.trim_start_matches("the ")))?;
                let value =
                    secret.data.get(&*key.key).ok_or_else(|| format!("{place} has no key `{}`", key.key))?;
                value.expose().to_vec()
            }
        };
        let text = String::from_utf8(bytes).map_err(|_| "a credential is not text".to_owned())?;
        Ok(Secret::new(text.trim()))
    }
}

fn make(
    issuer: &written::Issuer,
    settings: &Settings,
    reader: &Reader<'_>,
    fingerprint: u64,
    clock: &Clock,
) -> Result<Issuer, String> {
    let authorities =
        issuer.certificate_authorities.as_ref().map(|source| reader.read(source)).transpose()?;
    let client = Client::new(authorities.as_ref().map(|pem| pem.expose().as_bytes()));
    let client = client.map_err(|error| format!("certificateAuthorities: {error}"))?;
    // Providers are trusted by the system's authorities, whatever the CA is trusted by.
    let open: Arc<dyn Http> = match &authorities {
        None => Arc::new(client.clone()),
        Some(_) => Arc::new(Client::new(None).map_err(|error| error.to_string())?),
    };
    let (mut solvers, mut http01) = (Vec::new(), Vec::new());
    for solver in &issuer.solvers {
        let (zones, propagation) = (solver.zones(), propagation(&solver.propagation));
        match provider(&solver.provider, reader, &open, clock)? {
            Some(provider) => solvers.push(Solver { zones, provider, propagation }),
            None => http01.push(Http01 { zones, port: port(&solver.provider), propagation }),
        }
    }
    let external_account = match &issuer.external_account {
        None => None,
        Some(account) => {
            Some(ExternalAccount { key_id: account.key_id.to_string(), key: reader.read(&account.key)? })
        }
    };
    Ok(Issuer {
        scope: issuer.scope(),
        directory: issuer.directory.to_string(),
        staging: issuer.staging().map(str::to_owned),
        contact: issuer.contact.iter().map(|address| contact(address)).collect(),
        external_account,
        key_type: match issuer.key_type {
            written::KeyType::Ecdsa256 => KeyType::EcdsaP256,
            written::KeyType::Ecdsa384 => KeyType::EcdsaP384,
            written::KeyType::Rsa2048 => KeyType::Rsa2048,
            written::KeyType::Rsa3072 => KeyType::Rsa3072,
            written::KeyType::Rsa4096 => KeyType::Rsa4096,
        },
        profile: issuer.profile.as_deref().map(str::to_owned),
        preferred_chain: issuer.preferred_chain.as_deref().map(str::to_owned),
        solvers,
        http01,
        dns: Dns { resolvers: resolvers(settings), authoritative_port: DNS_PORT },
        http: Arc::new(client),
        fingerprint,
    })
}

/// `None` for what is not proved by DNS.
fn provider(
    provider: &Provider,
    reader: &Reader<'_>,
    http: &Arc<dyn Http>,
    clock: &Clock,
) -> Result<Option<Arc<dyn DnsProvider>>, String> {
    let text = |text: &Option<Arc<str>>| text.as_deref().map(str::to_owned);
    let made: Arc<dyn DnsProvider> = match provider {
        Provider::Http01(_) => return Ok(None),
        Provider::Cloudflare(account) => {
            let token = reader.read(&account.token)?;
            Arc::new(Cloudflare::new(token, text(&account.endpoint), text(&account.zone_id), http.clone()))
        }
        Provider::Rfc2136(server) => {
            let algorithm = match server.algorithm {
                written::Algorithm::HmacSha256 => Algorithm::HmacSha256,
                written::Algorithm::HmacSha384 => Algorithm::HmacSha384,
                written::Algorithm::HmacSha512 => Algorithm::HmacSha512,
            };
            let key = reader.read(&server.key)?;
            let made = Rfc2136::new(server.server, &server.key_name, algorithm, &key, clock.clone());
            Arc::new(made.map_err(|error| format!("rfc2136: {error}"))?)
        }
        Provider::Webhook(hook) => {
            let login = match (&hook.user, &hook.password) {
                (Some(user), Some(password)) => Some((user.to_string(), reader.read(password)?)),
                (None, None) => None,
                (Some(_), None) | (None, Some(_)) => {
                    return Err("webhook: user and password go together".to_owned());
                }
            };
            Arc::new(Webhook::new(&hook.endpoint, login, http.clone()))
        }
        Provider::Route53(account) => {
            let identity = identity(account, reader)?;
            let region = account.region.as_deref().unwrap_or("us-east-1");
            let assume = account.assume_role.as_ref().map(|assume| AssumeRole {
                role: assume.role.to_string(),
                external_id: text(&assume.external_id),
            });
            let (sts, http, clock) = (text(&account.sts_endpoint), http.clone(), clock.clone());
            let credentials = Arc::new(Credentials::new(identity, assume, region, sts, http, clock));
            Arc::new(Route53::new(credentials, text(&account.endpoint), text(&account.zone_id)))
        }
    };
    Ok(Some(made))
}

fn port(provider: &Provider) -> u16 {
    match provider {
        Provider::Http01(http01) => http01.port.unwrap_or(HTTP_PORT),
        Provider::Route53(_) | Provider::Cloudflare(_) | Provider::Rfc2136(_) | Provider::Webhook(_) => {
            HTTP_PORT
        }
    }
}

fn identity(account: &written::Route53, reader: &Reader<'_>) -> Result<Identity, String> {
    if let (Some(id), Some(secret)) = (&account.access_key_id, &account.secret_access_key) {
        let id = reader.read(id)?.expose().to_owned();
        return Ok(Identity::Keys(Keys { id, secret: reader.read(secret)?, session: None }));
    }
    if let Some(web) = &account.web_identity {
        return Ok(Identity::WebIdentity { role: web.role.to_string(), token_file: web.token_file.clone() });
    }
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    match (variable("AWS_ROLE_ARN"), variable("AWS_WEB_IDENTITY_TOKEN_FILE")) {
        (Some(role), Some(file)) => Ok(Identity::WebIdentity { role, token_file: file.into() }),
        _ => Err("route53 has no keys: write accessKeyId and secretAccessKey, or webIdentity".to_owned()),
    }
}

fn propagation(written: &written::Propagation) -> dns::Propagation {
    let check = match (written.check, written.servers.is_empty()) {
        (Check::Off, _) => dns::Check::Off,
        (Check::Authoritative, true) => dns::Check::Authoritative,
        (Check::Authoritative, false) => dns::Check::Servers(written.servers.clone()),
        (Check::Resolvers, _) => dns::Check::Resolvers(written.servers.clone()),
    };
    dns::Propagation { check, delay: written.delay, timeout: written.timeout }
}

/// Those of the settings, else those of the system, read anew each time.
fn resolvers(settings: &Settings) -> Vec<SocketAddr> {
    if !settings.certificates.resolvers.is_empty() {
        return settings.certificates.resolvers.clone();
    }
    let Ok((system, _)) = hickory_resolver::system_conf::read_system_conf() else { return Vec::new() };
    system.name_servers.iter().map(|server| SocketAddr::new(server.ip, DNS_PORT)).collect()
}

/// CAs want URLs (RFC 8555 §7.3); people write addresses.
fn contact(address: &str) -> String {
    if address.contains(':') { address.to_owned() } else { format!("mailto:{address}") }
}

const DNS_PORT: u16 = 53;
const HTTP_PORT: u16 = 80;
