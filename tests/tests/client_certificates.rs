//! Client certificates by the keys of ingress-nginx: the handshake takes whoever comes, and the answer says who may enter.

use std::net::SocketAddr;

use tests::certificates::{Authority, Pair};
use tests::client::{Client, get};
use tests::edge::Edge;
use tests::manifests::{service, settings, tls_secret};
use tests::message::Answer;
use tests::nginx::Nginx;
use tests::upstream::Upstream;

const HOST: &str = "shop.example";

/// A class of ingress-nginx with a guarded Ingress for `/`, and another one for `/other` of the same host without any keys.
struct Site {
    server: Authority,
    clients: Authority,
    app: Upstream,
    edge: Edge,
}

impl Site {
    fn new(keys: &[(&str, &str)]) -> Site {
        let clients = Authority::new("clients");
        let secret = clients_secret(&[("ca.crt", &clients.pem())]);
        Site::with(keys, clients, &secret)
    }

    fn with(keys: &[(&str, &str)], clients: Authority, secret: &str) -> Site {
        let (server, app) = (Authority::default(), Upstream::saying("app"));
        let pair = server.issue(&[HOST, "open.example"]);
        let keys: Vec<String> =
            keys.iter().map(|(key, value)| format!("nginx.ingress.kubernetes.io/{key}: '{value}'")).collect();
        let ingress = |name: &str, keys: &str, host: &str, path: &str| {
            format!(
                "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {name}, namespace: shop, annotations: {{{keys}}}}}\n\
                 spec:\n  ingressClassName: nginx\n  tls: [{{hosts: [{host}], secretName: web-tls}}]\n  rules:\n  - host: {host}\n    \
                 http: {{paths: [{{path: {path}, pathType: Prefix, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}]}}\n"
            )
        };
        let yaml = [
            settings(
                "classes: [{name: nginx, http: ['127.0.0.1:0'], https: ['127.0.0.1:0'], ingressNginx: {}}]",
            ),
            ingress("web", &keys.join(", "), HOST, "/app"),
            ingress("other", "", HOST, "/other"),
            ingress("solver", "", HOST, "/.well-known/acme-challenge/token"),
            ingress("open", "", "open.example", "/"),
            service("web", &[app.address]),
            tls_secret("web-tls", &pair.certificate, &pair.key),
            secret.to_owned(),
        ]
        .concat();
        let edge = Edge::from_yaml(&yaml);
        Site { server, clients, app, edge }
    }

    fn ask(&self, shown: Option<Pair>, path: &str) -> Answer {
        self.ask_host(shown, HOST, path)
    }

    fn ask_host(&self, shown: Option<Pair>, host: &str, path: &str) -> Answer {
        let mut options = self.server.client();
        options.identity = shown;
        let mut client =
            Client::connect_tls(self.edge.https(), &options.build(), host, b"").expect("a handshake");
        client.send(format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nSsl-Client-Verify: SUCCESS\r\nSSL_Client_Subject_DN: CN=root\r\n\r\n"
        ));
        client.answer()
    }

    fn status(&self, shown: Option<Pair>, path: &str) -> u16 {
        self.ask(shown, path).status
    }
}

fn clients_secret(data: &[(&str, &str)]) -> String {
    let mut yaml =
        "---\napiVersion: v1\nkind: Secret\nmetadata: {name: clients, namespace: shop}\nstringData:\n"
            .to_owned();
    for (key, text) in data {
        let lines: String = text.lines().map(|line| format!("    {line}\n")).collect();
        yaml.push_str(&format!("  {key}: |\n{lines}"));
    }
    yaml
}

fn stranger() -> Pair {
    Authority::new("strangers").issue_to("ada", 1)
}

const SECRET: (&str, &str) = ("auth-tls-secret", "shop/clients");

#[test]
fn a_host_is_for_those_who_show_a_certificate() {
    let site = Site::new(&[SECRET, ("auth-tls-pass-certificate-to-upstream", "true")]);
    for path in ["/app", "/other", "/nowhere"] {
        assert_eq!(site.status(None, path), 400, "{path}");
        assert_eq!(site.status(Some(stranger()), path), 400, "{path}");
    }
    assert_eq!(site.app.count(), 0);
    let ada = || site.clients.issue_to("ada", 1);
    assert_eq!([site.status(Some(ada()), "/app"), site.status(Some(ada()), "/other")], [200, 200]);
    assert_eq!(site.status(Some(ada()), "/nowhere"), 404);
    for seen in site.app.requests() {
        assert_eq!(seen.fields.one("ssl-client-verify"), Some("SUCCESS"));
        assert_eq!(seen.fields.one("ssl-client-subject-dn"), Some("CN=ada"));
        assert!(seen.fields.one("ssl-client-issuer-dn").is_some_and(|name| name.contains("CN=clients")));
        let certificate = seen.fields.one("ssl-client-cert").expect("the certificate");
        assert!(certificate.starts_with("-----BEGIN%20CERTIFICATE-----%0AMII"), "{certificate}");
        assert!(!seen.fields.has("ssl_client_subject_dn"));
    }
    // The other host of the class asks for nothing, and tells nothing.
    assert_eq!(site.ask_host(None, "open.example", "/").status, 200);
    assert!(!site.app.requests().pop().expect("a request").fields.has("ssl-client-verify"));
}

#[test]
fn plain_http_leads_to_https_or_nowhere() {
    let site = Site::new(&[SECRET]);
    assert_eq!(get(site.edge.http(), HOST, "/app").status, 308);
    let site = Site::new(&[SECRET, ("ssl-redirect", "false")]);
    assert_eq!(get(site.edge.http(), HOST, "/app").status, 400);
    // Whoever proves to a certificate authority that the host is his has no certificate yet.
    assert_eq!(get(site.edge.http(), HOST, "/.well-known/acme-challenge/token").status, 200);
    assert_eq!(get(site.edge.http(), HOST, "/.well-known/acme-challenge").status, 400);
    assert_eq!(site.app.count(), 1);
}

#[test]
fn a_connection_for_another_host_does_not_carry_it() {
    let site = Site::new(&[SECRET]);
    let options = site.server.client();
    let mut client =
        Client::connect_tls(site.edge.https(), &options.build(), "open.example", b"").expect("a handshake");
    client.send(format!("GET /app HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    assert_eq!(client.answer().status, 421);
}

#[test]
fn each_word_of_verify_client_lets_in_whom_it_should() {
    for (word, nobody, known, unknown) in [
        ("on", 400, 200, 400),
        ("optional", 200, 200, 400),
        ("optional_no_ca", 200, 200, 200),
        ("off", 200, 200, 200),
        // A word that means nothing closes the Ingress; the other one of the host goes on.
        ("perhaps", 503, 503, 503),
    ] {
        let site = Site::new(&[SECRET, ("auth-tls-verify-client", word)]);
        let known_pair = site.clients.issue_to("ada", 1);
        let statuses = [
            site.status(None, "/app"),
            site.status(Some(known_pair), "/app"),
            site.status(Some(stranger()), "/app"),
        ];
        assert_eq!(statuses, [nobody, known, unknown], "{word}");
        let told: Vec<Option<String>> = site
            .app
            .requests()
            .iter()
            .map(|seen| seen.fields.one("ssl-client-verify").map(str::to_owned))
            .collect();
        let text = |word: &str| Some(word.to_owned());
        match word {
            "on" => assert_eq!(told, [text("SUCCESS")]),
            "optional" => assert_eq!(told, [text("NONE"), text("SUCCESS")]),
            "optional_no_ca" => {
                let failed = text("FAILED:unable to verify the certificate");
                assert_eq!(told, [text("NONE"), text("SUCCESS"), failed]);
            }
            "off" => assert_eq!(told, [None, None, None]),
            _ => assert!(told.is_empty()),
        }
    }
}

#[test]
fn the_subject_decides_where_it_is_asked_for() {
    let site = Site::new(&[SECRET, ("auth-tls-match-cn", "CN=(ada|bob)$")]);
    for (name, status) in [("ada", 200), ("bob", 200), ("eve", 403), ("adam", 403)] {
        assert_eq!(site.status(Some(site.clients.issue_to(name, 1)), "/app"), status, "{name}");
        assert_eq!(site.status(Some(site.clients.issue_to(name, 1)), "/other"), status, "{name}");
    }
    let optional =
        Site::new(&[SECRET, ("auth-tls-match-cn", "CN=ada"), ("auth-tls-verify-client", "optional")]);
    assert_eq!(optional.status(None, "/app"), 403, "no certificate has no subject");
    let bad = Site::new(&[SECRET, ("auth-tls-match-cn", "ada")]);
    assert_eq!(bad.status(Some(bad.clients.issue_to("ada", 1)), "/app"), 503);
}

#[test]
fn those_without_a_certificate_may_be_sent_elsewhere() {
    let site = Site::new(&[SECRET, ("auth-tls-error-page", "https://help.example/certificates")]);
    let answer = site.ask(None, "/app");
    assert_eq!(
        (answer.status, answer.fields.one("location")),
        (302, Some("https://help.example/certificates"))
    );
    assert_eq!(site.status(Some(site.clients.issue_to("ada", 1)), "/app"), 200);
}

#[test]
fn revoked_certificates_are_no_good() {
    let clients = Authority::new("clients");
    let list = clients.revocation_list(&[2]);
    let secret = clients_secret(&[("ca.crt", &clients.pem()), ("ca.crl", &list)]);
    let site = Site::with(&[SECRET], clients, &secret);
    assert_eq!(site.status(Some(site.clients.issue_to("ada", 1)), "/app"), 200);
    assert_eq!(site.status(Some(site.clients.issue_to("bob", 2)), "/app"), 400);
    let clients = Authority::new("clients");
    let broken = clients_secret(&[("ca.crt", &clients.pem()), ("ca.crl", "not a list")]);
    let site = Site::with(&[SECRET], clients, &broken);
    assert_eq!(site.status(Some(site.clients.issue_to("ada", 1)), "/app"), 503);
}

#[test]
fn a_chain_may_be_as_long_as_it_is_written() {
    for (depth, status) in [("0", 400), ("1", 200)] {
        let clients = Authority::new("clients");
        let secret = clients_secret(&[("ca.crt", &clients.pem())]);
        let site = Site::with(&[SECRET, ("auth-tls-verify-depth", depth)], clients, &secret);
        let direct = site.clients.issue_to("ada", 1);
        assert_eq!(site.status(Some(direct), "/app"), 200, "signed by the authority itself: {depth}");
        let between = site.clients.intermediate("between");
        let mut through = between.issue_to("ada", 1);
        through.certificate.push_str(&between.pem());
        assert_eq!(site.status(Some(through), "/app"), status, "through another one: {depth}");
    }
}

#[test]
fn authorities_that_cannot_be_had_close_the_host_and_no_other() {
    let nothing = String::new();
    for (keys, secret) in [
        (vec![SECRET], nothing.clone()),
        (vec![SECRET], clients_secret(&[("ca.crt", "nonsense")])),
        (vec![SECRET], clients_secret(&[("other", "x")])),
        (vec![("auth-tls-secret", "elsewhere/clients")], nothing.clone()),
    ] {
        let site = Site::with(&keys, Authority::new("clients"), &secret);
        let ada = || Some(site.clients.issue_to("ada", 1));
        assert_eq!([site.status(ada(), "/app"), site.status(ada(), "/other")], [503, 503], "{keys:?}");
        assert_eq!(site.ask_host(None, "open.example", "/").status, 200, "{keys:?}");
        assert!(site.edge.problems().iter().any(|problem| problem.reason == "InvalidClientCertificates"));
    }
    // Without authorities the other keys would guard nothing.
    let site = Site::with(&[("auth-tls-match-cn", "CN=ada")], Authority::new("clients"), &nothing);
    assert_eq!(site.status(None, "/app"), 503);
}

/// An nginx with the same certificates and the same application, configured as ingress-nginx would.
fn nginx(site: &Site) -> Nginx {
    let pair = site.server.issue(&[HOST]);
    let server = format!(
        "ssl_certificate CERTIFICATE; ssl_certificate_key KEY; ssl_client_certificate AUTHORITIES;\n\
         ssl_verify_client on; ssl_verify_depth 1;\n\
         location / {{ proxy_set_header Host $http_host; proxy_set_header ssl-client-verify $ssl_client_verify;\n\
         proxy_set_header ssl-client-subject-dn $ssl_client_s_dn; proxy_set_header ssl-client-issuer-dn $ssl_client_i_dn;\n\
         proxy_set_header ssl-client-cert $ssl_client_escaped_cert; proxy_pass http://{}; }}",
        site.app.address
    );
    let (key, authorities) = (&*pair.key, &*site.clients.pem());
    let files = [("CERTIFICATE", &*pair.certificate), ("KEY", key), ("AUTHORITIES", authorities)];
    Nginx::start("ssl", "", &server, &files)
}

#[test]
fn a_real_nginx_says_the_same_of_a_certificate() {
    let site = Site::new(&[SECRET, ("auth-tls-pass-certificate-to-upstream", "true")]);
    let nginx = nginx(&site);
    let ask = |address: SocketAddr, shown: &Option<Pair>| {
        let before = site.app.count();
        let mut options = site.server.client();
        options.identity = shown.clone();
        let mut client = Client::connect_tls(address, &options.build(), HOST, b"").expect("a handshake");
        client.send(format!("GET /app HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
        let status = client.answer().status;
        let seen = site.app.requests().into_iter().nth(before);
        let told = ["verify", "subject-dn", "issuer-dn", "cert"].map(|name| {
            let name = format!("ssl-client-{name}");
            seen.as_ref().and_then(|seen| seen.fields.one(&name).map(str::to_owned))
        });
        (status, told)
    };
    let known = |name: &str| Some(site.clients.issue_to(name, 7));
    for (shown, status) in [
        (None, 400),
        (Some(stranger()), 400),
        (known("ada"), 200),
        (known("ada, the \"first\" + only <one>; #1"), 200),
        (known("#J\u{fc}rgen "), 200),
    ] {
        let here = ask(site.edge.https(), &shown);
        assert_eq!((here.0, &here), (status, &ask(nginx.address, &shown)));
    }
}
