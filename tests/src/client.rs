//! Clients that send the bytes they are given, and read answers strictly.

use std::io::{self, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use rustls_pki_types::ServerName;
use socket2::{Domain, SockRef, Socket, Type};

use crate::message::{Answer, Framing, Reader};
use crate::wait::DEADLINE;

/// One connection to the edge. Reads fail after [`DEADLINE`].
pub struct Client {
    pub reader: Reader,
    socket: TcpStream,
    alpn: Option<Vec<u8>>,
    version: Option<rustls::ProtocolVersion>,
    resumed: bool,
}

impl Client {
    pub fn connect(edge: SocketAddr) -> Self {
        let socket = TcpStream::connect(edge).expect("a connection to the edge");
        Self::plain(socket)
    }

    /// Connects from a given address of this machine, such as 127.0.0.2.
    pub fn connect_from(source: IpAddr, edge: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(edge), Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::new(source, 0).into()).expect("a local address");
        socket.connect(&edge.into()).expect("a connection to the edge");
        Self::plain(socket.into())
    }

    /// Connects and sends `first` in plain, then does a TLS handshake for `name`; the error is the edge's refusal.
    pub fn connect_tls(
        edge: SocketAddr,
        config: &Arc<rustls::ClientConfig>,
        name: &str,
        first: &[u8],
    ) -> io::Result<Self> {
        let mut socket = TcpStream::connect(edge)?;
        prepare(&socket);
        socket.write_all(first)?;
        let name = ServerName::try_from(name.to_owned()).expect("a server name");
        let mut session =
            rustls::ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        let alpn = session.alpn_protocol().map(<[u8]>::to_vec);
        let version = session.protocol_version();
        let resumed = session.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
        let stream = rustls::StreamOwned::new(session, socket.try_clone()?);
        Ok(Client { reader: Reader::new(Box::new(stream)), socket, alpn, version, resumed })
    }

    fn plain(socket: TcpStream) -> Self {
        prepare(&socket);
        let stream = Box::new(socket.try_clone().expect("a descriptor"));
        Client { reader: Reader::new(stream), socket, alpn: None, version: None, resumed: false }
    }

    /// The protocol agreed on by ALPN.
    pub fn alpn(&self) -> Option<&str> {
        self.alpn.as_deref().and_then(|name| std::str::from_utf8(name).ok())
    }

    pub fn tls_version(&self) -> Option<rustls::ProtocolVersion> {
        self.version
    }

    /// True when the handshake resumed an earlier session.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// The address that the edge sees.
    pub fn local_address(&self) -> SocketAddr {
        self.socket.local_addr().expect("an address")
    }

    /// Sends bytes. That the edge may have closed already is no error here: reading will tell.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let stream = &mut self.reader.stream;
        stream.write_all(bytes.as_ref()).and_then(|()| stream.flush()).is_ok()
    }

    /// The next answer, taken for one to a GET; panics when there is none.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        self.answer_to("GET")
    }

    /// The next answer to a request of this method; panics when there is none.
    #[track_caller]
    pub fn answer_to(&mut self, method: &str) -> Answer {
        match self.reader.answer(method) {
            Ok(Some(answer)) => answer,
            Ok(None) => panic!("the edge closed the connection without an answer"),
            Err(error) => panic!("no readable answer: {error}"),
        }
    }

    /// The head of the next answer, and how its body ends; panics when there is none.
    #[track_caller]
    pub fn head(&mut self) -> (Answer, Framing) {
        match self.reader.answer_head("GET") {
            Ok(Some(head)) => head,
            other => panic!("no readable head of an answer: {other:?}"),
        }
    }

    /// Sends a GET and reads its answer.
    #[track_caller]
    pub fn get(&mut self, host: &str, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        self.answer()
    }

    /// True when the edge closes the connection without a further byte; false when bytes come or [`DEADLINE`] passes.
    pub fn is_closed(&mut self) -> bool {
        match self.reader.some() {
            Ok(bytes) => bytes.is_empty(),
            Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
        }
    }

    /// Everything up to the end of the connection.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while let Ok(some) = self.reader.some() {
            if some.is_empty() {
                break;
            }
            all.extend_from_slice(&some);
        }
        all
    }

    /// Ends the sending side, and keeps reading.
    pub fn finish(&mut self) {
        self.socket.shutdown(Shutdown::Write).expect("an open connection");
    }

    /// The socket itself, for its options.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// A small receive buffer, so that a client that does not read is felt soon.
    pub fn with_receive_buffer(self, bytes: usize) -> Self {
        SockRef::from(&self.socket).set_recv_buffer_size(bytes).expect("a TCP socket");
        self
    }
}

fn prepare(socket: &TcpStream) {
    socket.set_nodelay(true).expect("a TCP socket");
    socket.set_read_timeout(Some(DEADLINE)).expect("a TCP socket");
    socket.set_write_timeout(Some(DEADLINE)).expect("a TCP socket");
}

/// One GET on a connection of its own.
#[track_caller]
pub fn get(edge: SocketAddr, host: &str, path: &str) -> Answer {
    Client::connect(edge).get(host, path)
}
