//! A real browser: Chromium without a window, driven over WebDriver (W3C), for what only a browser shows.
//!
//! It finds the names that it is told of, at the addresses of the test, and no others.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::client::Client;
use crate::ports;
use crate::wait::{eventually, eventually_some};

/// A browser with one open page; it ends with this.
pub struct Chromium {
    driver: Child,
    address: SocketAddr,
    session: String,
    _profile: tempfile::TempDir,
}

impl Chromium {
    /// Starts one for which each of these host names, whatever the port, is at an address of this machine.
    pub fn start(hosts: &[(&str, SocketAddr)]) -> Self {
        let address = ports::unused();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={}", address.port()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is missing: apt-get install chromium chromium-driver");
        let profile = tempfile::tempdir().expect("a directory");
        let mut browser = Chromium { driver, address, session: String::new(), _profile: profile };
        eventually("chromedriver listens", || TcpStream::connect(address).is_ok());
        let map = hosts.iter().map(|(host, address)| format!("MAP {host} {address},"));
        let rules = format!("{}MAP * ~NOTFOUND,EXCLUDE 127.0.0.1", map.collect::<String>());
        let arguments = [
            "--headless=new".to_owned(),
            // Tests may run as root, where the sandbox does not start.
            "--no-sandbox".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--disable-gpu".to_owned(),
            "--no-proxy-server".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--disable-sync".to_owned(),
            format!("--user-data-dir={}", browser._profile.path().display()),
            format!("--host-resolver-rules={rules}"),
        ];
        // Certificates of tests are signed by nobody whom the browser knows.
        let options = json!({"acceptInsecureCerts": true, "goog:chromeOptions": {"args": arguments}});
        let wanted = json!({"capabilities": {"alwaysMatch": options}});
        let answer = browser.call("POST", "/session", &wanted);
        browser.session = answer["sessionId"].as_str().expect("a session").to_owned();
        browser
    }

    /// Opens an address and waits until its page is loaded.
    pub fn open(&self, address: &str) {
        self.command("POST", "url", &json!({"url": address}));
    }

    /// Where the page is that is open now.
    pub fn location(&self) -> String {
        self.command("GET", "url", &Value::Null).as_str().expect("an address").to_owned()
    }

    /// The words that a person sees.
    pub fn text(&self) -> String {
        let body = self.script("return document.body ? document.body.innerText : ''");
        body.as_str().expect("text").to_owned()
    }

    /// What a script in the page returns.
    pub fn script(&self, body: &str) -> Value {
        self.command("POST", "execute/sync", &json!({"script": body, "args": []}))
    }

    /// Types into the element that a CSS selector finds first.
    pub fn fill(&self, selector: &str, text: &str) {
        let element = self.element(selector);
        self.command("POST", &format!("element/{element}/value"), &json!({"text": text}));
    }

    /// Clicks on the element that a CSS selector finds first.
    pub fn click(&self, selector: &str) {
        let element = self.element(selector);
        self.command("POST", &format!("element/{element}/click"), &json!({}));
    }

    /// Waits until the page that is open says all of these words.
    #[track_caller]
    pub fn wait_for(&self, words: &[&str]) {
        eventually(&format!("the page says {words:?}"), || {
            let text = self.text();
            words.iter().all(|word| text.contains(word))
        });
    }

    /// Lets the page see a screen of this size, and a person who likes it dark or not.
    pub fn show_on(&self, width: u32, height: u32, dark: bool) {
        let scheme = if dark { "dark" } else { "light" };
        let screen = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.devtools("Emulation.setDeviceMetricsOverride", &screen);
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", &features);
    }

    /// Keeps a picture of the page as `target/screenshots/NAME.png`.
    pub fn keep_screenshot(&self, name: &str) -> PathBuf {
        let answer = self.command("GET", "screenshot", &Value::Null);
        let picture = base64::engine::general_purpose::STANDARD
            .decode(answer.as_str().expect("a picture"))
            .expect("base64");
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/screenshots");
        std::fs::create_dir_all(&directory).expect("a directory");
        let path = directory.join(format!("{name}.png"));
        std::fs::write(&path, picture).expect("written");
        path
    }

    fn element(&self, selector: &str) -> String {
        let wanted = json!({"using": "css selector", "value": selector});
        eventually_some(&format!("the page has {selector}"), || {
            let found = self.try_command("POST", "elements", &wanted).ok()?;
            let element = found.as_array()?.first()?.as_object()?.values().next()?;
            element.as_str().map(str::to_owned)
        })
    }

    fn devtools(&self, command: &str, parameters: &Value) {
        self.command("POST", "goog/cdp/execute", &json!({"cmd": command, "params": parameters}));
    }

    #[track_caller]
    fn command(&self, method: &str, command: &str, body: &Value) -> Value {
        self.try_command(method, command, body).unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    fn try_command(&self, method: &str, command: &str, body: &Value) -> Result<Value, Value> {
        let mut value = self.call(method, &format!("/session/{}/{command}", self.session), body);
        if value["error"].is_string() { Err(value.take()) } else { Ok(value) }
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut client = Client::connect(self.address);
        client.socket().set_read_timeout(Some(PATIENCE)).expect("a socket");
        client.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        ));
        let mut answer: Value = serde_json::from_str(&client.answer_to(method).text()).expect("JSON");
        answer["value"].take()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // The driver ends the browser with the session, and leaves it alone when it is killed. A test may be failing, so
        // that nothing here may panic.
        if let Ok(mut stream) = TcpStream::connect(self.address) {
            let (session, address) = (&self.session, self.address);
            let _ = write!(
                stream,
                "DELETE /session/{session} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
            );
            let _ = stream.set_read_timeout(Some(PATIENCE));
            // Answered when the browser has ended.
            let _ = stream.read(&mut [0; 64]);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// A browser on a busy machine takes its time to start.
const PATIENCE: Duration = Duration::from_secs(60);
