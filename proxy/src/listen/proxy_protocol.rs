//! The PROXY protocol, versions 1 and 2 (`doc/proxy-protocol.txt` of HAProxy): what a load balancer in front says of the client.
//!
//! Only for peers that the operator trusts: whoever may send this header may claim any address. [`parse`] knows no socket;
//! [`read`] takes the header off a TCP connection and not one byte more.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// A header, and how many bytes it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    pub header: Header,
    /// What follows this many bytes is the connection itself.
    pub length: usize,
}

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The connection is on behalf of a client.
    Proxied(Addresses),
    /// The sender speaks for itself (a health check), or cannot say for whom (`UNKNOWN`, `UNSPEC`, a UNIX socket): the
    /// connection's own addresses hold.
    Local,
}

/// The ends of the client's connection as the sender saw them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// What the client connected to.
    pub destination: SocketAddr,
}

/// Why there is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// All bytes so far belong to a header whose end is not there yet.
    #[error("the PROXY header is not complete")]
    Incomplete,
    /// The first bytes are of neither version.
    #[error("the connection does not start with a PROXY header")]
    Absent,
    #[error("the PROXY header is longer than its version allows here")]
    TooLong,
    #[error("the PROXY header is malformed: {0}")]
    Malformed(&'static str),
}

/// Why no header could be read from a connection. It must be closed: its client is unknown.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Header(ParseError),
    #[error("the connection was lost within the PROXY header: {0}")]
    Io(io::Error),
}

/// Reads the header that `bytes` start with. Type-length-values after the addresses are skipped.
pub fn parse(bytes: &[u8]) -> Result<Parsed, ParseError> {
    if starts_with(bytes, V2_SIGNATURE) {
        parse_v2(bytes)
    } else if starts_with(bytes, V1_SIGNATURE) {
        parse_v1(bytes)
    } else {
        Err(ParseError::Absent)
    }
}

/// Takes the header off the start of a connection, and leaves everything behind it unread. The caller bounds the time,
/// and closes a connection whose time is over: parts of the header may be gone from it.
pub async fn read(stream: &mut TcpStream) -> Result<Header, ReadError> {
    let mut buffer = vec![0; HEADER_BYTES_MAX];
    let mut length = 0;
    loop {
        // What was only peeked at stays in the socket. When it is all header, it is taken off, so that the next peek
        // waits for something new.
        let peeked = stream.peek(&mut buffer[length..]).await.map_err(ReadError::Io)?;
        if peeked == 0 {
            return Err(ReadError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        let (taken, header) = match parse(&buffer[..length + peeked]) {
            Ok(parsed) => (parsed.length - length, Some(parsed.header)),
            Err(ParseError::Incomplete) => (peeked, None),
            Err(error @ (ParseError::Absent | ParseError::TooLong | ParseError::Malformed(_))) => {
                return Err(ReadError::Header(error));
            }
        };
        stream.read_exact(&mut buffer[length..length + taken]).await.map_err(ReadError::Io)?;
        length += taken;
        if let Some(header) = header {
            return Ok(header);
        }
    }
}

/// Appends a version 2 header for a TCP connection. Addresses of two families are both written as IPv6.
pub fn write_v2(header: &Header, out: &mut Vec<u8>) {
    out.extend_from_slice(V2_SIGNATURE);
    match header {
        Header::Local => out.extend_from_slice(&[V2_VERSION | V2_LOCAL, V2_UNSPEC, 0, 0]),
        Header::Proxied(Addresses { source, destination }) => {
            out.push(V2_VERSION | V2_PROXY);
            match (source.ip(), destination.ip()) {
                (IpAddr::V4(source), IpAddr::V4(destination)) => {
                    out.extend_from_slice(&[V2_TCP4, 0, V2_TCP4_BYTES as u8]);
                    out.extend_from_slice(&source.octets());
                    out.extend_from_slice(&destination.octets());
                }
                (source, destination) => {
                    out.extend_from_slice(&[V2_TCP6, 0, V2_TCP6_BYTES as u8]);
                    out.extend_from_slice(&to_ipv6(source).octets());
                    out.extend_from_slice(&to_ipv6(destination).octets());
                }
            }
            out.extend_from_slice(&source.port().to_be_bytes());
            out.extend_from_slice(&destination.port().to_be_bytes());
        }
    }
}

fn parse_v2(bytes: &[u8]) -> Result<Parsed, ParseError> {
    let Some((start, rest)) = bytes.split_first_chunk::<V2_START_BYTES>() else {
        return Err(ParseError::Incomplete);
    };
    let [command, family, high, low] = [start[12], start[13], start[14], start[15]];
    if command & 0xf0 != V2_VERSION {
        return Err(ParseError::Malformed("the version after the signature is not 2"));
    }
    if command & 0x0f > V2_PROXY {
        return Err(ParseError::Malformed("the command is neither LOCAL nor PROXY"));
    }
    let body_length = usize::from(u16::from_be_bytes([high, low]));
    let length = V2_START_BYTES + body_length;
    if length > HEADER_BYTES_MAX {
        return Err(ParseError::TooLong);
    }
    let Some(body) = rest.get(..body_length) else { return Err(ParseError::Incomplete) };
    let header = if command & 0x0f == V2_LOCAL { Header::Local } else { v2_addresses(family, body)? };
    Ok(Parsed { header, length })
}

fn v2_addresses(family: u8, body: &[u8]) -> Result<Header, ParseError> {
    let too_short = ParseError::Malformed("the addresses are shorter than their family needs");
    match family {
        V2_TCP4 => {
            let [a, b, c, d, e, f, g, h, ports @ ..] =
                body.first_chunk::<V2_TCP4_BYTES>().ok_or(too_short)?;
            Ok(proxied(Ipv4Addr::new(*a, *b, *c, *d).into(), Ipv4Addr::new(*e, *f, *g, *h).into(), ports))
        }
        V2_TCP6 => {
            let body = body.first_chunk::<V2_TCP6_BYTES>().ok_or(too_short)?;
            let address = |start: usize| {
                let mut octets = [0; 16];
                octets.copy_from_slice(&body[start..start + 16]);
                // A dual-stack sender writes IPv4 clients as ::ffff:a.b.c.d.
                Ipv6Addr::from(octets).to_canonical()
            };
            let ports = [body[32], body[33], body[34], body[35]];
            Ok(proxied(address(0), address(16), &ports))
        }
        // UNSPEC, datagrams, UNIX sockets: accepted, the addresses are of no use to us (§2.2 of the specification).
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => Ok(Header::Local),
        _ => Err(ParseError::Malformed("the address family and transport are not assigned")),
    }
}

fn proxied(source: IpAddr, destination: IpAddr, ports: &[u8; 4]) -> Header {
    Header::Proxied(Addresses {
        source: SocketAddr::new(source, u16::from_be_bytes([ports[0], ports[1]])),
        destination: SocketAddr::new(destination, u16::from_be_bytes([ports[2], ports[3]])),
    })
}

fn parse_v1(bytes: &[u8]) -> Result<Parsed, ParseError> {
    let window = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = memchr::memchr(b'\n', window) else {
        return Err(if window.len() == V1_BYTES_MAX { ParseError::TooLong } else { ParseError::Incomplete });
    };
    let line =
        window[..end].strip_suffix(b"\r").ok_or(ParseError::Malformed("the line does not end in CR LF"))?;
    let line = std::str::from_utf8(line).map_err(|_| ParseError::Malformed("the line is not ASCII"))?;
    let length = end + 1;
    let mut words = line.split(' ');
    // The signature was compared already.
    let _ = words.next();
    let family = words.next().unwrap_or_default();
    let header = match family {
        // Whatever follows must be ignored (§2.1).
        "UNKNOWN" => Header::Local,
        "TCP4" | "TCP6" => {
            let (Some(source), Some(destination), Some(source_port), Some(destination_port), None) =
                (words.next(), words.next(), words.next(), words.next(), words.next())
            else {
                return Err(ParseError::Malformed("the line has not two addresses and two ports"));
            };
            let ipv6 = family == "TCP6";
            Header::Proxied(Addresses {
                source: SocketAddr::new(v1_address(source, ipv6)?, v1_port(source_port)?),
                destination: SocketAddr::new(v1_address(destination, ipv6)?, v1_port(destination_port)?),
            })
        }
        _ => return Err(ParseError::Malformed("the protocol is none of TCP4, TCP6, UNKNOWN")),
    };
    Ok(Parsed { header, length })
}

fn v1_address(word: &str, ipv6: bool) -> Result<IpAddr, ParseError> {
    let address = if ipv6 {
        word.parse::<Ipv6Addr>().map(|address| address.to_canonical())
    } else {
        word.parse::<Ipv4Addr>().map(IpAddr::from)
    };
    address.map_err(|_| ParseError::Malformed("an address is not of the family that the line names"))
}

/// Decimal digits only: `u16::from_str` alone would take a plus sign.
fn v1_port(word: &str) -> Result<u16, ParseError> {
    let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = digits && (word == "0" || !word.starts_with('0'));
    match (canonical, word.parse()) {
        (true, Ok(port)) => Ok(port),
        (true, Err(_)) | (false, _) => Err(ParseError::Malformed("a port is not a number from 0 to 65535")),
    }
}

/// True as long as `bytes` and `signature` agree, however few bytes there are.
fn starts_with(bytes: &[u8], signature: &[u8]) -> bool {
    let length = bytes.len().min(signature.len());
    bytes[..length] == signature[..length]
}

fn to_ipv6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// The longest version 1 line, CR LF included (§2.1).
pub const V1_BYTES_MAX: usize = 107;
/// The longest header taken. Version 2 could announce 64 kB, but even with certificates in its values a header is shorter.
pub const HEADER_BYTES_MAX: usize = 4096;

const V1_SIGNATURE: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_START_BYTES: usize = 16;
const V2_VERSION: u8 = 0x20;
const V2_LOCAL: u8 = 0;
const V2_PROXY: u8 = 1;
const V2_UNSPEC: u8 = 0;
const V2_TCP4: u8 = 0x11;
const V2_TCP6: u8 = 0x21;
const V2_TCP4_BYTES: usize = 12;
const V2_TCP6_BYTES: usize = 36;

#[cfg(test)]
mod tests;
