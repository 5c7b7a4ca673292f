use super::*;

const POST_CHUNKED: &[u8] =
    b"POST /chunked HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n";

#[test]
fn every_message_of_ours_ends_where_it_ends() {
    for bytes in [get("a.test", "/x"), POST_CHUNKED.to_vec()] {
        for cut in 0..bytes.len() {
            assert_eq!(request(&bytes[..cut]), Ok(None), "{cut} bytes of {}", bytes.len());
        }
        let whole = request(&bytes).unwrap().unwrap();
        assert_eq!(whole.len, bytes.len());
    }
    for bytes in [ANSWER, ANSWER_CHUNKED] {
        for cut in 0..bytes.len() {
            assert_eq!(response(&bytes[..cut]), Ok(None), "{cut} bytes of {}", bytes.len());
        }
        let whole = response(bytes).unwrap().unwrap();
        assert_eq!(whole, Response { len: bytes.len(), status: 200, close: false });
    }
}

#[test]
fn an_announced_body_is_not_waited_for() {
    let head = b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000\r\n\r\n";
    assert_eq!(request(head).unwrap().unwrap().len, head.len() + 1_000_000);
}

#[test]
fn the_second_message_is_left_alone() {
    let mut bytes = POST_CHUNKED.to_vec();
    let first = bytes.len();
    bytes.extend(get("a.test", "/"));
    assert_eq!(request(&bytes).unwrap().unwrap().len, first);
}

#[test]
fn the_target_is_found() {
    assert_eq!(&POST_CHUNKED[request(POST_CHUNKED).unwrap().unwrap().target], CHUNKED_PATH.as_bytes());
}

#[test]
fn close_is_seen() {
    let answer = b"HTTP/1.1 503 Busy\r\nconnection: Close\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(response(answer), Ok(Some(Response { len: answer.len(), status: 503, close: true })));
}

#[test]
fn an_answer_without_a_length_is_an_error() {
    assert_eq!(response(b"HTTP/1.1 200 OK\r\n\r\n"), Err(MessageError::Unframed));
}

#[test]
fn broken_chunks_are_errors() {
    for body in ["x\r\n", "1\r\nab\r\n", "0\r\nab"] {
        let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        assert_eq!(response(answer.as_bytes()), Err(MessageError::Chunk), "{body:?}");
    }
}

#[test]
fn a_message_over_the_limit_is_an_error() {
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", MESSAGE_BYTES_MAX + 1);
    assert_eq!(response(answer.as_bytes()), Err(MessageError::TooLarge));
    let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(MESSAGE_BYTES_MAX));
    assert_eq!(response(endless.as_bytes()), Err(MessageError::TooLarge));
}
