use http::{HeaderName, HeaderValue};
use proptest::collection::vec;

use crate::http1::body::{Encoder, is_trailer_allowed};
use crate::http1::head::{DateCache, Disposition, ResponseFraming, write_request_head, write_response_head};

use super::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_request_reads_the_same_however_it_was_cut(bytes in request_bytes(), cuts in vec(any::<usize>(), 0..6)) {
        let whole = read_request(&[&bytes]);
        prop_assert_eq!(&read_request(&cut(&bytes, &cuts)), &whole);
        let singly: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(&read_request(&singly), &whole);
    }

    #[test]
    fn a_response_reads_the_same_however_it_was_cut(bytes in response_bytes(), cuts in vec(any::<usize>(), 0..6)) {
        let whole = read_response(&Method::GET, &[&bytes]);
        prop_assert_eq!(&read_response(&Method::GET, &cut(&bytes, &cuts)), &whole);
        let singly: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(&read_response(&Method::GET, &singly), &whole);
    }

    #[test]
    fn chunks_read_the_same_however_they_were_cut(bytes in chunks(), cuts in vec(any::<usize>(), 0..6)) {
        let read = |pieces: &[&[u8]]| {
            read_body((), HeaderMap::new(), BodyLength::Chunked, BytesMut::new(), pieces.iter())
        };
        let whole = read(&[&bytes]);
        prop_assert_eq!(&read(&cut(&bytes, &cuts)), &whole);
        let singly: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(&read(&singly), &whole);
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..400), cuts in vec(any::<usize>(), 0..4)) {
        let pieces = cut(&bytes, &cuts);
        let _ = read_request(&pieces);
        let _ = read_response(&Method::HEAD, &pieces);
        let _ = read_body((), HeaderMap::new(), BodyLength::Chunked, BytesMut::new(), pieces.iter());
    }

    /// What an upstream gets of an accepted request is one request, the same one, and nothing behind it.
    #[test]
    fn an_accepted_request_is_forwarded_as_exactly_one(bytes in request_bytes()) {
        if let Ok(seen) = read_request(&[&bytes]) {
            let (method, target, _) = &seen.start;
            let mut out = Vec::new();
            write_request_head(&mut out, method, target, &seen.headers, &[], seen.length, Disposition::KeepAlive).unwrap();
            write_body(&seen, &mut out);
            let mut again = read_request(&[&out]).unwrap_or_else(|refused| match refused {
                // HTTP/1.0 may do without a Host; the path gives such a request one before it forwards it.
                Refused::Head(HeadError::HostMissing) if seen.start.2 == Protocol::Http10 => SeenRequest { rest: Vec::new(), ..copy(&seen) },
                refused => panic!("{refused:?} of {}", out.escape_ascii()),
            });
            prop_assert_eq!(&again.rest, b"");
            again.start.2 = seen.start.2;
            prop_assert_eq!(&again.start, &seen.start);
            // A body that was announced in chunks is, also when it turned out to be empty.
            prop_assert_eq!(again.length, seen.length);
            prop_assert_eq!((&again.body, &again.trailers), (&seen.body, &seen.trailers));
            prop_assert_eq!(end_to_end(&again.headers), end_to_end(&seen.headers));
        }
    }

    #[test]
    fn an_accepted_response_is_forwarded_as_exactly_one(bytes in response_bytes(), head in any::<bool>(), old in any::<bool>()) {
        let method = if head { Method::HEAD } else { Method::GET };
        if let Ok(seen) = read_response(&method, &[&bytes]) {
            let client = if old { Protocol::Http10 } else { Protocol::Http11 };
            let known = match seen.length {
                BodyLength::None => Some(0),
                BodyLength::Exact(length) => Some(length),
                BodyLength::Chunked | BodyLength::UntilClose => None,
            };
            let framing = ResponseFraming::plan(client, &method, seen.start.0, known, Disposition::KeepAlive);
            let (mut out, mut date) = (Vec::new(), DateCache::default());
            write_response_head(&mut out, seen.start.0, &seen.headers, &framing, date.text(std::time::UNIX_EPOCH));
            write_body(&Seen { length: framing.length, ..copy(&seen) }, &mut out);
            let again = read_response(&method, &[&out]).unwrap();
            prop_assert_eq!(&again.rest, b"");
            prop_assert_eq!(again.start.0, seen.start.0);
            prop_assert_eq!(&again.body, &seen.body);
            if framing.length == BodyLength::Chunked {
                prop_assert_eq!(&again.trailers, &seen.trailers);
            }
            let mut sent = end_to_end(&seen.headers);
            sent.entry(http::header::DATE).or_insert(HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"));
            prop_assert_eq!(end_to_end(&again.headers), sent);
        }
    }

    #[test]
    fn a_body_that_was_encoded_is_decoded(
        pieces in vec(vec(any::<u8>(), 0..40), 0..6),
        kind in 0..3,
        sums in vec("[a-z]{1,3}", 0..3),
        cuts in vec(any::<usize>(), 0..6),
    ) {
        let data = pieces.concat();
        let length = match kind {
            0 => BodyLength::Exact(data.len() as u64),
            1 => BodyLength::Chunked,
            _ => BodyLength::UntilClose,
        };
        let mut trailers = HeaderMap::new();
        for sum in &sums {
            let name = HeaderName::from_bytes(format!("x-sum-{sum}").as_bytes()).unwrap();
            trailers.append(name, HeaderValue::from_str(sum).unwrap());
        }
        let (mut encoder, mut out) = (Encoder::new(length), Vec::new());
        for (index, piece) in pieces.iter().enumerate() {
            if index % 2 == 0 || piece.is_empty() {
                encoder.encode(piece, &mut out).unwrap();
            } else {
                encoder.prefix(piece.len(), &mut out).unwrap();
                out.extend_from_slice(piece);
                out.extend_from_slice(encoder.suffix());
            }
        }
        encoder.finish(Some(&trailers), &mut out).unwrap();
        let seen = read_body((), HeaderMap::new(), length, BytesMut::new(), cut(&out, &cuts).iter()).unwrap();
        prop_assert_eq!((&seen.body, &seen.rest), (&data, &Vec::new()));
        prop_assert_eq!(seen.trailers, if length == BodyLength::Chunked { trailers } else { HeaderMap::new() });
    }

    #[test]
    fn a_trailer_name_is_never_let_through_by_its_case_or_its_separators(name in "(x[-_.]forwarded[-_.](for|proto|host)|content[-_.]length|x[-_.]real[-_.]ip)") {
        prop_assert!(!is_trailer_allowed(&HeaderName::from_bytes(name.to_uppercase().as_bytes()).unwrap()));
    }
}

/// The generated messages are of use only while enough of them get through, and enough do not.
#[test]
fn the_generator_makes_both_kinds() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut accepted = [0; 2];
    let cases = 1000;
    for _ in 0..cases {
        let request = request_bytes().new_tree(&mut runner).unwrap().current();
        let response = response_bytes().new_tree(&mut runner).unwrap().current();
        accepted[0] += i32::from(read_request(&[&request]).is_ok());
        accepted[1] += i32::from(read_response(&Method::GET, &[&response]).is_ok());
    }
    for accepted in accepted {
        assert!((cases / 10..cases * 9 / 10).contains(&accepted), "{accepted} of {cases} were accepted");
    }
}

fn write_body<Start>(seen: &Seen<Start>, out: &mut Vec<u8>) {
    let mut encoder = Encoder::new(seen.length);
    encoder.encode(&seen.body, out).unwrap();
    encoder.finish(Some(&seen.trailers), out).unwrap();
}

fn copy<Start: Clone>(seen: &Seen<Start>) -> Seen<Start> {
    Seen {
        start: seen.start.clone(),
        headers: seen.headers.clone(),
        length: seen.length,
        body: seen.body.clone(),
        trailers: seen.trailers.clone(),
        rest: Vec::new(),
    }
}

fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let mut kept = headers.clone();
    for name in [
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "proxy-connection",
        "upgrade",
        "http2-settings",
    ] {
        kept.remove(name);
    }
    kept
}
