//! How what is open ends: requests in one time, sessions (WebSockets, relayed connections, clients of UDP) in one of their
//! own, at shutdown and on a listener that is gone.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use rustix::process::Signal;
use tests::client::Client;
use tests::ports::unused;
use tests::process::{Files, Process};
use tests::streams::{End, Pending, Streams};
use tests::upstream::{Upstream, ok};
use tests::wait::{DEADLINE, eventually};
use tests::{client, manifests};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

const UPGRADE: &str = "GET /socket HTTP/1.1\r\nHost: shop.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const GATEWAY_API: &str = "apiVersion: gateway.networking.k8s.io/v1";

/// A process with a route of each kind, and whatever its clients hold open.
struct Room {
    files: Files,
    process: Process,
    /// Lets the one request to `/slow` have its answer.
    answer: mpsc::SyncSender<()>,
    upstream: Upstream,
    websocket: Client,
    tcp: TcpStream,
    udp: UdpSocket,
}

impl Room {
    /// With one session of each kind.
    fn open(settings: &str) -> Room {
        let (answer, may_answer) = mpsc::sync_channel(1);
        let may_answer = Mutex::new(may_answer);
        let upstream = Upstream::start(move |connection| {
            let Some(request) = connection.head() else { return };
            match &*request.target {
                "/socket" => {
                    // The accept of the key that a client of HTTP/2 does not send.
                    let key = request.fields.one("sec-websocket-key").unwrap_or_default();
                    connection.send(SWITCH.replace(ACCEPT, &derive_accept_key(key.as_bytes())));
                    while let Ok(bytes) = connection.reader.some() {
                        if bytes.is_empty() || !connection.send(&bytes) {
                            break;
                        }
                    }
                }
                "/slow" => {
                    if may_answer.lock().is_ok_and(|go| go.recv().is_ok()) {
                        connection.send(ok(&request, "done"));
                    }
                }
                _ => drop(connection.send(ok(&request, "hello"))),
            }
        });
        let files = Files::with("web.yaml", &manifests::site("", upstream.address));
        files.write("relays.yaml", &relays(echo_tcp(), echo_udp()));
        let (tcp, udp) = (unused().port(), unused().port());
        files.write("gateway.yaml", &gateway(tcp, udp));
        files.write_settings(settings);
        let process = Process::serve(&files);
        let mut websocket = Client::connect(process.http());
        websocket.send(UPGRADE);
        assert_eq!(websocket.answer().status, 101);
        let tcp = TcpStream::connect(process.address(&format!("shop/edge:{tcp}"))).expect("a connection");
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        udp.connect(process.address("(udp)")).expect("an address");
        tcp.set_read_timeout(Some(DEADLINE)).expect("a socket");
        udp.set_read_timeout(Some(DEADLINE)).expect("a socket");
        let mut room = Room { files, process, answer, upstream, websocket, tcp, udp };
        room.speak();
        room
    }

    /// Every session goes on.
    #[track_caller]
    fn speak(&mut self) {
        self.websocket.send("hello");
        assert_eq!(self.websocket.reader.exactly(5).expect("a WebSocket that goes on"), b"hello");
        self.speak_relayed();
    }

    #[track_caller]
    fn speak_relayed(&mut self) {
        let mut buffer = [0; 5];
        self.tcp.write_all(b"hello").expect("an open connection");
        self.tcp.read_exact(&mut buffer).expect("a relayed connection that goes on");
        self.udp.send(b"hello").expect("an open socket");
        assert_eq!(self.udp.recv(&mut buffer).expect("a client of UDP that is remembered"), 5);
    }

    #[track_caller]
    fn relayed_are_cut(&mut self) {
        let mut rest = Vec::new();
        // A reset is an end, too.
        let _ = self.tcp.read_to_end(&mut rest);
        assert_eq!(rest, b"");
        eventually("the datagrams come to nobody", || {
            self.udp.send(b"hello").is_err() || self.udp.recv(&mut [0; 5]).is_err()
        });
    }

    /// A request that has no answer until somebody says so.
    fn slow(&self) -> Client {
        let before = self.upstream.count();
        let mut client = Client::connect(self.process.http());
        client.send("GET /slow HTTP/1.1\r\nHost: shop.example\r\n\r\n");
        eventually("the request reaches the upstream", || self.upstream.count() > before);
        client
    }
}

fn gateway(tcp: u16, udp: u16) -> String {
    format!(
        "{GATEWAY_API}\nkind: Gateway\nmetadata: {{name: edge, namespace: shop}}\nspec:\n  gatewayClassName: vestibule\n  \
         listeners:\n  - {{name: db, port: {tcp}, protocol: TCP}}\n  - {{name: dns, port: {udp}, protocol: UDP}}\n"
    )
}

fn relays(tcp: SocketAddr, udp: SocketAddr) -> String {
    let route = |kind: &str, name: &str| {
        format!(
            "{GATEWAY_API}\nkind: {kind}\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
             parentRefs: [{{name: edge}}]\n  rules: [{{backendRefs: [{{name: {name}, port: 80}}]}}]\n"
        )
    };
    let dns = manifests::service("dns", &[udp]).replace("name: http,", "name: http, protocol: UDP,");
    format!(
        "{}---\n{}{}{dns}",
        route("TCPRoute", "db"),
        route("UDPRoute", "dns"),
        manifests::service("db", &[tcp])
    )
}

fn echo_tcp() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut writer = stream.try_clone().expect("a socket");
                std::io::copy(&mut stream, &mut writer)
            });
        }
    });
    address
}

fn echo_udp() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("an address");
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], client);
        }
    });
    address
}

#[test]
fn sessions_go_on_when_the_time_of_requests_is_over() {
    let mut room = Room::open("drain: 300ms\ndrainSessions: 1h\nrelay: {udpIdleTimeout: 2s}\n");
    let mut slow = room.slow();
    room.process.signal(Signal::TERM);
    assert!(slow.is_closed(), "a request is cut at the end of its time");
    eventually("no more connections are taken", || TcpStream::connect(room.process.http()).is_err());
    assert_eq!(room.process.ask("/readyz").status, 503, "new clients belong elsewhere");
    room.speak();
    assert!(room.process.is_running());

    // As soon as they have ended by themselves, the process does.
    room.websocket.finish();
    assert!(room.websocket.is_closed());
    drop(room.tcp);
    assert_eq!(room.process.wait().code(), Some(0));
}

#[test]
fn sessions_are_cut_at_the_end_of_their_own_time() {
    let mut room = Room::open("drain: 1h\ndrainSessions: 300ms\n");
    let mut slow = room.slow();
    room.process.signal(Signal::TERM);
    assert!(room.websocket.is_closed(), "the WebSocket is cut");
    room.relayed_are_cut();

    // Requests still have theirs, and who comes late is served.
    assert_eq!(room.process.ask("/readyz").status, 200);
    assert_eq!(client::get(room.process.http(), "shop.example", "/late").status, 200);
    room.answer.send(()).expect("an upstream that waits");
    let answer = slow.answer();
    assert_eq!((answer.status, &*answer.text()), (200, "done"));
    drop(slow);
    assert_eq!(room.process.wait().code(), Some(0));
    room.process.err().wait_for(&["connections that were still open are cut"]);
}

#[test]
fn a_websocket_over_http2_is_a_session() {
    let mut room = Room::open("drain: 300ms\ndrainSessions: 1h\nrelay: {udpIdleTimeout: 1s}\n");
    let mut client = Streams::connect(room.process.http());
    let Pending { answer, mut upload } =
        client.connect_to("websocket", "shop.example", "/socket").expect("a stream");
    let (head, mut receive) = client.head(answer).expect("an answer").into_parts();
    assert_eq!(head.status, 200);
    let mut slow = room.slow();
    room.process.signal(Signal::TERM);
    assert!(slow.is_closed(), "a request is cut at the end of its time");
    client.send(&mut upload, b"hello", End::Here).expect("a stream that goes on");
    assert_eq!(client.data(&mut receive).expect("a stream that goes on"), "hello");

    // Nothing keeps the connection when its session is over.
    assert_eq!(client.data(&mut receive).expect("an end"), "");
    drop((client, room.tcp, room.websocket));
    assert_eq!(room.process.wait().code(), Some(0));
}

#[test]
fn sessions_of_a_listener_that_is_gone_have_the_same_time() {
    let mut room = Room::open("drainSessions: 1h\n");
    let (tcp, udp) = (room.tcp.peer_addr().expect("an address"), room.udp.peer_addr().expect("an address"));
    room.files.remove("gateway.yaml");
    eventually("the listener is closed", || TcpStream::connect(tcp).is_err());
    room.speak();
    let stranger = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    stranger.set_read_timeout(Some(Duration::from_millis(300))).expect("a socket");
    stranger.send_to(b"hello", udp).expect("a socket");
    assert!(stranger.recv(&mut [0; 5]).is_err(), "nobody new is served there");

    room.files.write_settings("drainSessions: 100ms\n");
    room.relayed_are_cut();
    room.websocket.send("hello");
    assert_eq!(room.websocket.reader.exactly(5).expect("another listener's session"), b"hello");
}

#[test]
fn sessions_stay_when_their_listener_comes_back() {
    let mut room = Room::open("drainSessions: 1h\n");
    let spare = unused().port();
    let (tcp, udp) = (room.tcp.peer_addr().expect("an address"), room.udp.peer_addr().expect("an address"));
    let with_spare =
        gateway(tcp.port(), udp.port()) + &format!("  - {{name: spare, port: {spare}, protocol: TCP}}\n");
    room.files.write("gateway.yaml", &with_spare);
    let mut other = None;
    eventually("a session on the other listener", || {
        other = heard(spare);
        other.is_some()
    });
    room.files.remove("gateway.yaml");
    eventually("the listener is closed", || TcpStream::connect(tcp).is_err());
    room.files.write("gateway.yaml", &gateway(tcp.port(), udp.port()));
    eventually("the listener is back", || TcpStream::connect(tcp).is_ok());
    room.files.write_settings("drainSessions: 100ms\n");
    let mut rest = Vec::new();
    // Whatever a cut looks like, it has happened once this returns.
    let _ = other.expect("a session").read_to_end(&mut rest);
    let mut buffer = [0; 5];
    room.tcp.write_all(b"hello").expect("an open connection");
    room.tcp.read_exact(&mut buffer).expect("a session that goes on");
}

/// A connection to this port that was heard.
fn heard(port: u16) -> Option<TcpStream> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).ok()?;
    stream.write_all(b"hello").ok()?;
    stream.read_exact(&mut [0; 5]).ok()?;
    Some(stream)
}
