//! Workloads that sleep and wake: programs of this machine behind the edge, started by requests and stopped when idle.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::ops::Deref;
use std::process::Command;

use tests::chromium::Chromium;
use tests::client::Client;
use tests::cluster::workspace;
use tests::manifests;
use tests::message::Answer;
use tests::ports;
use tests::process::{Files, Process, binary};
use tests::wait::eventually;

/// A program `name` and a Service of the same name in front of it.
struct Program {
    name: &'static str,
    address: SocketAddr,
    /// A shell's words; `@APP@` is the sample application, listening where the Service's endpoint is.
    script: String,
}

const APP: &str = "exec @APP@";

impl Program {
    fn new(name: &'static str, script: &str) -> Self {
        Program { name, address: ports::unused(), script: script.to_owned() }
    }

    fn settings(&self) -> String {
        let app = format!("{} sample-app --listen {} --name {}", binary().display(), self.address, self.name);
        let script = self.script.replace("@APP@", &app);
        format!("- {{name: {}, namespace: shop, command: [sh, -c, \"{script}\"]}}\n", self.name)
    }
}

/// A process with the files that it reads.
struct Edge {
    process: Process,
    _files: Files,
}

impl Deref for Edge {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl Drop for Edge {
    /// An edge that is asked to end ends its programs; one that is killed leaves them behind.
    fn drop(&mut self) {
        if !std::thread::panicking() && self.process.is_running() {
            self.process.stop();
        }
    }
}

/// The edge with these programs, and the Ingress `web` that wakes what `annotations` say.
fn serve(programs: &[&Program], annotations: &str, settings: &str) -> Edge {
    serve_with(programs, annotations, settings, "")
}

fn serve_with(programs: &[&Program], annotations: &str, settings: &str, more: &str) -> Edge {
    let mut manifests = manifests::ingress(annotations);
    for program in programs {
        manifests.push_str(&manifests::service(program.name, &[program.address]));
    }
    manifests.push_str(more);
    let files = Files::with("web.yaml", &manifests);
    let programs: String = programs.iter().map(|program| program.settings()).collect();
    files.write_settings(&format!("{settings}\nworkloads:\n{programs}"));
    Edge { process: Process::serve(&files), _files: files }
}

fn count(process: &Process, words: &[&str]) -> usize {
    process.err().all().iter().filter(|line| words.iter().all(|word| line.contains(word))).count()
}

fn starts(process: &Process, name: &str) -> usize {
    count(process, &["a program is started", &format!("shop/process/{name} ")])
}

fn get(address: SocketAddr, headers: &str) -> Answer {
    let mut client = Client::connect(address);
    client.send(format!("GET /page HTTP/1.1\r\nHost: shop.test\r\n{headers}Connection: close\r\n\r\n"));
    client.answer()
}

fn reason(answer: &Answer) -> String {
    let text = answer.text();
    text.lines().find_map(|line| line.strip_prefix("reason: ")).unwrap_or_default().to_owned()
}

#[test]
fn held_requests_start_a_program_once_and_are_all_answered() {
    let web = Program::new("web", "sleep 0.3; exec @APP@");
    let process = serve(&[&web], "wake: \"true\"\nwake-idle: never", "");
    let mut clients: Vec<Client> = (0..50).map(|_| Client::connect(process.http())).collect();
    for client in &mut clients {
        client.send("POST /orders HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 4\r\n\r\nbody");
    }
    for client in &mut clients {
        let answer = client.answer();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().contains("\"/orders\""), "{}", answer.text());
    }
    assert_eq!(starts(&process, "web"), 1);
    assert_eq!(get(process.http(), "").status, 200);
}

#[test]
fn what_nobody_uses_is_put_to_sleep_and_wakes_again() {
    let web = Program::new("web", APP);
    let mut process = serve(&[&web], "wake: process/web\nwake-idle: 1s", "");
    assert_eq!(get(process.http(), "").status, 200);
    process.err().wait_for(&["put to sleep", "shop/process/web"]);
    assert_eq!(get(process.http(), "").status, 200);
    assert_eq!(starts(&process, "web"), 2);
    assert!(process.process.stop().success());
    eventually("the program has ended with the edge", || TcpStream::connect(web.address).is_err());
}

#[test]
fn the_database_starts_first_and_ends_last() {
    let web = Program::new("web", APP);
    let db = Program::new("db", APP);
    let files = Files::with(
        "web.yaml",
        &format!(
            "{}{}",
            manifests::ingress("wake: process/web after process/db\nwake-idle: 1s"),
            manifests::service("web", &[web.address])
        ),
    );
    let app = |program: &Program| {
        format!("{} sample-app --listen {} --name {}", binary().display(), program.address, program.name)
    };
    files.write_settings(&format!(
        "workloads:\n{}- {{name: db, namespace: shop, command: [sh, -c, \"sleep 0.2; exec {}\"], listens: \"{}\"}}\n",
        web.settings(),
        app(&db),
        db.address
    ));
    let process = Process::serve(&files);
    assert_eq!(get(process.http(), "").status, 200);
    process.err().wait_for(&["put to sleep", "shop/process/db"]);
    let order: Vec<String> = process
        .err()
        .all()
        .into_iter()
        .filter(|line| line.contains("a program is started") || line.contains("put to sleep"))
        .collect();
    let which = |line: &String| if line.contains("process/db") { "db" } else { "web" };
    assert_eq!(order.iter().map(which).collect::<Vec<_>>(), ["db", "web", "web", "db"], "{order:#?}");
}

#[test]
fn a_browser_gets_the_page_and_is_told_when_it_is_ready() {
    let web = Program::new("web", "sleep 1; exec @APP@");
    let annotations = "wake: \"true\"\nwake-idle: never\nwake-wait: page\nwake-title: The <Shop>";
    let process = serve(&[&web], annotations, "");
    let navigation = "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nAccept: text/html\r\n";
    let page = get(process.http(), navigation);
    assert_eq!(page.status, 503);
    assert_eq!(page.fields.one("cache-control"), Some("no-store"));
    assert_eq!(page.fields.one("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(page.fields.one("retry-after"), Some("5"));
    let text = page.text();
    assert!(text.contains("<h1>The &#60;Shop&#62;</h1>"), "{text}");
    assert!(text.contains("<noscript><meta http-equiv=\"refresh\" content=\"5\">"), "{text}");
    assert!(!text.contains("src=") && !text.contains("href=\"http"), "nothing comes from elsewhere: {text}");
    assert!(text.len() < 20_000);

    // The news end when it is ready.
    let news = get(process.http(), "Vestibule-Wake: progress\r\nAccept: text/event-stream\r\n");
    assert_eq!(news.fields.one("content-type"), Some("text/event-stream"));
    let text = news.text();
    let last = text.trim_end().rsplit("\n\n").next().expect("news");
    assert!(last.contains("\"state\":\"ready\""), "{text}");
    assert_eq!(get(process.http(), navigation).status, 200);
    let now = get(process.http(), "Vestibule-Wake: progress\r\nAccept: application/json\r\n");
    assert!(now.text().contains("\"state\":\"ready\""), "{}", now.text());
    assert_eq!(starts(&process, "web"), 1);
}

#[test]
fn a_real_browser_waits_and_goes_on_to_the_page_that_was_wanted() {
    let directory = tempfile::tempdir().expect("a directory");
    let ready = directory.path().join("ready");
    let script = format!("until [ -e {} ]; do sleep 0.05; done; exec @APP@", ready.display());
    let web = Program::new("web", &script);
    let annotations = "wake: \"true\"\nwake-idle: never\nwake-wait: page\nwake-title: The Shop";
    let process = serve(&[&web], annotations, "");
    let browser = Chromium::start(&[("shop.test", process.http())]);
    browser.open("http://shop.test/cart?item=7");
    browser.wait_for(&["The Shop"]);
    for (name, width, height, dark) in
        [("light", 1280, 800, false), ("dark", 1280, 800, true), ("phone", 390, 844, false)]
    {
        browser.show_on(width, height, dark);
        browser.keep_screenshot(&format!("waiting-{name}"));
        let sideways = browser.script("return document.documentElement.scrollWidth > innerWidth");
        assert_eq!(sideways, false, "{name}: the page fits");
    }
    assert_eq!(
        browser.script("return document.querySelectorAll('[role=status], [aria-live]').length > 0"),
        true
    );
    // Whoever reloads by hand waits on, and starts nothing.
    browser.open("http://shop.test/cart?item=7");
    std::fs::write(&ready, "").expect("written");
    browser.wait_for(&["\"path\":\"/cart?item=7\""]);
    assert_eq!(browser.location(), "http://shop.test/cart?item=7");
    assert_eq!(starts(&process, "web"), 1);
}

#[test]
fn what_is_no_navigation_never_gets_the_page() {
    let web = Program::new("web", "sleep 0.3; exec @APP@");
    let process = serve(&[&web], "wake: \"true\"\nwake-idle: never\nwake-wait: page", "");
    let image =
        get(process.http(), "Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\nAccept: text/html\r\n");
    assert_eq!(image.status, 200);
    assert_eq!(starts(&process, "web"), 1);
}

#[test]
fn to_ask_for_news_wakes_nobody() {
    let web = Program::new("web", APP);
    let process = serve(&[&web], "wake: \"true\"", "");
    let news = get(process.http(), "Vestibule-Wake: progress\r\nAccept: application/json\r\n");
    assert!(news.text().contains("\"state\":\"asleep\""), "{}", news.text());
    assert_eq!(starts(&process, "web"), 0);
}

/// Two programs with the same idle time: when the idle one sleeps, the one in use would have, too.
fn stays_awake_under(request: &str, status: u16) {
    let web = Program::new("web", APP);
    let other = Program::new("other", APP);
    let ingress = manifests::ingress("wake: \"true\"\nwake-idle: 1s")
        .replace("name: web\n", "name: other\n")
        .replace("  - http:", "  - host: other.test\n    http:")
        .replace("service: {name: web,", "service: {name: other,");
    let process = serve_with(&[&web, &other], "wake: \"true\"\nwake-idle: 1s", "", &ingress);
    let mut client = Client::connect(process.http());
    client.send(request);
    let (head, _) = client.head();
    assert_eq!(head.status, status);
    // Woken after the stream began, asleep while it goes on.
    for _ in 0..2 {
        let before = count(&process, &["put to sleep", "shop/process/other"]);
        assert_eq!(Client::connect(process.http()).get("other.test", "/").status, 200);
        eventually("the other one sleeps", || {
            count(&process, &["put to sleep", "shop/process/other"]) > before
        });
    }
    assert_eq!(count(&process, &["put to sleep", "shop/process/web"]), 0);
    drop(client);
    process.err().wait_for(&["put to sleep", "shop/process/web"]);
}

#[test]
fn a_websocket_keeps_it_awake() {
    stays_awake_under(
        "GET /ws HTTP/1.1\r\nHost: shop.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        101,
    );
}

#[test]
fn server_sent_events_keep_it_awake() {
    stays_awake_under("GET /events HTTP/1.1\r\nHost: shop.test\r\nAccept: text/event-stream\r\n\r\n", 200);
}

#[test]
fn what_does_not_start_in_time_is_told() {
    let web = Program::new("web", "exec sleep 1000");
    let process = serve(&[&web], "wake: \"true\"\nwake-timeout: 1s", "");
    let answer = get(process.http(), "");
    assert_eq!((answer.status, reason(&answer).as_str()), (503, "wake_timeout"));
    assert_eq!(answer.fields.one("retry-after"), Some("5"));
}

#[test]
fn what_cannot_start_is_told_at_once_and_not_tried_again_and_again() {
    let web = Program::new("web", "exit 3");
    let process = serve(&[&web], "wake: \"true\"\nwake-timeout: 30s", "");
    let answer = get(process.http(), "");
    assert_eq!((answer.status, reason(&answer).as_str()), (503, "wake_failed"));
    let again = get(process.http(), "");
    assert_eq!((again.status, reason(&again).as_str()), (503, "wake_failed"));
    assert!(starts(&process, "web") <= 2, "{} starts", starts(&process, "web"));
    process.err().wait_for(&["cannot be woken", "exit status: 3"]);
}

#[test]
fn so_many_wait_and_no_more() {
    // WAITING_PER_GATE_MAX
    const WAITING: usize = 256;
    const LATE: usize = 4;
    let web = Program::new("web", "exec sleep 1000");
    let settings = "limits: {connectionsPerAddress: 1000}";
    let process = serve(&[&web], "wake: \"true\"\nwake-timeout: 10m", settings);
    // Several workers take them in, so that who comes last is not known: only how many are refused is.
    let clients: Vec<TcpStream> = (0..WAITING + LATE)
        .map(|_| {
            let mut client = TcpStream::connect(process.http()).expect("a connection");
            client.write_all(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n").expect("a request");
            client.set_nonblocking(true).expect("a socket");
            client
        })
        .collect();
    let answers = || -> Vec<String> {
        let mut answer = [0; 4096];
        let came = clients
            .iter()
            .filter_map(|client| client.peek(&mut answer).ok().map(|length| answer[..length].to_vec()));
        came.map(|answer| String::from_utf8_lossy(&answer).into_owned()).collect()
    };
    eventually("the late ones are refused", || answers().len() == LATE);
    for answer in answers() {
        assert!(answer.contains("reason: too_many_waiting"), "{answer}");
    }
}

#[test]
fn machines_that_look_in_wake_nobody() {
    let web = Program::new("web", APP);
    let annotations = "wake: \"true\"\nwake-quiet-agents: acme\nwake-quiet-paths: /healthz";
    let process = serve(&[&web], annotations, "");
    let monitor = get(process.http(), "User-Agent: Uptime-Kuma/1.23\r\n");
    assert_eq!((monitor.status, monitor.fields.one("x-vestibule-state")), (200, Some("asleep")));
    for headers in [
        "User-Agent: Mozilla/5.0 (compatible; Googlebot/2.1)\r\n",
        "User-Agent: Acme/3\r\n",
        "Sec-Purpose: prefetch;prerender\r\n",
    ] {
        let answer = get(process.http(), headers);
        assert_eq!((answer.status, reason(&answer).as_str()), (503, "asleep"), "{headers}");
    }
    let ask = |head: &str| {
        let mut client = Client::connect(process.http());
        client.send(format!("{head}\r\n\r\n"));
        client.answer().status
    };
    let preflight = "Origin: https://a.test\r\nAccess-Control-Request-Method: PUT";
    assert_eq!(ask(&format!("OPTIONS / HTTP/1.1\r\nHost: shop.test\r\n{preflight}")), 503);
    assert_eq!(ask("GET /healthz HTTP/1.1\r\nHost: shop.test"), 503);
    assert_eq!(ask("GET /robots.txt HTTP/1.1\r\nHost: shop.test"), 503);
    assert_eq!(starts(&process, "web"), 0);
    assert_eq!(ask("OPTIONS / HTTP/1.1\r\nHost: shop.test"), 200);
    assert_eq!(starts(&process, "web"), 1);
}

#[test]
fn who_may_not_enter_wakes_nobody() {
    let web = Program::new("web", APP);
    let process = serve(&[&web], "wake: \"true\"\ndenylist-source-range: 127.0.0.0/8", "");
    assert_eq!(get(process.http(), "").status, 403);
    assert_eq!(starts(&process, "web"), 0);
}

#[test]
fn what_is_not_listed_is_a_problem_and_no_wait() {
    let other = Program::new("other", APP);
    let process = serve_with(&[&other], "wake: process/missing", "", &manifests::service("web", &[]));
    let answer = get(process.http(), "");
    assert_eq!((answer.status, reason(&answer).as_str()), (503, "wake_failed"));
    process.err().wait_for(&["the settings list no workload `missing`"]);
}

#[test]
fn the_example_of_the_readme_wakes() {
    let library = Program::new("library", APP);
    let example = workspace().join("examples/wake");
    let read = |file: &str| std::fs::read_to_string(example.join(file)).expect("an example");
    let manifests = read("manifests/library.yaml").replace("9003", &library.address.port().to_string());
    let files = Files::with("library.yaml", &manifests);
    let settings = read("vestibule.yaml")
        .replace("target/release/vestibule", &binary().display().to_string())
        .replace("127.0.0.1:9003", &library.address.to_string());
    files.write_settings(&settings);
    let process = Edge { process: Process::serve(&files), _files: files };
    assert_eq!(Client::connect(process.http()).get("library.localhost", "/").status, 200);
    assert_eq!(count(&process, &["a program is started", "default/process/library "]), 1);
}

#[test]
fn whoever_runs_the_edge_commands_its_programs_by_the_socket() {
    let web = Program::new("web", APP);
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("admin.sock");
    let process = serve(&[&web], "wake: \"true\"", &format!("admin: {{socket: {}}}", socket.display()));
    let command = |words: &[&str]| {
        let mut command = Command::new(binary());
        command.args(words).args(["--namespace", "shop", "--socket"]).arg(&socket);
        let output = command.output().expect("the binary runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    let told = |state: &str| (Some(0), format!("shop/process/web: {state}\n"));
    assert_eq!(starts(&process, "web"), 0);
    assert_eq!(command(&["wake", "process/web"]), told("awake"));
    assert_eq!(starts(&process, "web"), 1);
    assert_eq!(command(&["sleep", "process/web"]), told("asleep"));
    assert_eq!(command(&["keep-awake", "process/web", "--for", "1h"]), told("awake"));
    assert_eq!(starts(&process, "web"), 2);
    let (code, words) = command(&["wake", "process/none"]);
    assert_eq!((code, words.contains("shop/process/none is woken by no route")), (Some(2), true), "{words}");
    // The port that scrapers reach obeys nobody.
    let mut client = Client::connect(process.admin());
    client.send("POST /sleep?workload=shop/process/web HTTP/1.1\r\nHost: admin\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.answer().status, 405);
}
