//! One question and its answer: UDP first, TCP when the answer is cut or does not come (RFC 7766 §5).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, Query};
use hickory_proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::DnsError;

/// A question. Authoritative servers are asked without recursion.
pub(crate) fn question(name: &Name, record_type: RecordType, is_recursive: bool) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = is_recursive;
    message.add_query(Query::query(name.clone(), record_type));
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_BYTES_MAX);
    message.edns = Some(edns);
    message
}

/// Asks, and checks that the answer is one to this question.
pub(super) async fn exchange(server: SocketAddr, question: &Message) -> Result<Message, DnsError> {
    let nonsense = |error: &dyn std::fmt::Display| DnsError::Nonsense { server, error: error.to_string() };
    let bytes = question.to_vec().map_err(|error| nonsense(&error))?;
    if let Ok(Ok(answer)) = timeout(UDP_TIMEOUT, over_udp(server, &bytes, question)).await
        && !answer.metadata.truncation
    {
        return Ok(answer);
    }
    let answer = exchange_tcp(server, &bytes).await?;
    let answer = Message::from_vec(&answer).map_err(|error| nonsense(&error))?;
    if belongs(&answer, question) { Ok(answer) } else { Err(nonsense(&"it answers another question")) }
}

/// Sends a message of whatever kind over TCP and returns the answer as it is.
pub(crate) async fn exchange_tcp(server: SocketAddr, message: &[u8]) -> Result<Vec<u8>, DnsError> {
    let silent = |error: &dyn std::fmt::Display| DnsError::Silent { server, error: error.to_string() };
    let exchange = async {
        let mut stream = TcpStream::connect(server).await?;
        let length = u16::try_from(message.len()).map_err(std::io::Error::other)?;
        let framed = [&length.to_be_bytes(), message].concat();
        stream.write_all(&framed).await?;
        let mut answer = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    match timeout(TCP_TIMEOUT, exchange).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(silent(&error)),
        Err(_) => Err(silent(&format_args!("nothing within {} s", TCP_TIMEOUT.as_secs()))),
    }
}

/// The first datagram that answers the question; others are somebody's guesses.
async fn over_udp(server: SocketAddr, bytes: &[u8], question: &Message) -> std::io::Result<Message> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(bytes).await?;
    let mut buffer = [0; UDP_BYTES_MAX as usize];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if let Ok(answer) = Message::from_vec(&buffer[..length])
            && belongs(&answer, question)
        {
            return Ok(answer);
        }
    }
}

fn belongs(answer: &Message, question: &Message) -> bool {
    answer.metadata.id == question.metadata.id
        && answer.metadata.message_type == MessageType::Response
        && answer.queries == question.queries
}

/// What passes every path unbroken (DNS flag day 2020).
const UDP_BYTES_MAX: u16 = 1232;
const UDP_TIMEOUT: Duration = Duration::from_secs(2);
const TCP_TIMEOUT: Duration = Duration::from_secs(5);
