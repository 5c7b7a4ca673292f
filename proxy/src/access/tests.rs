use std::io::{self, Write};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use super::*;

#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn entry<'a>() -> Entry<'a> {
    Entry {
        time: "2026-03-01T12:34:56.007891Z".parse().unwrap(),
        request_id: "abc",
        client: "203.0.113.7".parse().unwrap(),
        user: None,
        method: "GET",
        scheme: "https",
        host: b"shop.example.com",
        path: b"/cart",
        query: Some(b"token=secret"),
        protocol: Protocol::Http2,
        status: 200,
        reason: None,
        route: None,
        backend: None,
        endpoint: None,
        upstream_status: None,
        upstream: None,
        retries: 0,
        duration: Duration::from_micros(12_345),
        bytes_in: 0,
        bytes_out: 1234,
        user_agent: None,
        referer: None,
        tls_version: None,
    }
}

fn full<'a>() -> Entry<'a> {
    Entry {
        user: Some("ada"),
        reason: Some("connect_failed"),
        route: Some(&"Ingress shop/web"),
        backend: Some(&"shop/web:80"),
        endpoint: Some("10.0.0.1:8080".parse().unwrap()),
        upstream_status: Some(502),
        upstream: Some(Duration::from_micros(1_001)),
        retries: 1,
        user_agent: Some(b"curl/8"),
        referer: Some(b"https://a.example/x?token=secret"),
        tls_version: Some("TLSv1.3"),
        ..entry()
    }
}

fn written(format: AccessLogFormat, query: bool, entries: &[Entry<'_>]) -> String {
    let output = Output::default();
    let (writer, sink) = Writer::start(output.clone()).unwrap();
    let mut log = sink.access_log(&AccessLogSettings { format, query });
    entries.iter().for_each(|entry| log.log(entry));
    drop((log, sink));
    writer.finish();
    let bytes = output.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_json_line_has_the_whole_vocabulary_in_its_order() {
    let line = written(AccessLogFormat::Json, true, &[full()]);
    let value: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&line).unwrap();
    assert_eq!(value.len(), FIELDS.len());
    let mut at = 0;
    for (name, _) in FIELDS {
        at += line[at..].find(&format!("\"{name}\":")).unwrap_or_else(|| panic!("{name} in {line}"));
    }
    assert_eq!(value["time"], "2026-03-01T12:34:56.007Z");
    assert_eq!(value["duration_ms"], 12.345);
    assert_eq!(value["upstream_ms"], 1.001);
    assert_eq!(value["status"], 200);
    assert_eq!(value["referer"], "https://a.example/x");
    assert_eq!(value["route"], "Ingress shop/web");
}

#[test]
fn what_does_not_apply_is_left_out_and_the_query_is_not_logged() {
    let line = written(AccessLogFormat::Json, false, &[entry()]);
    assert_eq!(
        line,
        concat!(
            r#"{"time":"2026-03-01T12:34:56.007Z","request_id":"abc","client":"203.0.113.7","method":"GET","#,
            r#""scheme":"https","host":"shop.example.com","path":"/cart","protocol":"HTTP/2.0","status":200,"#,
            r#""duration_ms":12.345,"bytes_in":0,"bytes_out":1234}"#,
            "\n"
        )
    );
}

#[test]
fn a_text_line_is_pairs_after_the_time() {
    let line = written(AccessLogFormat::Text, false, &[Entry { path: b"/a b=\"c\"", ..entry() }]);
    assert_eq!(
        line,
        "2026-03-01T12:34:56.007Z request_id=abc client=203.0.113.7 method=GET scheme=https \
         host=shop.example.com path=\"/a b=\\\"c\\\"\" protocol=HTTP/2.0 status=200 duration_ms=12.345 bytes_in=0 \
         bytes_out=1234\n"
    );
}

#[test]
fn hostile_bytes_stay_inside_their_field() {
    let hostile = b"\"},\n{\"x\":1\r\x1b[2J\x00\xff\xc3(\\ \xc2\x9b \xe2\x80\xae caf\xc3\xa9\x7f";
    let line = written(AccessLogFormat::Json, false, &[Entry { user_agent: Some(hostile), ..entry() }]);
    assert_eq!(line.lines().count(), 1);
    assert!(!line.trim_end().chars().any(char::is_control), "{line:?}");
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["user_agent"], "\"},\n{\"x\":1\r\u{1b}[2J\0\\xff\\xc3(\\ \u{9b} \u{202e} café\u{7f}");
    let line = written(AccessLogFormat::Text, false, &[Entry { user_agent: Some(hostile), ..entry() }]);
    assert_eq!(line.lines().count(), 1);
    assert!(!line.trim_end().chars().any(char::is_control), "{line:?}");
    assert!(line.contains(
        r#"user_agent="\"},\x0a{\"x\":1\x0d\x1b[2J\x00\xff\xc3(\\ \xc2\x9b \xe2\x80\xae café\x7f""#
    ));
    let line = written(AccessLogFormat::Json, false, &[Entry { route: Some(&"Ingress a/\"\n"), ..entry() }]);
    assert!(line.contains(r#""route":"Ingress a/\"\n""#), "{line}");
}

#[test]
fn a_field_is_cut_at_its_bound() {
    let path = vec![b'a'; FIELD_BYTES_MAX + 1];
    let line = written(AccessLogFormat::Json, false, &[Entry { path: &path, ..entry() }]);
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    let logged = value["path"].as_str().unwrap();
    assert_eq!(logged.len(), FIELD_BYTES_MAX + "…".len());
    assert!(logged.ends_with('…'));
    let line = written(AccessLogFormat::Json, false, &[Entry { path: &path[1..], ..entry() }]);
    assert!(!line.contains('…'));
}

#[test]
fn nothing_is_written_where_the_log_is_off() {
    assert_eq!(written(AccessLogFormat::Off, true, &[full()]), "");
}

#[test]
fn the_date_follows_the_second() {
    let later = Entry { time: "2026-03-01T12:34:57Z".parse().unwrap(), ..entry() };
    let lines = written(AccessLogFormat::Text, false, &[entry(), later]);
    let times: Vec<_> = lines.lines().map(|line| &line[..24]).collect();
    assert_eq!(times, ["2026-03-01T12:34:56.007Z", "2026-03-01T12:34:57.000Z"]);
}

/// Writes nothing until it is let go.
struct Stuck(Receiver<()>);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // An error means that the test let go of it for good.
        let _ = self.0.recv();
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn lines_are_dropped_and_counted_when_the_writer_is_stuck() {
    let (release, stuck): (SyncSender<()>, _) = sync_channel(0);
    let (writer, sink) = Writer::start(Stuck(stuck)).unwrap();
    let dropped = sink.dropped();
    let mut log = sink.access_log(&AccessLogSettings::default());
    for _ in 0..100 {
        log.log(&entry());
        log.flush();
    }
    // 64 wait, and the writer holds at most one.
    let lost = dropped.load(Ordering::Relaxed);
    assert!((35..=36).contains(&lost), "{lost}");
    drop((release, log, sink));
    writer.finish();
}

#[test]
fn lines_are_counted_when_nobody_reads() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (writer, sink) = Writer::start(Closed).unwrap();
    let dropped = sink.dropped();
    let mut log = sink.access_log(&AccessLogSettings::default());
    log.log(&entry());
    log.log(&entry());
    drop((log, sink));
    writer.finish();
    assert_eq!(dropped.load(Ordering::Relaxed), 2);
}

#[test]
fn a_full_buffer_is_handed_on_without_a_flush() {
    let output = Output::default();
    let (writer, sink) = Writer::start(output.clone()).unwrap();
    let mut log = sink.access_log(&AccessLogSettings::default());
    let path = vec![b'a'; FIELD_BYTES_MAX];
    for _ in 0..20 {
        log.log(&Entry { path: &path, ..entry() });
    }
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while output.0.lock().unwrap().len() < 3 * (24 << 10) {
        assert!(std::time::Instant::now() < deadline);
        std::thread::yield_now();
    }
    drop((log, sink));
    writer.finish();
    assert_eq!(output.0.lock().unwrap().iter().filter(|byte| **byte == b'\n').count(), 20);
}
