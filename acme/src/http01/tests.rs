use super::*;

fn by_http(name: &str, http: &[&[&str]], dns: &[&[&str]]) -> bool {
    let name = Name::parse(name).expect("a name");
    is_proved_by_http(&name, http.iter().copied(), dns.iter().copied())
}

#[test]
fn the_longest_zone_decides_and_dns_where_they_are_equal() {
    assert!(by_http("a.example.com", &[&[]], &[]));
    assert!(!by_http("a.example.com", &[&[]], &[&[]]));
    assert!(!by_http("a.example.com", &[&[]], &[&["example.com"]]));
    assert!(by_http("a.example.org", &[&[]], &[&["example.com"]]));
    assert!(by_http("a.example.com", &[&["a.example.com"]], &[&["example.com"], &[]]));
    assert!(!by_http("b.example.com", &[&["a.example.com"]], &[]));
}

#[test]
fn wildcards_never() {
    assert!(!by_http("*.example.com", &[&[]], &[]));
}

#[test]
fn only_tokens_are_answered_for() {
    assert_eq!(key_authorization("abc-_9", "print").as_deref(), Some("abc-_9.print"));
    let long = "a".repeat(TOKEN_LEN_MAX);
    assert!(key_authorization(&long, "print").is_some());
    for bad in ["", "a.b", "a/b", "<script>", "ä", &format!("{long}a")] {
        assert_eq!(key_authorization(bad, "print"), None, "{bad}");
    }
}

#[test]
fn no_more_addresses_are_asked_than_there_is_time_for() {
    let many = (0..=255).map(|last| IpAddr::from([192, 0, 2, last]));
    assert_eq!(bounded(many.chain([IpAddr::from([192, 0, 2, 0])])).len(), ADDRESSES_MAX);
}
