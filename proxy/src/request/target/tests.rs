use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use proptest::prelude::*;

use super::*;
use crate::message::Body;

fn path(raw: &str) -> Result<String, TargetError> {
    let raw = Bytes::copy_from_slice(raw.as_bytes());
    PathAndQuery::parse(&raw, EncodedSlash::Refuse).map(|parsed| parsed.as_str().to_owned())
}

fn parse(
    method: Method,
    raw: &str,
    authority: Option<&str>,
    host: Option<&str>,
) -> Result<Target, TargetError> {
    let raw = Bytes::copy_from_slice(raw.as_bytes());
    let (authority, host) = (authority.map(str::as_bytes), host.map(str::as_bytes));
    Target::parse(&method, &raw, authority, host, Scheme::Https, EncodedSlash::Refuse)
}

fn host(raw: &str) -> Result<(String, Option<u16>), TargetError> {
    parse(Method::GET, "/", None, Some(raw)).map(|target| (target.host_str().to_owned(), target.port))
}

#[test]
fn every_form_of_a_path_has_one_spelling() {
    let table = [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a//b", "/a/b"),
        ("//a///b//", "/a/b/"),
        ("//evil.example/x", "/evil.example/x"),
        ("/a/./b", "/a/b"),
        ("/a/b/.", "/a/b/"),
        ("/a/b/..", "/a/"),
        ("/a/../b", "/b"),
        ("/a/..", "/"),
        ("/a/b/../../c", "/c"),
        ("/a//../b", "/b"),
        ("/a/%2e/b", "/a/b"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/.%2e/b", "/b"),
        ("/.well-known/x", "/.well-known/x"),
        ("/...", "/..."),
        ("/..a/.b", "/..a/.b"),
        ("/%41%7e%5f", "/A~_"),
        ("/%c3%a9", "/%C3%A9"),
        ("/%e2%82%ac", "/%E2%82%AC"),
        ("/%f0%9f%98%80", "/%F0%9F%98%80"),
        ("/%FF%E9", "/%FF%E9"),
        ("/%23%25%3f%3b%3d%26", "/%23%25%3F%3B%3D%26"),
        ("/%252e%252e/a", "/%252e%252e/a"),
        ("/a;b=c/d;e", "/a;b=c/d;e"),
        ("/[id]{x}|^`\"<>", "/%5Bid%5D%7Bx%7D%7C%5E%60%22%3C%3E"),
        ("/%5Bid%5d", "/%5Bid%5D"),
        ("/!$&'()*+,;=:@-._~", "/!$&'()*+,;=:@-._~"),
        ("/a?b=../..//%2f%zz\\", "/a?b=../..//%2f%zz\\"),
        ("/a/../b?", "/b?"),
        ("/a?b?c/../d", "/a?b?c/../d"),
        ("/.?x", "/?x"),
    ];
    for (raw, normal) in table {
        assert_eq!(path(raw), Ok(normal.to_owned()), "{raw}");
    }
}

#[test]
fn what_upstreams_read_differently_is_refused() {
    use TargetError as Error;
    let table = [
        ("/..", Error::AboveRoot),
        ("/a/../..", Error::AboveRoot),
        ("/%2e%2e/etc/passwd", Error::AboveRoot),
        ("/./../a", Error::AboveRoot),
        ("/a%2fb", Error::EncodedSlash),
        ("/a%2F..%2Fb", Error::EncodedSlash),
        ("/a\\b", Error::Backslash),
        ("/a%5cb", Error::Backslash),
        ("/a/..\\b", Error::Backslash),
        ("/a%00", Error::EncodedControl),
        ("/a%0d%0aX:y", Error::EncodedControl),
        ("/a%7f", Error::EncodedControl),
        ("/%c0%af", Error::Overlong),
        ("/%C0%AE%C0%AE/", Error::Overlong),
        ("/%e0%80%af", Error::Overlong),
        ("/%f0%80%80%af", Error::Overlong),
        ("/%fc%80%80%80%80%af", Error::Overlong),
        ("/a/..;/b", Error::HiddenSegment),
        ("/a/..;x=y/b", Error::HiddenSegment),
        ("/a/.;/b", Error::HiddenSegment),
        ("/a/..%3b/b", Error::HiddenSegment),
        ("/a/%2e%2e%3Bx/b", Error::HiddenSegment),
        ("/;/admin", Error::HiddenSegment),
        ("/;x/admin", Error::HiddenSegment),
        ("/a%", Error::PercentEncoding),
        ("/a%4", Error::PercentEncoding),
        ("/a%4/b", Error::PercentEncoding),
        ("/a%zz", Error::PercentEncoding),
        ("/a%u0041", Error::PercentEncoding),
        ("/a#b", Error::Fragment),
        ("/a?b#c", Error::Fragment),
        ("/a b", Error::Byte),
        ("/a\tb", Error::Byte),
        ("/a\0b", Error::Byte),
        ("/a\u{7f}", Error::Byte),
        ("/caf\u{e9}", Error::Byte),
        ("/a?b c", Error::Byte),
        ("/a?\u{e9}", Error::Byte),
        ("", Error::Form),
        ("a/b", Error::Form),
        ("?a", Error::Form),
    ];
    for (raw, error) in table {
        assert_eq!(path(raw), Err(error), "{raw:?}");
    }
}

#[test]
fn an_encoded_slash_is_kept_where_the_listener_allows_it_but_hides_nothing() {
    let keep = |raw: &'static str| {
        let parsed = PathAndQuery::parse(&Bytes::from_static(raw.as_bytes()), EncodedSlash::Keep);
        parsed.map(|parsed| parsed.as_str().to_owned())
    };
    assert_eq!(keep("/@scope%2fname"), Ok("/@scope%2Fname".to_owned()));
    assert_eq!(keep("/a%2F/b%2F"), Ok("/a%2F/b%2F".to_owned()));
    for raw in ["/a%2F..", "/a%2f%2e%2e%2fb", "/..%2Fa", "/a%2F..;x", "/a%2F.%2Fb", "/a%2F;x"] {
        assert_eq!(keep(raw), Err(TargetError::HiddenSegment), "{raw}");
    }
}

#[test]
fn a_normal_target_is_a_view_of_what_came() {
    let raw = Bytes::from_static(b"/shop/.well-known/a;b?c=d%20e");
    let parsed = PathAndQuery::parse(&raw, EncodedSlash::Refuse).unwrap();
    assert_eq!(parsed.as_bytes().as_ptr(), raw.as_ptr());
    assert_eq!(parsed.path(), b"/shop/.well-known/a;b");
    assert_eq!(parsed.query(), Some(b"c=d%20e".as_slice()));
}

#[test]
fn a_bare_question_mark_stays() {
    let parsed = PathAndQuery::parse(&Bytes::from_static(b"/a?"), EncodedSlash::Refuse).unwrap();
    assert_eq!((parsed.path(), parsed.query()), (b"/a".as_slice(), Some(b"".as_slice())));
    let parsed = PathAndQuery::parse(&Bytes::from_static(b"/a"), EncodedSlash::Refuse).unwrap();
    assert_eq!(parsed.query(), None);
}

#[test]
fn the_length_is_bounded_before_and_after_normalisation() {
    let of_length = |length: usize| format!("/{}", "a".repeat(length - 1));
    assert!(path(&of_length(TARGET_BYTES_MAX - 1)).is_ok());
    assert!(path(&of_length(TARGET_BYTES_MAX)).is_ok());
    assert_eq!(path(&of_length(TARGET_BYTES_MAX + 1)), Err(TargetError::TooLong));
    let too_long = of_length(TARGET_BYTES_MAX + 1);
    assert_eq!(parse(Method::GET, &too_long, None, Some("a")), Err(TargetError::TooLong));
    // Each `|` grows to three bytes.
    assert_eq!(path(&format!("/{}", "|".repeat(TARGET_BYTES_MAX / 2))), Err(TargetError::TooLong));
}

#[test]
fn hosts_have_one_spelling() {
    let table = [
        ("example.com", "example.com", None),
        ("EXAMPLE.Com", "example.com", None),
        ("example.com.", "example.com", None),
        ("example.com:443", "example.com", Some(443)),
        ("Example.com.:8443", "example.com", Some(8443)),
        ("a_b.internal", "a_b.internal", None),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", None),
        ("192.0.2.1:80", "192.0.2.1", Some(80)),
        ("[2001:DB8:0::1]", "[2001:db8::1]", None),
        ("[::1]:8080", "[::1]", Some(8080)),
        ("localhost", "localhost", None),
        ("a:00080", "a", Some(80)),
    ];
    for (raw, name, port) in table {
        assert_eq!(host(raw), Ok((name.to_owned(), port)), "{raw}");
    }
}

#[test]
fn hosts_that_are_none_are_refused() {
    let label = "a".repeat(64);
    let long = format!("{}{}", "a.".repeat(126), "bc");
    let refused = [
        "",
        ".",
        "..",
        ".example.com",
        "a..b",
        "example.com..",
        "a,b",
        "a, b",
        "a b",
        "a/b",
        "a?b",
        "a#b",
        "a\\b",
        "a%41",
        "a\u{e9}",
        "a\0",
        "*.example.com",
        "a:",
        "a:0",
        "a:65536",
        "a:100000",
        "a:+80",
        "a:80:80",
        "a:8a",
        ":80",
        "[::1",
        "[::1]x",
        "[::1%eth0]",
        "[127.0.0.1]",
        "::1",
        label.as_str(),
        long.as_str(),
    ];
    for raw in refused {
        assert_eq!(host(raw), Err(TargetError::HostInvalid), "{raw:?}");
    }
    assert!(host(&"a".repeat(63)).is_ok());
    assert_eq!(host(&long[1..]).map(|(name, _)| name.len()), Err(TargetError::HostInvalid));
    assert_eq!(host(&long[2..]).map(|(name, _)| name.len()), Ok(252));
    for raw in ["user@a", "user:pw@a", "a@b:80", "user:80@a"] {
        assert_eq!(host(raw), Err(TargetError::UserInformation), "{raw}");
    }
}

#[test]
fn an_absolute_target_must_agree_with_host() {
    let absolute = |raw, host| {
        parse(Method::GET, raw, None, host).map(|target| target.path_and_query.as_str().to_owned())
    };
    assert_eq!(absolute("http://a.example/x?y", Some("a.example")), Ok("/x?y".to_owned()));
    assert_eq!(absolute("HTTPS://A.example:443/x", Some("a.example")), Ok("/x".to_owned()));
    assert_eq!(absolute("http://a.example", Some("a.example")), Ok("/".to_owned()));
    assert_eq!(absolute("http://a.example?q", Some("a.example")), Ok("/?q".to_owned()));
    assert_eq!(absolute("http://a.example//x/../y", Some("a.example")), Ok("/y".to_owned()));
    assert_eq!(absolute("http://a.example/", Some("b.example")), Err(TargetError::HostDiffers));
    assert_eq!(absolute("http://a.example:81/", Some("a.example")), Err(TargetError::HostDiffers));
    assert_eq!(absolute("http://u@a.example/", Some("a.example")), Err(TargetError::UserInformation));
    assert_eq!(absolute("http://a.example/", None), Err(TargetError::HostMissing));
    assert_eq!(absolute("http:///x", Some("a.example")), Err(TargetError::HostInvalid));
    assert_eq!(absolute("http://a.example#x", Some("a.example")), Err(TargetError::Fragment));
    assert_eq!(absolute("ftp://a.example/", Some("a.example")), Err(TargetError::Form));
    assert_eq!(absolute("javascript:x", Some("a.example")), Err(TargetError::Form));
    assert_eq!(absolute("a.example:80", Some("a.example")), Err(TargetError::Form));
}

#[test]
fn the_authority_of_http2_must_agree_with_host() {
    let both =
        |authority, host| parse(Method::GET, "/", authority, host).map(|target| target.host_str().to_owned());
    assert_eq!(both(Some("a.example"), None), Ok("a.example".to_owned()));
    assert_eq!(both(Some("a.example"), Some("a.example")), Ok("a.example".to_owned()));
    assert_eq!(both(Some("A.example:443"), Some("a.example.")), Ok("a.example".to_owned()));
    assert_eq!(both(Some("a.example"), Some("b.example")), Err(TargetError::HostDiffers));
    assert_eq!(both(Some("a.example"), Some("a.example:444")), Err(TargetError::HostDiffers));
    assert_eq!(both(Some(""), None), Err(TargetError::HostInvalid));
    assert_eq!(both(None, None), Err(TargetError::HostMissing));
    let absolute = parse(Method::GET, "http://a.example/", Some("a.example"), None);
    assert_eq!(absolute, Err(TargetError::Form));
    assert_eq!(parse(Method::GET, "", Some("a.example"), None), Err(TargetError::Form));
}

#[test]
fn asterisk_is_for_options_and_authority_form_for_connect() {
    let target = parse(Method::OPTIONS, "*", None, Some("a")).unwrap();
    assert!(target.is_asterisk());
    assert_eq!((target.path(), target.query()), (b"*".as_slice(), None));
    assert!(parse(Method::OPTIONS, "http://a", None, Some("a")).unwrap().is_asterisk());
    assert_eq!(parse(Method::GET, "*", None, Some("a")), Err(TargetError::Form));
    assert_eq!(parse(Method::OPTIONS, "*x", None, Some("a")), Err(TargetError::Form));
    assert_eq!(parse(Method::CONNECT, "a:443", None, Some("a:443")), Err(TargetError::Connect));
    assert_eq!(parse(Method::CONNECT, "/x", None, Some("a")), Err(TargetError::Connect));
    assert_eq!(parse(Method::CONNECT, "", Some("a:443"), None), Err(TargetError::Connect));
    // Extended CONNECT (RFC 8441).
    assert_eq!(parse(Method::CONNECT, "/chat", Some("a"), None).unwrap().path(), b"/chat");
}

#[test]
fn written_paths_take_the_form_that_requests_have() {
    let table = [
        ("/", "/"),
        ("/a/b/", "/a/b/"),
        ("/a//b", "/a/b"),
        ("/caf\u{e9} au lait", "/caf%C3%A9%20au%20lait"),
        ("/caf%c3%a9%20au%20lait", "/caf%C3%A9%20au%20lait"),
        ("/[id]", "/%5Bid%5D"),
        ("/what?#", "/what%3F%23"),
        ("/@scope%2fname", "/@scope%2Fname"),
        ("/%7euser", "/~user"),
    ];
    for (text, normal) in table {
        assert_eq!(written_path(text), Ok(normal.to_owned()), "{text}");
        assert_eq!(path(normal).or_else(|_| written_path(normal)), Ok(normal.to_owned()), "{text}");
    }
    assert_eq!(written_path("/a/../b"), Err(TargetError::DotSegment));
    assert_eq!(written_path("a"), Err(TargetError::Form));
    assert_eq!(written_path("/100%"), Err(TargetError::PercentEncoding));
    assert_eq!(written_path("/a\\b"), Err(TargetError::Backslash));
}

fn request(protocol: Protocol, target: &'static str, hosts: &[&'static str]) -> Request {
    let mut headers = HeaderMap::new();
    for host in hosts {
        headers.append(HOST, HeaderValue::from_static(host));
    }
    let target = Bytes::from_static(target.as_bytes());
    Request {
        method: Method::GET,
        target,
        authority: None,
        protocol,
        headers,
        body: Body::Empty,
        upgrade: None,
        interim: Default::default(),
    }
}

#[test]
fn host_is_there_once_except_on_http10() {
    let of = |protocol, hosts: &[&'static str]| {
        let target = Target::of(&request(protocol, "/x", hosts), Scheme::Http, EncodedSlash::Refuse);
        target.map(|target| target.host_str().to_owned())
    };
    assert_eq!(of(Protocol::Http11, &["a"]), Ok("a".to_owned()));
    assert_eq!(of(Protocol::Http11, &[]), Err(TargetError::HostMissing));
    assert_eq!(of(Protocol::Http2, &[]), Err(TargetError::HostMissing));
    assert_eq!(of(Protocol::Http11, &["a", "a"]), Err(TargetError::HostRepeated));
    assert_eq!(of(Protocol::Http10, &["a", "b"]), Err(TargetError::HostRepeated));
    assert_eq!(of(Protocol::Http10, &[]), Ok(String::new()));
    assert_eq!(of(Protocol::Http10, &[""]), Err(TargetError::HostInvalid));
}

#[test]
fn the_upstream_gets_the_normalised_host() {
    let target = |host| parse(Method::GET, "/", None, Some(host)).unwrap();
    let given = HeaderValue::from_static("Example.com.:8443");
    assert_eq!(target("Example.com.:8443").host_value(Some(&given)), "example.com:8443");
    for same in ["example.com", "example.com:8443"] {
        let given = HeaderValue::from_bytes(same.as_bytes()).unwrap();
        assert_eq!(target(same).host_value(Some(&given)), same);
        assert_eq!(target(same).host_value(None), same);
    }
    let odd = HeaderValue::from_static("a:0080");
    assert_eq!(target("a:0080").host_value(Some(&odd)), "a:80");
}

/// Text in which the forms that matter are frequent.
fn nasty() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("/".to_owned()),
        Just("..".to_owned()),
        Just(".".to_owned()),
        Just("//".to_owned()),
        Just(";".to_owned()),
        Just("%2e".to_owned()),
        Just("%2F".to_owned()),
        Just("%25".to_owned()),
        Just("%C3%A9".to_owned()),
        Just("%3b".to_owned()),
        Just("|".to_owned()),
        Just("?".to_owned()),
        "[a-z]{1,3}",
        "%[0-9a-fA-F]{2}",
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| format!("/{}", pieces.concat()))
}

fn is_normal(path: &str) -> bool {
    let inner = path[1..].split('/');
    let count = inner.clone().count();
    path.starts_with('/')
        && !path.contains("//")
        && inner.clone().all(|segment| segment != "." && segment != "..")
        && inner.enumerate().all(|(index, segment)| !segment.is_empty() || index + 1 == count)
}

proptest! {
    #[test]
    fn what_is_accepted_is_normal_and_stays(raw in nasty(), keep in any::<bool>()) {
        let rule = if keep { EncodedSlash::Keep } else { EncodedSlash::Refuse };
        if let Ok(once) = PathAndQuery::parse(&Bytes::from(raw), rule) {
            let path = std::str::from_utf8(once.path()).unwrap();
            prop_assert!(is_normal(path), "{path}");
            prop_assert!(!path.bytes().any(|byte| matches!(byte, b'\\' | b'#' | b'?' | 0..=0x20 | 0x7F..)));
            let twice = PathAndQuery::parse(once.as_bytes(), rule);
            prop_assert_eq!(twice.as_ref(), Ok(&once));
            // Read again by an upstream that decodes everything once, it still has no dot segments to resolve.
            prop_assert!(keep || !path.contains("%2F"));
        }
    }

    #[test]
    fn no_bytes_panic(raw in proptest::collection::vec(any::<u8>(), 0..64),
                      authority in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..32)),
                      host in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..32)),
                      method in prop_oneof![Just(Method::GET), Just(Method::OPTIONS), Just(Method::CONNECT)]) {
        let raw = Bytes::from(raw);
        let parsed =
            Target::parse(&method, &raw, authority.as_deref(), host.as_deref(), Scheme::Http, EncodedSlash::Keep);
        if let Ok(target) = parsed {
            prop_assert!(target.host_str().is_ascii());
            prop_assert!(target.path_and_query.as_bytes().is_ascii());
            prop_assert!(target.is_asterisk() || is_normal(std::str::from_utf8(target.path()).unwrap()));
        }
    }

    #[test]
    fn a_host_is_its_own_normal_form(raw in "[A-Za-z0-9._:\\[\\]-]{0,20}") {
        if let Ok((name, port)) = parse_authority(raw.as_bytes()) {
            prop_assert_eq!(parse_authority(name.as_bytes()), Ok((name.clone(), None)));
            prop_assert!(!name.as_str().ends_with('.') && port != Some(0));
        }
    }
}
