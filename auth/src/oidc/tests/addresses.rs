use super::*;

fn returned(wanted: &str, domain: Option<&str>) -> String {
    let settings = Settings { cookie_domain: domain.map(str::to_owned), ..settings() };
    let headers = HeaderMap::new();
    let visit = Visit {
        transport: Transport::Tls,
        host: "app.example",
        authority: "app.example:8443",
        headers: &headers,
        stored: None,
    };
    return_address(wanted, &Provider::new(settings), &visit)
}

#[test]
fn pages_of_this_host_are_returned_to() {
    for wanted in ["/", "/a", "/a/b?c=d&e=/f//g", "/a?u=https://x.example/", "/caf%C3%A9", "/a:b@c"] {
        assert_eq!(returned(wanted, None), wanted);
        assert_eq!(returned(&format!("https://app.example:8443{wanted}"), None), wanted);
    }
    assert_eq!(returned("https://APP.example:8443", None), "/");
}

#[test]
fn nobody_is_sent_to_another_site() {
    let evil = "evil.example";
    for form in [
        "",
        "x",
        "//@",
        "///@",
        "////@",
        "/\\@",
        "\\/@",
        "\\\\@",
        "/\t/@",
        "/\n/@",
        "\t//@",
        " //@",
        "/ /@",
        "/%09/@",
        "/%0a/@",
        "/%5c@",
        "/%2f@",
        "/%2F%2F@",
        "/.//@",
        "/..//@",
        "/./@",
        "/../@",
        "/a/..//@",
        "/%2e%2e//@",
        "https://@",
        "http://@",
        "HTTPS://@",
        "https:@",
        "https:/@",
        "https:\\\\@",
        "javascript:alert(1)",
        "data:x",
        "https://app.example:8443.@",
        "https://app.example:8443@@",
        "https://app.example:8443:x@@/",
        "https://app.example@@/",
        "https://app.example.@",
        "https://@\\@app.example:8443",
        "https://@#app.example:8443",
        "https://@?app.example:8443",
        "//app.example@@/",
        "/\u{2044}/@",
        "/a\u{0}b",
        "/\u{ff0f}@",
        "http://app.example:8443/",
        "https://app.example/",
        "https://app.example:84430/",
        "ftp://app.example:8443/",
        "/oauth2/sign_out",
        "/OAuth2/start?rd=/",
        "xn--@",
        "/a b",
    ] {
        let wanted = form.replace('@', evil);
        assert_eq!(returned(&wanted, None), "/", "{wanted:?}");
    }
    assert_eq!(returned(&format!("/{}", "a".repeat(RETURN_BYTES_MAX - 1)), None).len(), RETURN_BYTES_MAX);
    assert_eq!(returned(&format!("/{}", "a".repeat(RETURN_BYTES_MAX)), None), "/");
}

#[test]
fn hosts_of_the_cookies_domain_are_returned_to() {
    for (wanted, address) in [
        ("https://other.example/a?b", "https://other.example/a?b"),
        ("https://a.b.example", "https://a.b.example/"),
        ("https://OTHER.example:444/a", "https://other.example:444/a"),
        ("https://example/", "https://example/"),
        ("https://badexample/", "/"),
        ("https://other.example.org/", "/"),
        ("https://user@other.example/", "/"),
        ("https://evil.org#.example/", "/"),
        ("https://evil.org?.example/", "/"),
        ("https://evil.org\\.example/", "/"),
        ("https://other.example:x/", "/"),
        ("https://other.example//evil.org", "/"),
        ("http://other.example/", "/"),
    ] {
        assert_eq!(returned(wanted, Some("example")), address, "{wanted}");
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_is_wanted_it_stays_on_this_host(wanted in "[/\\\\.:@?#%25eEfF09a-cA-C\\t \u{2044}]{0,12}(evil\\.example)?.{0,4}") {
            let address = returned(&wanted, None);
            let base = Url::parse("https://app.example:8443/x/y").expect("an address");
            let resolved = base.join(&address).expect("an address");
            prop_assert_eq!(resolved.origin(), base.origin(), "{}", wanted);
        }
    }
}
