//! What a client sends while its request waits for a program to start: nothing of it is lost, though a connection that waits
//! keeps no buffer; and a client that goes away is noticed.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::Value;
use tests::certificates::Authority;
use tests::client::Client;
use tests::manifests;
use tests::ports;
use tests::process::{Files, Process, binary};
use tests::wait::eventually;

/// The edge in front of a program that starts when it is told to.
struct Site {
    process: Process,
    latch: PathBuf,
    authority: Authority,
    _directory: tempfile::TempDir,
    _files: Files,
}

impl Site {
    /// With a route for `shop.test` that wakes the program; `more` is put in front of the rules of its Ingress.
    fn start(annotations: &str, tls: bool) -> Site {
        let address: SocketAddr = ports::unused();
        let directory = tempfile::tempdir().expect("a directory");
        let latch = directory.path().join("latch");
        let authority = Authority::default();
        let mut ingress = manifests::ingress(&format!("wake: process/web\nwake-idle: never\n{annotations}"));
        if tls {
            let pair = authority.issue(&["shop.test"]);
            ingress = ingress
                .replace("spec:\n", "spec:\n  tls: [{hosts: [shop.test], secretName: pair}]\n")
                .replace("- http:", "- host: shop.test\n    http:");
            ingress.push_str(&manifests::tls_secret("pair", &pair.certificate, &pair.key));
        }
        let files = Files::with("web.yaml", &(ingress + &manifests::service("web", &[address])));
        let script = format!(
            "until [ -e {} ]; do sleep 0.02; done; exec {} sample-app --listen {address} --name web",
            latch.display(),
            binary().display()
        );
        files.write_settings(&format!(
            "workloads:\n- {{name: web, namespace: shop, command: [sh, -c, \"{script}\"]}}\n"
        ));
        Site { process: Process::serve(&files), latch, authority, _directory: directory, _files: files }
    }

    fn client(&self) -> Client {
        Client::connect(self.process.http())
    }

    fn client_tls(&self) -> Client {
        let config = self.authority.client().build();
        Client::connect_tls(self.process.https(), &config, "shop.test", b"").expect("a handshake")
    }

    fn until_waiting(&self, count: usize) {
        eventually("so many wait", || {
            self.process.metric("vestibule_wake_waiting_requests ") == Some(count as f64)
        });
    }

    /// Lets the program start.
    fn wake(&self) {
        std::fs::write(&self.latch, "").expect("a file");
    }
}

impl Drop for Site {
    /// An edge that is asked to end ends its programs; one that is killed leaves them behind.
    fn drop(&mut self) {
        if !std::thread::panicking() && self.process.is_running() {
            self.process.stop();
        }
    }
}

/// What the program has seen of the next request that is answered.
#[track_caller]
fn seen(client: &mut Client) -> Value {
    let answer = client.answer();
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_str(&answer.text()).expect("JSON")
}

fn pipelines(site: &Site, mut client: Client) {
    let first = "GET /first?a=%20b HTTP/1.1\r\nHost: shop.test\r\nUser-Agent: agent-one\r\nCookie: k=v\r\n\
                 Origin: https://pages.test\r\nX-Twice: 1\r\nX-Twice: 2\r\nX-Empty:\r\n\r\nGET /sec";
    client.send(first);
    site.until_waiting(1);
    client.send("ond HTTP/1.1\r\nHost: shop.test\r\n\r\nGET /third HTTP/1.1\r\nHost: sh");
    // More than the buffer of one read.
    let long = "x".repeat(HEADER_BYTES);
    client.send(format!("op.test\r\nX-Long: {long}\r\n\r\n"));
    site.wake();

    let answer = client.answer();
    assert_eq!(answer.fields.one("access-control-allow-origin"), Some("https://pages.test"));
    let saw: Value = serde_json::from_str(&answer.text()).expect("JSON");
    assert_eq!(saw["path"], "/first?a=%20b");
    assert_eq!(saw["host"], "shop.test");
    for (name, value) in [
        ("user-agent", "agent-one"),
        ("cookie", "k=v"),
        ("origin", "https://pages.test"),
        ("x-twice", "1, 2"),
        ("x-empty", ""),
        ("x-forwarded-for", "127.0.0.1"),
    ] {
        assert_eq!(saw["headers"][name], value, "{name}");
    }
    assert_eq!(seen(&mut client)["path"], "/second");
    let saw = seen(&mut client);
    assert_eq!((&saw["path"], &saw["headers"]["x-long"]), (&"/third".into(), &long.into()));
    // And the connection goes on.
    client.send("GET /fourth HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    assert_eq!(seen(&mut client)["path"], "/fourth");
    site.process.out().wait_for(&["/first", "agent-one"]);
}

#[test]
fn what_is_sent_ahead_while_a_request_waits_is_answered_in_turn() {
    let site = Site::start(CORS, false);
    pipelines(&site, site.client());
}

#[test]
fn what_is_sent_ahead_over_tls_is_answered_in_turn() {
    let site = Site::start(CORS, true);
    pipelines(&site, site.client_tls());
}

#[test]
fn a_body_that_begins_with_the_head_arrives_whole() {
    let site = Site::start("", false);
    let half = "b".repeat(BODY_BYTES / 2);
    let length = format!("Content-Length: {BODY_BYTES}");
    let size = BODY_BYTES / 2;
    let chunk = format!("{size:x}\r\n{half}\r\n");
    let bodies = [
        (length.as_str(), half.clone(), half.clone()),
        ("Transfer-Encoding: chunked", chunk.clone(), format!("{chunk}0\r\n\r\n")),
        // Cut within the line that says how long a chunk is.
        (
            "Transfer-Encoding: chunked",
            format!("{chunk}{}", &chunk[..2]),
            format!("{}0\r\n\r\n", &chunk[2..]),
        ),
        // Everything came before it waits.
        (length.as_str(), half.repeat(2), String::new()),
    ];
    let mut clients: Vec<Client> = Vec::new();
    for (framing, begin, _) in &bodies {
        let mut client = site.client();
        client.send(format!("POST /in HTTP/1.1\r\nHost: shop.test\r\n{framing}\r\n\r\n{begin}"));
        clients.push(client);
    }
    let mut asking = site.client();
    asking.send("POST /in HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    site.until_waiting(clients.len() + 1);
    for (client, (_, _, end)) in clients.iter_mut().zip(&bodies) {
        client.send(end);
    }
    site.wake();
    for client in &mut clients {
        assert_eq!(seen(client)["bodyBytes"], BODY_BYTES);
    }
    let (interim, _) = asking.head();
    assert_eq!(interim.status, 100);
    asking.send("body");
    assert_eq!(seen(&mut asking)["bodyBytes"], 4);
}

#[test]
fn a_client_that_goes_while_it_waits_is_noticed() {
    let site = Site::start("", true);
    let request = "GET /gone HTTP/1.1\r\nHost: shop.test\r\n\r\n";
    let mut alone = site.client_tls();
    let mut ahead = site.client_tls();
    alone.send(request);
    ahead.send(format!("{request}GET /never HTTP/1.1\r\nHo"));
    site.until_waiting(2);
    drop(alone);
    site.until_waiting(1);
    ahead.send("st: shop");
    drop(ahead);
    site.until_waiting(0);
    site.process.out().wait_for(&["/gone", "499"]);
}

const CORS: &str = "cors-allow-origin: https://pages.test\nenable-cors: \"true\"";
const HEADER_BYTES: usize = 20_000;
const BODY_BYTES: usize = 100_000;
