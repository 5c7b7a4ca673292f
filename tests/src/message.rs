//! HTTP/1 messages as a strict observer reads them: the oracle for what the edge writes.
//!
//! Deliberately not the product's own codec, and narrower than it: the edge must write only what every peer reads alike.

use std::fmt;
use std::io::{self, Read, Write};

/// Anything with bytes both ways.
pub trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

/// Header or trailer fields in the order they came.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(String, String)>);

impl Fields {
    /// The value of the only field of this name; panics when there are several.
    #[track_caller]
    pub fn one(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} is there {} times: {all:?}", all.len());
        all.first().copied()
    }

    /// The values of every field of this name.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.0
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    pub fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(name, value)| (name, value))).finish()
    }
}

/// A request as an upstream received it.
#[derive(Clone, Debug, Default)]
pub struct Received {
    pub method: String,
    pub target: String,
    pub version: String,
    pub fields: Fields,
    pub body: Vec<u8>,
    pub trailers: Fields,
}

/// An answer as a client received it.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub version: String,
    pub fields: Fields,
    pub body: Vec<u8>,
    pub trailers: Fields,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// True when the answer says that the connection ends with it.
    pub fn says_close(&self) -> bool {
        self.fields.all("connection").iter().any(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(usize),
    Chunked,
    UntilClose,
}

/// Reads messages from a stream, and keeps what came after them.
pub struct Reader {
    pub stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

impl Reader {
    pub fn new(stream: Box<dyn Stream>) -> Self {
        Reader { stream, buffer: Vec::new() }
    }

    /// The head of a request without its body; `None` at the end of the stream.
    pub fn request_head(&mut self) -> io::Result<Option<Received>> {
        let Some(head) = self.head()? else { return Ok(None) };
        let (line, fields) = split_head(&head)?;
        let [method, target, version] = words(line)?;
        if version != "HTTP/1.1" {
            return Err(fault(format!("the version is {version}")));
        }
        if fields.all("host").len() != 1 {
            return Err(fault(format!("Host is not there once: {fields:?}")));
        }
        Ok(Some(Received {
            method: method.to_owned(),
            target: target.to_owned(),
            version: version.to_owned(),
            fields,
            ..Received::default()
        }))
    }

    /// The body that belongs to `request`, with its trailers.
    pub fn request_body(&mut self, request: &mut Received) -> io::Result<()> {
        let framing = match framing(&request.fields)? {
            Framing::UntilClose => Framing::None,
            framing => framing,
        };
        (request.body, request.trailers) = self.body(framing)?;
        Ok(())
    }

    /// The next answer to a request of `method`, informational or final, with its body; `None` at the end of the stream.
    pub fn answer(&mut self, method: &str) -> io::Result<Option<Answer>> {
        let Some((mut answer, framing)) = self.answer_head(method)? else { return Ok(None) };
        (answer.body, answer.trailers) = self.body(framing)?;
        Ok(Some(answer))
    }

    /// The next answer without its body, and how that ends.
    pub fn answer_head(&mut self, method: &str) -> io::Result<Option<(Answer, Framing)>> {
        let Some(head) = self.head()? else { return Ok(None) };
        let (line, fields) = split_head(&head)?;
        let (version, rest) = line.split_once(' ').ok_or_else(|| fault(format!("status line {line:?}")))?;
        let status = rest.get(..3).and_then(|code| code.parse().ok()).ok_or_else(|| fault(line))?;
        let bodiless = status < 200 || status == 204 || status == 304 || method == "HEAD";
        let announced = framing(&fields)?;
        if (status < 200 || status == 204) && announced != Framing::UntilClose {
            return Err(fault(format!("a {status} announces a body: {fields:?}")));
        }
        let answer = Answer { status, version: version.to_owned(), fields, ..Answer::default() };
        Ok(Some((answer, if bodiless { Framing::None } else { announced })))
    }

    /// A body to its end.
    pub fn body(&mut self, framing: Framing) -> io::Result<(Vec<u8>, Fields)> {
        match framing {
            Framing::None => Ok(Default::default()),
            Framing::Length(length) => Ok((self.exactly(length)?, Fields::default())),
            Framing::UntilClose => {
                while self.fill()? > 0 {}
                Ok((std::mem::take(&mut self.buffer), Fields::default()))
            }
            Framing::Chunked => self.chunked(),
        }
    }

    /// One chunk of a chunked body; empty at its end, which leaves the trailers to be read.
    pub fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let line = self.line()?;
        let size = usize::from_str_radix(&line, 16).map_err(|_| fault(format!("chunk size {line:?}")))?;
        if size == 0 {
            return Ok(Vec::new());
        }
        let data = self.exactly(size)?;
        match self.exactly(2)?.as_slice() {
            b"\r\n" => Ok(data),
            other => Err(fault(format!("after a chunk stands {other:?}"))),
        }
    }

    /// What is there already or comes with one read; empty at the end of the stream.
    pub fn some(&mut self) -> io::Result<Vec<u8>> {
        if self.buffer.is_empty() {
            self.fill()?;
        }
        Ok(std::mem::take(&mut self.buffer))
    }

    /// Exactly `length` bytes.
    pub fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            if self.fill()? == 0 {
                let message = format!("the stream ended {} bytes early", length - self.buffer.len());
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
            }
        }
        let rest = self.buffer.split_off(length);
        Ok(std::mem::replace(&mut self.buffer, rest))
    }

    fn chunked(&mut self) -> io::Result<(Vec<u8>, Fields)> {
        let mut body = Vec::new();
        loop {
            let data = self.chunk()?;
            if data.is_empty() {
                break;
            }
            body.extend_from_slice(&data);
        }
        let mut trailers = Fields::default();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok((body, trailers));
            }
            trailers.0.push(field(&line)?);
        }
    }

    /// Everything up to an empty line, without it; `None` when the stream ends before the first byte.
    fn head(&mut self) -> io::Result<Option<String>> {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            if self.fill()? == 0 {
                let rest = String::from_utf8_lossy(&self.buffer).into_owned();
                return if rest.is_empty() {
                    Ok(None)
                } else {
                    Err(fault(format!("the stream ended in a head: {rest:?}")))
                };
            }
        };
        let head = self.exactly(end + 4)?;
        let head = String::from_utf8(head).map_err(|error| fault(error.to_string()))?;
        Ok(Some(head[..end].to_owned()))
    }

    fn line(&mut self) -> io::Result<String> {
        let end = loop {
            if let Some(end) = self.buffer.windows(2).position(|window| window == b"\r\n") {
                break end;
            }
            if self.fill()? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the stream ended in a line"));
            }
        };
        let line = self.exactly(end + 2)?;
        String::from_utf8(line[..end].to_vec()).map_err(|error| fault(error.to_string()))
    }

    /// Reads once; 0 at the end of the stream.
    fn fill(&mut self) -> io::Result<usize> {
        let mut room = [0; 16 << 10];
        let length = loop {
            match self.stream.read(&mut room) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome?,
            }
        };
        self.buffer.extend_from_slice(&room[..length]);
        Ok(length)
    }
}

fn framing(fields: &Fields) -> io::Result<Framing> {
    let lengths = fields.all("content-length");
    match (fields.all("transfer-encoding").as_slice(), lengths.as_slice()) {
        ([], []) => Ok(Framing::UntilClose),
        (["chunked"], []) => Ok(Framing::Chunked),
        ([], [length]) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
            Ok(Framing::Length(length.parse().map_err(|_| fault(*length))?))
        }
        (codings, lengths) => Err(fault(format!("framing {codings:?} with lengths {lengths:?}"))),
    }
}

fn split_head(head: &str) -> io::Result<(&str, Fields)> {
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default();
    Ok((first, Fields(lines.map(field).collect::<io::Result<_>>()?)))
}

fn field(line: &str) -> io::Result<(String, String)> {
    let (name, value) =
        line.split_once(':').ok_or_else(|| fault(format!("a field without colon: {line:?}")))?;
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) || value.bytes().any(|byte| byte < b' ' && byte != b'\t') {
        return Err(fault(format!("a malformed field: {line:?}")));
    }
    Ok((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
}

fn words(line: &str) -> io::Result<[&str; 3]> {
    let words: Vec<&str> = line.split(' ').collect();
    words.try_into().map_err(|_| fault(format!("a malformed request line: {line:?}")))
}

fn fault(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}
