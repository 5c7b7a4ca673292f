//! Large bodies in little memory. One test in a process of its own, because it looks at the memory of the whole process.

use std::sync::mpsc;

use tests::client::Client;
use tests::edge::Edge;
use tests::manifests::site;
use tests::streams::{Streams, request};
use tests::upstream::Upstream;

const BODY_BYTES: usize = 50 << 20;
/// What a body may cost beyond the buffers of both sides.
const GROWTH_BYTES_MAX: usize = 12 << 20;
const PIECE_BYTES: usize = 64 << 10;

#[test]
fn a_large_body_passes_both_ways_in_little_memory() {
    let (report, received) = mpsc::channel();
    let upstream = Upstream::start(move |connection| {
        while connection.head().is_some() {
            // Read without being kept, whichever way it is framed.
            let mut bytes = 0;
            while bytes < BODY_BYTES {
                match connection.reader.some() {
                    Ok(some) if !some.is_empty() => bytes += some.len(),
                    _ => return,
                }
            }
            let _ = report.send(());
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY_BYTES}\r\n\r\n"));
            for _ in 0..BODY_BYTES / PIECE_BYTES {
                connection.send([b'x'; PIECE_BYTES]);
            }
        }
    });
    let edge = Edge::from_yaml(&site("", upstream.address));
    let mut client = Client::connect(edge.http());
    // The first time buffers grow to their size.
    let mut peaks = Vec::new();
    for _ in 0..2 {
        let mut peak = resident_bytes();
        client.send(format!("PUT / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: {BODY_BYTES}\r\n\r\n"));
        for _ in 0..BODY_BYTES / PIECE_BYTES {
            assert!(client.send([b'x'; PIECE_BYTES]));
            peak = peak.max(resident_bytes());
        }
        received.recv_timeout(tests::wait::DEADLINE).expect("the whole upload");
        client.head();
        let mut bytes = 0;
        while bytes < BODY_BYTES {
            bytes += client.reader.some().expect("the answer goes on").len();
            peak = peak.max(resident_bytes());
        }
        assert_eq!(bytes, BODY_BYTES);
        peaks.push(peak);
    }
    let before = peaks[0];
    assert!(before < 200 << 20, "{before} bytes in all");
    assert!(peaks[1] < before + GROWTH_BYTES_MAX, "{peaks:?}");

    // The same download over HTTP/2, whose client takes it piece by piece.
    let mut streams = Streams::connect(edge.http());
    let started = resident_bytes();
    let mut pending = streams.start(request("PUT", "shop.example", "/"), true).expect("a stream");
    streams.upload(&mut pending.upload, BODY_BYTES, PIECE_BYTES).expect("the upload goes on");
    streams.drive_until(|| received.try_recv().is_ok());
    let mut body = streams.head(pending.answer).expect("a head").into_body();
    let (mut bytes, mut peak) = (0, resident_bytes());
    while bytes < BODY_BYTES {
        bytes += streams.data(&mut body).expect("the answer goes on").len();
        peak = peak.max(resident_bytes());
    }
    assert!(peak < started + GROWTH_BYTES_MAX, "from {started} to {peak}");
}

/// What this process has in memory now.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
}
