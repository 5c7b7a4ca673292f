//! What a route of Traefik sends its requests to: Services, with weights and in trees of TraefikServices, and copies of them.

use serde_json::{Value, json};

use super::documents::{Documents, list, text, texts};
use super::guards::Wanted;
use super::{ObjectReport, Verdict};

/// One Service with its share of the requests, as a fraction.
struct Leaf<'v> {
    service: &'v Value,
    share: (u128, u128),
}

/// What is known on the way down a tree.
struct Walk<'v> {
    namespace: &'v str,
    documents: &'v Documents,
    leaves: Vec<Leaf<'v>>,
    /// Who gets copies, and whether bodies go along.
    mirror: Option<(&'v Value, bool)>,
    /// Copies that cannot be had.
    lost: Vec<String>,
}

/// The backend of an Ingress for these services of a route, with the keys that say the rest; `None` when that cannot be said,
/// which the report then tells.
pub(super) fn backend(
    services: &[Value],
    namespace: &str,
    documents: &Documents,
    about: &str,
    wanted: &mut Wanted,
    report: &mut ObjectReport,
) -> Option<Value> {
    let about = &format!("{about}.services");
    let mut walk = Walk { namespace, documents, leaves: Vec::new(), mirror: None, lost: Vec::new() };
    let weighed = walk.share_out(services, (1, 1), 0).and_then(|()| weights(&walk.leaves));
    let weights = match weighed {
        Ok(weights) => weights,
        Err(reason) => {
            report.say(Verdict::ByHand, about, format!("{reason}; nothing was written"));
            return None;
        }
    };
    for leaf in &walk.leaves {
        transport(leaf.service, namespace, documents, about, wanted, report);
    }
    if let [_, _, ..] = &walk.leaves[..] {
        let share = |(leaf, weight): (&Leaf<'_>, &u32)| {
            format!("{}:{}={weight}", text(leaf.service, "/name"), port_text(leaf.service))
        };
        let value: Vec<String> = walk.leaves.iter().zip(&weights).map(share).collect();
        wanted.set("service-weights", value.join(", "), about, report);
    }
    if let Some((mirror, has_body)) = walk.mirror {
        let server = format!("{}.{namespace}.svc:{}", text(mirror, "/name"), port_text(mirror));
        let scheme = if text(mirror, "/scheme") == "https" { "https" } else { "http" };
        wanted.set("mirror-target", format!("{scheme}://{server}$request_uri"), about, report);
        if !has_body {
            wanted.set("mirror-request-body", "off", about, report);
        }
        report.say(Verdict::Changes, about, "requests with bodies longer than 64 kB are not copied");
    }
    for words in walk.lost {
        report.say(Verdict::ByHand, about, words);
    }
    walk.leaves.first().map(|leaf| backend_of(leaf.service))
}

impl<'v> Walk<'v> {
    /// Shares `whole` out among services by their weights.
    fn share_out(&mut self, services: &'v [Value], whole: (u128, u128), depth: usize) -> Result<(), String> {
        let weight = |service: &Value| match services.len() {
            1 => 1,
            _ => {
                u128::from(service.get("weight").and_then(Value::as_u64).unwrap_or(1).min(WEIGHT_MAX.into()))
            }
        };
        let sum: u128 = services.iter().map(weight).sum();
        if sum == 0 {
            return Err("no service has a share".to_owned());
        }
        for service in services {
            self.take(service, lowest((whole.0 * weight(service), whole.1 * sum)), depth)?;
        }
        Ok(())
    }

    fn take(&mut self, service: &'v Value, share: (u128, u128), depth: usize) -> Result<(), String> {
        let space = text(service, "/namespace");
        if !space.is_empty() && space != self.namespace {
            return Err(
                "a Service of another namespace: write an HTTPRoute, and a ReferenceGrant there".to_owned()
            );
        }
        if text(service, "/kind") != "TraefikService" {
            if self.leaves.len() >= LEAVES_MAX {
                return Err(format!("more than {LEAVES_MAX} Services share the requests"));
            }
            self.leaves.push(Leaf { service, share });
            return Ok(());
        }
        let name = text(service, "/name");
        if depth == DEPTH_MAX {
            return Err("TraefikServices lead to TraefikServices without end".to_owned());
        }
        let found = self.documents.find("TraefikService", self.namespace, name);
        let found = found.ok_or_else(|| format!("the TraefikService {name} is not among the manifests"))?;
        if let Some(mirroring) = found.pointer("/spec/mirroring") {
            self.mirrors(mirroring, name, share);
            return self.take(mirroring, share, depth + 1);
        }
        match list(found, "/spec/weighted/services") {
            [] => Err(format!("the TraefikService {name} is neither `weighted` nor `mirroring`")),
            services => self.share_out(services, share, depth + 1),
        }
    }

    /// One mirror of all requests has a key; what has none is told, for it guards nothing.
    fn mirrors(&mut self, mirroring: &'v Value, name: &str, share: (u128, u128)) {
        let is_plain = |mirror: &Value| {
            text(mirror, "/kind") != "TraefikService" && text(mirror, "/namespace").is_empty()
        };
        let active: Vec<&Value> = list(mirroring, "/mirrors")
            .iter()
            .filter(|mirror| mirror.get("percent").and_then(Value::as_u64).unwrap_or(0) > 0)
            .collect();
        match &active[..] {
            [] => {}
            [mirror]
                if mirror["percent"] == 100 && is_plain(mirror) && share.0 == share.1 && self.mirror.is_none() =>
            {
                let has_body = mirroring.get("mirrorBody") != Some(&Value::Bool(false));
                self.mirror = Some((mirror, has_body));
            }
            _ => self.lost.push(format!(
                "the TraefikService {name} copies a part of the requests, or to several: nothing is copied; write an HTTPRoute with \
                 RequestMirror filters"
            )),
        }
    }
}

/// Whole numbers in the proportion of the shares.
fn weights(leaves: &[Leaf<'_>]) -> Result<Vec<u32>, String> {
    let speech = |leaf: &Leaf<'_>| (is_secure(leaf.service), text(leaf.service, "/scheme") == "h2c");
    if leaves.windows(2).any(|pair| speech(&pair[0]) != speech(&pair[1])) {
        return Err(
            "its Services are spoken to in different ways: write an HTTPRoute with `backendRefs`".to_owned()
        );
    }
    let common = leaves.iter().try_fold(1_u128, |common, leaf| {
        let denominator = leaf.share.1;
        (common / divisor(common, denominator)).checked_mul(denominator)
    });
    let scaled = common.and_then(|common| {
        let scale = |leaf: &Leaf<'_>| leaf.share.0.checked_mul(common / leaf.share.1);
        leaves.iter().map(scale).collect::<Option<Vec<u128>>>()
    });
    let scaled = scaled.ok_or("its weights are too uneven")?;
    let all = scaled.iter().copied().fold(0, divisor).max(1);
    let fits = |weight: u128| u32::try_from(weight / all).ok().filter(|weight| *weight <= WEIGHT_MAX);
    let weights: Option<Vec<u32>> = scaled.into_iter().map(fits).collect();
    weights.ok_or_else(|| "its weights are too uneven for whole numbers up to a million".to_owned())
}

fn lowest((numerator, denominator): (u128, u128)) -> (u128, u128) {
    let common = divisor(numerator, denominator).max(1);
    (numerator / common, denominator / common)
}

/// The greatest common one.
fn divisor(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { divisor(b, a % b) }
}

/// The port of a service as `service-weights` and URLs have it.
fn port_text(service: &Value) -> String {
    match service.get("port") {
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::String(name)) => name.clone(),
        _ => "80".to_owned(),
    }
}

fn is_secure(service: &Value) -> bool {
    text(service, "/scheme") == "https"
        || service.get("port").is_some_and(|port| port == 443 || port == "https")
}

fn backend_of(service: &Value) -> Value {
    let port = match service.get("port") {
        Some(Value::Number(number)) => json!({"number": number}),
        Some(Value::String(name)) => match name.parse::<u16>() {
            Ok(number) => json!({"number": number}),
            Err(_) => json!({"name": name}),
        },
        _ => json!({"number": 80}),
    };
    json!({"service": {"name": text(service, "/name"), "port": port}})
}

/// How the backend is spoken to.
fn transport(
    service: &Value,
    namespace: &str,
    documents: &Documents,
    about: &str,
    wanted: &mut Wanted,
    report: &mut ObjectReport,
) {
    let secure = is_secure(service);
    match text(service, "/scheme") {
        "h2c" => wanted.set("backend-protocol", "H2C", about, report),
        _ if secure => wanted.set("backend-protocol", "HTTPS", about, report),
        _ => {}
    }
    if service.get("passHostHeader") == Some(&Value::Bool(false)) {
        report.say(
            Verdict::ByHand,
            about,
            "passHostHeader: write the name that the backend wants in `vestibule.dev/upstream-vhost`",
        );
    }
    sticky(service, about, wanted, report);
    if service.get("nativeLB") == Some(&Value::Bool(true)) {
        wanted.set("service-upstream", "true", about, report);
    }
    let name = text(service, "/serversTransport");
    if name.is_empty() {
        if secure {
            wanted.set("proxy-ssl-verify", "true", about, report);
        }
        return;
    }
    let about = &format!("ServersTransport {namespace}/{name}");
    let Some(found) = documents.find("ServersTransport", namespace, name) else {
        return wanted.close(
            about,
            "it is not among the manifests, and says whom the backend is verified by",
            report,
        );
    };
    let spec = &found["spec"];
    if !text(spec, "/serverName").is_empty() {
        wanted.set("proxy-ssl-name", text(spec, "/serverName"), about, report);
    }
    let verified = spec.get("insecureSkipVerify") != Some(&Value::Bool(true));
    if secure && verified {
        wanted.set("proxy-ssl-verify", "true", about, report);
    }
    secrets(spec, about, wanted, report);
    for (field, key) in [
        ("/forwardingTimeouts/dialTimeout", "proxy-connect-timeout"),
        ("/forwardingTimeouts/responseHeaderTimeout", "proxy-read-timeout"),
    ] {
        if !text(spec, field).is_empty() {
            wanted.set(key, text(spec, field), about, report);
        }
    }
}

/// The authorities that a backend is verified by, and the certificate that it is shown. We read both from one Secret.
fn secrets(spec: &Value, about: &str, wanted: &mut Wanted, report: &mut ObjectReport) {
    let mut named = texts(spec, "/rootCAsSecrets");
    for authority in list(spec, "/rootCAs") {
        match text(authority, "/secret") {
            "" => {
                let words = "rootCAs of a ConfigMap: put the authorities in the `ca.crt` of a Secret, and name it in \
                             `vestibule.dev/proxy-ssl-secret`";
                return wanted.close(about, words, report);
            }
            secret => named.push(secret),
        }
    }
    let authorities = named.len();
    named.extend(texts(spec, "/certificatesSecrets"));
    let shown = named.len() - authorities;
    named.sort_unstable();
    named.dedup();
    match &named[..] {
        [] => {}
        [secret] => {
            wanted.set("proxy-ssl-secret", *secret, about, report);
            if authorities > 0 {
                let words =
                    format!("the authorities are read from the key ca.crt of the Secret {secret} (not tls.ca)");
                report.say(Verdict::Changes, about, words);
            } else if shown > 0 {
                let words = format!(
                    "where the Secret {secret} has a ca.crt beside the certificate that backends are shown, they are verified by that"
                );
                report.say(Verdict::Changes, about, words);
            }
        }
        _ => wanted.close(
            about,
            "its authorities and certificates stand in several Secrets: join them in one with ca.crt, tls.crt and tls.key, and name it \
             in `vestibule.dev/proxy-ssl-secret`",
            report,
        ),
    }
}

/// A cookie that keeps clients on one endpoint.
fn sticky(service: &Value, about: &str, wanted: &mut Wanted, report: &mut ObjectReport) {
    let Some(cookie) = service.pointer("/sticky/cookie") else { return };
    wanted.set("affinity", "cookie", about, report);
    for (field, key) in [
        ("/name", "session-cookie-name"),
        ("/sameSite", "session-cookie-samesite"),
        ("/path", "session-cookie-path"),
        ("/domain", "session-cookie-domain"),
    ] {
        if !text(cookie, field).is_empty() {
            wanted.set(key, text(cookie, field), about, report);
        }
    }
    if let Some(seconds) = cookie.get("maxAge").and_then(Value::as_u64).filter(|seconds| *seconds > 0) {
        wanted.set("session-cookie-max-age", seconds.to_string(), about, report);
    }
    if cookie.get("secure") == Some(&Value::Bool(true)) {
        wanted.set("session-cookie-secure", "true", about, report);
    }
    report.say(Verdict::Changes, about, "sessions begin anew: the cookie's value is another one");
}

/// Services of one route, as many as `service-weights` takes.
const LEAVES_MAX: usize = 16;
/// TraefikServices in TraefikServices.
const DEPTH_MAX: usize = 8;
/// As `service-weights` has it.
const WEIGHT_MAX: u32 = 1_000_000;
