use super::*;

fn parts(text: &str) -> (bool, String, u16, String) {
    let url = ServerUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    (url.tls, url.host.clone(), url.port, url.host_header())
}

#[test]
fn an_address_is_taken_apart() {
    assert_eq!(
        parts("https://Auth.Example.com/verify"),
        (true, "auth.example.com".into(), 443, "auth.example.com".into())
    );
    assert_eq!(parts("http://10.0.0.1:9091"), (false, "10.0.0.1".into(), 9091, "10.0.0.1:9091".into()));
    assert_eq!(
        parts("http://[2001:db8::1]:80/x"),
        (false, "2001:db8::1".into(), 80, "[2001:db8::1]:80".into())
    );
    for (text, target) in [("http://a", "/"), ("http://a?b=c", "/?b=c"), ("http://a/b/c?d", "/b/c?d")] {
        assert_eq!(ServerUrl::parse(text).expect("an address").target.as_text(), Some(target), "{text}");
    }
}

#[test]
fn a_service_is_known_by_its_name() {
    for (host, service) in [
        ("oauth2-proxy.auth.svc.cluster.local", Some(("auth", "oauth2-proxy"))),
        ("oauth2-proxy.auth.svc", Some(("auth", "oauth2-proxy"))),
        ("oauth2-proxy.auth", None),
        ("auth.example.com", None),
        ("a.b.svcs", None),
        ("svc.example.svc.example.com", Some(("example", "svc"))),
    ] {
        let url = ServerUrl::parse(&format!("http://{host}/")).expect("an address");
        assert_eq!(url.service(), service, "{host}");
    }
}

#[test]
fn what_is_no_address_is_refused() {
    for (text, error) in [
        ("auth.example.com/x", UrlError::Scheme),
        ("ftp://a/", UrlError::Scheme),
        ("//a/b", UrlError::Scheme),
        ("http:///x", UrlError::Host),
        ("http://$host/x", UrlError::Host),
        ("http://a:99999/", UrlError::Host),
        ("http://u:p@a/", UrlError::User),
        ("http://a/$nothing", UrlError::Target(TemplateError::Unknown("nothing".into()))),
        ("http://a/b c", UrlError::Target(TemplateError::Character)),
        ("http://a/b#c", UrlError::Target(TemplateError::Character)),
    ] {
        assert_eq!(ServerUrl::parse(text), Err(error), "{text}");
    }
}
