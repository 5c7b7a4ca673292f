//! What holds for heads and bodies together, over generated and committed bytes.

use bytes::BytesMut;
use http::{HeaderMap, Method, StatusCode};
use proptest::prelude::*;
use proptest::sample::select;

use crate::http1::body::{BodyLimits, Decoded, Decoder, FramingError};
use crate::http1::head::{self, BodyLength, HeadError, HeadLimits, Scan};
use crate::message::Protocol;

mod corpus;
mod differential;
mod properties;

/// One whole message as a reader saw it.
#[derive(Debug, PartialEq)]
struct Seen<Start> {
    start: Start,
    headers: HeaderMap,
    length: BodyLength,
    body: Vec<u8>,
    trailers: HeaderMap,
    /// What was left behind the message.
    rest: Vec<u8>,
}

type SeenRequest = Seen<(Method, Vec<u8>, Protocol)>;
type SeenResponse = Seen<(StatusCode, Protocol)>;

#[derive(Debug, PartialEq)]
enum Refused {
    Head(HeadError),
    Body(FramingError),
    /// The stream ended within the head.
    Unfinished,
}

/// Reads one request that comes in `pieces`, after which the stream ends.
fn read_request(pieces: &[&[u8]]) -> Result<SeenRequest, Refused> {
    let (mut buffer, mut scan, mut pieces) = (BytesMut::new(), Scan::default(), pieces.iter());
    let head = loop {
        if let Some(head) =
            head::parse_request(&mut buffer, &mut scan, &HeadLimits::REQUEST).map_err(Refused::Head)?
        {
            break head;
        }
        buffer.extend_from_slice(pieces.next().ok_or(Refused::Unfinished)?);
    };
    let start = (head.method, head.target.to_vec(), head.protocol);
    read_body(start, head.headers, head.length, buffer, pieces)
}

/// Reads one response to `method` that comes in `pieces`, after which the stream ends.
fn read_response(method: &Method, pieces: &[&[u8]]) -> Result<SeenResponse, Refused> {
    let (mut buffer, mut scan, mut pieces) = (BytesMut::new(), Scan::default(), pieces.iter());
    let head = loop {
        let head = head::parse_response(&mut buffer, &mut scan, method, &HeadLimits::RESPONSE);
        if let Some(head) = head.map_err(Refused::Head)? {
            break head;
        }
        buffer.extend_from_slice(pieces.next().ok_or(Refused::Unfinished)?);
    };
    read_body((head.status, head.protocol), head.headers, head.length, buffer, pieces)
}

fn read_body<'a, Start>(
    start: Start,
    headers: HeaderMap,
    length: BodyLength,
    mut buffer: BytesMut,
    mut pieces: impl Iterator<Item = &'a &'a [u8]>,
) -> Result<Seen<Start>, Refused> {
    let mut decoder = Decoder::new(length, BodyLimits::default());
    let (mut body, mut trailers) = (Vec::new(), HeaderMap::new());
    loop {
        match decoder.decode(&mut buffer).map_err(Refused::Body)? {
            Decoded::Data(data) => body.extend_from_slice(&data),
            Decoded::Trailers(fields) => trailers = fields,
            Decoded::End => break,
            Decoded::NeedMore => match pieces.next() {
                Some(piece) => buffer.extend_from_slice(piece),
                None => decoder.on_eof().map_err(Refused::Body)?,
            },
        }
    }
    let mut rest = buffer.to_vec();
    rest.extend(pieces.flat_map(|piece| piece.iter()));
    Ok(Seen { start, headers, length, body, trailers, rest })
}

/// Cuts `bytes` at `cuts`, in whatever order they are and wherever they point.
fn cut<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect()
}

/// `usual` nine times of ten, else one of `odd`.
fn mostly(usual: &'static str, odd: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop_oneof![24 => Just(usual), 1 => select(odd)]
}

/// Requests that mostly follow the grammar and sometimes stray from it where readers differ.
fn request_bytes() -> impl Strategy<Value = Vec<u8>> {
    let method = prop_oneof![
        8 => select(&["GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "X-Y.Z"][..]).prop_map(str::to_owned),
        1 => "[!-~]{1,8}",
    ];
    let target = prop_oneof![
        6 => "/[a-z0-9%?&=;.~_/-]{0,12}",
        1 => "/[!-~]{0,8}",
        1 => "[ -~\u{80}-\u{ff}]{0,8}",
        1 => Just("http://a.example/b?c".to_owned()),
        1 => Just("*".to_owned()),
    ];
    let version = mostly(
        "HTTP/1.1",
        &["HTTP/1.0", "HTTP/1.0", "HTTP/1.2", "HTTP/0.9", "HTTP/2.0", "http/1.1", "HTTP/1.10", ""],
    );
    let line =
        (mostly("", &["\r\n", "\n", " ", "\r\n\r\n"]), method, space(), target, space(), version, line_end())
            .prop_map(|(before, method, first, target, second, version, end)| {
                [before, &method, first, &target, second, version, end].concat().into_bytes()
            });
    let host = mostly(
        "Host: a.example\r\n",
        &["", "Host: a\r\nHost: a\r\n", "Host:\r\n", "Host: a b\r\n", "host:a:80\r\n"],
    );
    (line, host, fields(), body()).prop_map(|(line, host, (fields, end), body)| {
        [&line, host.as_bytes(), &fields, end.as_bytes(), &body].concat()
    })
}

/// Responses of the same kind.
fn response_bytes() -> impl Strategy<Value = Vec<u8>> {
    let status = select(&["200", "204", "304", "404", "500", "206", "299", "600", "20", "2000", "+20"][..]);
    let version = mostly("HTTP/1.1", &["HTTP/1.0", "HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "ICY"]);
    let reason = mostly(" OK", &["", " ", "  OK", " \u{e9}", " a\tb", " a\u{1}b", "\tOK"]);
    (version, space(), status, reason, line_end(), fields(), body()).prop_map(
        |(version, space, status, reason, end, (fields, last), body)| {
            [
                version.as_bytes(),
                space.as_bytes(),
                status.as_bytes(),
                reason.as_bytes(),
                end.as_bytes(),
                &fields,
                last.as_bytes(),
                &body,
            ]
            .concat()
        },
    )
}

fn space() -> impl Strategy<Value = &'static str> {
    prop_oneof![80 => Just(" "), 1 => select(&["  ", "\t", "", "\u{b}", "\r"][..])]
}

fn line_end() -> impl Strategy<Value = &'static str> {
    prop_oneof![120 => Just("\r\n"), 1 => select(&["\n", "\r", "\r\r\n", "\n\r", " \r\n", "\r\n "][..])]
}

/// Field lines, and the line that ends them.
fn fields() -> impl Strategy<Value = (Vec<u8>, &'static str)> {
    let name = prop_oneof![
        4 => "[A-Za-z][A-Za-z0-9-]{0,8}",
        1 => "[!-9;-~]{1,6}",
        3 => select(&["Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Expect", "TE", "Trailer"][..])
            .prop_map(str::to_owned),
    ];
    let value = prop_oneof![
        4 => "[!-~]([ -~]{0,10}[!-~])?",
        1 => "[\t -~\u{80}-\u{ff}]{0,8}",
        1 => "[\u{0}-\u{ff}]{0,4}",
        2 => select(&["close", "keep-alive", "upgrade", "websocket", "100-continue", "trailers", "x, close"][..])
            .prop_map(str::to_owned),
    ];
    let framing = prop_oneof![
        10 => select(&["Content-Length: 5", "content-length:3 ", "Transfer-Encoding: chunked", "transfer-encoding:\tChunked", "X: y"][..]),
        1 => select(&[
            "Content-Length: 5\r\nContent-Length: 5", "Content-Length: +5", "Content-Length: 5, 5", "Content-Length: ",
            "Content-Length: 18446744073709551616", "Content-Length : 5", "Content-Length: 05", "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding: gzip, chunked", "Transfer-Encoding: identity", "Transfer-Encoding : chunked",
            "Transfer-Encoding: xchunked", "Transfer-Encoding: chunked\r\nContent-Length: 5", "Transfer-Encoding:\r\n chunked",
            "Content-Length: 5\r\nTransfer-Encoding: chunked", "Transfer-Encoding: \"chunked\"", "X: y\r\n z", "Content-Length: 0x5",
        ][..]),
    ]
    .prop_map(|line| line.as_bytes().to_vec());
    let separator = prop_oneof![80 => Just(": "), 4 => select(&[":", ":\t", ": \t "][..]), 1 => select(&[" : ", "\t:", "", " "][..])];
    let line = (name, separator, value).prop_map(|(name, separator, value)| {
        // Each character is one byte, so that obsolete text is there in every form and not only as UTF-8.
        [&name, separator, &value].concat().chars().map(|character| character as u8).collect::<Vec<u8>>()
    });
    let lines = prop::collection::vec((prop_oneof![3 => line, 1 => framing.clone()], line_end()), 0..4);
    let last_framing = (framing, line_end());
    (lines, last_framing, line_end()).prop_map(|(lines, framing, end)| {
        let all: Vec<u8> = lines
            .into_iter()
            .chain([framing])
            .flat_map(|(line, end)| [line, end.as_bytes().to_vec()].concat())
            .collect();
        (all, end)
    })
}

/// Bytes behind a head: often chunks, and five bytes or more.
fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => chunks(),
        2 => Just(b"hello".to_vec()),
        1 => Just(Vec::new()),
        1 => prop::collection::vec(any::<u8>(), 0..12),
    ]
}

/// A chunked body, mostly well formed.
fn chunks() -> impl Strategy<Value = Vec<u8>> {
    let odd_size =
        select(&["0x1", "+1", " 1", "1 ", "", "1\t", "g", "00000000000000001", "ffffffffffffffff", "-1"][..]);
    let extension = prop_oneof![
        20 => Just(""),
        4 => select(&[";a", ";a=b", ";a=\"b c\"", ";a;b=c"][..]),
        1 => select(&[";", "; a", ";a=", ";a=\"b", " ;a", ";a\n", ";\u{0}"][..]),
    ];
    let end = || prop_oneof![80 => Just("\r\n"), 1 => select(&["\n", "\r", "", " \r\n"][..])];
    let data = prop::collection::vec(any::<u8>(), 1..20);
    let chunk =
        (data, prop_oneof![60 => Just(None), 1 => odd_size.prop_map(Some)], extension.clone(), end(), end())
            .prop_map(|(data, odd, extension, first, second)| {
                let size = odd.map_or_else(|| format!("{:x}", data.len()), str::to_owned);
                [size.as_bytes(), extension.as_bytes(), first.as_bytes(), &data, second.as_bytes()].concat()
            });
    let trailers = select(
        &[
            "",
            "",
            "",
            "X-Sum: 1\r\n",
            "x-a: 1\r\nx-b:2\r\n",
            "Host: b\r\n",
            "x : y\r\n",
            "x: y\n",
            " x: y\r\n",
            "x\r\n",
        ][..],
    );
    (
        prop::collection::vec(chunk, 0..4),
        mostly("0", &["00", "", "0x0", "-0"]),
        extension,
        end(),
        trailers,
        end(),
        mostly("", &["GET /", "\r\n"]),
    )
        .prop_map(|(chunks, zero, extension, first, trailers, second, rest)| {
            let tail = [zero, extension, first, trailers, second, rest].concat();
            [chunks.concat(), tail.into_bytes()].concat()
        })
}
