//! An edge in this process with an HTTP/2 upstream behind it, and clients in front of it.

use std::future::Future;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::client::SendRequest;
use h2::server::SendResponse;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::access::Writer;
use crate::admin::metrics::Metrics;
use crate::edge::{Edge, EdgeOptions};
use crate::listen::Inherited;
use crate::route::fixtures::{prefix, route, rule};
use crate::route::host::HostPattern;
use crate::route::path::HostRoutes;
use crate::route::table::{HostFallback, HostTable, Listener, ListenerKey, Section, Table};
use crate::route::{Action, WeightedBackend};
use crate::settings::Settings;
use crate::upstream::{Backend, BackendKey, BackendProtocol, Balance, EndpointAddress, EndpointSpec};

/// Nothing in these tests takes longer, unless it is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a test, on a runtime that has tasks of both kinds.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let local = tokio::task::LocalSet::new();
    runtime
        .block_on(local.run_until(async { tokio::time::timeout(PATIENCE, test).await }))
        .expect("the test ends in time");
}

/// What keeps an edge running.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    _edge: Edge,
    _writer: Writer,
}

/// An edge with one worker, whose only route leads to `upstream` over HTTP/2.
pub(crate) async fn edge(upstream: SocketAddr, settings: Settings) -> Running {
    let backend = Backend::new(
        BackendKey {
            namespace: "shop".into(),
            service: "web".into(),
            port: 80,
            protocol: BackendProtocol::Http2,
            tls: None,
            balance: Balance::PowerOfTwo,
        },
        &Default::default(),
    );
    backend.publish(&[EndpointSpec { address: EndpointAddress::Socket(upstream), local: false }]);
    let mut route = Arc::into_inner(route("web", &prefix("/"))).expect("nobody else has it");
    route.action = Action::Forward(Box::new([WeightedBackend {
        weight: 1,
        backend: Ok(Arc::new(backend)),
        request_headers: None,
        response_headers: None,
    }]));
    let rule = crate::route::matches::Rule { route: Arc::new(route), ..rule("web", prefix("/")) };
    let routes = HostRoutes::new(vec![rule]);
    let hosts = HostTable::new([(HostPattern::Any, routes)], HostFallback::Never, None);
    let section = Section { name: "".into(), host: HostPattern::Any, hosts };
    let key = ListenerKey::Class { class: "vestibule".into(), tls: false };
    let any_port = "127.0.0.1:0".parse().expect("an address");
    let listener = Listener::new(key, vec![any_port], None, vec![section]);
    let table = Table { listeners: vec![Arc::new(listener)], challenges: None };

    let settings = Arc::new(settings);
    let (writer, access) = Writer::start(std::io::sink()).expect("a thread");
    let options = EdgeOptions {
        binds: true,
        workers: NonZeroUsize::MIN,
        inherited: Inherited::default(),
        control: tokio::runtime::Handle::current(),
        metrics: Arc::new(Metrics::new(1, Arc::default(), jiff::Timestamp::UNIX_EPOCH)),
        access,
    };
    let mut edge = Edge::start(options, Arc::clone(&settings)).expect("an edge");
    let failures = edge.publish(Arc::new(table), settings).await.1;
    assert!(failures.is_empty(), "{failures:?}");
    Running { address: edge.addresses()[0].1, _edge: edge, _writer: writer }
}

/// An HTTP/2 server, and what it has seen.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
    pub(crate) requests: Arc<AtomicUsize>,
}

/// Starts a server that hands each request to `answer`, on a task of its own. With `streams_max`, every connection goes
/// away after so many requests.
pub(crate) async fn upstream<F, A>(streams_max: usize, answer: F) -> Upstream
where
    F: Fn(http::Request<RecvStream>, SendResponse<Bytes>) -> A + Clone + Send + 'static,
    A: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let upstream = Upstream { address, connections: Arc::default(), requests: Arc::default() };
    let (connections, requests) = (Arc::clone(&upstream.connections), Arc::clone(&upstream.requests));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            connections.fetch_add(1, Ordering::SeqCst);
            let (requests, answer) = (Arc::clone(&requests), answer.clone());
            tokio::spawn(async move {
                let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                let mut served = 0;
                while let Some(Ok((request, respond))) = connection.accept().await {
                    requests.fetch_add(1, Ordering::SeqCst);
                    tokio::spawn(answer(request, respond));
                    served += 1;
                    if served == streams_max {
                        connection.graceful_shutdown();
                    }
                }
            });
        }
    });
    upstream
}

/// An HTTP/2 client, and its connection.
pub(crate) async fn client(
    edge: SocketAddr,
    builder: &h2::client::Builder,
) -> (SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
    let stream = TcpStream::connect(edge).await.expect("a connection");
    let (send, connection) = builder.handshake(stream).await.expect("a handshake");
    (send, tokio::spawn(connection))
}

/// A request to the edge.
pub(crate) fn request(method: &str, path: &str) -> http::request::Builder {
    http::Request::builder().method(method).uri(format!("http://shop.example{path}"))
}

/// Sends the bytes of an HTTP/1 request that closes its connection, and returns all that comes back.
pub(crate) async fn exchange(edge: SocketAddr, bytes: &str) -> String {
    let mut stream = TcpStream::connect(edge).await.expect("a connection");
    stream.write_all(bytes.as_bytes()).await.expect("written");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Answers with a body that is known.
pub(crate) fn answer(respond: &mut SendResponse<Bytes>, headers: &[(&str, &str)], body: &'static str) {
    let mut head = http::Response::builder();
    for (name, value) in headers {
        head = head.header(*name, *value);
    }
    let head = head.body(()).expect("a head");
    // The other side may have gone already, which is what some of these tests are about.
    if let Ok(mut stream) = respond.send_response(head, body.is_empty())
        && !body.is_empty()
    {
        let _ = stream.send_data(Bytes::from_static(body.as_bytes()), true);
    }
}

/// Reads a body to its end, or to its error.
pub(crate) async fn read(mut body: RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        let _ = body.flow_control().release_capacity(data.len());
        all.extend_from_slice(&data);
    }
    Ok(all)
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE / 2;
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
