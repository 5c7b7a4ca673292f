//! A real OpenID provider as a process, and a browser that follows redirects, fills in forms and keeps cookies.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::certificates::Authority;
use crate::client::Client;
use crate::message::Answer;
use crate::ports;
use crate::wait::pause;

/// oidc-provider, with clients `edge` and `edge-rs256` and accounts `ada`, `bob` and `eve`; it ends with this handle.
pub struct OpenIdProvider {
    port: u16,
    environment: Vec<(&'static str, String)>,
    process: Option<Child>,
    secure: Option<Secure>,
}

/// The public side of a provider that speaks TLS.
struct Secure {
    name: String,
    /// The name in its certificate.
    certified: String,
    trusts: Arc<rustls::ClientConfig>,
}

impl OpenIdProvider {
    /// A provider that is not started yet, on a port of its own. Its clients may be sent back to these origins.
    pub fn new(apps: &[&str]) -> Self {
        OpenIdProvider {
            port: ports::unused().port(),
            environment: vec![("APPS", apps.join(" "))],
            process: None,
            secure: None,
        }
    }

    /// Is known by a public name that leads nowhere, and speaks TLS with a certificate for `certified`.
    pub fn with_tls(mut self, name: &str, authority: &Authority, certified: &str) -> Self {
        let pair = authority.issue(&[certified]);
        self.environment.extend([
            ("ORIGIN", format!("https://{name}")),
            ("TLS_CERTIFICATE", pair.certificate),
            ("TLS_KEY", pair.key),
        ]);
        self.secure = Some(Secure {
            name: name.to_owned(),
            certified: certified.to_owned(),
            trusts: authority.client().build(),
        });
        self
    }

    /// Has these clients in the place of its own, each with an issuer of its own ([`OpenIdProvider::issuer_of`]). All issuers
    /// have the same keys.
    pub fn with_issuers_of(mut self, clients: &[&str]) -> Self {
        self.environment.push(("CLIENTS", clients.join(" ")));
        self
    }

    /// Posts logout tokens there.
    pub fn with_backchannel(mut self, address: String) -> Self {
        self.backchannel(address);
        self
    }

    /// The same, before it is started.
    pub fn backchannel(&mut self, address: String) {
        self.environment.push(("BACKCHANNEL", address));
    }

    /// Says names, addresses and groups at the userinfo endpoint only.
    pub fn with_lean_tokens(mut self) -> Self {
        self.environment.push(("CLAIMS", "userinfo".to_owned()));
        self
    }

    /// Gives refresh tokens, each good once, and access tokens that are good for this many seconds.
    pub fn with_refresh(mut self, seconds: u32) -> Self {
        self.environment.push(("REFRESH", seconds.to_string()));
        self
    }

    /// How many times tokens were refreshed, and how many times that was refused.
    pub fn refreshes(&self) -> (u64, u64) {
        let counts: Value = serde_json::from_str(&self.door("GET", "refreshes", "")).expect("JSON");
        let count = |name: &str| counts[name].as_u64().expect("a number");
        (count("good"), count("refused"))
    }

    /// From now on no refresh token is good.
    pub fn forget_refresh_tokens(&self) {
        self.door("POST", "forget", "");
    }

    pub fn issuer(&self) -> String {
        match &self.secure {
            None => format!("http://127.0.0.1:{}", self.port),
            Some(secure) => format!("https://{}", secure.name),
        }
    }

    /// The issuer of one client, where each has its own.
    pub fn issuer_of(&self, client: &str) -> String {
        format!("{}/oauth2/openid/{client}", self.issuer())
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Starts it, and waits until it answers.
    #[track_caller]
    pub fn start(&mut self) {
        let script = tool();
        let node = std::env::var_os("NODE").unwrap_or_else(|| "node".into());
        let process = Command::new(node)
            .arg(script)
            .env("PORT", self.port.to_string())
            .env("NODE_NO_WARNINGS", "1")
            .envs(self.environment.iter().map(|(name, value)| (*name, value.as_str())))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("node starts: `tests/run auth` installs it");
        self.process = Some(process);
        // Many of them start at the same time, and each has a whole language to load.
        let started = Instant::now();
        while TcpStream::connect(self.address()).is_err() {
            let ended = self.process.as_mut().and_then(|process| process.try_wait().ok().flatten());
            assert_eq!(ended, None, "the provider ended at once");
            assert!(started.elapsed() < START_DEADLINE, "the provider does not start");
            pause();
        }
        assert_eq!(self.door("GET", "ready", ""), "ok");
    }

    /// Ends the process; its port stays its own.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Changes claims of an account: `{"id": "ada", "groups": []}`.
    pub fn account(&self, change: &str) {
        self.door("POST", "account", change);
    }

    /// New signing keys; the older ones stay published or not.
    pub fn rotate(&self, keep: bool) {
        self.door("POST", "rotate", &format!("{{\"keep\":{keep}}}"));
    }

    /// A token with these claims, signed by the provider.
    pub fn token(&self, claims: &Value) -> String {
        self.door("POST", "token", &serde_json::json!({"claims": claims}).to_string())
    }

    fn door(&self, method: &str, name: &str, body: &str) -> String {
        let mut client = match &self.secure {
            None => Client::connect(self.address()),
            Some(Secure { certified, trusts, .. }) => {
                Client::connect_tls(self.address(), trusts, certified, b"").expect("TLS with the provider")
            }
        };
        client.send(format!(
            "{method} /_test/{name} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            self.address(),
            body.len()
        ));
        client.answer_to(method).text()
    }
}

impl Drop for OpenIdProvider {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The script, where `tests/run auth` put it with its packages.
fn tool() -> PathBuf {
    let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.cache/oidc-provider/provider.mjs");
    let script = std::env::var_os("OIDC_PROVIDER").map_or(default, PathBuf::from);
    assert!(script.exists(), "{} is missing: `tests/run auth` puts it there", script.display());
    script
}

/// A person's browser. Cookies go to the host that set them; paths and domains of cookies are not looked at.
pub struct Browser {
    /// Where host names lead; others are addresses.
    hosts: BTreeMap<String, SocketAddr>,
    /// Whom it believes behind `https` addresses.
    trusts: Option<Arc<rustls::ClientConfig>>,
    jar: BTreeMap<String, BTreeMap<String, String>>,
    /// Every address that was asked, oldest first.
    pub visited: Vec<String>,
    /// Every answer's `Set-Cookie` lines, as they came.
    pub set_cookies: Vec<String>,
}

impl Browser {
    pub fn new(hosts: &[(&str, SocketAddr)]) -> Self {
        let hosts = hosts.iter().map(|(name, address)| ((*name).to_owned(), *address)).collect();
        Browser { hosts, trusts: None, jar: BTreeMap::new(), visited: Vec::new(), set_cookies: Vec::new() }
    }

    /// Believes this authority, and so can open `https` addresses.
    pub fn trusting(mut self, authority: &Authority) -> Self {
        self.trusts = Some(authority.client().build());
        self
    }

    /// Lets a host name lead elsewhere: another replica.
    pub fn point(&mut self, host: &str, edge: SocketAddr) {
        self.hosts.insert(host.to_owned(), edge);
    }

    /// Types an address in; redirects are not followed.
    pub fn open(&mut self, address: &str) -> Answer {
        self.send("GET", address, NAVIGATION, "")
    }

    /// A script of the page asks.
    pub fn fetch(&mut self, address: &str) -> Answer {
        let lines = "Sec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\nAccept: application/json\r\n";
        self.send("GET", address, lines, "")
    }

    /// Types an address in and follows wherever it leads.
    pub fn visit(&mut self, address: &str) -> Answer {
        let answer = self.open(address);
        self.follow(address, answer)
    }

    /// Follows redirects to their end.
    #[track_caller]
    pub fn follow(&mut self, from: &str, answer: Answer) -> Answer {
        let (mut at, mut answer) = (from.to_owned(), answer);
        for _ in 0..REDIRECTS_MAX {
            let Some(location) = answer.fields.one("location").filter(|_| answer.status / 100 == 3) else {
                return answer;
            };
            at = resolve(&at, location);
            answer = self.open(&at);
        }
        panic!("it goes round in circles: {:#?}", self.visited)
    }

    /// Fills in the form of the page that is open now, and follows.
    #[track_caller]
    pub fn submit(&mut self, page: &Answer, fields: &str) -> Answer {
        let at = self.visited.last().expect("a page").clone();
        let text = page.text();
        let action = between(&text, "action=\"", "\"").map(|action| action.replace("&amp;", "&"));
        let address = action.map_or_else(|| at.clone(), |action| resolve(&at, &action));
        let hidden = text.split("<input type=\"hidden\"").skip(1).filter_map(|input| {
            let input = input.split('>').next()?;
            Some(format!("{}={}&", between(input, "name=\"", "\"")?, between(input, "value=\"", "\"")?))
        });
        let body: String = hidden.collect::<String>() + fields;
        let lines = format!("{NAVIGATION}Content-Type: application/x-www-form-urlencoded\r\n");
        let answer = self.send("POST", &address, &lines, &body);
        self.follow(&address, answer)
    }

    /// Logs in at the provider's form, which is open now, and agrees to what is asked.
    #[track_caller]
    pub fn log_in(&mut self, form: &Answer, account: &str) -> Answer {
        assert!(form.text().contains("name=password"), "no form to log in: {} {}", form.status, form.text());
        let answer = self.submit(form, &format!("login={account}&password=password"));
        if answer.text().contains("name=ok") { self.submit(&answer, "ok=1") } else { answer }
    }

    /// Sends one request with the cookies of its host, and keeps what is set.
    pub fn send(&mut self, method: &str, address: &str, lines: &str, body: &str) -> Answer {
        self.visited.push(address.to_owned());
        let (scheme, authority, path) = split(address);
        let host = authority.split(':').next().unwrap_or_default().to_owned();
        let edge = self.hosts.get(&host).copied();
        let edge = edge.unwrap_or_else(|| authority.parse().expect("an address"));
        let jar = self.jar.entry(authority.to_owned()).or_default();
        let cookies: Vec<String> = jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookie =
            if cookies.is_empty() { String::new() } else { format!("Cookie: {}\r\n", cookies.join("; ")) };
        let length =
            if method == "GET" { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let mut client = match scheme {
            "https" => {
                let trusts = self.trusts.as_ref().expect("somebody to believe");
                Client::connect_tls(edge, trusts, &host, b"").expect("TLS")
            }
            _ => Client::connect(edge),
        };
        client.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n{lines}{cookie}{length}\r\n{body}"
        ));
        let answer = client.answer_to(method);
        for line in answer.fields.all("set-cookie") {
            self.set_cookies.push(line.to_owned());
            let (pair, attributes) = line.split_once(';').unwrap_or((line, ""));
            let (name, value) = pair.split_once('=').expect("a cookie");
            let attributes = attributes.to_ascii_lowercase();
            if attributes.contains("max-age=0") || attributes.contains("expires=thu, 01 jan 1970") {
                jar.remove(name);
            } else {
                jar.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }

    /// The cookies that a host has set, by name.
    pub fn cookies(&self, host: &str) -> BTreeMap<String, String> {
        self.jar.get(host).cloned().unwrap_or_default()
    }

    /// Puts a cookie there, as whoever has stolen one would.
    pub fn plant(&mut self, host: &str, name: &str, value: &str) {
        self.jar.entry(host.to_owned()).or_default().insert(name.to_owned(), value.to_owned());
    }
}

/// Scheme, authority, and path with query.
fn split(address: &str) -> (&str, &str, &str) {
    let (scheme, rest) = address.split_once("://").unwrap_or_else(|| panic!("{address} is no address"));
    assert!(matches!(scheme, "http" | "https"), "{address} is no http address");
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    (scheme, authority, if path.is_empty() { "/" } else { path })
}

fn resolve(at: &str, location: &str) -> String {
    if location.starts_with("http") {
        return location.to_owned();
    }
    assert!(location.starts_with('/') && !location.starts_with("//"), "{location} leads elsewhere");
    let (scheme, authority, _) = split(at);
    format!("{scheme}://{authority}{location}")
}

fn between<'t>(text: &'t str, start: &str, end: &str) -> Option<&'t str> {
    let from = text.find(start)? + start.len();
    let rest = &text[from..];
    Some(&rest[..rest.find(end)?])
}

const NAVIGATION: &str = "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Site: none\r\n\
                          Sec-Fetch-User: ?1\r\nAccept: text/html\r\n";
const REDIRECTS_MAX: usize = 20;
const START_DEADLINE: Duration = Duration::from_secs(60);
