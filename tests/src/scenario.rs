//! Scenarios: objects, requests, and the answers that must come, as data.
//!
//! A file in `tests/scenarios/` is one scenario or several, each a YAML document:
//!
//! ```yaml
//! scenario: A prefix ends at a slash
//! backends: [web, api]          # each a Service on port 80 in the namespace shop, with an upstream that says its name
//! settings: {contact: "Ask us"} # optional: the operator's file
//! objects: [...]                # everything else; a namespace that is not named is shop
//! requests:
//! - GET: /api/x                 # any method; the value is the target
//!   host: shop.example          # default: shop.example
//!   on: infra/edge:80           # default: the plain listener of the class
//!   from: 127.0.0.2             # default: 127.0.0.1
//!   headers: {Accept: text/html}
//!   body: "hello"
//!   bodyBytes: 1000             # in place of a body: so many bytes
//!   times: 100                  # default: once; then `shares` says how often each backend may be met
//!   expect:
//!     status: 200               # default: 200
//!     backend: api              # default with a status of 200: any
//!     headers: {Location: "..."}   # null: the field is not there; "*": it is; "*part*": it holds this
//!     contains: [hello]         # in the body
//!     sees: {target: /x, host: shop.example, headers: {X-A: b, X-B: null}}  # the upstream's side
//!     shares: {web: [80, 95], api: [5, 20]}
//! problems: [UnknownAnnotation] # reasons, as a set; default: not looked at
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::client::Client;
use crate::edge::Edge;
use crate::manifests;
use crate::message::{Answer, Fields, Received};
use crate::upstream::Upstream;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    scenario: String,
    #[serde(default)]
    backends: Vec<String>,
    #[serde(default)]
    settings: Map<String, Value>,
    #[serde(default)]
    objects: Vec<Value>,
    requests: Vec<Request>,
    problems: Option<BTreeSet<String>>,
}

#[derive(Deserialize)]
struct Request {
    #[serde(default = "default_host")]
    host: String,
    #[serde(default = "default_listener")]
    on: String,
    from: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<String>,
    #[serde(default, rename = "bodyBytes")]
    body_bytes: Option<usize>,
    #[serde(default = "once")]
    times: usize,
    #[serde(default)]
    expect: Expected,
    /// The method with its target.
    #[serde(flatten)]
    line: BTreeMap<String, Value>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    status: Option<u16>,
    backend: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, Option<String>>,
    #[serde(default)]
    contains: Vec<String>,
    body: Option<String>,
    #[serde(default)]
    sees: Sees,
    #[serde(default)]
    shares: BTreeMap<String, [usize; 2]>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sees {
    method: Option<String>,
    target: Option<String>,
    host: Option<String>,
    body: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, Option<String>>,
}

/// Runs every scenario of a file; each failure is one text. Returns how many scenarios there were.
pub fn run(file: &Path, failures: &mut Vec<String>) -> usize {
    let text = std::fs::read_to_string(file).expect("a readable scenario");
    let name = file.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    let mut count = 0;
    for document in text.split("\n---\n") {
        let scenario: Scenario =
            serde_saphyr::from_str(document).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        count += 1;
        let title = format!("{name}: {}", scenario.scenario);
        scenario.run(&mut |failure| failures.push(format!("{title}: {failure}")));
    }
    count
}

/// Runs one scenario that is given as a value; each failure is one text.
pub fn run_value(title: &str, scenario: Value, failures: &mut Vec<String>) {
    let scenario: Scenario =
        serde_json::from_value(scenario).unwrap_or_else(|error| panic!("{title}: {error}"));
    scenario.run(&mut |failure| failures.push(format!("{title}: {failure}")));
}

impl Scenario {
    fn run(self, fail: &mut dyn FnMut(String)) {
        let upstreams: BTreeMap<&str, Upstream> =
            self.backends.iter().map(|name| (name.as_str(), backend(name))).collect();
        let edge = Edge::from_yaml(&self.yaml(&upstreams));
        if let Some(expected) = &self.problems {
            let found: BTreeSet<String> =
                edge.problems().iter().map(|problem| problem.reason.to_owned()).collect();
            if found != *expected {
                fail(format!("problems {found:?}, not {expected:?}: {:?}", edge.problems()));
            }
        }
        for request in &self.requests {
            let (method, target) = request.line();
            request.run(&edge, &upstreams, &mut |failure| fail(format!("{method} {target}: {failure}")));
        }
    }

    /// All objects, with the settings, as YAML documents. JSON is YAML.
    fn yaml(&self, upstreams: &BTreeMap<&str, Upstream>) -> String {
        let mut yaml = String::new();
        if !self.settings.is_empty() {
            let lines: String =
                self.settings.iter().map(|(key, value)| format!("{key}: {value}\n")).collect();
            yaml.push_str(&manifests::settings(&lines));
        }
        for object in &self.objects {
            let mut object = object.clone();
            if let Some(fields) = object.as_object_mut() {
                let metadata = fields.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
                if let Some(metadata) = metadata.as_object_mut() {
                    metadata.entry("namespace").or_insert_with(|| "shop".into());
                }
            }
            writeln!(yaml, "---\n{object}").expect("a string takes it");
        }
        for (name, upstream) in upstreams {
            yaml.push_str(&manifests::service(name, &[upstream.address]));
        }
        yaml
    }
}

impl Request {
    fn line(&self) -> (&str, &str) {
        let mut lines = self.line.iter();
        match (lines.next(), lines.next()) {
            (Some((method, Value::String(target))), None) => (method, target),
            _ => panic!(
                "a request needs one method with its target, and no other unknown key: {:?}",
                self.line
            ),
        }
    }

    fn run(&self, edge: &Edge, upstreams: &BTreeMap<&str, Upstream>, fail: &mut dyn FnMut(String)) {
        let source = self.from.as_deref().unwrap_or("127.0.0.1").parse().expect("an address");
        let mut client = Client::connect_from(source, edge.address(&self.on));
        let (method, target) = self.line();
        let mut met: BTreeMap<&str, usize> = BTreeMap::new();
        for _ in 0..self.times {
            let before: BTreeMap<&str, usize> =
                upstreams.iter().map(|(name, upstream)| (*name, upstream.count())).collect();
            client.send(self.bytes(method, target));
            let answer = match client.reader.answer(method) {
                Ok(Some(answer)) => answer,
                other => return fail(format!("no answer: {other:?}")),
            };
            let hit = upstreams.iter().find(|(name, upstream)| upstream.count() > before[*name]);
            if let Some((name, _)) = hit {
                *met.entry(name).or_default() += 1;
            }
            let received = hit.and_then(|(_, upstream)| upstream.requests().pop());
            self.expect.check(&answer, hit.map(|(name, _)| *name), received.as_ref(), fail);
            if answer.says_close() {
                client = Client::connect_from(source, edge.address(&self.on));
            }
        }
        for (name, [least, most]) in &self.expect.shares {
            let times = met.get(name.as_str()).copied().unwrap_or_default();
            if !(*least..=*most).contains(&times) {
                fail(format!("{name} was met {times} times of {}, not {least} to {most}", self.times));
            }
        }
    }

    fn bytes(&self, method: &str, target: &str) -> String {
        let mut bytes = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n", self.host);
        for (name, value) in &self.headers {
            write!(bytes, "{name}: {value}\r\n").expect("a string takes it");
        }
        let body = self.body_bytes.map(|length| "x".repeat(length)).or_else(|| self.body.clone());
        if let Some(body) = &body {
            write!(bytes, "Content-Length: {}\r\n", body.len()).expect("a string takes it");
        }
        bytes + "\r\n" + body.as_deref().unwrap_or_default()
    }
}

impl Expected {
    fn check(
        &self,
        answer: &Answer,
        backend: Option<&str>,
        received: Option<&Received>,
        fail: &mut dyn FnMut(String),
    ) {
        let status = self.status.unwrap_or(200);
        if answer.status != status {
            return fail(format!("{} instead of {status}: {answer:?}", answer.status));
        }
        if self.backend.as_deref() != backend && (self.backend.is_some() || status != 200) {
            fail(format!("answered by {backend:?} instead of {:?}", self.backend));
        }
        compare("the answer", &answer.fields, &self.headers, fail);
        let text = answer.text();
        for part in self.contains.iter().filter(|part| !text.contains(part.as_str())) {
            fail(format!("{part:?} is not in the body: {text}"));
        }
        if self.body.as_ref().is_some_and(|body| *body != text) {
            fail(format!("the body is {text:?}"));
        }
        match received {
            Some(received) => self.sees.check(received, fail),
            None if !self.sees.is_empty() => fail("no upstream saw it".into()),
            None => {}
        }
    }
}

impl Sees {
    fn is_empty(&self) -> bool {
        self.method.is_none() && self.target.is_none() && self.host.is_none() && self.headers.is_empty()
    }

    fn check(&self, received: &Received, fail: &mut dyn FnMut(String)) {
        let body = String::from_utf8_lossy(&received.body);
        for (what, wanted, actual) in [
            ("method", &self.method, received.method.as_str()),
            ("target", &self.target, received.target.as_str()),
            ("host", &self.host, received.fields.one("host").unwrap_or_default()),
            ("body", &self.body, &body),
        ] {
            if wanted.as_ref().is_some_and(|wanted| wanted != actual) {
                fail(format!("the upstream sees the {what} {actual:?} instead of {wanted:?}"));
            }
        }
        compare("the upstream's request", &received.fields, &self.headers, fail);
    }
}

fn compare(
    whose: &str,
    fields: &Fields,
    expected: &BTreeMap<String, Option<String>>,
    fail: &mut dyn FnMut(String),
) {
    for (name, wanted) in expected {
        let actual = fields.all(name);
        let same = match wanted {
            None => actual.is_empty(),
            Some(value) if value == "*" => !actual.is_empty(),
            Some(value) if value.starts_with('*') && value.ends_with('*') => {
                actual.join(", ").contains(value.trim_matches('*'))
            }
            Some(value) => actual.join(", ") == *value,
        };
        if !same {
            fail(format!("{name} of {whose} is {actual:?} instead of {wanted:?}"));
        }
    }
}

/// An upstream that says its name, with the status that the path names (`/status/404`); `/silent` is never answered.
fn backend(name: &str) -> Upstream {
    let name = name.to_owned();
    Upstream::start(move |connection| {
        while let Some(request) = connection.request() {
            if request.target.starts_with("/silent") {
                // Until the edge has had enough of it.
                connection.request();
                return;
            }
            let status =
                request.target.strip_prefix("/status/").and_then(|rest| rest.get(..3)).unwrap_or("200");
            let body = if request.method == "HEAD" { "" } else { &*name };
            connection
                .send(format!("HTTP/1.1 {status} Said\r\nContent-Length: {}\r\n\r\n{body}", name.len()));
        }
    })
}

fn default_host() -> String {
    "shop.example".to_owned()
}

fn default_listener() -> String {
    "http".to_owned()
}

fn once() -> usize {
    1
}
