use std::io::{BufRead, BufReader, Read, Write};

use super::*;

/// Runs an application for the length of a test.
struct App {
    address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

fn app() -> App {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(serve(listener, "test".into()));
    App { address, _runtime: runtime }
}

fn send(app: &App, request: &str) -> std::net::TcpStream {
    let mut stream = std::net::TcpStream::connect(app.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

fn get(app: &App, path: &str) -> String {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: a.example\r\nX-A: 1\r\nX-A: 2\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    send(app, &request).read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn it_answers_what_it_saw() {
    let answer = get(&app(), "/x?y");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let seen: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        (&seen["app"], &seen["method"], &seen["path"]),
        (&"test".into(), &"GET".into(), &"/x?y".into())
    );
    assert_eq!((&seen["host"], &seen["headers"]["x-a"]), (&"a.example".into(), &"1, 2".into()));
}

#[test]
fn it_answers_the_status_it_is_asked_for() {
    let app = app();
    assert!(get(&app, "/status/503").starts_with("HTTP/1.1 503 "));
    assert!(get(&app, "/status/101").starts_with("HTTP/1.1 200 "));
    assert!(get(&app, "/status/many").starts_with("HTTP/1.1 200 "));
    assert!(get(&app, "/ws").starts_with("HTTP/1.1 426 "));
}

#[test]
fn slow_is_slow() {
    let began = std::time::Instant::now();
    get(&app(), "/slow?ms=50");
    assert!(began.elapsed() >= Duration::from_millis(50));
}

#[test]
fn events_come_one_by_one() {
    let app = app();
    let stream = send(&app, "GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "content-type: text/event-stream"));
    assert!(lines.any(|line| line == "data: tick from test"));
}

#[test]
fn a_websocket_echoes() {
    let app = app();
    let mut stream = send(
        &app,
        "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    // The example of RFC 6455 §1.3.
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    // "hi" as text, a ping of nothing, a message of 300 bytes, then close; the mask is 0.
    let long = [&[0x82, 0xfe, 1, 44, 0, 0, 0, 0][..], &[7; 300]].concat();
    let sent =
        [&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i', 0x89, 0x80, 0, 0, 0, 0][..], &long, &[0x88, 0x80, 0, 0, 0, 0]];
    stream.write_all(&sent.concat()).unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    let long = [&[0x82, 126, 1, 44][..], &[7; 300]].concat();
    assert_eq!(received, [&[0x81, 2, b'h', b'i', 0x8a, 0][..], &long, &[0x88, 0]].concat());
}

#[test]
fn a_frame_without_mask_ends_the_echo() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut io = tokio_stream_of(&[0x81, 2, b'h', b'i']);
        websocket::echo(&mut io).await.unwrap();
        assert_eq!(io.written, b"");
        let mut large = vec![0x82, 0xff];
        large.extend_from_slice(&(u64::MAX >> 1).to_be_bytes());
        let mut io = tokio_stream_of(&large);
        websocket::echo(&mut io).await.unwrap();
        assert_eq!(io.written, b"");
    });
}

struct Script {
    unread: Vec<u8>,
    written: Vec<u8>,
}

fn tokio_stream_of(bytes: &[u8]) -> Script {
    Script { unread: bytes.to_vec(), written: Vec::new() }
}

impl tokio::io::AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let length = buffer.remaining().min(self.unread.len());
        buffer.put_slice(&self.unread[..length]);
        self.unread.drain(..length);
        Poll::Ready(Ok(()))
    }
}

impl tokio::io::AsyncWrite for Script {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.written.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
