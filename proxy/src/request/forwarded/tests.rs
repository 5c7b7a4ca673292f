use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;

fn map(fields: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    headers
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn trusted() -> TrustedProxies {
    let ranges = ["10.0.0.0/8", "fd00::/8"].iter().map(|range| range.parse().unwrap()).collect();
    TrustedProxies::new(ranges, vec!["104.16.0.0/13".parse().unwrap(), "172.64.0.0/13".parse().unwrap()])
}

fn peer(address: &str) -> Peer {
    Peer::new(SocketAddr::new(ip(address), 50000), Scheme::Http, 80, &trusted())
}

fn view(address: &str, fields: &[(&str, &str)]) -> ClientView {
    ClientView::of(&peer(address), &map(fields), &trusted())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    assert_eq!(headers.get_all(name).iter().count(), 1, "{name}");
    headers[name].to_str().unwrap()
}

fn forward(address: &str, fields: &[(&str, &str)], rules: ForwardedRules) -> HeaderMap {
    let mut headers = map(fields);
    let peer = peer(address);
    let client = ClientView::of(&peer, &headers, &trusted());
    crate::request::sanitize::sanitize(&mut headers, peer.trust, crate::request::sanitize::Underscores::Drop);
    let id = client.request_id.clone().unwrap_or_else(RequestId::random);
    let host = HeaderValue::from_static("shop.example");
    Forwarded::of(&peer, &client, &host).insert_into(&mut headers);
    set_request_id(&mut headers, &client, &host, &id, rules);
    headers
}

#[test]
fn an_untrusted_peer_speaks_for_itself_only() {
    let spoofed = [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-port", "443"),
        ("x-forwarded-host", "admin.example"),
        ("forwarded", "for=127.0.0.1;proto=https"),
        ("cf-connecting-ip", "127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
        ("x-request-id", "chosen-by-client"),
    ];
    let client = view("203.0.113.9", &spoofed);
    assert_eq!((client.address, client.scheme, client.port), (ip("203.0.113.9"), Scheme::Http, 80));
    assert!(client.host.is_none() && client.request_id.is_none() && !client.is_behind_proxy());
    let headers = forward("203.0.113.9", &spoofed, ForwardedRules::default());
    assert_eq!(text(&headers, "x-forwarded-for"), "203.0.113.9");
    assert_eq!(text(&headers, "x-real-ip"), "203.0.113.9");
    assert_eq!(text(&headers, "x-forwarded-proto"), "http");
    assert_eq!(text(&headers, "x-forwarded-port"), "80");
    assert_eq!(text(&headers, "x-forwarded-host"), "shop.example");
    assert_eq!(text(&headers, "x-request-id").len(), 32);
    assert!(!headers.contains_key("forwarded") && !headers.contains_key("cf-connecting-ip"));
}

#[test]
fn the_client_is_the_rightmost_address_that_is_not_trusted() {
    let table = [
        (vec!["198.51.100.7"], "198.51.100.7"),
        (vec!["1.1.1.1, 198.51.100.7, 10.9.9.9"], "198.51.100.7"),
        (vec!["1.1.1.1", "198.51.100.7", "10.9.9.9"], "198.51.100.7"),
        (vec!["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
        (vec!["198.51.100.7:4711"], "198.51.100.7"),
        (vec!["[2001:db8::7]:4711"], "2001:db8::7"),
        (vec!["2001:db8::7"], "2001:db8::7"),
        (vec!["::ffff:198.51.100.7"], "198.51.100.7"),
        (vec!["1.1.1.1, unknown, 10.9.9.9"], "10.9.9.9"),
        (vec!["unknown"], "10.0.0.1"),
        (vec![""], "10.0.0.1"),
        (vec!["1.1.1.1, 198.51.100.7,"], "198.51.100.7"),
        (vec!["198.51.100.7, 104.16.1.1, 10.9.9.9"], "198.51.100.7"),
    ];
    for (lines, client) in table {
        let fields: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
        assert_eq!(view("10.0.0.1", &fields).address, ip(client), "{lines:?}");
    }
}

#[test]
fn only_the_believed_part_of_the_chain_goes_on() {
    let fields = [("x-forwarded-for", "127.0.0.1, 198.51.100.7, 10.9.9.9")];
    let headers = forward("10.0.0.1", &fields, ForwardedRules::default());
    assert_eq!(text(&headers, "x-forwarded-for"), "198.51.100.7, 10.9.9.9, 10.0.0.1");
    assert_eq!(text(&headers, "x-real-ip"), "198.51.100.7");
}

#[test]
fn hops_are_bounded() {
    let hops = |count: usize| {
        let list = format!("198.51.100.7{}", ", 10.1.1.1".repeat(count));
        view("10.0.0.1", &[("x-forwarded-for", &list)]).address
    };
    assert_eq!(hops(FORWARDED_HOPS_MAX - 1), ip("198.51.100.7"));
    assert_eq!(hops(FORWARDED_HOPS_MAX), ip("10.1.1.1"));
}

#[test]
fn a_trusted_proxy_names_scheme_port_and_host() {
    let said = |fields: &[(&str, &str)]| {
        let client = view("10.0.0.1", fields);
        (client.scheme, client.port)
    };
    assert_eq!(said(&[("x-forwarded-proto", "https")]), (Scheme::Https, 443));
    assert_eq!(said(&[("x-forwarded-proto", "WSS")]), (Scheme::Https, 443));
    assert_eq!(said(&[("x-forwarded-proto", "http")]), (Scheme::Http, 80));
    assert_eq!(said(&[("x-forwarded-proto", "https"), ("x-forwarded-port", "8443")]), (Scheme::Https, 8443));
    assert_eq!(said(&[("x-forwarded-proto", "https, http")]), (Scheme::Http, 80));
    assert_eq!(said(&[("x-forwarded-proto", "gopher"), ("x-forwarded-port", "0")]), (Scheme::Http, 80));
    let fields = [("x-forwarded-proto", "https"), ("x-forwarded-host", "www.example:444")];
    let headers = forward("10.0.0.1", &fields, ForwardedRules { nginx_names: true, ..Default::default() });
    assert_eq!(text(&headers, "x-forwarded-host"), "www.example:444");
    assert_eq!(text(&headers, "x-forwarded-proto"), "https");
    assert_eq!(text(&headers, "x-forwarded-port"), "443");
    assert_eq!(text(&headers, "x-forwarded-scheme"), "https");
    assert_eq!(text(&headers, "x-scheme"), "https");
    assert!(view("10.0.0.1", &[("x-forwarded-proto", "https"), ("x-forwarded-host", "a/b")]).host.is_none());
}

#[test]
fn forwarded_counts_only_where_the_older_names_are_absent() {
    let forwarded =
        r#"for=1.1.1.1, for="[2001:db8::7]:4711";proto=http, For=10.9.9.9;Proto=https;host="www.example""#;
    let client = view("10.0.0.1", &[("forwarded", forwarded)]);
    assert_eq!((client.address, client.scheme, client.port), (ip("2001:db8::7"), Scheme::Https, 443));
    assert_eq!(client.host, Some(HeaderValue::from_static("www.example")));
    let both = [("forwarded", "for=127.0.0.1;proto=https"), ("x-forwarded-for", "198.51.100.7")];
    let client = view("10.0.0.1", &both);
    assert_eq!((client.address, client.scheme), (ip("198.51.100.7"), Scheme::Http));
    let hidden = view("10.0.0.1", &[("forwarded", "for=198.51.100.7, for=_hidden, for=10.9.9.9")]);
    assert_eq!(hidden.address, ip("10.9.9.9"));
    // A proxy that writes only the scheme leaves `Forwarded` to the client, who must not be believed.
    let client = view("10.0.0.1", &[("forwarded", "for=127.0.0.1"), ("x-forwarded-proto", "https")]);
    assert_eq!(client.address, ip("10.0.0.1"));
}

#[test]
fn x_real_ip_serves_where_there_is_no_chain() {
    assert_eq!(view("10.0.0.1", &[("x-real-ip", "198.51.100.7")]).address, ip("198.51.100.7"));
    let both = [("x-real-ip", "127.0.0.1"), ("x-forwarded-for", "198.51.100.7")];
    assert_eq!(view("10.0.0.1", &both).address, ip("198.51.100.7"));
    let twice = [("x-real-ip", "127.0.0.1"), ("x-real-ip", "198.51.100.7")];
    assert_eq!(view("10.0.0.1", &twice).address, ip("10.0.0.1"));
}

#[test]
fn cloudflares_word_goes_before_the_chain() {
    let fields = [("cf-connecting-ip", "198.51.100.7"), ("x-forwarded-for", "127.0.0.1, 198.51.100.7")];
    let headers = forward("172.64.0.1", &fields, ForwardedRules::default());
    assert_eq!(text(&headers, "x-forwarded-for"), "198.51.100.7, 172.64.0.1");
    assert_eq!(text(&headers, "cf-connecting-ip"), "198.51.100.7");
    // Another trusted peer is not Cloudflare.
    assert_eq!(view("10.0.0.1", &[("cf-connecting-ip", "127.0.0.1")]).address, ip("10.0.0.1"));
}

#[test]
fn peers_are_trusted_by_their_network() {
    assert_eq!(trusted().judge(ip("104.23.255.255")), PeerTrust::Cloudflare);
    assert_eq!(trusted().judge(ip("104.24.0.0")), PeerTrust::Untrusted);
    assert_eq!(trusted().judge(ip("fd12::1")), PeerTrust::Forwarded);
    assert_eq!(TrustedProxies::default().judge(ip("127.0.0.1")), PeerTrust::Untrusted);
}

#[test]
fn mapped_addresses_are_ipv4() {
    let peer = peer("::ffff:10.0.0.1");
    assert_eq!((peer.address, peer.trust), (ip("10.0.0.1"), PeerTrust::Forwarded));
    assert_eq!(peer.address_value(), "10.0.0.1");
}

#[test]
fn request_ids_are_taken_from_trusted_peers_if_sane() {
    let given = |id: &str| view("10.0.0.1", &[("x-request-id", id)]).request_id.map(|id| id.to_string());
    assert_eq!(given("7b3f-a.b:c=+/@_"), Some("7b3f-a.b:c=+/@_".to_owned()));
    assert_eq!(given(&"a".repeat(REQUEST_ID_BYTES_MAX)), Some("a".repeat(REQUEST_ID_BYTES_MAX)));
    for bad in ["", "a b", "<script>", "a\"b", "a\u{e9}", &"a".repeat(REQUEST_ID_BYTES_MAX + 1)] {
        assert_eq!(given(bad), None, "{bad}");
    }
    let (one, two) = (RequestId::random(), RequestId::random());
    assert_ne!(one, two);
    assert!(one.as_str().len() == 32 && one.as_str().bytes().all(|byte| byte.is_ascii_hexdigit()));
}

#[test]
fn traces_pass_when_well_formed_and_start_when_asked() {
    let trace = |fields: &[(&str, &str)], start_traces| {
        let headers = forward("203.0.113.9", fields, ForwardedRules { start_traces, ..Default::default() });
        let value = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap().to_owned());
        (value("traceparent"), value("tracestate"), value("x-request-id"))
    };
    let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let fields = [("traceparent", good), ("tracestate", "a=b")];
    for start in [false, true] {
        let (parent, state, _) = trace(&fields, start);
        assert_eq!((parent.as_deref(), state.as_deref()), (Some(good), Some("a=b")));
    }
    let bad =
        [("traceparent", "00-00000000000000000000000000000000-b7ad6b7169203331-01"), ("tracestate", "a=b")];
    assert_eq!(trace(&bad, false).0, None);
    assert_eq!(trace(&bad, false).1, None);
    let (parent, state, id) = trace(&bad, true);
    let parent = parent.unwrap();
    assert!(parse::is_traceparent(parent.as_bytes()), "{parent}");
    assert_eq!(&parent[3..35], id.unwrap());
    assert_eq!(state, None);
    assert_eq!(trace(&[], false).0, None);
    assert!(trace(&[], true).0.is_some());
    assert_eq!(trace(&[("traceparent", good), ("traceparent", good)], false).0, None);
}

#[test]
fn traceparents_are_checked_to_the_letter() {
    let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert!(parse::is_traceparent(good.as_bytes()));
    assert!(parse::is_traceparent(format!("cc{}-more", &good[2..]).as_bytes()));
    for bad in [
        "",
        &good[..54],
        &format!("{good}-x"),
        &good.to_uppercase(),
        &good.replace('-', "_"),
        &format!("ff{}", &good[2..]),
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
    ] {
        assert!(!parse::is_traceparent(bad.as_bytes()), "{bad}");
    }
}

#[test]
fn the_standard_header_names_client_host_and_scheme() {
    let rules = ForwardedRules { standard: true, ..Default::default() };
    let headers = forward("2001:db8::9", &[("forwarded", "for=evil")], rules);
    assert_eq!(text(&headers, "forwarded"), r#"for="[2001:db8::9]";host="shop.example";proto=http"#);
    let headers = forward("203.0.113.9", &[], rules);
    assert_eq!(text(&headers, "forwarded"), r#"for=203.0.113.9;host="shop.example";proto=http"#);
}

proptest! {
    #[test]
    fn no_header_of_a_trusted_peer_panics_or_leaks_garbage(
        name in prop_oneof![Just("x-forwarded-for"), Just("forwarded"), Just("x-forwarded-host"), Just("x-real-ip")],
        value in "[ -~]{0,60}",
    ) {
        let headers = forward("10.0.0.1", &[(name, &value)], ForwardedRules { standard: true, ..Default::default() });
        for entry in text(&headers, "x-forwarded-for").split(", ") {
            prop_assert!(entry.parse::<IpAddr>().is_ok(), "{entry}");
        }
        prop_assert!(text(&headers, "x-real-ip").parse::<IpAddr>().is_ok());
    }
}
