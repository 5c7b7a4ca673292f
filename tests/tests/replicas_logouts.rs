//! Logouts with several replicas, which share keys and addresses in files, and a real OpenID provider: `tests/run auth`.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::SocketAddr;

use rustix::process::Signal;
use tests::chromium::Chromium;
use tests::client::Client;
use tests::manifests;
use tests::openid::{Browser, OpenIdProvider};
use tests::process::{Files, Process};
use tests::upstream::{Upstream, ok};
use tests::wait::{eventually, pause};

const APP: &str = "http://app.example";
const EVENTS: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn who_logs_out_at_one_replica_is_logged_out_at_all() {
    let mut site = Site::new(2);
    site.provider.start();
    let mut elsewhere = site.logged_in(1, "ada");
    // Logins of one account within a second are one login to the edge.
    let second = this_second();
    eventually("the next second has come", || this_second() > second);
    let mut browser = site.logged_in(0, "ada");
    let stolen = browser.cookies("app.example");
    for replica in 0..2 {
        assert_eq!(site.with(replica, &stolen), 200, "any replica takes the cookie");
    }
    browser.open(&format!("{APP}/oauth2/sign_out"));
    assert_eq!(site.with(0, &stolen), 401, "at once where it was said");
    eventually("the other replica has heard of it", || site.with(1, &stolen) == 401);
    // It was one session that ended, not the account.
    assert_eq!(elsewhere.fetch(&format!("{APP}/")).status, 200);
    browser.point("app.example", site.address(1));
    let form = browser.visit(&format!("{APP}/page"));
    let answer = if form.text().contains("name=password") { browser.log_in(&form, "ada") } else { form };
    assert_eq!(answer.status, 200, "and one can log in again: {:#?}", browser.visited);
}

#[test]
fn a_logout_at_the_provider_reaches_every_replica() {
    let mut site = Site::new(2);
    let address = format!("http://{}/oauth2/backchannel-logout", site.address(0));
    site.provider.backchannel(address);
    site.provider.start();
    let mut browser = site.logged_in(1, "ada");
    let stolen = browser.cookies("app.example");
    // The provider tells the first replica, and the browser talks to the second.
    let ask = browser.visit(&format!("{}/session/end", site.provider.issuer()));
    browser.submit(&ask, "logout=yes");
    for replica in 0..2 {
        eventually("the session is over", || site.with(replica, &stolen) == 401);
    }
}

#[test]
fn a_stream_at_one_replica_ends_with_a_logout_at_another() {
    let mut site = Site::new(2);
    site.provider.start();
    let mut browser = site.logged_in(0, "ada");
    let (name, value) = browser.cookies("app.example").into_iter().next().expect("a session");
    let mut client = Client::connect(site.address(1));
    client.send(format!("GET /events HTTP/1.1\r\nHost: app.example\r\nCookie: {name}={value}\r\n\r\n"));
    assert_eq!(client.head().0.status, 200);
    browser.open(&format!("{APP}/oauth2/sign_out"));
    let mut socket = client.socket();
    let mut events = [0; 4096];
    eventually("the stream ends", || matches!(socket.read(&mut events), Ok(0) | Err(_)));
}

#[test]
fn a_person_who_logs_out_at_the_provider_is_out_at_the_other_replica() {
    let mut site = Site::new(2);
    site.provider.backchannel(format!("http://{}/oauth2/backchannel-logout", site.address(0)));
    site.provider.start();
    let browser = Chromium::start(&[("app.example", site.address(1))]);
    browser.open(&format!("{APP}/"));
    browser.fill("input[name=login]", "ada");
    browser.fill("input[name=password]", "password");
    browser.click("button");
    browser.click("button[name=ok]");
    browser.wait_for(&["app"]);
    browser.open(&format!("{}/session/end", site.provider.issuer()));
    browser.click("button[value=yes]");
    eventually("the application asks who it is", || {
        browser.open(&format!("{APP}/page"));
        browser.location().contains("/interaction/")
    });
}

#[test]
fn a_replica_that_did_not_answer_hears_of_it_when_it_does() {
    let mut site = Site::new(2);
    site.provider.start();
    let mut browser = site.logged_in(0, "ada");
    let stolen = browser.cookies("app.example");
    assert_eq!(site.with(1, &stolen), 200);
    site.replicas[1].process.signal(Signal::STOP);
    browser.open(&format!("{APP}/oauth2/sign_out"));
    eventually("it was called in vain", || {
        site.replicas[0]
            .process
            .metric("vestibule_replica_calls_failed_total")
            .is_some_and(|count| count > 0.0)
    });
    site.replicas[1].process.signal(Signal::CONT);
    eventually("it has heard of it", || site.with(1, &stolen) == 401);
}

#[expect(clippy::disallowed_methods, reason = "sessions of these tests begin now")]
fn this_second() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// A provider, an application, and replicas before it.
struct Site {
    provider: OpenIdProvider,
    _app: Upstream,
    replicas: Vec<Replica>,
    /// What they share.
    _keys: tempfile::TempDir,
}

struct Replica {
    process: Process,
    files: Files,
}

impl Site {
    fn new(count: usize) -> Self {
        let provider = OpenIdProvider::new(&[APP]);
        let app = Upstream::start(|connection| {
            while let Some(request) = connection.request() {
                if request.target == "/events" {
                    connection.send(EVENTS);
                    while connection.send("9\r\ndata: x\n\n\r\n") {
                        pause();
                    }
                    return;
                }
                connection.send(ok(&request, "app"));
            }
        });
        let keys = tempfile::tempdir().expect("a directory");
        let settings = |addresses: &[SocketAddr]| {
            let addresses: Vec<String> = addresses.iter().map(|address| format!("'{address}'")).collect();
            format!(
                "auth: {{sessionKeys: {{file: '{keys}/sessions'}}}}\n\
                 replicas: {{listen: '127.0.0.1:0', keyFile: '{keys}/replicas', addresses: [{}]}}\n\
                 providers:\n  dex:\n    oidc:\n      issuer: {}\n      clientId: edge\n      \
                 clientSecret: {{secretRef: {{namespace: shop, name: client, key: secret}}}}\n      \
                 scopes: [profile, email, groups]\n",
                addresses.join(", "),
                provider.issuer(),
                keys = keys.path().display(),
            )
        };
        let manifests = [
            "---\napiVersion: v1\nkind: Secret\nmetadata: {name: client, namespace: shop}\n\
             stringData: {secret: edge-secret-0123456789abcdef0123}\n"
                .to_owned(),
            manifests::site("auth: dex\nauth-stream-age: 1h", app.address),
        ]
        .concat();
        let replicas: Vec<Replica> = (0..count)
            .map(|_| {
                let files = Files::with("site.yaml", &manifests);
                files.write_settings(&settings(&[]));
                Replica { process: Process::serve(&files), files }
            })
            .collect();
        let addresses: Vec<SocketAddr> =
            replicas.iter().map(|replica| replica.process.address("other replicas")).collect();
        for replica in &replicas {
            replica.files.write_settings(&settings(&addresses));
            eventually("it knows the others", || {
                replica.process.metric("vestibule_replicas ") == Some(addresses.len() as f64)
            });
        }
        Site { provider, _app: app, replicas, _keys: keys }
    }

    fn address(&self, replica: usize) -> SocketAddr {
        self.replicas[replica].process.http()
    }

    fn browser(&self, replica: usize) -> Browser {
        Browser::new(&[("app.example", self.address(replica))])
    }

    /// A browser in which `account` is logged in, by way of this replica.
    #[track_caller]
    fn logged_in(&self, replica: usize, account: &str) -> Browser {
        let mut browser = self.browser(replica);
        let form = browser.visit(&format!("{APP}/"));
        let answer = browser.log_in(&form, account);
        assert_eq!(answer.status, 200, "{}: {:#?}", answer.text(), browser.visited);
        browser
    }

    /// What whoever has these cookies is answered.
    fn with(&self, replica: usize, cookies: &BTreeMap<String, String>) -> u16 {
        let mut browser = self.browser(replica);
        for (name, value) in cookies {
            browser.plant("app.example", name, value);
        }
        browser.fetch(&format!("{APP}/")).status
    }
}
