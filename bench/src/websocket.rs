//! The one WebSocket conversation of the benches (RFC 6455): both sides know every byte of it beforehand.

/// Bytes of the frame that a client sends: a head of two, a key of four, and [`PAYLOAD`].
pub(crate) const FRAME_BYTES: usize = 6 + PAYLOAD.len();

/// What is in each frame, 100 bytes; the last is [`crate::streams::MARK`].
const PAYLOAD: &[u8; 100] = &{
    let mut payload = [b'x'; 100];
    payload[99] = crate::streams::MARK;
    payload
};

/// A client's frame. The key is zero, so that the payload stands in it as it is.
pub(crate) const FRAME: &[u8; FRAME_BYTES] = &{
    let mut frame = [0; FRAME_BYTES];
    frame[0] = BINARY;
    frame[1] = MASKED | PAYLOAD.len() as u8;
    frame.split_at_mut(6).1.copy_from_slice(PAYLOAD);
    frame
};

/// The server's answer to it.
pub(crate) const ECHO: &[u8; ECHO_BYTES] = &{
    let mut frame = [0; ECHO_BYTES];
    frame[0] = BINARY;
    frame[1] = PAYLOAD.len() as u8;
    frame.split_at_mut(2).1.copy_from_slice(PAYLOAD);
    frame
};

/// The request for a WebSocket, with the key of RFC 6455 §1.3.
pub(crate) fn request(host: &str, target: &str) -> Vec<u8> {
    format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .into_bytes()
}

/// The consent to it.
pub(crate) const ACCEPT: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

const ECHO_BYTES: usize = 2 + PAYLOAD.len();
const BINARY: u8 = 0x82;
const MASKED: u8 = 0x80;
