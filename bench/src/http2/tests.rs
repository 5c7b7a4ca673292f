use super::*;

#[test]
fn each_request_has_a_stream_of_its_own_and_the_first_a_preface() {
    let mut client = Client::new();
    let first = client.request("a.test");
    assert!(first.starts_with(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"), "{first:?}");
    assert!(first.ends_with(b"\0\0\x0b\x01\x05\0\0\0\x01\x82\x87\x84\x01\x06a.test"), "{first:?}");
    assert_eq!(client.request("a.test"), b"\0\0\x0b\x01\x05\0\0\0\x03\x82\x87\x84\x01\x06a.test");
}

#[test]
fn an_answer_ends_with_its_stream_and_settings_are_acknowledged() {
    let mut client = Client::new();
    client.request("a.test");
    let settings = b"\0\0\0\x04\0\0\0\0\0";
    let head = b"\0\0\x01\x01\x04\0\0\0\x01\x88";
    let body = b"\0\0\x02\0\x01\0\0\0\x01hi";
    let answer = client.answer(&[&settings[..], head, &body[..5]].concat());
    assert_eq!(answer, Ok(Answer { read: 19, reply: b"\0\0\0\x04\x01\0\0\0\0".into(), ended: false }));
    assert_eq!(client.answer(body), Ok(Answer { read: 11, reply: Vec::new(), ended: true }));
}

#[test]
fn other_answers_are_errors() {
    let mut client = Client::new();
    client.request("a.test");
    assert_eq!(client.answer(b"\0\0\x01\x01\x05\0\0\0\x01\x8d"), Err(AnswerError::Status));
    assert_eq!(client.answer(b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x01"), Err(AnswerError::Reset));
    assert_eq!(client.answer(b"\0\0\0\x07\0\0\0\0\0"), Err(AnswerError::GoAway));
    assert_eq!(client.answer(b"\x01\0\0\0\0\0\0\0\x01"), Err(AnswerError::FrameTooLarge(1 << 16)));
}
