//! A real Keycloak as a process. It takes a minute to start: for tests of the group `nightly`.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use crate::client::Client;
use crate::message::Answer;
use crate::ports;
use crate::wait::pause;

/// A Keycloak that keeps everything in memory, on ports of its own; it ends with this handle.
pub struct Keycloak {
    port: u16,
    process: Child,
}

impl Keycloak {
    /// Starts one, and waits until it is ready.
    #[track_caller]
    pub fn start() -> Self {
        let (port, management) = (ports::unused().port(), ports::unused().port());
        let process = Command::new(home().join("bin/kc.sh"))
            .args(["start-dev", "--db=dev-mem", "--health-enabled=true", "--http-host=127.0.0.1"])
            .args([format!("--http-port={port}"), format!("--http-management-port={management}")])
            .env("KC_BOOTSTRAP_ADMIN_USERNAME", ADMIN)
            .env("KC_BOOTSTRAP_ADMIN_PASSWORD", ADMIN)
            .env("JAVA_OPTS_KC_HEAP", "-Xms64m -Xmx512m")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // The script starts Java, once to prepare itself and once more: all of them end together.
            .process_group(0)
            .spawn()
            .expect("Keycloak starts: `tests/run nightly` installs it");
        let mut keycloak = Keycloak { port, process };
        let management = SocketAddr::from(([127, 0, 0, 1], management));
        let is_ready = || {
            TcpStream::connect(management).is_ok()
                && send(management, "GET", "/health/ready", "", "").is_some_and(|answer| answer.status == 200)
        };
        let started = Instant::now();
        while !is_ready() {
            let ended = keycloak.process.try_wait().expect("a child");
            assert_eq!(ended, None, "Keycloak ended at once");
            assert!(started.elapsed() < START_DEADLINE, "Keycloak does not start");
            pause();
        }
        keycloak
    }

    /// Where the realm `edge` will be.
    pub fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}/realms/edge", self.port)
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Makes the realm of tests/tools/keycloak, in the place of the one that was there: client `edge`, accounts `ada` and
    /// `eve`. Logout tokens are posted to this address; access tokens are good for so many seconds.
    #[track_caller]
    pub fn realm(&self, backchannel: &str, access_seconds: u32) {
        let text = include_str!("../tools/keycloak/realm.json").replace("@BACKCHANNEL@", backchannel);
        let mut realm: Value = serde_json::from_str(&text).expect("JSON");
        realm["accessTokenLifespan"] = access_seconds.into();
        assert!(matches!(self.administer("DELETE", "/realms/edge", "").status, 204 | 404));
        let made = self.administer("POST", "/realms", &realm.to_string());
        assert_eq!(made.status, 201, "{}", made.text());
        // What is asked for the first time takes longer than anybody waits in a test.
        let asks = "/realms/edge/protocol/openid-connect/auth?client_id=edge&response_type=code&scope=openid\
                    &redirect_uri=http%3A%2F%2Fapp.example%2Foauth2%2Fcallback&code_challenge_method=S256\
                    &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        for path in [asks, "/realms/edge/protocol/openid-connect/certs"] {
            let answer = send(self.address(), "GET", path, "", "").expect("an answer");
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        }
    }

    /// Ends all sessions of an account, as an administrator does: every client is told.
    #[track_caller]
    pub fn log_out(&self, account: &str) {
        let path = format!("/realms/edge/users/{}/logout", self.id_of(account));
        let answer = self.administer("POST", &path, "");
        assert_eq!(answer.status, 204, "{}", answer.text());
    }

    /// Takes an account out of all its groups.
    #[track_caller]
    pub fn leave_groups(&self, account: &str) {
        let groups = format!("/realms/edge/users/{}/groups", self.id_of(account));
        for group in read(&self.administer("GET", &groups, "")).as_array().expect("groups") {
            let id = group["id"].as_str().expect("an id");
            assert_eq!(self.administer("DELETE", &format!("{groups}/{id}"), "").status, 204);
        }
    }

    fn id_of(&self, account: &str) -> String {
        let found = self.administer("GET", &format!("/realms/edge/users?exact=true&username={account}"), "");
        read(&found)[0]["id"].as_str().expect("an account").to_owned()
    }

    #[track_caller]
    fn administer(&self, method: &str, path: &str, body: &str) -> Answer {
        let form = format!("grant_type=password&client_id=admin-cli&username={ADMIN}&password={ADMIN}");
        let at = "/realms/master/protocol/openid-connect/token";
        let lines = "Content-Type: application/x-www-form-urlencoded\r\n";
        // Its own tokens are good for a minute, and this is rare.
        let granted = send(self.address(), "POST", at, lines, &form).expect("an answer");
        let token = read(&granted)["access_token"].as_str().expect("a token").to_owned();
        let lines = format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n");
        send(self.address(), method, &format!("/admin{path}"), &lines, body).expect("an answer")
    }
}

impl Drop for Keycloak {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.process), Signal::KILL);
        let _ = self.process.wait();
    }
}

/// One request on a connection of its own, which may take long; `None` when there is no answer.
fn send(address: SocketAddr, method: &str, path: &str, lines: &str, body: &str) -> Option<Answer> {
    let mut client = Client::connect(address);
    client.socket().set_read_timeout(Some(ANSWER_DEADLINE)).expect("a TCP socket");
    let length = body.len();
    client.send(format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{lines}Content-Length: {length}\r\n\r\n{body}"
    ));
    client.reader.answer(method).ok().flatten()
}

#[track_caller]
fn read(answer: &Answer) -> Value {
    serde_json::from_str(&answer.text()).unwrap_or_else(|error| panic!("{error}: {}", answer.text()))
}

/// Where `tests/run nightly` put it.
fn home() -> PathBuf {
    let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.cache/keycloak/current");
    let home = std::env::var_os("KEYCLOAK_HOME").map_or(default, PathBuf::from);
    assert!(home.exists(), "{} is missing: `tests/run nightly` puts Keycloak there", home.display());
    home
}

const ADMIN: &str = "admin";
const START_DEADLINE: Duration = Duration::from_secs(300);
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);
