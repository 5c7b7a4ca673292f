use super::*;

#[test]
fn switches_are_read_as_ingress_nginx_reads_them() {
    assert_eq!(["true", "1", "T", "on", " TRUE "].map(parse_flag), [Some(true); 5]);
    assert_eq!(["false", "0", "f", "off"].map(parse_flag), [Some(false); 4]);
    assert_eq!(["", "yes", "tRUE", "2"].map(parse_flag), [None; 4]);
}

#[test]
fn sizes_have_binary_units() {
    assert_eq!(parse_size("10"), Some(10));
    assert_eq!(parse_size("8m"), Some(8 << 20));
    assert_eq!(parse_size("8Mi"), Some(8 << 20));
    assert_eq!(parse_size("1G"), Some(1 << 30));
    assert_eq!(["", "m", "1.5m", "-1", "5x", "99999999999g"].map(parse_size), [None; 6]);
}

#[test]
fn durations_follow_gep_2257() {
    assert_eq!(parse_duration("1h30m10s500ms"), Some(Duration::from_millis(5_410_500)));
    assert_eq!(parse_duration("0s"), Some(Duration::ZERO));
    assert_eq!(parse_duration("99999h"), Some(Duration::from_secs(99_999 * 3600)));
    let bad = ["", "10", "1.5s", "-1s", "100000s", "1s1s1s1s1s", "s", "1d", "1s ", "1é"];
    assert_eq!(bad.map(parse_duration), [None; 10]);
}

#[test]
fn seconds_may_stand_alone() {
    assert_eq!(parse_seconds("60"), Some(Duration::from_secs(60)));
    assert_eq!(parse_seconds("1m"), Some(Duration::from_secs(60)));
    assert_eq!(parse_seconds("60 s"), None);
}

#[test]
fn one_bad_network_spoils_the_list() {
    let networks = parse_networks("10.1.2.3/8, 192.0.2.1,2001:db8::/32").expect("a good list");
    assert_eq!(
        networks.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"]
    );
    assert!(parse_networks("10.0.0.0/8, 10.0.0.0/33").is_err());
    assert!(parse_networks(" , ").is_err());
    let many = |count: usize| vec!["192.0.2.1"; count].join(",");
    assert!(parse_networks(&many(NETWORKS_MAX)).is_ok());
    assert!(parse_networks(&many(NETWORKS_MAX + 1)).is_err());
}

#[test]
fn framing_headers_are_not_for_routes() {
    assert!(parse_header("X-Team", " a b ").is_ok_and(|(_, value)| value == "a b"));
    for name in ["Connection", "Content-Length", "host", "TE", "a b", ""] {
        assert!(parse_header(name, "x").is_err(), "{name}");
    }
    assert!(parse_header("X-Team", "a\nb").is_err());
}
