//! The load generators: wrk for HTTP/1, h2load for HTTP/2, and our own for what neither does.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::Deserialize;

use crate::child::{self, LOAD_CPU};
use crate::failure::{Doing, Failure};
use crate::streams::{self, Conversation};
use crate::target::{Site, Target};
use crate::window::{Counted, Latency, Meter};
use crate::workload::{GRPC_PATH, PLAIN_HOST, SECURE_HOST, Traffic};
use crate::{backend, http1, resumed, websocket};

/// Traffic for one window.
pub(crate) struct Sending<'a> {
    pub(crate) site: &'a Site,
    pub(crate) target: &'a Target,
    pub(crate) traffic: Traffic,
    /// Spread the requests over this many generated hosts; 0 is the one host of the traffic.
    pub(crate) hosts: usize,
    pub(crate) connections: usize,
    /// How long own generators send before they measure; the others are warmed up by a window that is not counted.
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
}

/// Sends for one window.
pub(crate) fn send(sending: &Sending<'_>, meter: &mut Meter) -> Result<Counted, Failure> {
    let Target { plain, tls, .. } = *sending.target;
    let streams = |connections, request: &[u8], status, message: &[u8], meter: &mut Meter| {
        let Sending { warm_up, window, .. } = *sending;
        streams::run(
            &Conversation { address: plain, connections, request, status, message, warm_up, window },
            meter,
        )
    };
    match sending.traffic {
        Traffic::Get => wrk(sending, "get", PLAIN_HOST, meter),
        Traffic::Post => wrk(sending, "post", PLAIN_HOST, meter),
        Traffic::Chunked => wrk(sending, "chunked", PLAIN_HOST, meter),
        Traffic::Close => wrk(sending, "close", PLAIN_HOST, meter),
        Traffic::Download => wrk(sending, "download", PLAIN_HOST, meter),
        Traffic::Upload => wrk(sending, "upload", PLAIN_HOST, meter),
        Traffic::Limited => wrk(sending, "get", crate::workload::LIMITED_HOST, meter),
        Traffic::SignedIn => wrk(sending, "get", crate::workload::GUARDED_HOST, meter),
        Traffic::Unguarded => wrk(sending, "get", crate::workload::UNGUARDED_HOST, meter),
        Traffic::Tls => wrk(sending, "get", SECURE_HOST, meter),
        Traffic::Handshake => wrk(sending, "close", SECURE_HOST, meter),
        Traffic::Resumed => resumed::run(tls, &sending.site.root(), sending.window, meter),
        Traffic::Http2 => h2load(sending, "/", &[], meter),
        Traffic::Grpc => {
            let data = sending.site.grpc_message();
            let data = data.display().to_string();
            let grpc = ["-d", &data, "-H", "content-type: application/grpc", "-H", "te: trailers"];
            h2load(sending, GRPC_PATH, &grpc, meter)
        }
        Traffic::WebSocket => {
            let request = websocket::request(PLAIN_HOST, backend::ECHO_PATH);
            streams(sending.connections, &request, 101, websocket::FRAME, meter)
        }
        Traffic::Events => {
            let request = http1::get(PLAIN_HOST, backend::EVENTS_PATH);
            streams(EVENT_STREAMS, &request, 200, &[], meter)
        }
    }
}

/// wrk with our script, which says in one line what came of it.
fn wrk(sending: &Sending<'_>, shape: &str, host: &str, meter: &mut Meter) -> Result<Counted, Failure> {
    #[derive(Deserialize)]
    struct Summary {
        answers: u64,
        connect: u64,
        read: u64,
        write: u64,
        status: u64,
        timeout: u64,
        #[serde(flatten)]
        latency: Latency,
    }

    let url = match host {
        SECURE_HOST => format!("https://{SECURE_HOST}:{}/", sending.target.tls.port()),
        _ => format!("http://{}/", sending.target.plain),
    };
    let connections = sending.connections.to_string();
    let seconds = sending.window.as_secs_f64().ceil().max(1.0);
    let mut command = child::pinned(LOAD_CPU, Path::new("wrk"))?;
    command.args(["-t1", "-c", &connections, "-d", &format!("{seconds}s"), "--timeout", "10s", "-s"]);
    command.arg(sending.site.wrk_script()).arg(url);
    command.env("BENCH_SHAPE", shape).env("BENCH_HOST", host).env("BENCH_HOSTS", sending.hosts.to_string());
    command.env("OPENSSL_CONF", sending.site.openssl_settings());
    if let (Traffic::SignedIn | Traffic::Unguarded, Some(cookie)) = (sending.traffic, &sending.target.cookie)
    {
        command.env("BENCH_COOKIE", cookie);
    }
    let text = measured("wrk", command, meter)?;
    let line = text.lines().find(|line| line.starts_with('{'));
    let summary: Summary = serde_json::from_str(line.ok_or_else(|| unexpected("wrk", &text))?)?;
    let errors = [
        (summary.status, "answers with another status"),
        (summary.connect, "connections refused"),
        (summary.read, "answers broken off"),
        (summary.write, "requests not taken"),
        (summary.timeout, "requests without an answer within 10 s"),
    ];
    let first = errors.iter().find(|(count, _)| *count > 0);
    Ok(Counted {
        answers: summary.answers.saturating_sub(summary.status),
        errors: errors.iter().map(|(count, _)| count).sum(),
        error: first.map(|(count, what)| format!("{count} {what}")),
        latency: Some(summary.latency),
    })
}

/// h2load over TLS: a few connections with many streams each.
fn h2load(sending: &Sending<'_>, path: &str, more: &[&str], meter: &mut Meter) -> Result<Counted, Failure> {
    let url = format!("https://{SECURE_HOST}:{}{path}", sending.target.tls.port());
    let mut command = child::pinned(LOAD_CPU, Path::new("h2load"))?;
    command.args(["-t1", "-c", H2_CONNECTIONS, "-m", H2_STREAMS]);
    command.args(["-D", &format!("{}ms", sending.window.as_millis())]);
    command.args(["--groups=X25519", "--tls13-ciphers=TLS_AES_128_GCM_SHA256"]).args(more).arg(url);
    let text = measured("h2load", command, meter)?;
    // "requests: 10 total, 10 started, 10 done, 10 succeeded, 0 failed, 0 errored, 0 timeout" and
    // "status codes: 10 2xx, 0 3xx, 0 4xx, 0 5xx".
    let number = |line: &str, word: &str| {
        let line = text.lines().find_map(|text| text.strip_prefix(line))?;
        let count = line.split(", ").find_map(|part| part.trim().strip_suffix(word))?;
        count.trim().parse::<u64>().ok()
    };
    let (Some(done), Some(good)) = (number("requests:", " done"), number("status codes:", " 2xx")) else {
        return Err(unexpected("h2load", &text));
    };
    let errors = done.saturating_sub(good);
    let error = (errors > 0).then(|| format!("{errors} of {done} answers failed or have another status"));
    Ok(Counted { answers: good, errors, error, latency: None })
}

/// Runs a generator between the two ends of a window; what it printed.
fn measured(name: &'static str, mut command: Command, meter: &mut Meter) -> Result<String, Failure> {
    command.stdin(Stdio::null());
    meter.start()?;
    let output = command.output().doing(|| format!("run {name}"))?;
    meter.stop()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.success() {
        true => Ok(text),
        false => Err(unexpected(name, &(text + &String::from_utf8_lossy(&output.stderr)))),
    }
}

fn unexpected(name: &str, text: &str) -> Failure {
    let last: Vec<&str> = text.trim().lines().rev().take(3).collect();
    Failure::Load(format!("{name} said {:?}", last.into_iter().rev().collect::<Vec<_>>().join(" / ")))
}

const H2_CONNECTIONS: &str = "4";
const H2_STREAMS: &str = "20";
const EVENT_STREAMS: usize = 1000;
