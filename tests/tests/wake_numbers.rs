//! What waking costs: time beyond the workload's own start, and memory.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use tests::client::Client;
use tests::manifests;
use tests::ports;
use tests::process::{Files, Process, binary};
use tests::streams::{Streams, request};
use tests::wait::eventually;

#[test]
#[ignore = "a measurement: tests/run nightly"]
fn a_request_that_waits_is_passed_on_soon_after_the_first_endpoint_takes_connections() {
    let address = ports::unused();
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("admin.sock");
    let site =
        manifests::ingress("wake: process/w0\nwake-idle: never") + &manifests::service("web", &[address]);
    let files = Files::with("web.yaml", &site);
    files.write_settings(&format!("admin: {{socket: {}}}\n{}", socket.display(), programs(1)));
    let mut process = Process::serve(&files);
    let mut times: Vec<Duration> = (0..TRIES).map(|_| wake(&process, address, &socket)).collect();
    process.stop();
    times.sort();
    let (median, slowest) = (times[TRIES / 2], times[TRIES * 99 / 100]);
    eprintln!(
        "from the first ready endpoint to the first byte upstream: median {median:?}, p99 {slowest:?} of {TRIES}"
    );
    assert!(slowest <= OVERHEAD_MAX, "p99 {slowest:?}");
}

/// How long it takes from the moment at which the endpoint takes connections until a request that waits comes to it.
fn wake(process: &Process, address: SocketAddr, socket: &std::path::Path) -> Duration {
    let mut client = Client::connect(process.http());
    client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    eventually("it waits", || process.metric("vestibule_wake_waiting_requests ") == Some(1.0));
    let began = Instant::now();
    let listener = TcpListener::bind(address).expect("the address of the endpoint");
    let took = loop {
        let (mut stream, _) = listener.accept().expect("a connection");
        // Whoever only looks whether somebody is there says nothing.
        let mut head = [0; 4096];
        if stream.read(&mut head).is_ok_and(|bytes| bytes > 0) {
            let took = began.elapsed();
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
            stream.write_all(answer).expect("the edge reads");
            break took;
        }
    };
    assert_eq!(client.answer().status, 200);
    drop(listener);
    let mut sleep = Command::new(binary());
    sleep.args(["sleep", "process/w0", "--namespace", "shop", "--socket"]).arg(socket);
    let slept = sleep.output().expect("the binary runs");
    assert!(slept.status.success(), "{slept:?}");
    took
}

#[test]
fn a_thousand_workloads_and_all_that_may_wait_take_little_memory() {
    waiting_takes_little_memory("HTTP/1.1", |process| {
        let request = |number: usize| {
            let mut stream = TcpStream::connect(process.http()).expect("a connection");
            let host = number / WAITING_PER_GATE;
            write!(stream, "GET / HTTP/1.1\r\nHost: w{host}.shop.test\r\n\r\n").expect("the edge reads");
            stream
        };
        (0..WAITING).map(request).collect::<Vec<_>>()
    });
}

#[test]
fn all_that_may_wait_over_http2_take_little_memory_too() {
    waiting_takes_little_memory("HTTP/2", |process| {
        let connection = |number: usize| {
            let mut streams = Streams::connect(process.http());
            let host = format!("w{}.shop.test", number * STREAMS / WAITING_PER_GATE);
            let stream = |streams: &mut Streams| streams.start(request("GET", &host, "/"), false);
            let pending: Vec<_> = (0..STREAMS).map(|_| stream(&mut streams).expect("a stream")).collect();
            let all = ((number + 1) * STREAMS) as f64;
            streams.drive_until(|| process.metric("vestibule_wake_waiting_requests ") == Some(all));
            (streams, pending)
        };
        (0..WAITING / STREAMS).map(connection).collect::<Vec<_>>()
    });
}

/// `begin` makes as many requests as may wait, and holds them.
fn waiting_takes_little_memory<W>(protocol: &str, begin: impl FnOnce(&Process) -> W) {
    let (files, mut process) = start(false);
    let plain = process.resident_bytes();
    process.stop();
    drop(files);
    let (_files, mut process) = start(true);
    process.raise_file_limit();
    let waiting = begin(&process);
    eventually("all of them wait", || {
        process.metric("vestibule_wake_waiting_requests ") == Some(WAITING as f64)
    });
    let own = process.resident_bytes().saturating_sub(plain);
    eprintln!(
        "{WORKLOADS} workloads and {WAITING} waiting requests of {protocol}: {own} bytes more than the {plain} of as many plain routes"
    );
    drop(waiting);
    eventually("nobody waits", || process.metric("vestibule_wake_waiting_requests ") == Some(0.0));
    process.stop();
    assert!(own <= MEMORY_BYTES_MAX, "{own} bytes");
}

/// A process with a route for each host `w0.shop.test`, `w1.shop.test`, …, which wake a program each or nobody.
fn start(wakes: bool) -> (Files, Process) {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let mut sites = String::new();
    for number in 0..WORKLOADS {
        let keys = if wakes { format!("wake: process/w{number}\nwake-timeout: 10m") } else { String::new() };
        let ingress = manifests::ingress(&keys)
            .replace("  name: web\n", &format!("  name: w{number}\n"))
            .replace("- http:", &format!("- host: w{number}.shop.test\n    http:"));
        sites.push_str(&ingress);
    }
    sites.push_str(&manifests::service("web", &[nowhere]));
    let files = Files::with("sites.yaml", &sites);
    // All of them come from one address.
    let limits = "limits: {connectionsPerAddress: 10000}\n";
    files.write_settings(&if wakes { format!("{limits}{}", programs(WORKLOADS)) } else { limits.to_owned() });
    let process = Process::serve(&files);
    (files, process)
}

/// Programs that run and do nothing: what takes connections is the test's.
fn programs(count: usize) -> String {
    let program = |number| format!("- {{name: w{number}, namespace: shop, command: [sleep, '1000000']}}\n");
    format!("workloads:\n{}", (0..count).map(program).collect::<String>())
}

const TRIES: usize = 100;
const OVERHEAD_MAX: Duration = Duration::from_millis(20);
const WORKLOADS: usize = 1000;
const WAITING: usize = 4096;
const WAITING_PER_GATE: usize = 256;
/// On one connection.
const STREAMS: usize = 64;
const MEMORY_BYTES_MAX: usize = 50 << 20;
