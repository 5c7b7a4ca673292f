//! What the steps of a request cost in instructions and allocations, which no other work on the machine disturbs.
//!
//!     cargo bench -p bench --bench instructions            # measure, and compare with the baseline
//!     cargo bench -p bench --bench instructions -- --save  # make this the baseline
//!
//! Instructions are counted by callgrind: a step is run a number of times and twice as often, and the difference belongs to
//! the step alone. Allocations are counted by a global allocator. `whole request` is one GET on a kept-alive connection through
//! an edge in this process, its client and its backend included; these allocate nothing. The exit code is 1 if a step
//! executes over 3 % more instructions, or allocates more often, than `bench/instructions.json` says.

#![allow(clippy::print_stdout, reason = "standard output is where the numbers go")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use auth::identity::Identity;
use auth::session::{Cookies, KeyRing, Lifetimes, Reading, SameSite, Session, Transport};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method};
use jiff::Timestamp;
use proxy::config::backend::Locality;
use proxy::config::compile::Compiler;
use proxy::directory::Directory;
use proxy::http1::head::{BodyLength, Disposition, HeadLimits, Scan, parse_request, write_request_head};
use proxy::limit::rule::{WrittenLimits, parse_rates};
use proxy::limit::{Limiter, Limiting, Value};
use proxy::request::forwarded::{
    ClientView, Forwarded, ForwardedRules, Peer, PeerTrust, RequestId, TrustedProxies, set_request_id,
};
use proxy::request::sanitize::{Underscores, sanitize};
use proxy::request::target::{EncodedSlash, Scheme, Target};
use proxy::route::matches::Lookup;
use proxy::settings::Settings;
use proxy::tls::tickets::TicketSecret;
use serde::{Deserialize, Serialize};
use tests::edge::Edge;
use tests::manifests;

/// A step: what it is called, how often it is run at least, and what it is made of.
type Step = (&'static str, u64, fn() -> Box<dyn FnMut()>);

const STEPS: [Step; 6] = [
    ("target", 1000, target),
    ("look-up among 1,000 hosts", 1000, lookup),
    ("head read, cleaned, written", 1000, head),
    ("session", 1000, session),
    ("rate limit", 1000, limit),
    ("whole request", 200, request),
];

/// What a step cost, and what the baseline holds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Cost {
    instructions: f64,
    allocations: f64,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name, times] = arguments.as_slice()
        && flag == "--step"
    {
        repeat(&mut prepared(name), times.parse().expect("a number"));
        return ExitCode::SUCCESS;
    }
    let measured: BTreeMap<&str, Cost> =
        STEPS.iter().map(|(name, times, _)| (*name, cost(name, *times))).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.json");
    if arguments.iter().any(|argument| argument == "--save") {
        let text = serde_json::to_string_pretty(&measured).expect("JSON");
        std::fs::write(&path, text + "\n").expect("bench/instructions.json");
    }
    let baseline = std::fs::read_to_string(&path).expect("bench/instructions.json");
    let baseline: BTreeMap<String, Cost> = serde_json::from_str(&baseline).expect("the baseline");
    println!(
        "{:<30}{:>14}{:>12}{:>9}{:>13}{:>9}",
        "", "instructions", "baseline", "", "allocations", "baseline"
    );
    let mut failed = 0;
    for (name, cost) in &measured {
        let Some(before) = baseline.get(*name) else {
            println!("{name:<30}{:>14.0}   not in the baseline: run with --save", cost.instructions);
            failed += 1;
            continue;
        };
        let change = (cost.instructions / before.instructions - 1.0) * 100.0;
        let worse = change > CHANGE_PERCENT_MAX || cost.allocations > before.allocations + ALLOCATIONS_NOISE;
        failed += usize::from(worse);
        println!(
            "{name:<30}{:>14.0}{:>12.0}{change:>+7.1} %{:>13.2}{:>9.2}{}",
            cost.instructions,
            before.instructions,
            cost.allocations,
            before.allocations,
            if worse { "  worse" } else { "" }
        );
    }
    println!("{} passed, {failed} failed", measured.len() - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The step `name`, done once already.
fn prepared(name: &str) -> Box<dyn FnMut()> {
    let (_, _, prepare) = STEPS.iter().find(|(known, ..)| *known == name).expect("a known step");
    let mut step = prepare();
    step();
    step
}

fn repeat(step: &mut dyn FnMut(), times: u64) {
    (0..times).for_each(|_| step());
}

/// How often memory is asked for, each time that the step `name` is done.
fn allocations(name: &str, times: u64) -> f64 {
    let _profiler = dhat::Profiler::builder().testing().build();
    let mut step = prepared(name);
    let before = dhat::HeapStats::get().total_blocks;
    repeat(&mut step, times);
    (dhat::HeapStats::get().total_blocks - before) as f64 / times as f64
}

fn cost(name: &str, times: u64) -> Cost {
    let under_callgrind = |times: u64| {
        let own = std::env::current_exe().expect("this program's file");
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(own)
            .args(["--step", name, &times.to_string()])
            .output()
            .expect("valgrind; install it: apt-get install valgrind");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "callgrind ended with {}:\n{text}", output.status);
        let line = text.lines().find_map(|line| line.split_once("Collected :"));
        line.and_then(|(_, count)| count.trim().parse::<f64>().ok()).expect("a count of instructions")
    };
    let instructions = (under_callgrind(2 * times) - under_callgrind(times)) / times as f64;
    Cost { instructions, allocations: allocations(name, times) }
}

fn target() -> Box<dyn FnMut()> {
    let raw = Bytes::from_static(b"/shop/c%61rt/./items?colour=blue&page=2");
    Box::new(move || {
        let host = Some(&b"Shop.bench.test"[..]);
        let parsed = Target::parse(&Method::GET, &raw, None, host, Scheme::Https, EncodedSlash::default());
        black_box(parsed.expect("a target"));
    })
}

fn lookup() -> Box<dyn FnMut()> {
    let hosts: String =
        (0..1000).map(|number| HOST.replace("@HOST@", &format!("host-{number}.bench.test"))).collect();
    let (directory, _) = Directory::from_reader("hosts", hosts.as_bytes()).expect("manifests");
    let settings = Settings::parse(
        "classes: [{ name: bench, default: true, http: [\"127.0.0.1:0\"] }]",
        Path::new("settings"),
    );
    let mut compiler = Compiler::new(TicketSecret::random(), None, Locality::default());
    let table = compiler.compile(directory.objects(), &settings.expect("settings")).table;
    let raw = Bytes::from_static(b"/shop/cart");
    let host = Some(&b"host-731.bench.test"[..]);
    let target = Target::parse(&Method::GET, &raw, None, host, Scheme::Http, EncodedSlash::default());
    let target = target.expect("a target");
    let headers = HeaderMap::new();
    let section = table.listeners.first().cloned().expect("a listener");
    Box::new(move || {
        let lookup = Lookup {
            host: target.host.as_ref(),
            path: target.path(),
            method: &Method::GET,
            headers: &headers,
            query: target.query(),
        };
        let found = section.find(&lookup);
        assert!(matches!(found, proxy::route::table::Found::Route(_)));
    })
}

fn head() -> Box<dyn FnMut()> {
    let bytes = b"GET /shop/cart HTTP/1.1\r\nHost: shop.bench.test\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
        Accept: text/html,application/xhtml+xml\r\nAccept-Language: en\r\nAccept-Encoding: gzip, br\r\n\
        Cookie: theme=dark; visits=7\r\nConnection: keep-alive\r\n\r\n";
    let trusted = TrustedProxies::new(Vec::new(), Vec::new());
    let peer = Peer::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 9)), Scheme::Https, 443, &trusted);
    let host = HeaderValue::from_static("shop.bench.test");
    let mut out = Vec::with_capacity(4096);
    Box::new(move || {
        let mut buffer = BytesMut::from(&bytes[..]);
        let head = parse_request(&mut buffer, &mut Scan::default(), &HeadLimits::REQUEST);
        let head = head.expect("a head").expect("a whole head");
        let mut headers = head.headers;
        let client = ClientView::of(&peer, &headers, &trusted);
        black_box(sanitize(&mut headers, PeerTrust::Untrusted, Underscores::default()));
        set_request_id(&mut headers, &client, &host, &RequestId::random(), ForwardedRules::default());
        let forwarded = Forwarded::of(&peer, &client, &host);
        out.clear();
        let (more, length, disposition) = (forwarded.fields(), BodyLength::None, Disposition::KeepAlive);
        write_request_head(&mut out, &head.method, &head.target, &headers, &more, length, disposition)
            .expect("a head");
        black_box(out.len());
    })
}

fn session() -> Box<dyn FnMut()> {
    let now = Timestamp::from_second(1_800_000_000).expect("a time");
    let ring = KeyRing::new(now).expect("random bytes");
    let cookies = Cookies::new("bench", None, SameSite::default());
    let identity = Identity {
        subject: "d7f0c7f6-2c53-4b1a-9d0e-5a8a7f3b6c21".into(),
        user: "visitor".into(),
        name: Some("A Visitor".into()),
        email: Some("visitor@bench.test".into()),
        email_verified: true,
        groups: (0..12).map(|number| format!("department-of-figures-{number}")).collect(),
        claims: BTreeMap::new(),
    };
    let lifetimes = Lifetimes::default();
    let session = Session::begin(identity, None, &lifetimes, now);
    let written = cookies.write(&ring, &session, &HeaderMap::new(), Transport::Tls, "shop.bench.test", now);
    let written = written.expect("a cookie").remove(0);
    let value = written.to_str().expect("text").split(';').next().expect("a pair").to_owned();
    let headers =
        HeaderMap::from_iter([(http::header::COOKIE, HeaderValue::from_str(&value).expect("a value"))]);
    Box::new(move || {
        let reading = cookies.read(&ring, &headers, Transport::Tls, "shop.bench.test", &lifetimes, now);
        assert!(matches!(reading, Reading::Session(..)));
    })
}

fn limit() -> Box<dyn FnMut()> {
    let written =
        WrittenLimits { rates: parse_rates("1000000/s per ip").expect("a rate"), ..Default::default() };
    let limiting: Arc<Limiting> = Limiting::new(&written, "Ingress shop/web").expect("a limit");
    let limiter = Limiter::new(1000);
    let mut clock = Duration::ZERO;
    Box::new(move || {
        clock += Duration::from_micros(10);
        let client = Value::Address(IpAddr::V4(Ipv4Addr::LOCALHOST));
        black_box(limiter.count(&limiting.on_arrival.rates[0], client, clock));
    })
}

fn request() -> Box<dyn FnMut()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            stream.set_nodelay(true).expect("a socket");
            std::thread::spawn(move || {
                let mut input = [0; 4096];
                while stream.read(&mut input).is_ok_and(|read| read > 0) {
                    stream.write_all(ANSWER).expect("the edge listens");
                }
            });
        }
    });
    let yaml = [manifests::settings("accessLog: {format: \"off\"}"), manifests::site("", address)].concat();
    let edge = Edge::from_yaml(&yaml);
    let mut stream = TcpStream::connect(edge.http()).expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    let mut input = [0; 4096];
    let mut ask = move || {
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: app.example\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")
            .expect("the edge listens");
        let read = stream.read(&mut input).expect("an answer");
        // So that the edge lives as long as its client.
        black_box(&edge);
        input[..read].starts_with(b"HTTP/1.1 200") && input[..read].ends_with(b"Hello, visitor\n")
    };
    // The first configuration is live soon, not at once.
    tests::wait::eventually("the route answers", &mut ask);
    Box::new(move || assert!(ask(), "the whole answer in one piece"))
}

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 15\r\n\r\nHello, visitor\n";
const HOST: &str = include_str!("../peers/vestibule-host.yaml");
/// More than the counts differ from run to run.
const CHANGE_PERCENT_MAX: f64 = 3.0;
/// A whole request has a tick of the edge's clock beside it now and then.
const ALLOCATIONS_NOISE: f64 = 0.5;

/// Counts what is asked for while a profiler lives. The edge's own allocator is another; how often it is asked is the same.
#[global_allocator]
static COUNTING: dhat::Alloc = dhat::Alloc;
