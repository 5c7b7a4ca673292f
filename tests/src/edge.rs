//! An edge in this process, from the text of its objects.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proxy::access::Writer;
use proxy::admin::metrics::Metrics;
use proxy::config::backend::Locality;
use proxy::config::compile::{Compiler, Refresh};
use proxy::config::objects::{Object, Objects};
use proxy::config::problem::{Kind, ObjectRef, Problem};
use proxy::config::providers::Outside;
use proxy::edge::{DrainLimits, Drained, EdgeOptions};
use proxy::listen::Inherited;
use proxy::route::table::ListenerKey;
use proxy::settings::Settings;
use proxy::tls::tickets::TicketSecret;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::wait::eventually_some;

/// One running edge with one worker, on free ports of 127.0.0.1.
pub struct Edge {
    runtime: Runtime,
    /// Ends after the edge.
    _control: Control,
    edge: Option<proxy::edge::Edge>,
    compiler: Compiler,
    objects: Objects,
    known: BTreeSet<ObjectRef>,
    settings: Arc<Settings>,
    problems: Vec<Problem>,
    log: Lines,
    writer: Option<Writer>,
    metrics: Arc<Metrics>,
}

impl Edge {
    /// Starts an edge from YAML documents. One of kind `Settings`, if any, is the operator's file; its classes and Gateways
    /// are bound to free ports whatever it says.
    #[track_caller]
    pub fn from_yaml(yaml: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let control = Control::start();
        let log = Lines::default();
        let (writer, access) = Writer::start(log.clone()).expect("a thread");
        let (objects, settings) = read(yaml);
        let settings = Arc::new(settings);
        #[expect(clippy::disallowed_methods, reason = "the metrics say when the process began")]
        let now = jiff::Timestamp::now();
        let workers = settings.workers.unwrap_or(NonZeroUsize::MIN);
        let metrics = Arc::new(Metrics::new(workers.get(), access.dropped(), now));
        let edge = proxy::edge::Edge::start(
            EdgeOptions {
                binds: true,
                workers,
                inherited: Inherited::default(),
                control: control.handle(),
                metrics: Arc::clone(&metrics),
                access,
            },
            Arc::clone(&settings),
        )
        .expect("threads");
        let mut this = Edge {
            runtime,
            _control: control,
            edge: Some(edge),
            compiler: Compiler::new(TicketSecret::random(), None, Locality::default()),
            objects: Objects::new(),
            known: BTreeSet::new(),
            settings,
            problems: Vec::new(),
            log,
            writer: Some(writer),
            metrics,
        };
        this.compiler.set_outside(Outside::read(&this.settings));
        this.apply(objects);
        this.publish();
        this
    }

    /// Puts these objects in the place of all that were there. Requests see it soon, not at once.
    pub fn republish(&mut self, yaml: &str) {
        let (objects, settings) = read(yaml);
        self.settings = Arc::new(settings);
        self.compiler.set_outside(Outside::read(&self.settings));
        self.apply(objects);
        self.publish();
    }

    /// Puts the keys of sessions in force, as replicas share them.
    pub fn set_session_keys(&self, ring: &str) {
        let ring = auth::session::KeyRing::parse(ring).expect("a key ring");
        self.edge.as_ref().expect("a running edge").set_session_keys(Arc::new(ring));
    }

    /// Takes up new EndpointSlices without compiling; panics when anything else is in `yaml`.
    #[track_caller]
    pub fn refresh_endpoints(&mut self, yaml: &str) {
        for object in read(yaml).0 {
            self.objects.apply(object);
        }
        assert_eq!(self.compiler.refresh_endpoints(&self.objects), Refresh::Published);
    }

    /// The plain address of the class, or the address of the Gateway port that `listener` names (`infra/edge:80`, or
    /// `infra/edge:53/udp`).
    #[track_caller]
    pub fn address(&self, listener: &str) -> SocketAddr {
        let bound = self.edge.as_ref().expect("a running edge").addresses();
        let found = bound.iter().find(|(key, _)| match key {
            ListenerKey::Class { tls, .. } => listener == if *tls { "https" } else { "http" },
            ListenerKey::Gateway { namespace, name, port } => {
                listener == format!("{namespace}/{name}:{port}")
            }
            ListenerKey::Datagrams { namespace, name, port } => {
                listener == format!("{namespace}/{name}:{port}/udp")
            }
        });
        found.unwrap_or_else(|| panic!("no listener {listener} among {bound:?}")).1
    }

    /// The plain address of the class.
    #[track_caller]
    pub fn http(&self) -> SocketAddr {
        self.address("http")
    }

    /// The TLS address of the class.
    #[track_caller]
    pub fn https(&self) -> SocketAddr {
        self.address("https")
    }

    /// What the last compilation complained of.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// A series of the metrics, such as `vestibule_rejects_total{reason="refused"}`; 0 where it is not there.
    pub fn metric(&self, series: &str) -> f64 {
        let text = self.metrics.encode(self.metrics.started()).expect("the metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// The access log so far; lines come with a delay of a tick.
    pub fn access_log(&self) -> Vec<Value> {
        let bytes = self.log.0.lock().expect("a log");
        String::from_utf8_lossy(&bytes).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The first access line that `wanted` takes, once it is there.
    #[track_caller]
    pub fn logged(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually_some(what, || self.access_log().into_iter().find(|line| wanted(line)))
    }

    /// Starts a drain and returns at once; the handle says how it ended.
    pub fn drain(mut self, limit: Duration) -> std::thread::JoinHandle<Drained> {
        let edge = self.edge.take().expect("a running edge");
        std::thread::spawn(move || {
            let limits = DrainLimits { requests: limit, sessions: limit };
            self.runtime.block_on(edge.drain(limits, || {}))
        })
    }

    fn apply(&mut self, objects: Vec<Object>) {
        let gone = std::mem::take(&mut self.known);
        for object in objects {
            self.known.insert(object.reference());
            self.objects.apply(object);
        }
        for reference in gone.difference(&self.known) {
            self.objects.remove(reference);
        }
    }

    fn publish(&mut self) {
        let compiled = self.compiler.compile(&self.objects, &self.settings);
        self.problems = compiled.problems;
        let edge = self.edge.as_mut().expect("a running edge");
        let published = edge.publish(Arc::new(compiled.table), Arc::clone(&self.settings));
        let (_, failures) = self.runtime.block_on(published);
        assert!(failures.is_empty(), "{failures:?}");
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        // The workers end when their mailboxes close, and with them every connection.
        drop(self.edge.take());
        drop(self.writer.take());
    }
}

/// A control runtime that is always at work, as the process has one.
struct Control {
    handle: tokio::runtime::Handle,
    end: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Control {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let handle = runtime.handle().clone();
        let (end, ended) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let _ = runtime.block_on(ended);
        });
        Control { handle, end: Some(end), thread: Some(thread) }
    }

    fn handle(&self) -> tokio::runtime::Handle {
        self.handle.clone()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Where access lines go.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("a log").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Objects and settings of several YAML documents.
#[track_caller]
fn read(yaml: &str) -> (Vec<Object>, Settings) {
    let mut objects = Vec::new();
    let mut settings = Settings::default();
    settings.tls.default_certificate = proxy::settings::DefaultCertificate::Refuse;
    for document in yaml.split("\n---\n") {
        let value: Option<Value> = serde_saphyr::from_str(document).unwrap_or_else(|error| {
            panic!("{error} in\n{document}");
        });
        let Some(Value::Object(fields)) = value else { continue };
        let word = |key: &str| fields.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        if word("kind") == "Settings" {
            let text: String = document.lines().filter(|line| *line != "kind: Settings").map(line).collect();
            settings =
                Settings::parse(&text, Path::new("settings")).unwrap_or_else(|error| panic!("{error}"));
            continue;
        }
        let kind = Kind::from_api(&word("apiVersion"), &word("kind"))
            .unwrap_or_else(|| panic!("{} {} is not read", word("apiVersion"), word("kind")));
        let object = Object::deserialize(kind, Value::Object(fields.clone()));
        objects.push(object.unwrap_or_else(|error| panic!("{error} in\n{document}")));
    }
    bind_to_free_ports(&mut settings);
    (objects, settings)
}

fn line(line: &str) -> String {
    format!("{line}\n")
}

fn bind_to_free_ports(settings: &mut Settings) {
    let any_port: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    for class in &mut settings.classes {
        class.http = vec![any_port];
        class.https = vec![any_port];
    }
    for binding in &mut settings.gateways {
        binding.ports = GATEWAY_PORTS.iter().map(|port| (*port, 0)).collect();
    }
}

/// Ports that the Gateways of tests may name.
const GATEWAY_PORTS: [u16; 11] = [1, 2, 3, 4, 53, 80, 443, 5432, 8000, 8080, 8443];
