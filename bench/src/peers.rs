//! How each program is told what to serve: its configuration, from the templates in `bench/peers`, and its command line.

pub(crate) mod caddy;
pub(crate) mod envoy;
pub(crate) mod haproxy;
pub(crate) mod nginx;
pub(crate) mod oauth2_proxy;
pub(crate) mod vestibule;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::child;
use crate::failure::Failure;
use crate::target::{Program, Setup, Site};
use crate::workload::{GRPC_PATH, GUARDED_HOST, LIMITED_HOST, PLAIN_HOST, SECURE_HOST, UNGUARDED_HOST};

/// Where one program runs.
pub(crate) struct Place<'a> {
    pub(crate) site: &'a Site,
    /// Its own, empty at first.
    pub(crate) directory: PathBuf,
    pub(crate) plain: SocketAddr,
    pub(crate) tls: SocketAddr,
    pub(crate) setup: Setup,
}

/// A program with its configuration written.
pub(crate) struct Prepared {
    /// The program itself first.
    pub(crate) commands: Vec<Command>,
    pub(crate) version: String,
    /// See [`crate::target::Target::cookie`].
    pub(crate) cookie: Option<String>,
}

/// What is run.
pub(crate) struct Command {
    pub(crate) binary: PathBuf,
    pub(crate) arguments: Vec<String>,
    /// How to get it.
    pub(crate) mend: &'static str,
}

/// Writes the configuration of `program`.
pub(crate) fn prepare(program: Program, place: &Place<'_>) -> Result<Prepared, Failure> {
    match program {
        Program::Vestibule => vestibule::prepare(place, &place.site.vestibule),
        Program::Baseline => match &place.site.baseline {
            Some(binary) => vestibule::prepare(place, binary),
            None => Err(Failure::Usage("the peer baseline needs --baseline PATH".into())),
        },
        Program::Nginx => nginx::prepare(place),
        Program::Haproxy => haproxy::prepare(place),
        Program::Envoy => envoy::prepare(place),
        Program::Caddy => caddy::prepare(place),
        Program::Oauth2Proxy => oauth2_proxy::prepare(place),
        Program::Pingora => {
            let (key, certificate) = (place.path("bench.key"), place.path("bench.crt"));
            place.write("bench.key", &place.site.key)?;
            place.write("bench.crt", &place.site.certificate)?;
            let (plain, tls) = (place.plain.to_string(), place.tls.to_string());
            let backend = place.site.backend_address.to_string();
            let arguments = [&plain, &tls, &backend, &certificate, &key].map(String::clone);
            place.one("bench-pingora", "build it: bench/run --peers pingora", &arguments, "")
        }
        Program::Relay => {
            let arguments = [
                "relay".to_owned(),
                "--listen".into(),
                place.plain.to_string(),
                "--upstream".into(),
                place.site.backend_address.to_string(),
            ];
            let command = Command { binary: child::own_path()?, arguments: arguments.into(), mend: "" };
            Ok(Prepared { commands: vec![command], version: String::new(), cookie: None })
        }
    }
}

impl Place<'_> {
    /// A path in the program's own directory.
    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    /// Writes a file into that directory.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<(), Failure> {
        crate::target::write(&self.directory.join(name), text)
    }

    /// `template` with the names in capitals filled in.
    pub(crate) fn fill(&self, template: &str) -> String {
        let site = self.site;
        let port = |address: SocketAddr| address.port().to_string();
        let named = [
            ("@PLAIN_HOST@", PLAIN_HOST.into()),
            ("@SECURE_HOST@", SECURE_HOST.into()),
            ("@LIMITED_HOST@", LIMITED_HOST.into()),
            ("@GUARDED_HOST@", GUARDED_HOST.into()),
            ("@UNGUARDED_HOST@", UNGUARDED_HOST.into()),
            ("@GRPC_PATH@", GRPC_PATH.into()),
            ("@PLAIN@", self.plain.to_string()),
            ("@PLAIN_PORT@", port(self.plain)),
            ("@TLS@", self.tls.to_string()),
            ("@TLS_PORT@", port(self.tls)),
            ("@BACKEND@", site.backend_address.to_string()),
            ("@BACKEND_ADDRESS@", site.backend_address.ip().to_string()),
            ("@BACKEND_PORT@", port(site.backend_address)),
            ("@HTTP2_BACKEND@", site.http2_backend_address.to_string()),
            ("@HTTP2_BACKEND_PORT@", port(site.http2_backend_address)),
            ("@DIRECTORY@", self.directory.display().to_string()),
        ];
        named.iter().fold(template.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    /// A program that is one process of the binary `name`, found in PATH.
    pub(crate) fn one(
        &self,
        name: &str,
        mend: &'static str,
        arguments: &[String],
        version_flag: &str,
    ) -> Result<Prepared, Failure> {
        let binary = PathBuf::from(name);
        let version = match version_flag {
            "" => String::new(),
            flag => child::version(Path::new(name), flag),
        };
        let command = Command { binary, arguments: arguments.into(), mend };
        Ok(Prepared { commands: vec![command], version, cookie: None })
    }
}
