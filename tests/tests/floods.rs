//! Clients of HTTP/2 whose frames ask for work and do none, and those that send or take a body too slowly.

use tests::client::Client;
use tests::edge::Edge;
use tests::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PING, PRIORITY, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, block, frame,
};
use tests::manifests::{settings, site};
use tests::streams::{Streams, request};
use tests::upstream::{Upstream, ok};
use tests::wait::eventually;

const HOST: &str = "shop.example";
const CALM: u32 = 11;
const GLITCHES: &str = "vestibule_connections_thrown_out_total{reason=\"glitches\"}";
/// Bounds of h2 itself.
const FLOOD: &str = "vestibule_connections_thrown_out_total{reason=\"flood\"}";

fn head(method: &'static str) -> [(&'static str, &'static str); 4] {
    [(":method", method), (":scheme", "http"), (":path", "/"), (":authority", HOST)]
}

/// One that holds each upload until its client goes.
fn hanging() -> Upstream {
    Upstream::start(|connection| {
        while let Some(request) = connection.request().filter(|request| request.method == "GET") {
            connection.send(ok(&request, "hello"));
        }
        connection.wait_for_close();
    })
}

/// Frames by their number, of a kind that a client may send as often as it likes, as far as the protocol goes.
type Kind = (&'static str, fn(u32) -> Vec<u8>);

const KINDS: [Kind; 6] = [
    ("PING", |n| frame(PING, 0, 0, &u64::from(n).to_be_bytes())),
    ("SETTINGS", |_| frame(SETTINGS, 0, 0, b"")),
    ("PRIORITY", |n| frame(PRIORITY, 0, 2 * n + 101, &[0, 0, 0, 0, 7])),
    ("WINDOW_UPDATE", |_| frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes())),
    ("WINDOW_UPDATE of a stream", |_| frame(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes())),
    ("an unknown kind", |n| frame(0xbb, 0xff, n, b"x")),
];

#[test]
fn frames_that_do_no_work_are_borne_up_to_a_bound() {
    for (name, make) in KINDS {
        let upstream = hanging();
        let edge = Edge::from_yaml(&site("", upstream.address));
        let mut frames = Frames::open(Client::connect(edge.http()));
        // The stream that some of them are about: an upload that goes on.
        frames.request(1, 0, &head("POST"));
        frames.0.send((0..700).flat_map(make).collect::<Vec<u8>>());
        frames.request(3, END_STREAM, &head("GET"));
        let answer = frames.next_of(&[HEADERS, RST_STREAM, GOAWAY]).expect("an answer");
        assert_eq!(
            (answer.kind, answer.stream, answer.payload[0]),
            (HEADERS, 3, 0x88),
            "{name}: 700 are borne"
        );
        assert_eq!(edge.metric(GLITCHES), 0.0, "{name}");

        frames.0.send((700..900).flat_map(make).collect::<Vec<u8>>());
        let goodbye = frames.next_of(&[GOAWAY]).expect("a word");
        assert_eq!(
            goodbye.error_code(),
            0,
            "{name}: past three quarters of the bound the client is asked to go"
        );

        for batch in 9..100 {
            if !frames.0.send((batch * 100..(batch + 1) * 100).flat_map(make).collect::<Vec<u8>>()) {
                break;
            }
        }
        // What was not read when the connection was closed may take the last word with it.
        let ended = frames.next_of(&[GOAWAY]);
        assert!(ended.is_none_or(|frame| frame.error_code() == CALM), "{name}");
        eventually("the upload is let go", || upstream.open() <= 1);
        eventually(name, || edge.metric(GLITCHES) == 1.0);
        assert_eq!(Streams::connect(edge.http()).get(HOST, "/").expect("an answer").status, 200, "{name}");
    }
}

#[test]
fn heads_beyond_the_number_of_streams_end_the_connection() {
    let upstream = hanging();
    let edge = Edge::from_yaml(&site("", upstream.address));
    let mut frames = Frames::open(Client::connect(edge.http()));
    let fields = block(&head("POST"));
    for n in 0..10_000 {
        if !frames.send(HEADERS, END_HEADERS, 2 * n + 1, &fields) {
            break;
        }
    }
    while frames.next_of(&[GOAWAY]).is_some_and(|frame| frame.error_code() != CALM) {}
    // It is counted when the connection has ended, which the client may know first.
    eventually("it is counted, whichever bound is met first", || {
        edge.metric(GLITCHES) + edge.metric(FLOOD) == 1.0
    });
    assert!(upstream.count() <= 100, "{} requests", upstream.count());
}

#[test]
fn empty_data_ends_the_connection() {
    let upstream = hanging();
    let edge = Edge::from_yaml(&site("", upstream.address));
    let mut frames = Frames::open(Client::connect(edge.http()));
    frames.request(1, 0, &head("POST"));
    frames.0.send(frame(DATA, 0, 1, b"").repeat(2_000));
    let ended = frames.next_of(&[GOAWAY]);
    assert!(ended.is_none_or(|frame| frame.error_code() == CALM));
    // It is counted when the connection has ended, which the client may know first.
    eventually("it is counted, whichever bound is met first", || {
        edge.metric(GLITCHES) + edge.metric(FLOOD) == 1.0
    });
}

#[test]
fn empty_pieces_of_a_head_end_the_connection() {
    let upstream = Upstream::saying("hello");
    let edge = Edge::from_yaml(&site("", upstream.address));
    let mut frames = Frames::open(Client::connect(edge.http()));
    frames.send(HEADERS, END_STREAM, 1, &block(&head("GET")));
    let mut sent = 0;
    while sent < 10_000 && frames.send(CONTINUATION, 0, 1, b"") {
        sent += 1;
    }
    let ended = frames.next_of(&[GOAWAY]);
    assert!(ended.is_none_or(|frame| frame.error_code() == CALM));
    // It is counted when the connection has ended, which the client may know first.
    eventually("it is counted, whichever bound is met first", || {
        edge.metric(GLITCHES) + edge.metric(FLOOD) == 1.0
    });
    assert_eq!(upstream.count(), 0);
}

#[test]
fn a_client_that_works_may_say_much() {
    let upstream = Upstream::answering(|request| ok(request, &"x".repeat(100_000)));
    let edge = Edge::from_yaml(&site("", upstream.address));
    let mut frames = Frames::open(Client::connect(edge.http()));
    // Windows given back for every kilobyte, and a PING for every answer: far more than the bound, all in all.
    for n in 0..40 {
        let stream = 2 * n + 1;
        frames.request(stream, END_STREAM, &head("GET"));
        frames.send(PING, 0, 0, &[0; 8]);
        let mut taken = 0;
        while taken < 100_000 {
            let data = frames.next_of(&[DATA, GOAWAY]).expect("a piece of an answer");
            assert_eq!(data.kind, DATA, "after {n} answers");
            taken += data.payload.len();
            for _ in 0..data.payload.len().div_ceil(2_048) {
                frames.send(WINDOW_UPDATE, 0, 0, &2_048_u32.to_be_bytes());
                frames.send(WINDOW_UPDATE, 0, stream, &2_048_u32.to_be_bytes());
            }
        }
    }
    assert_eq!(edge.metric(GLITCHES), 0.0);
}

#[test]
fn an_upload_that_stalls_is_timed_out() {
    let upstream = Upstream::saying("hello");
    let edge = Edge::from_yaml(&format!(
        "{}{}",
        site("", upstream.address),
        settings("timeouts: {bodyIdle: 200ms}")
    ));
    let mut streams = Streams::connect(edge.http());
    let mut pending = streams.start(request("POST", HOST, "/"), true).expect("a stream");
    pending.upload.send_data("hello".into(), false).expect("an open stream");
    assert_eq!(streams.finish(pending).expect("an answer").status, 408);
    assert_eq!(streams.get(HOST, "/").expect("an answer").status, 200, "the connection goes on");
    assert_eq!(edge.metric("vestibule_rejects_total{reason=\"body_timeout\"}"), 1.0);
}

#[test]
fn an_upload_that_trickles_is_timed_out() {
    let upstream = Upstream::saying("hello");
    let trickles = "timeouts: {bodyGrace: 300ms, bodyBytesPerSecond: 1k}";
    let edge = Edge::from_yaml(&format!("{}{}", site("", upstream.address), settings(trickles)));
    let mut frames = Frames::open(Client::connect(edge.http()));
    frames.request(1, 0, &head("POST"));
    // A byte now and then keeps the connection from being idle, and is not enough.
    eventually("the edge loses patience", || {
        frames.send(DATA, 0, 1, b"x");
        edge.metric("vestibule_rejects_total{reason=\"body_timeout\"}") > 0.0
    });
    let answer = frames.next_of(&[HEADERS]).expect("an answer");
    assert_eq!(
        (answer.stream, answer.payload[0] & 0x80),
        (1, 0),
        "a status that is none of the static table's"
    );
    frames.request(3, END_STREAM, &head("GET"));
    assert_eq!(frames.next_of(&[HEADERS]).expect("an answer").payload[0], 0x88);
}

#[test]
fn an_answer_that_nobody_takes_is_cut_in_time() {
    let upstream = Upstream::answering(|request| ok(request, &"x".repeat(1 << 20)));
    let edge = Edge::from_yaml(&format!(
        "{}{}",
        site("", upstream.address),
        settings("timeouts: {writeIdle: 200ms}")
    ));
    let mut frames = Frames::open(Client::connect(edge.http()));
    frames.request(1, END_STREAM, &head("GET"));
    // No window is ever given back.
    let reset = frames.next_of(&[RST_STREAM]).expect("a reset");
    assert_eq!(reset.stream, 1);
    eventually("the answer is counted as stalled", || {
        edge.metric("vestibule_answers_unfinished_total{reason=\"answer_stalled\"}") == 1.0
    });
}
