//! Just enough HTTP/2 to ask the same question again and again on one connection (RFC 9113): the frames of a GET, and where
//! its answer ends.

/// The client's side of one connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: u32,
}

/// What the server has sent so far of the answer to the last [`Client::request`].
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Bytes at the front of the buffer that were looked at.
    pub(crate) read: usize,
    /// What has to be sent back for them.
    pub(crate) reply: Vec<u8>,
    /// The answer is whole.
    pub(crate) ended: bool,
}

/// The server broke HTTP/2, or did what no server does in a bench.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AnswerError {
    #[error("the server ended the connection (GOAWAY)")]
    GoAway,
    #[error("the server reset the stream")]
    Reset,
    #[error("the answer is not 200")]
    Status,
    #[error("a frame of {0} bytes")]
    FrameTooLarge(usize),
}

impl Client {
    /// A connection on which nothing was asked yet.
    pub(crate) fn new() -> Client {
        Client { stream: 0 }
    }

    /// The bytes of a GET of `/` from `host`, with the preface in front of the first.
    pub(crate) fn request(&mut self, host: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.stream == 0 {
            bytes.extend_from_slice(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
            frame(&mut bytes, SETTINGS, 0, 0, &[]);
            self.stream = 1;
        } else {
            self.stream += 2;
        }
        // From the static table (RFC 7541, appendix A): GET, https, `/`, and a value for `:authority` that is not kept.
        let mut fields = vec![0x82, 0x87, 0x84, 0x01, host.len() as u8];
        fields.extend_from_slice(host.as_bytes());
        frame(&mut bytes, HEADERS, END_STREAM | END_HEADERS, self.stream, &fields);
        bytes
    }

    /// Looks at what has come. What `read` counts must not come again.
    pub(crate) fn answer(&self, mut bytes: &[u8]) -> Result<Answer, AnswerError> {
        let mut answer = Answer::default();
        while let [a, b, c, kind, flags, s, t, u, v, rest @ ..] = bytes {
            let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            if length > FRAME_BYTES_MAX {
                return Err(AnswerError::FrameTooLarge(length));
            }
            let Some((payload, rest)) = rest.split_at_checked(length) else { break };
            bytes = rest;
            answer.read += HEADER_BYTES + length;
            let stream = u32::from_be_bytes([*s, *t, *u, *v]) & (u32::MAX >> 1);
            match *kind {
                SETTINGS if flags & ACK == 0 => frame(&mut answer.reply, SETTINGS, ACK, 0, &[]),
                PING if flags & ACK == 0 => frame(&mut answer.reply, PING, ACK, 0, payload),
                GOAWAY => return Err(AnswerError::GoAway),
                RST_STREAM if stream == self.stream => return Err(AnswerError::Reset),
                // Behind changes of the table's size, if there are any, stands `:status 200`, which has an index of its own.
                HEADERS
                    if stream == self.stream
                        && !payload.iter().take(STATUS_WITHIN).any(|byte| *byte == 0x88) =>
                {
                    return Err(AnswerError::Status);
                }
                HEADERS | DATA if stream == self.stream => answer.ended |= flags & END_STREAM != 0,
                _ => {}
            }
        }
        Ok(answer)
    }
}

fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const HEADER_BYTES: usize = 9;
/// What a server may send unless it was told otherwise (RFC 9113 §6.5.2).
const FRAME_BYTES_MAX: usize = 16 << 10;
const STATUS_WITHIN: usize = 8;

#[cfg(test)]
mod tests;
