//! Route 53 (API version 2013-04-01). A record is one set there: values are added by reading the set and writing it whole,
//! so this account's changes go one after another.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::aws::{Credentials, REQUEST_INTERVAL, domain, encode_pairs, error_text, sign};
use super::{DnsProvider, ProviderError, Throttle, Zone};
use crate::http::BoxFuture;

/// One account of Route 53.
pub struct Route53 {
    credentials: Arc<Credentials>,
    /// Base address, such as `https://route53.amazonaws.com`.
    endpoint: String,
    /// The zone to use whatever its name says, for keys that may not list zones.
    zone_id: Option<String>,
    throttle: Throttle,
    /// The first wait for a change; each that follows is twice as long.
    sync_interval: Duration,
    writing: Mutex<()>,
}

/// A set of TXT values as it stands.
#[derive(Debug, Default, PartialEq, Eq)]
struct RecordSet {
    ttl: u32,
    /// In quotes, in the order in which they came: a DELETE must repeat them.
    values: Vec<String>,
}

impl Route53 {
    /// Without `endpoint` the address of AWS is used.
    pub fn new(credentials: Arc<Credentials>, endpoint: Option<String>, zone_id: Option<String>) -> Route53 {
        let endpoint = endpoint.unwrap_or_else(|| {
            let domain = domain(&credentials.region);
            match domain {
                "amazonaws.com" => "https://route53.amazonaws.com".to_owned(),
                _ => format!("https://route53.{domain}"),
            }
        });
        let throttle = Throttle::new(REQUEST_INTERVAL);
        let sync_interval = SYNC_INTERVAL_MIN;
        Route53 { credentials, endpoint, zone_id, throttle, sync_interval, writing: Mutex::const_new(()) }
    }

    async fn send(&self, method: Method, path: &str, body: String) -> Result<String, ProviderError> {
        self.throttle.patiently(|| self.send_once(method.clone(), path, body.clone())).await
    }

    async fn send_once(&self, method: Method, path: &str, body: String) -> Result<String, ProviderError> {
        let keys = self.credentials.keys().await?;
        let uri = format!("{}/2013-04-01/{path}", self.endpoint.trim_end_matches('/'));
        let request = Request::builder().method(method).uri(uri).header("content-type", "text/xml");
        let request = request.body(Bytes::from(body));
        let mut request =
            request.map_err(|error| ProviderError::Refused(format!("the endpoint: {error}")))?;
        // Route 53 is one service for the world, and signs as one region of each partition.
        let region = if self.credentials.region.starts_with("cn-") { "cn-northwest-1" } else { "us-east-1" };
        sign(&mut request, &keys, region, "route53", (self.credentials.clock)())?;
        let answer = self.credentials.http.send(request).await?;
        match answer.status().is_success() {
            true => Ok(String::from_utf8_lossy(answer.body()).into_owned()),
            false => Err(classify(&answer)),
        }
    }

    async fn read(&self, zone: &Zone, record: &str) -> Result<RecordSet, ProviderError> {
        let query = encode_pairs(&[("maxitems", "1"), ("name", record), ("type", "TXT")]);
        let answer =
            self.send(Method::GET, &format!("hostedzone/{}/rrset?{query}", zone.id), String::new()).await?;
        let document = parse(&answer)?;
        let sets = document.descendants().filter(|node| node.tag_name().name() == "ResourceRecordSet");
        for set in sets {
            let text = |name: &str| set.children().find(|node| node.tag_name().name() == name)?.text();
            // The name asked for is only where the list begins.
            let is_it =
                text("Name").is_some_and(|name| same_name(name, record)) && text("Type") == Some("TXT");
            if is_it {
                let values = set.descendants().filter(|node| node.tag_name().name() == "Value");
                return Ok(RecordSet {
                    ttl: text("TTL").and_then(|ttl| ttl.parse().ok()).unwrap_or(TTL),
                    values: values.filter_map(|node| node.text()).map(str::to_owned).collect(),
                });
            }
        }
        Ok(RecordSet { ttl: TTL, values: Vec::new() })
    }

    async fn change(
        &self,
        zone: &Zone,
        action: &str,
        record: &str,
        set: &RecordSet,
    ) -> Result<(), ProviderError> {
        let values: String = set
            .values
            .iter()
            .map(|value| format!("<ResourceRecord><Value>{}</Value></ResourceRecord>", escape(value)))
            .collect();
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
             <ChangeResourceRecordSetsRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><ChangeBatch><Changes>\
             <Change><Action>{action}</Action><ResourceRecordSet><Name>{}</Name><Type>TXT</Type><TTL>{}</TTL>\
             <ResourceRecords>{values}</ResourceRecords></ResourceRecordSet></Change></Changes></ChangeBatch>\
             </ChangeResourceRecordSetsRequest>",
            escape(record),
            set.ttl
        );
        let answer = self.send(Method::POST, &format!("hostedzone/{}/rrset/", zone.id), body).await?;
        self.wait(&answer).await
    }

    /// Until the change has reached every server of AWS.
    async fn wait(&self, answer: &str) -> Result<(), ProviderError> {
        let status = |answer: &str| -> Result<(String, String), ProviderError> {
            let document = parse(answer)?;
            let text = |name| super::aws::find_text(&document, name).unwrap_or_default().to_owned();
            Ok((text("Id"), text("Status")))
        };
        let (id, mut now) = status(answer)?;
        let deadline = Instant::now() + SYNC_TIMEOUT;
        let mut wait = self.sync_interval;
        while now != "INSYNC" {
            if Instant::now() > deadline {
                return Err(ProviderError::Unavailable(format!("the change {id} is still {now}")));
            }
            sleep(wait).await;
            wait = (wait * 2).min(SYNC_INTERVAL_MAX);
            let path = format!("change/{}", id.trim_start_matches("/change/"));
            now = status(&self.send(Method::GET, &path, String::new()).await?)?.1;
        }
        Ok(())
    }
}

impl DnsProvider for Route53 {
    fn kind(&self) -> &'static str {
        "Route 53"
    }

    fn zone<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Zone>, ProviderError>> {
        Box::pin(async move {
            if let Some(id) = &self.zone_id {
                return Ok(Some(hosted_zone(name, id)));
            }
            let query = encode_pairs(&[("dnsname", name), ("maxitems", "10")]);
            let answer = self.send(Method::GET, &format!("hostedzonesbyname?{query}"), String::new()).await?;
            let document = parse(&answer)?;
            let mut zones = document.descendants().filter(|node| node.tag_name().name() == "HostedZone");
            let id = zones.find_map(|zone| {
                let text =
                    |name: &str| zone.descendants().find(|node| node.tag_name().name() == name)?.text();
                let is_public = text("PrivateZone") != Some("true");
                let is_it = is_public && text("Name").is_some_and(|of| same_name(of, name));
                is_it.then(|| text("Id")).flatten()
            });
            Ok(id.map(|id| hosted_zone(name, id)))
        })
    }

    fn add<'a>(
        &'a self,
        zone: &'a Zone,
        record: &'a str,
        values: &'a [String],
    ) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(async move {
            let _turn = self.writing.lock().await;
            let mut set = self.read(zone, record).await?;
            let before = set.values.len();
            for value in values.iter().map(|value| quote(value)) {
                if !set.values.contains(&value) {
                    set.values.push(value);
                }
            }
            if set.values.len() == before {
                return Ok(());
            }
            set.ttl = TTL;
            self.change(zone, "UPSERT", record, &set).await
        })
    }

    fn remove<'a>(
        &'a self,
        zone: &'a Zone,
        record: &'a str,
        values: &'a [String],
    ) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(async move {
            let _turn = self.writing.lock().await;
            let set = self.read(zone, record).await?;
            let ours: Vec<String> = values.iter().map(|value| quote(value)).collect();
            let (gone, rest): (Vec<String>, Vec<String>) =
                set.values.iter().cloned().partition(|value| ours.contains(value));
            match (gone.is_empty(), rest.is_empty()) {
                (true, _) => Ok(()),
                (false, true) => self.change(zone, "DELETE", record, &set).await,
                (false, false) => {
                    let rest = RecordSet { ttl: set.ttl, values: rest };
                    self.change(zone, "UPSERT", record, &rest).await
                }
            }
        })
    }
}

/// Ids come with the path that they are under.
fn hosted_zone(name: &str, id: &str) -> Zone {
    Zone::new(name, id.trim_start_matches("/hostedzone/"))
}

fn classify(answer: &Response<Bytes>) -> ProviderError {
    let words = error_text(answer);
    let code = words.split(':').next().unwrap_or_default();
    match (answer.status().as_u16(), code) {
        // Both come with status 400.
        (_, "Throttling" | "ThrottlingException" | "PriorRequestNotComplete") | (429, _) => {
            ProviderError::Throttled(words)
        }
        (401 | 403, _) => ProviderError::Credentials(words),
        (500.., _) => ProviderError::Unavailable(words),
        _ => ProviderError::Refused(words),
    }
}

fn parse(text: &str) -> Result<roxmltree::Document<'_>, ProviderError> {
    roxmltree::Document::parse(text)
        .map_err(|error| ProviderError::Unavailable(format!("the answer is no XML: {error}")))
}

/// `example.com.` and `example.com`; `*` comes as `\052`.
fn same_name(there: &str, ours: &str) -> bool {
    there.trim_end_matches('.').eq_ignore_ascii_case(ours)
}

fn quote(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Seconds that others may keep a value; short, because it is there for minutes.
const TTL: u32 = 60;
const SYNC_TIMEOUT: Duration = Duration::from_secs(180);
const SYNC_INTERVAL_MIN: Duration = Duration::from_secs(1);
const SYNC_INTERVAL_MAX: Duration = Duration::from_secs(8);

#[cfg(test)]
mod tests;
