use std::time::Duration;

use proptest::prelude::*;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::*;

#[test]
fn version_1_lines_are_read() {
    let proxied = |source: &str, destination: &str| {
        Header::Proxied(Addresses {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
        })
    };
    let cases = [
        ("PROXY TCP4 192.0.2.7 198.51.100.1 51000 443\r\n", proxied("192.0.2.7:51000", "198.51.100.1:443")),
        ("PROXY TCP6 2001:db8::7 2001:db8::1 1 65535\r\n", proxied("[2001:db8::7]:1", "[2001:db8::1]:65535")),
        ("PROXY TCP6 ::ffff:192.0.2.7 ::ffff:192.0.2.1 0 80\r\n", proxied("192.0.2.7:0", "192.0.2.1:80")),
        ("PROXY UNKNOWN\r\n", Header::Local),
        ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", Header::Local),
    ];
    for (line, header) in cases {
        assert_eq!(parse(line.as_bytes()), Ok(Parsed { header, length: line.len() }), "{line:?}");
        let followed = format!("{line}GET / HTTP/1.1\r\n");
        assert_eq!(parse(followed.as_bytes()), Ok(Parsed { header, length: line.len() }), "{line:?}");
    }
}

#[test]
fn malformed_version_1_lines_are_refused() {
    for line in [
        "PROXY TCP4 192.0.2.7 198.51.100.1 51000 443\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 51000\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 51000 443 1\r\n",
        "PROXY  TCP4 192.0.2.7 198.51.100.1 51000 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 51000 65536\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 +51 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 051 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 -1 443\r\n",
        "PROXY TCP4 192.0.2.07 198.51.100.1 51 443\r\n",
        "PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
        "PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n",
        "PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY \r\n",
        "PROXY TCP4 \u{e9} 198.51.100.1 1 2\r\n",
    ] {
        assert!(matches!(parse(line.as_bytes()), Err(ParseError::Malformed(_))), "{line:?}");
    }
}

#[test]
fn a_connection_without_header_is_told_from_the_first_byte_that_differs() {
    for start in ["GET / HTTP/1.1\r\n", "P0ST", "PRI * HTTP/2.0\r\n", "\u{16}\u{3}\u{1}", "\r\n\r\nGET"] {
        assert_eq!(parse(start.as_bytes()), Err(ParseError::Absent), "{start:?}");
    }
    for start in ["", "P", "PROXY", "\r\n\r\n", "\r\n\r\n\0\r\nQUIT\n"] {
        assert_eq!(parse(start.as_bytes()), Err(ParseError::Incomplete), "{start:?}");
    }
}

#[test]
fn lengths_are_bounded() {
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(V1_BYTES_MAX - 16));
    assert_eq!(longest.len(), V1_BYTES_MAX);
    assert_eq!(parse(longest.as_bytes()).unwrap().length, V1_BYTES_MAX);
    let longer = format!("PROXY UNKNOWN {}\r\n", "x".repeat(V1_BYTES_MAX - 15));
    assert_eq!(parse(longer.as_bytes()), Err(ParseError::TooLong));
    assert_eq!(parse(&longer.as_bytes()[..V1_BYTES_MAX - 1]), Err(ParseError::Incomplete));

    let body = HEADER_BYTES_MAX - V2_START_BYTES;
    let mut header = v2(V2_PROXY, V2_TCP4, &vec![0; body]);
    assert_eq!(parse(&header).unwrap().length, HEADER_BYTES_MAX);
    header[15] += 1;
    assert_eq!(parse(&header), Err(ParseError::TooLong));
    assert_eq!(parse(&header[..V2_START_BYTES]), Err(ParseError::TooLong));
}

#[test]
fn values_after_version_2_addresses_are_skipped() {
    let mut body = vec![192, 0, 2, 7, 198, 51, 100, 1, 0xc7, 0x38, 0x01, 0xbb];
    body.extend_from_slice(&[0x02, 0, 3, b'a', b'.', b'b']);
    let header = v2(V2_PROXY, V2_TCP4, &body);
    let addresses = Addresses {
        source: "192.0.2.7:51000".parse().unwrap(),
        destination: "198.51.100.1:443".parse().unwrap(),
    };
    assert_eq!(parse(&header), Ok(Parsed { header: Header::Proxied(addresses), length: header.len() }));
}

#[test]
fn what_is_no_tcp_client_keeps_the_addresses_of_the_connection() {
    let cases = [
        v2(V2_LOCAL, V2_UNSPEC, &[]),
        // A LOCAL header may carry addresses; they must not be used.
        v2(V2_LOCAL, V2_TCP4, &[1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0, 2]),
        v2(V2_PROXY, V2_UNSPEC, &[1, 2, 3]),
        v2(V2_PROXY, 0x31, &[0; 216]),
        v2(V2_PROXY, 0x12, &[0; 12]),
    ];
    for header in cases {
        assert_eq!(parse(&header), Ok(Parsed { header: Header::Local, length: header.len() }), "{header:?}");
    }
}

#[test]
fn malformed_version_2_headers_are_refused() {
    let mut version_3 = v2(V2_PROXY, V2_TCP4, &[0; 12]);
    version_3[12] = 0x31;
    for header in [
        version_3,
        v2(2, V2_TCP4, &[0; 12]),
        v2(V2_PROXY, V2_TCP4, &[0; 11]),
        v2(V2_PROXY, V2_TCP6, &[0; 35]),
        v2(V2_PROXY, 0x41, &[0; 36]),
        v2(V2_PROXY, 0x13, &[0; 36]),
    ] {
        assert!(matches!(parse(&header), Err(ParseError::Malformed(_))), "{header:?}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256), version in 0..3_u8) {
        let signature = match version { 0 => &[][..], 1 => V1_SIGNATURE, _ => V2_SIGNATURE };
        let bytes = [signature, &bytes].concat();
        if let Ok(parsed) = parse(&bytes) {
            prop_assert!(parsed.length <= bytes.len());
            prop_assert!(parsed.length <= HEADER_BYTES_MAX);
            // A header ends where it ends, whatever follows, and not one byte earlier.
            prop_assert_eq!(parse(&bytes[..parsed.length]), Ok(parsed));
            prop_assert_eq!(parse(&bytes[..parsed.length - 1]), Err(ParseError::Incomplete));
        }
    }

    #[test]
    fn what_is_written_is_read(source: SocketAddrParts, destination: SocketAddrParts, local: bool) {
        let header = if local {
            Header::Local
        } else {
            Header::Proxied(Addresses { source: address(source), destination: address(destination) })
        };
        let mut bytes = Vec::new();
        write_v2(&header, &mut bytes);
        let length = bytes.len();
        for end in 0..length {
            prop_assert_eq!(parse(&bytes[..end]), Err(ParseError::Incomplete));
        }
        bytes.extend_from_slice(b"PROXY ");
        prop_assert_eq!(parse(&bytes), Ok(Parsed { header, length }));
    }
}

#[tokio::test]
async fn the_reader_leaves_what_follows_in_the_socket() {
    let mut written = Vec::new();
    let header = Header::Proxied(Addresses {
        source: "[2001:db8::7]:51000".parse().unwrap(),
        destination: "[2001:db8::1]:443".parse().unwrap(),
    });
    write_v2(&header, &mut written);
    for start in [written, b"PROXY TCP6 2001:db8::7 2001:db8::1 51000 443\r\n".to_vec()] {
        let (mut client, mut server) = pair().await;
        client.write_all(&[&start[..], b"GET /"].concat()).await.unwrap();
        assert_eq!(read(&mut server).await.unwrap(), header);
        let mut rest = [0; 5];
        server.read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest, b"GET /");
    }
}

#[tokio::test]
async fn a_header_may_come_byte_by_byte() {
    let (mut client, mut server) = pair().await;
    let reader = tokio::spawn(async move {
        let header = read(&mut server).await.unwrap();
        (header, server)
    });
    for byte in b"PROXY TCP4 192.0.2.7 198.51.100.1 51000 443\r\nx" {
        client.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let (header, mut server) = reader.await.unwrap();
    assert!(matches!(header, Header::Proxied(_)));
    let mut rest = [0; 1];
    server.read_exact(&mut rest).await.unwrap();
    assert_eq!(&rest, b"x");
}

#[tokio::test]
async fn a_half_header_waits_and_an_ended_one_fails() {
    let (mut client, mut server) = pair().await;
    client.write_all(b"PROXY TCP4 ").await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(20), read(&mut server)).await.is_err());
    client.shutdown().await.unwrap();
    assert!(
        matches!(read(&mut server).await, Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof)
    );
}

#[tokio::test]
async fn a_connection_without_header_is_refused() {
    let (mut client, mut server) = pair().await;
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(matches!(read(&mut server).await, Err(ReadError::Header(ParseError::Absent))));
}

type SocketAddrParts = (bool, [u8; 16], u16);

/// Canonical, because a mapped IPv6 address is read as the IPv4 address that it is.
fn address((ipv6, octets, port): SocketAddrParts) -> SocketAddr {
    let ip = if ipv6 {
        Ipv6Addr::from(octets).to_canonical()
    } else {
        Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]).into()
    };
    SocketAddr::new(ip, port)
}

fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [V2_SIGNATURE, &[V2_VERSION | command, family], &length, body].concat()
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (client, accepted) =
        tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (client.unwrap(), accepted.unwrap().0)
}
