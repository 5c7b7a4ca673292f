//! A CA and its name server, for certificates by ACME: Pebble and BIND on loopback, and doubles of DNS hosts that write into
//! the same BIND. `tests/run acme` installs them and puts them on the path.

mod account;
pub mod serving;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::ports;
use crate::process::{Files, Lines};
use crate::wait::{eventually, eventually_some};

/// A CA that asks a name server. Both end when this is dropped.
pub struct World {
    directory: tempfile::TempDir,
    pub dns: SocketAddr,
    /// Where the CA asks for proofs by HTTP; nothing listens there yet.
    pub http: SocketAddr,
    acme: SocketAddr,
    management: SocketAddr,
    named: Daemon,
    pebble: Option<Daemon>,
    doubles: Vec<Daemon>,
}

/// Writes into the zones of a name server.
pub struct Updates {
    port: u16,
    key: PathBuf,
}

impl Updates {
    /// Adds a value to the TXT record of this name.
    pub fn add_txt(&self, name: &str, value: &str) {
        let mut nsupdate = Command::new("nsupdate");
        nsupdate.arg("-k").arg(&self.key).stdin(Stdio::piped());
        let mut child = nsupdate.spawn().expect("nsupdate is missing: tests/run acme installs it");
        let update = format!("server 127.0.0.1 {}\nupdate add {name} 5 TXT {value}\nsend\n", self.port);
        child.stdin.take().expect("a pipe").write_all(update.as_bytes()).expect("written");
        assert!(child.wait().expect("it ends").success());
    }
}

/// A program that ends with this.
struct Daemon {
    child: Child,
    out: Lines,
    err: Lines,
}

impl World {
    /// Starts both.
    pub fn start() -> World {
        let mut world = World::without_ca();
        world.start_ca();
        world
    }

    /// Starts the name server only.
    pub fn without_ca() -> World {
        World::without_ca_but(|_| {})
    }

    /// The same, with another configuration for the CA.
    pub fn without_ca_but(change: impl FnOnce(&mut serde_json::Value)) -> World {
        let directory = tempfile::tempdir().expect("a directory");
        let [dns, acme, management, http] = [(); 4].map(|()| ports::unused());
        let root = directory.path();
        for file in ["named.conf", "pebble.json", "root.zone", "example.test.zone", "delegated.test.zone"] {
            let text = std::fs::read_to_string(source(file)).expect(file);
            let text = text
                .replace("@DIRECTORY@", root.to_str().expect("UTF-8"))
                .replace("@PORT@", &dns.port().to_string())
                .replace("@HTTP@", &http.port().to_string())
                .replace("@ACME@", &acme.port().to_string())
                .replace("@MGMT@", &management.port().to_string());
            std::fs::write(root.join(file), text).expect("written");
        }
        let ca = root.join("pebble.json");
        let mut config = serde_json::from_slice(&std::fs::read(&ca).expect("read")).expect("JSON");
        change(&mut config);
        std::fs::write(&ca, config.to_string()).expect("written");
        let key = Command::new("tsig-keygen").args(["-a", "hmac-sha256", "acme."]).output();
        let key =
            key.expect("tsig-keygen (Debian package bind9) is missing: tests/run acme installs it").stdout;
        std::fs::write(root.join("tsig.key"), &key).expect("written");
        let key = String::from_utf8(key).expect("UTF-8");
        let secret = key.split('"').find(|part| part.len() > 40).expect("a secret in quotes");
        std::fs::write(root.join("tsig.secret"), secret).expect("written");
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])
            .expect("made");
        std::fs::write(root.join("acme-tls.pem"), own.cert.pem()).expect("written");
        std::fs::write(root.join("acme-tls.key"), own.signing_key.serialize_pem()).expect("written");
        let mut named = Command::new("named");
        named.args(["-g", "-n", "1", "-c"]).arg(root.join("named.conf"));
        let named = Daemon::start(&mut named);
        let world =
            World { directory, dns, http, acme, management, named, pebble: None, doubles: Vec::new() };
        eventually("the name server answers", || world.dig("example.test", "SOA").contains("hostmaster"));
        world
    }

    /// Starts the CA, with nothing known to it. One in twenty nonces is refused.
    pub fn start_ca(&mut self) {
        self.start_ca_with(&[]);
    }

    /// The same, with further variables of its environment.
    pub fn start_ca_with(&mut self, environment: &[(&str, &str)]) {
        let mut pebble = Command::new("pebble");
        pebble.arg("-config").arg(self.path("pebble.json")).arg("-dnsserver").arg(self.dns.to_string());
        pebble.envs([
            ("PEBBLE_VA_NOSLEEP", "1"),
            ("PEBBLE_WFE_NONCEREJECT", "5"),
            ("PEBBLE_AUTHZREUSE", "0"),
        ]);
        pebble.envs(environment.iter().copied());
        self.pebble = Some(Daemon::start(&mut pebble));
        eventually("the CA answers", || !self.curl(&self.directory_url(), &[]).is_empty());
    }

    /// Ends the CA. All that it knew is gone with it.
    pub fn stop_ca(&mut self) {
        self.pebble = None;
    }

    /// Starts a double of a DNS host that writes into the name server; returns its address.
    pub fn start_double(&mut self, file: &str, environment: &[(&str, &str)]) -> SocketAddr {
        let address = ports::unused();
        let python = std::env::var("VESTIBULE_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let mut double = Command::new(python);
        double.arg(source(file)).env("PORT", address.port().to_string());
        double.env("BIND_PORT", self.dns.port().to_string()).env("TSIG_KEY_FILE", self.path("tsig.key"));
        double.envs(environment.iter().copied());
        self.doubles.push(Daemon::start(&mut double));
        eventually("the double listens", || std::net::TcpStream::connect(address).is_ok());
        address
    }

    /// What the doubles have printed.
    pub fn double_lines(&self) -> Vec<String> {
        self.doubles.iter().flat_map(|double| double.out.all()).collect()
    }

    /// Where two replicas listen so that the CA can ask either: the names under `http.example.test` have both addresses.
    pub fn http_of_two(&self) -> [SocketAddr; 2] {
        [1, 2].map(|last| SocketAddr::from(([127, 0, 0, last], self.http.port())))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn directory_url(&self) -> String {
        format!("https://{}/dir", self.acme)
    }

    /// Settings with one issuer, `pebble`, for everything; `more` are lines of the issuer, and `provider` one of a solver.
    pub fn settings(&self, provider: &str, propagation: &str, more: &str) -> String {
        let (dns, ca) = (self.dns, self.path("acme-tls.pem"));
        let more: String = more.lines().map(|line| format!("    {}\n", line.trim())).collect();
        format!(
            "tls: {{defaultCertificate: refuse}}\ncertificates: {{resolvers: ['{dns}']}}\nissuers:\n  - name: pebble\n    \
             default: true\n    directory: {}\n    certificateAuthorities: {{file: {}}}\n    profile: classic\n{more}    \
             solvers:\n      - provider: {{{provider}}}\n        propagation: {{servers: ['{dns}'], {propagation}}}\n",
            self.directory_url(),
            ca.display()
        )
    }

    /// The provider of [`World::settings`] that updates the name server itself.
    pub fn rfc2136(&self) -> String {
        let key = self.path("tsig.secret");
        format!("rfc2136: {{server: '{}', keyName: acme, key: {{file: {}}}}}", self.dns, key.display())
    }

    /// An edge's files: one site for each host, all answered by `backend`, each with a Secret of its own.
    pub fn files(&self, settings: &str, hosts: &[&str], backend: SocketAddr) -> Files {
        let files = Files::with("web.yaml", &crate::manifests::service("web", &[backend]));
        files.write_settings(settings);
        for (index, host) in hosts.iter().enumerate() {
            files.write(&format!("site{index}.yaml"), &site(&format!("site{index}"), host, ""));
        }
        files
    }

    /// What the name server has, as `dig +short` prints it.
    pub fn dig(&self, name: &str, kind: &str) -> String {
        let mut dig = Command::new("dig");
        dig.args([
            "+short",
            "+norecurse",
            "+tries=1",
            "+time=2",
            "@127.0.0.1",
            "-p",
            &self.dns.port().to_string(),
            name,
            kind,
        ]);
        let output =
            dig.output().expect("dig (Debian package bind9-dnsutils) is missing: tests/run acme installs it");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// A way to write into its zones, past all doubles.
    pub fn updates(&self) -> Updates {
        Updates { port: self.dns.port(), key: self.path("tsig.key") }
    }

    /// The root and the intermediate of the CA, in PEM.
    pub fn authorities(&self) -> String {
        self.authorities_of(0)
    }

    /// The same of one of its other chains.
    pub fn authorities_of(&self, chain: usize) -> String {
        let of = |kind: &str| self.curl(&format!("https://{}/{kind}/{chain}", self.management), &[]);
        let (root, intermediate) = (of("roots"), of("intermediates"));
        assert!(root.contains("BEGIN CERTIFICATE"), "{root}");
        root + &intermediate
    }

    /// Tells the CA what to answer when it is asked when to renew this certificate.
    pub fn set_renewal_window(&self, certificate: &str, start: &str, end: &str) {
        let answer = format!(r#"{{"suggestedWindow": {{"start": "{start}", "end": "{end}"}}}}"#);
        let body = serde_json::json!({"Certificate": certificate, "ARIResponse": answer}).to_string();
        let path = self.path("window.json");
        std::fs::write(&path, body).expect("written");
        let url = format!("https://{}/set-renewal-info/", self.management);
        self.curl(&url, &["--fail", "--data", &format!("@{}", path.display())]);
    }

    /// How many orders the CA took.
    pub fn orders(&self) -> usize {
        let lines = |lines: &Lines| lines.all().iter().filter(|line| line.contains("Added order")).count();
        self.pebble.as_ref().map_or(0, |pebble| lines(&pebble.out) + lines(&pebble.err))
    }

    /// What the CA has said.
    pub fn ca_lines(&self) -> Vec<String> {
        self.pebble.as_ref().map_or(Vec::new(), |pebble| [pebble.out.all(), pebble.err.all()].concat())
    }

    /// Tells the CA that this account is not to be used any more; it is the JSON that a store has.
    pub fn deactivate(&self, account: &str) {
        account::deactivate(&self.path("acme-tls.pem"), account);
    }

    fn curl(&self, url: &str, arguments: &[&str]) -> String {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--cacert"]).arg(self.path("acme-tls.pem")).args(arguments).arg(url);
        let output = curl.output().expect("curl is missing: tests/run acme installs it");
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for line in self.ca_lines().iter().rev().take(20).rev() {
                eprintln!("the CA said: {line}");
            }
            for daemon in self.doubles.iter().chain([&self.named]) {
                for line in daemon.err.all().iter().rev().take(10).rev() {
                    eprintln!("beside it: {line}");
                }
            }
        }
    }
}

impl Daemon {
    fn start(command: &mut Command) -> Daemon {
        let name = command.get_program().to_owned();
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child =
            spawned.unwrap_or_else(|error| panic!("{name:?}: {error}; tests/run acme installs it"));
        let out = Lines::of(child.stdout.take().expect("a pipe"));
        let err = Lines::of(child.stderr.take().expect("a pipe"));
        Daemon { child, out, err }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An Ingress for one host with TLS from the Secret `NAME-tls`; `annotations` are lines.
pub fn site(name: &str, host: &str, annotations: &str) -> String {
    let annotations: String = annotations.lines().map(|line| format!("    {}\n", line.trim())).collect();
    let annotations =
        if annotations.is_empty() { String::new() } else { format!("  annotations:\n{annotations}") };
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: {name}\n  namespace: shop\n{annotations}spec:\n  \
         tls: [{{hosts: ['{host}'], secretName: {name}-tls}}]\n  rules:\n  - host: '{host}'\n    http:\n      paths:\n      \
         - {{path: /, pathType: Prefix, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}\n"
    )
}

/// What a store of certificates has in this file, once it is there.
#[track_caller]
pub fn stored(files: &Files, file: &str) -> serde_json::Value {
    let path = files.manifests().join("acme").join(file);
    eventually_some(&format!("{} is there", path.display()), || {
        serde_json::from_slice(&std::fs::read(&path).ok()?).ok()
    })
}

fn source(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("acme").join(file)
}
