//! Many connections that have nothing to say: opened one after the other, one request each, then held.

use std::io::{self, BufRead, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use rustls::{ClientConnection, StreamOwned};

use crate::failure::{Doing, Failure};
use crate::workload::{PLAIN_HOST, SECURE_HOST};
use crate::{http1, http2, tls};

/// How many connections to hold, and where to.
#[derive(Debug, clap::Args)]
pub(crate) struct IdleOptions {
    #[arg(long)]
    pub(crate) address: SocketAddr,
    #[arg(long)]
    pub(crate) root: Option<PathBuf>,
    /// Over HTTP/2, which needs TLS.
    #[arg(long, requires = "root")]
    pub(crate) http2: bool,
    #[arg(long)]
    pub(crate) connections: usize,
}

/// Opens the connections, says `open` on `output`, waits for a line on `input`, and then asks on each connection once
/// more: one that was closed, or cannot answer, is an error.
pub(crate) fn run(
    options: &IdleOptions,
    input: &mut impl BufRead,
    output: &mut impl Write,
) -> Result<(), Failure> {
    let protocol = if options.http2 { "h2" } else { "http/1.1" };
    let config = options.root.as_deref().map(|root| tls::client(root, protocol)).transpose()?;
    let host = if config.is_some() { SECURE_HOST } else { PLAIN_HOST };
    let request = http1::get(host, "/");
    let mut streams = Vec::with_capacity(options.connections);
    for number in 0..options.connections {
        let doing = || format!("open connection {number} to {}", options.address);
        let stream = connect(options.address).doing(doing)?;
        let mut stream = match &config {
            None => Stream::Plain(stream),
            Some(config) => {
                let session = ClientConnection::new(config.clone(), tls::server_name())?;
                let stream = Box::new(StreamOwned::new(session, stream));
                if options.http2 { Stream::Http2(stream, http2::Client::new()) } else { Stream::Tls(stream) }
            }
        };
        stream.exchange(&request).doing(doing)?;
        streams.push(stream);
    }
    writeln!(output, "open").and_then(|()| output.flush()).doing(|| "report".into())?;
    let mut line = String::new();
    input.read_line(&mut line).doing(|| "wait for the measurement".into())?;
    for (number, stream) in streams.iter_mut().enumerate() {
        stream
            .exchange(&request)
            .doing(|| format!("ask again on connection {number} to {}", options.address))?;
    }
    Ok(())
}

/// Asks once on a connection of its own; the status of the answer.
pub(crate) fn ask(address: SocketAddr, request: &[u8]) -> io::Result<u16> {
    Stream::Plain(connect(address)?).status(request)
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    Http2(Box<StreamOwned<ClientConnection, TcpStream>>, http2::Client),
}

impl Stream {
    fn exchange(&mut self, request: &[u8]) -> io::Result<()> {
        match self.status(request)? {
            200 => Ok(()),
            status => Err(io::Error::other(format!("the answer has status {status}"))),
        }
    }

    fn status(&mut self, request: &[u8]) -> io::Result<u16> {
        let stream: &mut dyn ReadWrite = match self {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream,
            Stream::Http2(stream, client) => return ask_http2(stream, client).map(|()| 200),
        };
        stream.write_all(request)?;
        let mut input = [0; http1::MESSAGE_BYTES_MAX];
        let mut filled = 0;
        loop {
            let read = stream.read(&mut input[filled..])?;
            if read == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed before the answer"));
            }
            filled += read;
            if let Some(answer) = http1::response(&input[..filled]).map_err(io::Error::other)? {
                return Ok(answer.status);
            }
        }
    }
}

fn ask_http2(stream: &mut impl ReadWrite, client: &mut http2::Client) -> io::Result<()> {
    stream.write_all(&client.request(SECURE_HOST))?;
    let mut input = Vec::new();
    let mut buffer = [0; http1::MESSAGE_BYTES_MAX];
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed before the answer"));
        }
        input.extend_from_slice(&buffer[..read]);
        let answer = client.answer(&input).map_err(io::Error::other)?;
        input.drain(..answer.read);
        stream.write_all(&answer.reply)?;
        if answer.ended {
            return Ok(());
        }
    }
}

trait ReadWrite: Read + Write {}

impl<T: Read + Write> ReadWrite for T {}

const PATIENCE: Duration = Duration::from_secs(10);
