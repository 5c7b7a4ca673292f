//! From the text of the file to [`Settings`]: what the types cannot say is said here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::providers::SecretSource;
use super::{DefaultCertificate, Settings, Trust, ValueSource, workloads};
use crate::yaml;

/// Why a settings file cannot be used. One line: place, fault, mend.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("{}: {source}; give a readable file with --settings", file.display())]
    Unreadable { file: PathBuf, source: std::io::Error },
    #[error("{}: larger than {SETTINGS_BYTES_MAX} bytes; that is no settings file", file.display())]
    TooLarge { file: PathBuf },
    #[error("{}:{line}:{column}: {message}", file.display())]
    Invalid { file: PathBuf, line: usize, column: usize, message: String },
    /// The flags contradict each other or the file, which is a good one by itself.
    #[error("{0}")]
    Contradiction(#[from] Fault),
}

/// A value that is named in the settings and cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ValueError {
    #[error("{}: {source}", file.display())]
    File { file: PathBuf, source: std::io::Error },
    #[error("the environment variable {0} is not set, or not in UTF-8")]
    Env(String),
    #[error("{}: larger than {VALUE_BYTES_MAX} bytes", file.display())]
    TooLarge { file: PathBuf },
}

impl Settings {
    /// Reads and checks a settings file. Relative paths inside it start at its directory.
    pub fn load(file: &Path) -> Result<Settings, SettingsError> {
        let unreadable = |source| SettingsError::Unreadable { file: file.to_owned(), source };
        let bytes = std::fs::metadata(file).map_err(unreadable)?.len();
        if bytes > SETTINGS_BYTES_MAX {
            return Err(SettingsError::TooLarge { file: file.to_owned() });
        }
        let text = std::fs::read_to_string(file).map_err(unreadable)?;
        let mut settings = Settings::parse(&text, file)?;
        if let Some(directory) = file.parent() {
            settings.issuers.iter_mut().for_each(|issuer| issuer.resolve_paths(directory));
            for provider in settings.providers.values_mut() {
                provider.resolve_files(directory);
            }
            settings.replicas.resolve_paths(directory);
            if let Some(SecretSource::File(file)) = &mut settings.auth.session_keys {
                *file = directory.join(&*file);
            }
            let store = settings.shared_store.as_mut();
            if let Some(ValueSource::File(file)) = store.and_then(|store| store.password.as_mut()) {
                *file = directory.join(&*file);
            }
        }
        if let DefaultCertificate::Pem(pem) = &mut settings.tls.default_certificate
            && let Some(directory) = file.parent()
        {
            for source in [&mut pem.certificate, &mut pem.key] {
                if let ValueSource::File(path) = source {
                    *path = directory.join(&*path);
                }
            }
        }
        if let Some(directory) = file.parent() {
            for process in &mut settings.workloads {
                if let Some(path) = &mut process.working_directory {
                    *path = directory.join(&*path);
                }
            }
        }
        Ok(settings)
    }

    /// Reads and checks the text of a settings file; `file` is what errors name. An empty text gives the defaults.
    pub fn parse(text: &str, file: &Path) -> Result<Settings, SettingsError> {
        let invalid =
            |line, column, message| SettingsError::Invalid { file: file.to_owned(), line, column, message };
        let settings = match yaml::from_str::<Option<Settings>>(text) {
            Ok(settings) => settings.unwrap_or_default(),
            Err(error) => return Err(invalid(error.line, error.column, error.message)),
        };
        match settings.validate() {
            Ok(()) => Ok(settings),
            Err(Fault { field, message }) => {
                let (line, column) = yaml::position(text, 1, &field).unwrap_or((1, 1));
                Err(invalid(line, column, format!("{field}: {message}")))
            }
        }
    }

    /// Finds the first contradiction. Also called after flags have been laid over a file.
    pub fn validate(&self) -> Result<(), Fault> {
        self.validate_classes()?;
        self.validate_gateways()?;
        self.validate_addresses()?;
        self.validate_trust("trust", &self.trust)?;
        for (index, class) in self.classes.iter().enumerate() {
            if let Some(trust) = &class.trust {
                self.validate_trust(&format!("classes[{index}].trust"), trust)?;
            }
        }
        for (index, binding) in self.gateways.iter().enumerate() {
            if let Some(trust) = &binding.trust {
                self.validate_trust(&format!("gateways[{index}].trust"), trust)?;
            }
        }
        super::issuers::validate(&self.issuers)?;
        self.replicas.validate()?;
        self.validate_workloads()?;
        self.validate_providers()?;
        if self.shared_store.as_ref().is_some_and(|store| store.host_and_port().is_none()) {
            let message = "it is no host and port; write one such as redis.infra.svc:6379";
            return Err(Fault::new("sharedStore.address".into(), message));
        }
        self.validate_numbers()
    }

    fn validate_workloads(&self) -> Result<(), Fault> {
        wake::policy::Idle::within_bounds(self.wake.idle)
            .map_err(|error| Fault::new("wake.idle".into(), error.to_string()))?;
        wake::policy::timeout_within_bounds(self.wake.timeout)
            .map_err(|error| Fault::new("wake.timeout".into(), error.to_string()))?;
        for (index, process) in self.workloads.iter().enumerate() {
            let field = |key: &str| format!("workloads[{index}].{key}");
            let named = format!("process/{}", process.name);
            wake::workload::Reference::parse(&named)
                .map_err(|error| Fault::new(field("name"), error.to_string()))?;
            let same = |other: &workloads::Process| {
                (&other.name, &other.namespace) == (&process.name, &process.namespace)
            };
            if self.workloads[..index].iter().any(same) {
                let message = format!("`{}` is written twice; rename one", process.name);
                return Err(Fault::new(field("name"), message));
            }
            if process.command.first().is_none_or(|program| program.is_empty()) {
                return Err(Fault::new(field("command"), "is empty; write a program and its arguments"));
            }
        }
        Ok(())
    }

    fn validate_classes(&self) -> Result<(), Fault> {
        for (index, class) in self.classes.iter().enumerate() {
            let field = |key: &str| format!("classes[{index}].{key}");
            if class.name.is_empty() {
                return Err(Fault::new(field("name"), "is empty; write the name that Ingresses carry"));
            }
            if self.classes[..index].iter().any(|other| other.name == class.name) {
                let message =
                    format!("the class `{}` is written twice; merge the two or rename one", class.name);
                return Err(Fault::new(field("name"), message));
            }
            if class.http.is_empty() && class.https.is_empty() {
                let message =
                    "has no address; write at least one under `http` or `https`, such as 0.0.0.0:80";
                return Err(Fault::new(format!("classes[{index}]"), message));
            }
            if class.default
                && let Some(other) = self.classes[..index].iter().find(|other| other.default)
            {
                let message = format!("`{}` is the default class already; only one may be", other.name);
                return Err(Fault::new(field("default"), message));
            }
        }
        Ok(())
    }

    fn validate_gateways(&self) -> Result<(), Fault> {
        for (index, binding) in self.gateways.iter().enumerate() {
            let field = format!("gateways[{index}].gateway");
            let well_formed = &*binding.gateway == "*"
                || binding
                    .gateway
                    .split_once('/')
                    .is_some_and(|(ns, name)| !ns.is_empty() && !name.is_empty() && !name.contains('/'));
            if !well_formed {
                let message = format!("`{}` is neither namespace/name nor *", binding.gateway);
                return Err(Fault::new(field, message));
            }
            if self.gateways[..index].iter().any(|other| other.gateway == binding.gateway) {
                let message = format!("`{}` is bound twice; merge the two", binding.gateway);
                return Err(Fault::new(field, message));
            }
            if binding.addresses.is_empty() {
                let message = "is empty; write at least one address, such as 0.0.0.0";
                return Err(Fault::new(format!("gateways[{index}].addresses"), message));
            }
        }
        Ok(())
    }

    /// Two sockets never share an address: neither written twice nor covered by 0.0.0.0 or [::] on the same port.
    fn validate_addresses(&self) -> Result<(), Fault> {
        let mut taken: BTreeMap<u16, Vec<(SocketAddr, String)>> = BTreeMap::new();
        let classes = self.classes.iter().enumerate().flat_map(|(index, class)| {
            let http = class
                .http
                .iter()
                .enumerate()
                .map(move |(n, at)| (*at, format!("classes[{index}].http[{n}]")));
            let https = class
                .https
                .iter()
                .enumerate()
                .map(move |(n, at)| (*at, format!("classes[{index}].https[{n}]")));
            http.chain(https)
        });
        let admin = self.admin.enabled.then(|| (self.admin.address, "admin.address".to_owned()));
        let replicas = self.replicas.listen.map(|address| (address, "replicas.listen".to_owned()));
        for (address, field) in classes.chain(admin).chain(replicas) {
            // Port 0 asks for any free port, so it clashes with nothing.
            if address.port() == 0 {
                continue;
            }
            let others = taken.entry(address.port()).or_default();
            if let Some((other, other_field)) = others.iter().find(|(other, _)| clash(*other, address)) {
                let message =
                    format!("{address} clashes with {other} of {other_field}; give one another port");
                return Err(Fault::new(field, message));
            }
            others.push((address, field));
        }
        Ok(())
    }

    fn validate_trust(&self, field: &str, trust: &Trust) -> Result<(), Fault> {
        for (key, networks) in [("forwarded", &trust.forwarded), ("proxyProtocol", &trust.proxy_protocol)] {
            for (index, network) in networks.iter().enumerate() {
                network
                    .resolve(&self.presets)
                    .map_err(|unknown| Fault::new(format!("{field}.{key}[{index}]"), unknown.to_string()))?;
            }
        }
        Ok(())
    }

    /// Bounds of zero would refuse everything, where they do not stand for "none".
    fn validate_numbers(&self) -> Result<(), Fault> {
        let limits = &self.limits;
        let counts = [
            ("limits.headerBytes", limits.header_bytes.0),
            ("limits.headers", limits.headers as u64),
            ("limits.targetBytes", limits.target_bytes.0),
            ("limits.connectionsPerAddress", limits.connections_per_address as u64),
            ("limits.connections", limits.connections as u64),
            ("limits.requestsPerConnection", limits.requests_per_connection),
            ("limits.streamsPerConnection", u64::from(limits.streams_per_connection)),
            ("limits.handshakesPerWorker", limits.handshakes_per_worker as u64),
            ("upstream.responseHeadBytes", self.upstream.response_head_bytes.0),
            ("upstream.requestsPerEndpoint", self.upstream.requests_per_endpoint as u64),
        ];
        if let Some((field, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(Fault::new(
                field.into(),
                "is 0, which would refuse everything; write a number above it",
            ));
        }
        let timeouts = &self.timeouts;
        let durations = [
            ("timeouts.headers", timeouts.headers),
            ("timeouts.bodyIdle", timeouts.body_idle),
            ("timeouts.writeIdle", timeouts.write_idle),
            ("timeouts.keepAlive", timeouts.keep_alive),
            ("timeouts.connectionAge", timeouts.connection_age),
            ("timeouts.handshake", timeouts.handshake),
            ("upstream.connectTimeout", self.upstream.connect_timeout),
            ("upstream.responseHeadTimeout", self.upstream.response_head_timeout),
            ("upstream.readTimeout", self.upstream.read_timeout),
        ];
        if let Some((field, _)) = durations.into_iter().find(|(_, duration)| duration.is_zero()) {
            return Err(Fault::new(field.into(), "is 0, which would cut everything; write a longer time"));
        }
        if let Some(workers) = self.workers
            && workers.get() > WORKERS_MAX
        {
            return Err(Fault::new("workers".into(), format!("{workers} is more than {WORKERS_MAX}")));
        }
        if let Some(contact) = &self.contact
            && (contact.len() > CONTACT_BYTES_MAX || contact.chars().any(char::is_control))
        {
            let message = format!("is no single line of at most {CONTACT_BYTES_MAX} bytes");
            return Err(Fault::new("contact".into(), message));
        }
        Ok(())
    }
}

impl ValueSource {
    /// Reads the value. Errors name the place, never what stands there.
    pub fn read(&self) -> Result<Vec<u8>, ValueError> {
        match self {
            ValueSource::File(file) => {
                let fault = |source| ValueError::File { file: file.clone(), source };
                if std::fs::metadata(file).map_err(fault)?.len() > VALUE_BYTES_MAX {
                    return Err(ValueError::TooLarge { file: file.clone() });
                }
                std::fs::read(file).map_err(fault)
            }
            ValueSource::Env(name) => {
                std::env::var(name).map(String::into_bytes).map_err(|_| ValueError::Env(name.clone()))
            }
        }
    }
}

/// A contradiction, with the key it stands at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct Fault {
    /// `classes[1].http[0]`.
    pub field: String,
    pub message: String,
}

impl Fault {
    pub(super) fn new(field: String, message: impl AsRef<str>) -> Self {
        Fault { field, message: message.as_ref().to_owned() }
    }
}

fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    one == other
        || (one.is_ipv4() == other.is_ipv4() && (one.ip().is_unspecified() || other.ip().is_unspecified()))
}

const SETTINGS_BYTES_MAX: u64 = 1 << 20;
const VALUE_BYTES_MAX: u64 = 1 << 20;
const CONTACT_BYTES_MAX: usize = 200;
const WORKERS_MAX: usize = 1024;
