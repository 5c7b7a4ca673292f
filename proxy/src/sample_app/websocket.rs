//! The server's side of a WebSocket that echoes (RFC 6455), as much of it as an echo needs.

use bytes::Bytes;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::upstream::upgrade::accept_for;

/// Switches protocols and echoes from then on, or says that this is no WebSocket.
pub(super) fn answer(request: Request<Incoming>) -> Response<Bytes> {
    let wants = request
        .headers()
        .get(UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let accept = request.headers().get(SEC_WEBSOCKET_KEY).filter(|_| wants).map(accept_for);
    let Some(Ok(accept)) = accept else {
        let mut response =
            Response::new(Bytes::from_static(b"this is a WebSocket; connect with Upgrade: websocket\n"));
        *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
        response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
        return response;
    };
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            // A peer that breaks the protocol or goes away ends the echo.
            let _ = echo(TokioIo::new(upgraded)).await;
        }
    });
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    response
}

/// Sends every frame back unmasked, ping as pong, until a close frame, which is echoed too.
pub(super) async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    loop {
        let mut head = [0; 2];
        stream.read_exact(&mut head).await?;
        let length = match head[1] & 0x7f {
            126 => u64::from(stream.read_u16().await?),
            127 => stream.read_u64().await?,
            short => u64::from(short),
        };
        // Clients must mask (§5.1); what is larger than anybody types is refused.
        if head[1] & 0x80 == 0 || length > FRAME_BYTES_MAX {
            return Ok(());
        }
        let mut mask = [0; 4];
        stream.read_exact(&mut mask).await?;
        let mut payload = vec![0; usize::try_from(length).unwrap_or(0)];
        stream.read_exact(&mut payload).await?;
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        let first = match head[0] & 0x0f {
            PING => head[0] & 0xf0 | PONG,
            PONG => continue,
            _ => head[0],
        };
        let mut frame = vec![first];
        match length {
            0..126 => frame.push(length as u8),
            126..0x1_0000 => {
                frame.push(126);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
            _ => {
                frame.push(127);
                frame.extend_from_slice(&length.to_be_bytes());
            }
        }
        frame.extend_from_slice(&payload);
        stream.write_all(&frame).await?;
        stream.flush().await?;
        if head[0] & 0x0f == CLOSE {
            return stream.shutdown().await;
        }
    }
}

const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const FRAME_BYTES_MAX: u64 = 1 << 20;
