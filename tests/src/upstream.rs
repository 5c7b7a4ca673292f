//! Upstreams that do as a test says, and remember what they were sent.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use socket2::SockRef;

use crate::message::{Reader, Received, Stream};

/// A listener on a free port of 127.0.0.1; each connection is served by the script on a thread of its own.
pub struct Upstream {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

/// One connection in the hands of a script.
pub struct Connection {
    /// The first connection has 0.
    pub number: usize,
    pub reader: Reader,
    /// `None` after a reset.
    socket: Option<TcpStream>,
    shared: Arc<Shared>,
    /// Where the request read last stands among all.
    last: usize,
}

#[derive(Default)]
struct Shared {
    requests: Mutex<Vec<Received>>,
    faults: Mutex<Vec<String>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    sockets: Mutex<Vec<TcpStream>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    stopped: AtomicBool,
}

impl Upstream {
    /// Serves each connection with `script`; the connection ends when it returns.
    pub fn start(script: impl Fn(&mut Connection) + Send + Sync + 'static) -> Self {
        Self::start_wrapped(|socket| Some(Box::new(socket)), script)
    }

    /// The same over TLS.
    pub fn start_tls(
        config: Arc<rustls::ServerConfig>,
        script: impl Fn(&mut Connection) + Send + Sync + 'static,
    ) -> Self {
        let wrap = move |mut socket: TcpStream| {
            let mut session = rustls::ServerConnection::new(Arc::clone(&config)).ok()?;
            session.complete_io(&mut socket).ok()?;
            Some(Box::new(rustls::StreamOwned::new(session, socket)) as Box<dyn Stream>)
        };
        Self::start_wrapped(wrap, script)
    }

    /// Answers every request with what `answer` makes of it, and keeps its connections.
    pub fn answering(answer: impl Fn(&Received) -> String + Send + Sync + 'static) -> Self {
        Self::start(move |connection| {
            while let Some(request) = connection.request() {
                connection.send(answer(&request));
            }
        })
    }

    /// Answers every request with 200 and `text`.
    pub fn saying(text: &str) -> Self {
        let text = text.to_owned();
        Self::answering(move |request| ok(request, &text))
    }

    fn start_wrapped(
        wrap: impl Fn(TcpStream) -> Option<Box<dyn Stream>> + Send + Sync + 'static,
        script: impl Fn(&mut Connection) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::<Shared>::default();
        let ours = Arc::clone(&shared);
        let script = Arc::new((wrap, script));
        let accepting = std::thread::spawn(move || {
            for socket in listener.incoming() {
                let Ok(socket) = socket else { return };
                if ours.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let number = ours.connections.fetch_add(1, Ordering::SeqCst);
                lock(&ours.sockets).push(socket.try_clone().expect("a descriptor"));
                ours.open.fetch_add(1, Ordering::SeqCst);
                let (shared, script) = (Arc::clone(&ours), Arc::clone(&script));
                let thread = std::thread::spawn(move || {
                    let _open = Open(Arc::clone(&shared));
                    socket.set_nodelay(true).expect("a TCP socket");
                    let wrapped = socket.try_clone().expect("a descriptor");
                    let Some(stream) = script.0(wrapped) else {
                        let _ = socket.shutdown(Shutdown::Both);
                        return;
                    };
                    let reader = Reader::new(stream);
                    let mut connection = Connection { number, reader, socket: Some(socket), shared, last: 0 };
                    script.1(&mut connection);
                    connection.shutdown(Shutdown::Both);
                });
                lock(&ours.threads).push(thread);
            }
        });
        Upstream { address, shared, accepting: Some(accepting) }
    }

    /// Every request whose head was read, in order; those that a script read whole have their body.
    pub fn requests(&self) -> Vec<Received> {
        lock(&self.shared.requests).clone()
    }

    /// Requests that were read so far.
    pub fn count(&self) -> usize {
        lock(&self.shared.requests).len()
    }

    /// What was read that is not well-formed HTTP/1.1, bodies cut short included.
    pub fn faults(&self) -> Vec<String> {
        lock(&self.shared.faults).clone()
    }

    /// Connections that were accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Connections whose script is still running.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Takes no more connections and cuts those that are open.
    pub fn stop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts, which then ends and closes the listener.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        for socket in lock(&self.shared.sockets).drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop();
        let threads = std::mem::take(&mut *lock(&self.shared.threads));
        let failed = threads.into_iter().filter_map(|thread| thread.join().err()).count();
        assert!(failed == 0 || std::thread::panicking(), "{failed} scripts of an upstream panicked");
    }
}

impl Connection {
    /// The next request with its body; `None` when the edge closed the connection or the request is not well-formed.
    pub fn request(&mut self) -> Option<Received> {
        let mut request = self.head()?;
        if let Err(error) = self.reader.request_body(&mut request) {
            self.fault(&error);
            return None;
        }
        lock(&self.shared.requests)[self.last] = request.clone();
        Some(request)
    }

    /// The next request without its body.
    pub fn head(&mut self) -> Option<Received> {
        match self.reader.request_head() {
            Ok(Some(request)) => {
                let mut requests = lock(&self.shared.requests);
                self.last = requests.len();
                requests.push(request.clone());
                drop(requests);
                Some(request)
            }
            Ok(None) => None,
            Err(error) => {
                self.fault(&error);
                None
            }
        }
    }

    /// Sends bytes; false when the edge no longer takes them.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let stream = &mut self.reader.stream;
        stream.write_all(bytes.as_ref()).and_then(|()| stream.flush()).is_ok()
    }

    /// Reads until the edge has closed the connection, and says how many bytes still came.
    pub fn wait_for_close(&mut self) -> usize {
        let mut bytes = 0;
        while let Ok(some) = self.reader.some() {
            if some.is_empty() {
                break;
            }
            bytes += some.len();
        }
        bytes
    }

    /// Ends the sending side.
    pub fn finish(&mut self) {
        self.shutdown(Shutdown::Write);
    }

    /// Cuts the connection with a reset.
    pub fn reset(&mut self) {
        let Some(socket) = self.socket.take() else { return };
        // With a linger of zero the close of the last descriptor sends a reset.
        let _ = SockRef::from(&socket).set_linger(Some(std::time::Duration::ZERO));
        let peer = socket.peer_addr().ok();
        lock(&self.shared.sockets).retain(|known| known.peer_addr().ok() != peer);
        self.reader = Reader::new(Box::new(std::io::Cursor::new(Vec::new())));
    }

    /// The socket itself, for its options.
    pub fn socket(&self) -> Option<&TcpStream> {
        self.socket.as_ref()
    }

    fn shutdown(&self, how: Shutdown) {
        if let Some(socket) = &self.socket {
            let _ = socket.shutdown(how);
        }
    }

    fn fault(&self, error: &std::io::Error) {
        lock(&self.shared.faults).push(error.to_string());
    }
}

struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A 200 with `text` that fits the method of `request`.
pub fn ok(request: &Received, text: &str) -> String {
    let body = if request.method == "HEAD" { "" } else { text };
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}", text.len())
}

/// An address of 127.0.0.1 where nobody listens.
pub fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
