//! Beside a real nginx, configured as ingress-nginx would for the same annotations: the same requests, the same answers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};
use tests::client::{Client, get};
use tests::edge::Edge;
use tests::manifests::{service, settings};
use tests::message::Answer;
use tests::nginx::Nginx;
use tests::scenario::{run, run_value};
use tests::upstream::Upstream;
use tests::wait::eventually;

const HOST: &str = "shop.example";

/// One set of annotations, with what ingress-nginx makes of it. In the lines of nginx, `UPSTREAM` is the address of the
/// application, and `USERS` a file of passwords.
struct Case {
    name: &'static str,
    annotations: &'static [(&'static str, &'static str)],
    /// Path and type.
    paths: &'static [(&'static str, &'static str)],
    http: &'static str,
    server: &'static str,
    /// Source address, method, target, body.
    requests: &'static [(&'static str, &'static str, &'static str, &'static str)],
}

const CASES: &[Case] = &[
    Case {
        name: "limits",
        annotations: &[("limit-rpm", "1"), ("limit-whitelist", "127.0.0.3")],
        paths: &[("/", "Prefix")],
        http: "geo $remote_addr $limited { default 1; 127.0.0.3 0; }\nmap $limited $key { 1 $binary_remote_addr; default ''; }\n\
               limit_req_zone $key zone=rpm:5m rate=1r/m; limit_req_status 503;",
        server: "location / { limit_req zone=rpm burst=5 nodelay; proxy_pass http://UPSTREAM; }",
        requests: &[
            ("127.0.0.1", "GET", "/", ""),
            ("127.0.0.1", "GET", "/", ""),
            ("127.0.0.1", "GET", "/", ""),
            ("127.0.0.1", "GET", "/", ""),
            ("127.0.0.1", "GET", "/", ""),
            ("127.0.0.1", "GET", "/", ""),
            ("127.0.0.1", "GET", "/", ""),
            ("127.0.0.1", "GET", "/", ""),
            ("127.0.0.2", "GET", "/", ""),
            ("127.0.0.3", "GET", "/", ""),
        ],
    },
    Case {
        name: "lists of addresses",
        annotations: &[("whitelist-source-range", "127.0.0.0/30"), ("denylist-source-range", "127.0.0.2")],
        paths: &[("/", "Prefix")],
        http: "",
        server: "location / { deny 127.0.0.2; allow 127.0.0.0/30; deny all; proxy_pass http://UPSTREAM; }",
        requests: &[
            ("127.0.0.1", "GET", "/a", ""),
            ("127.0.0.2", "GET", "/a", ""),
            ("127.0.0.3", "GET", "/a", ""),
            ("127.0.0.9", "GET", "/a", ""),
        ],
    },
    Case {
        name: "bodies",
        annotations: &[("proxy-body-size", "8")],
        paths: &[("/", "Prefix")],
        http: "",
        server: "location / { client_max_body_size 8; proxy_pass http://UPSTREAM; }",
        requests: &[
            ("127.0.0.1", "POST", "/", "12345678"),
            ("127.0.0.1", "POST", "/", "123456789"),
            ("127.0.0.1", "GET", "/", ""),
        ],
    },
    Case {
        name: "rewriting",
        annotations: &[("rewrite-target", "/$2")],
        paths: &[("/app(/|$)(.*)", "ImplementationSpecific")],
        http: "",
        server: "location ~* \"^/app(/|$)(.*)\" { rewrite \"(?i)/app(/|$)(.*)\" /$2 break; proxy_pass http://UPSTREAM; }\n\
                 location / { return 404; }",
        requests: &[
            ("127.0.0.1", "GET", "/app/a/b?c=d", ""),
            ("127.0.0.1", "GET", "/APP/a", ""),
            ("127.0.0.1", "GET", "/app", ""),
            ("127.0.0.1", "GET", "/apple", ""),
            ("127.0.0.1", "GET", "/app/../x", ""),
        ],
    },
    Case {
        name: "the slash at the end",
        annotations: &[],
        paths: &[("/shop/", "Prefix"), ("/only", "Exact")],
        http: "",
        server: "location /shop/ { proxy_pass http://UPSTREAM; }\nlocation = /only { proxy_pass http://UPSTREAM; }\n\
                 location / { return 404; }",
        requests: &[
            ("127.0.0.1", "GET", "/shop?a=b", ""),
            ("127.0.0.1", "GET", "/shop/", ""),
            ("127.0.0.1", "GET", "/shop/x", ""),
            ("127.0.0.1", "GET", "/shopping", ""),
            ("127.0.0.1", "GET", "/only", ""),
            ("127.0.0.1", "GET", "/only/x", ""),
        ],
    },
    Case {
        name: "redirects",
        annotations: &[("temporal-redirect", "https://new.example/there"), ("temporal-redirect-code", "307")],
        paths: &[("/", "Prefix")],
        http: "",
        server: "location / { return 307 https://new.example/there; }",
        requests: &[("127.0.0.1", "GET", "/a?b=c", ""), ("127.0.0.1", "POST", "/", "x")],
    },
    Case {
        name: "the root of the application",
        annotations: &[("app-root", "/app")],
        paths: &[("/", "Prefix")],
        http: "",
        server: "if ($uri = /) { return 302 $scheme://$http_host/app; }\nlocation / { proxy_pass http://UPSTREAM; }",
        requests: &[
            ("127.0.0.1", "GET", "/", ""),
            ("127.0.0.1", "GET", "/app", ""),
            ("127.0.0.1", "GET", "/x", ""),
        ],
    },
    Case {
        name: "an address or a password",
        annotations: &[
            ("satisfy", "any"),
            ("whitelist-source-range", "127.0.0.1/32"),
            ("auth-type", "basic"),
            ("auth-secret", "users"),
            ("auth-realm", "Staff"),
        ],
        paths: &[("/", "Prefix")],
        http: "",
        server: "location / { satisfy any; allow 127.0.0.1; deny all; auth_basic Staff; auth_basic_user_file USERS;\n\
                 proxy_pass http://UPSTREAM; }",
        requests: &[("127.0.0.1", "GET", "/a", ""), ("127.0.0.2", "GET", "/a", "")],
    },
    Case {
        name: "pages of errors",
        annotations: &[
            ("custom-http-errors", "404,403"),
            ("default-backend", "web"),
            ("denylist-source-range", "127.0.0.2"),
        ],
        paths: &[("/", "Prefix")],
        http: "",
        server: "location / { deny 127.0.0.2; proxy_intercept_errors on; error_page 404 403 = @pages; proxy_pass http://UPSTREAM; }\n\
                 location @pages { rewrite ^ / break; proxy_pass http://UPSTREAM; }",
        requests: &[
            ("127.0.0.1", "GET", "/missing", ""),
            ("127.0.0.1", "GET", "/broken", ""),
            ("127.0.0.1", "GET", "/there", ""),
            ("127.0.0.2", "GET", "/there", ""),
        ],
    },
    Case {
        name: "another host for the backend",
        annotations: &[("upstream-vhost", "inside.example")],
        paths: &[("/", "Prefix")],
        http: "",
        server: "location / { proxy_set_header Host inside.example; proxy_pass http://UPSTREAM; }",
        requests: &[("127.0.0.1", "GET", "/a", "")],
    },
];

/// What can be compared of one exchange.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    status: u16,
    location: Option<String>,
    /// Target and Host of what the upstream got.
    upstream: Option<(String, Option<String>)>,
}

fn ask(address: SocketAddr, upstream: &Upstream, request: (&str, &str, &str, &str)) -> Seen {
    let (source, method, target, body) = request;
    let before = upstream.count();
    let mut client = Client::connect_from(source.parse().expect("an address"), address);
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    client.send(format!("{method} {target} HTTP/1.1\r\nHost: {HOST}\r\n{length}\r\n{body}"));
    let answer: Answer = client.answer_to(method);
    let received = upstream.requests().into_iter().nth(before);
    Seen {
        status: answer.status,
        location: answer.fields.one("location").map(str::to_owned),
        upstream: received
            .map(|received| (received.target.clone(), received.fields.one("host").map(str::to_owned))),
    }
}

fn edge(case: &Case, upstream: SocketAddr) -> Edge {
    let annotations: Vec<String> = case
        .annotations
        .iter()
        .map(|(key, value)| format!("nginx.ingress.kubernetes.io/{key}: '{value}'"))
        .collect();
    let paths: Vec<String> = case
        .paths
        .iter()
        .map(|(path, sort)| {
            format!("{{path: '{path}', pathType: {sort}, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}")
        })
        .collect();
    let ingress = format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: web, namespace: shop, annotations: {{{}}}}}\n\
         spec: {{ingressClassName: nginx, rules: [{{http: {{paths: [{}]}}}}]}}\n",
        annotations.join(", "),
        paths.join(", ")
    );
    let class = settings("classes: [{name: nginx, http: ['127.0.0.1:0'], ingressNginx: {}}]");
    let users = format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: users, namespace: shop}}\nstringData: {{auth: '{USERS}'}}\n"
    );
    Edge::from_yaml(&format!("{class}{ingress}{users}{}", service("web", &[upstream])))
}

/// Answers 404 and 500 under two paths, and 200 under all others.
fn application() -> Upstream {
    Upstream::answering(|request| {
        let status = match request.target.as_str() {
            "/missing" => "404 Not Found",
            "/broken" => "500 Internal Server Error",
            _ => return tests::upstream::ok(request, "web"),
        };
        format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")
    })
}

#[test]
fn nginx_and_the_edge_answer_alike() {
    let mut differences = Vec::new();
    for case in CASES {
        let (behind_nginx, behind_edge) = (application(), application());
        let upstream = behind_nginx.address.to_string();
        let lines = [case.http, case.server].map(|lines| lines.replace("UPSTREAM", &upstream));
        let nginx = Nginx::start("", &lines[0], &lines[1], &[("USERS", USERS)]);
        let edge = edge(case, behind_edge.address);
        for request in case.requests {
            let there = ask(nginx.address, &behind_nginx, *request);
            let here = ask(edge.http(), &behind_edge, *request);
            if there != here {
                differences.push(format!("{}: {request:?}: nginx {there:?}, here {here:?}", case.name));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn every_key_goes_as_its_scenario_says() {
    let mut failures = Vec::new();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/moving_in.yaml");
    assert!(run(&file, &mut failures) >= 10);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// One key with its behaviour, its default, and a value that cannot be used.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct CoreKey {
    key: String,
    /// Other keys beside it.
    #[serde(default)]
    with: BTreeMap<String, String>,
    /// Of the controller's ConfigMap.
    config: Option<BTreeMap<String, String>>,
    #[serde(default = "web")]
    backends: Vec<String>,
    #[serde(default = "root")]
    path: String,
    #[serde(default = "prefix")]
    path_type: String,
    /// Whether the host has TLS.
    #[serde(default)]
    tls: bool,
    does: Shown,
    default: Shown,
    bad: Shown,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shown {
    value: Option<String>,
    #[serde(default)]
    problems: BTreeSet<String>,
    #[serde(default)]
    requests: Vec<Value>,
    /// `file::test`, where requests in the clear do not show it.
    shown: Option<String>,
}

fn web() -> Vec<String> {
    vec!["web".into()]
}

fn root() -> String {
    "/".into()
}

fn prefix() -> String {
    "Prefix".into()
}

impl CoreKey {
    fn run(&self, title: &str, shown: &Shown, failures: &mut Vec<String>) {
        let title = format!("{} {title}", self.key);
        match &shown.shown {
            Some(test) => failures.extend(missing(test).map(|failure| format!("{title}: {failure}"))),
            None if shown.requests.is_empty() => failures.push(format!("{title}: nothing shows it")),
            None => run_value(&title, self.scenario(&title, shown), failures),
        }
    }

    fn scenario(&self, title: &str, shown: &Shown) -> Value {
        let own = shown.value.as_ref().map(|value| (self.key.clone(), value.clone()));
        let keys = self.with.clone().into_iter().chain(own);
        let annotations: BTreeMap<String, String> =
            keys.map(|(key, value)| (format!("nginx.ingress.kubernetes.io/{key}"), value)).collect();
        let mut class =
            json!({"name": "nginx", "http": ["127.0.0.1:0"], "https": ["127.0.0.1:0"], "ingressNginx": {}});
        let mut objects = vec![
            json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web", "annotations": annotations},
                "spec": {
                    "ingressClassName": "nginx",
                    "tls": if self.tls { json!([{"hosts": ["shop.example"]}]) } else { json!([]) },
                    "rules": [{"host": "shop.example", "http": {"paths": [{
                        "path": self.path, "pathType": self.path_type, "backend": {"service": {"name": "web", "port": {"number": 80}}},
                    }]}}],
                },
            }),
            json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "users"}, "stringData": {"auth": USERS},
            }),
        ];
        if let Some(config) = &self.config {
            class["ingressNginx"] = json!({"configMap": "shop/controller"});
            objects.push(
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "controller"}, "data": config}),
            );
        }
        json!({
            "scenario": title, "settings": {"classes": [class]}, "backends": self.backends, "objects": objects,
            "requests": shown.requests, "problems": shown.problems,
        })
    }
}

/// Why a test that is named cannot be what shows something.
fn missing(test: &str) -> Option<String> {
    let (file, name) = test.split_once("::")?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(format!("{file}.rs"));
    let text = std::fs::read_to_string(path).unwrap_or_default();
    (!text.contains(&format!("#[test]\nfn {name}()"))).then(|| format!("there is no test {test}"))
}

/// `ada:secret` (`openssl passwd -apr1 -salt abcdefgh secret`).
const USERS: &str = "ada:$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/";

/// The keys that most clusters use, as the documentation of ingress-nginx 1.15 names them.
const CORE: &str = "affinity allowlist-source-range app-root auth-method auth-realm auth-response-headers auth-secret \
    auth-signin auth-snippet auth-tls-match-cn auth-tls-secret auth-tls-verify-client \
    auth-tls-verify-depth auth-type auth-url backend-protocol configuration-snippet custom-http-errors \
    denylist-source-range enable-global-auth force-ssl-redirect from-to-www-redirect limit-allowlist \
    limit-connections limit-rpm limit-rps proxy-body-size proxy-buffer-size proxy-buffering \
    proxy-connect-timeout proxy-read-timeout proxy-request-buffering proxy-send-timeout proxy-ssl-secret \
    proxy-ssl-verify rewrite-target satisfy server-snippet session-cookie-expires session-cookie-max-age \
    session-cookie-name ssl-passthrough ssl-redirect upstream-vhost use-regex";

#[test]
fn every_core_key_has_its_behaviour_its_default_and_a_bad_value() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/ingress_nginx/core_keys.yaml");
    let text = std::fs::read_to_string(file).expect("the table");
    let keys: Vec<CoreKey> = text
        .split("\n---\n")
        .map(|document| {
            serde_saphyr::from_str(document).unwrap_or_else(|error| panic!("{error} in\n{document}"))
        })
        .collect();
    let written: Vec<&str> = keys.iter().map(|key| key.key.as_str()).collect();
    let core: Vec<&str> = CORE.split_ascii_whitespace().collect();
    assert_eq!(core.len(), 45);
    assert_eq!(written, core, "each core key stands in the table once, in this order");
    let mut failures = Vec::new();
    for key in &keys {
        key.run("does", &key.does, &mut failures);
        key.run("by default", &key.default, &mut failures);
        key.run("with a bad value", &key.bad, &mut failures);
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// An edge for one Ingress of a class of ingress-nginx with these keys.
fn with_keys(keys: &'static [(&'static str, &'static str)], upstream: &Upstream) -> Edge {
    let case =
        Case { name: "", annotations: keys, paths: &[("/", "Prefix")], http: "", server: "", requests: &[] };
    edge(&case, upstream.address)
}

/// A second may pass between any two requests of a slow machine, so what is refused is waited for.
#[test]
fn requests_a_second_are_limited() {
    let upstream = Upstream::saying("web");
    let edge = with_keys(&[("limit-rps", "1")], &upstream);
    let passed = (0..10_000).take_while(|_| get(edge.http(), HOST, "/").status == 200).count();
    assert!((6..10_000).contains(&passed), "{passed} passed");
}

#[test]
fn connections_of_one_client_are_limited() {
    let upstream = Upstream::start(|connection| {
        while let Some(request) = connection.request() {
            if request.target == "/slow" {
                connection.request();
                return;
            }
            connection.send(tests::upstream::ok(&request, "web"));
        }
    });
    for (keys, status) in [(&[("limit-connections", "2")][..], 503), (&[], 200)] {
        let edge = with_keys(keys, &upstream);
        let before = upstream.count();
        let slow: Vec<Client> = (0..2)
            .map(|_| {
                let mut client = Client::connect(edge.http());
                client.send(format!("GET /slow HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
                client
            })
            .collect();
        eventually("both are under way", || upstream.count() == before + 2);
        assert_eq!(get(edge.http(), HOST, "/").status, status, "{keys:?}");
        let mut other = Client::connect_from("127.0.0.2".parse().expect("an address"), edge.http());
        assert_eq!(other.get(HOST, "/").status, 200);
        drop(slow);
        eventually("their places are given back", || get(edge.http(), HOST, "/").status == 200);
    }
}

#[test]
fn copies_of_requests_go_to_the_mirror() {
    let (web, copies) = (Upstream::saying("web"), Upstream::saying("copy"));
    for (more, target, host, body) in [
        ("", "/mirror/a?b=c", "mirror.shop.svc", "hello"),
        (
            ", nginx.ingress.kubernetes.io/mirror-host: other.example",
            "/mirror/a?b=c",
            "other.example",
            "hello",
        ),
        (", nginx.ingress.kubernetes.io/mirror-request-body: 'off'", "/mirror/a?b=c", "mirror.shop.svc", ""),
    ] {
        let ingress = format!(
            "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: web, namespace: shop, annotations: {{\
             nginx.ingress.kubernetes.io/mirror-target: 'http://mirror.shop.svc/mirror$request_uri'{more}}}}}\n\
             spec: {{ingressClassName: nginx, rules: [{{http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}]}}}}]}}\n"
        );
        let class = settings("classes: [{name: nginx, http: ['127.0.0.1:0'], ingressNginx: {}}]");
        let services = [service("web", &[web.address]), service("mirror", &[copies.address])].concat();
        let edge = Edge::from_yaml(&format!("{class}{ingress}{services}"));
        let before = copies.count();
        let mut client = Client::connect(edge.http());
        client.send(format!("POST /a?b=c HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\n\r\nhello"));
        assert_eq!(client.answer().text(), "web");
        eventually("the copy is there", || copies.count() > before);
        let copy = copies.requests().pop().expect("a copy");
        let seen = (copy.method.as_str(), copy.target.as_str(), copy.fields.one("host"), &*copy.body);
        assert_eq!(seen, ("POST", target, Some(host), body.as_bytes()), "{more}");
    }
}

#[test]
fn a_client_comes_back_to_the_endpoint_that_answered_it() {
    let endpoints: Vec<Upstream> = (0..4).map(|n| Upstream::saying(&n.to_string())).collect();
    let addresses: Vec<SocketAddr> = endpoints.iter().map(|upstream| upstream.address).collect();
    let yaml = |addresses: &[SocketAddr]| {
        format!(
            "{}---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: web, namespace: shop, annotations: {{\
             nginx.ingress.kubernetes.io/affinity: cookie}}}}\n\
             spec: {{ingressClassName: nginx, rules: [{{http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}]}}}}]}}\n{}",
            settings("classes: [{name: nginx, http: ['127.0.0.1:0'], ingressNginx: {}}]"),
            service("web", addresses)
        )
    };
    let mut edge = Edge::from_yaml(&yaml(&addresses));
    let ask = |edge: &Edge, cookie: &str| {
        let mut client = Client::connect(edge.http());
        let line = if cookie.is_empty() { String::new() } else { format!("Cookie: {cookie}\r\n") };
        client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{line}\r\n"));
        let answer = client.answer();
        let cookie =
            answer.fields.one("set-cookie").map(|text| text.split(';').next().unwrap_or_default().to_owned());
        (answer.text(), cookie)
    };
    let (first, cookie) = ask(&edge, "");
    let cookie = cookie.expect("a session");
    for _ in 0..20 {
        assert_eq!(ask(&edge, &cookie), (first.clone(), None), "a session that stands is not begun anew");
    }
    // Another replica knows the endpoint by the same token.
    let replica = Edge::from_yaml(&yaml(&addresses));
    assert_eq!(ask(&replica, &cookie), (first.clone(), None));
    let others: BTreeSet<String> = (0..20).map(|_| ask(&edge, "").0).collect();
    assert_eq!(others.len(), 4, "without a session they take turns");
    // When its endpoint is gone the client gets another one, and a session with that.
    let gone: usize = first.parse().expect("a number");
    let left: Vec<SocketAddr> =
        addresses.iter().enumerate().filter(|(n, _)| *n != gone).map(|(_, a)| *a).collect();
    edge.republish(&yaml(&left));
    eventually("the endpoint is gone", || ask(&edge, &cookie).0 != first);
    let (second, anew) = ask(&edge, &cookie);
    assert_eq!(ask(&edge, &anew.expect("a new session")), (second, None));
}

#[test]
fn a_session_of_a_rule_reaches_over_its_backends() {
    let (one, two) = (Upstream::saying("one"), Upstream::saying("two"));
    for (session, carrier) in
        [("{sessionName: place}", "Set-Cookie"), ("{sessionName: X-Place, type: Header}", "X-Place")]
    {
        let yaml = format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: shop}}\n\
             spec: {{gatewayClassName: vestibule, listeners: [{{name: http, port: 80, protocol: HTTP}}]}}\n\
             ---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: web, namespace: shop}}\n\
             spec: {{parentRefs: [{{name: edge}}], rules: [{{sessionPersistence: {session}, backendRefs: [{{name: one, port: 80}}, {{name: two, port: 80}}]}}]}}\n{}{}",
            service("one", &[one.address]),
            service("two", &[two.address])
        );
        let edge = Edge::from_yaml(&yaml);
        assert_eq!(edge.problems(), []);
        let ask = |line: &str| {
            let mut client = Client::connect(edge.address("shop/edge:80"));
            client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{line}\r\n"));
            client.answer()
        };
        let first = ask("");
        let said = first.fields.one(carrier).expect("a session").to_owned();
        let line = match carrier {
            "Set-Cookie" => format!("Cookie: {}\r\n", said.split(';').next().unwrap_or_default()),
            _ => format!("{carrier}: {said}\r\n"),
        };
        for _ in 0..20 {
            assert_eq!(ask(&line).text(), first.text());
        }
        let met: BTreeSet<String> = (0..60).map(|_| ask("").text()).collect();
        assert_eq!(met.len(), 2);
    }
}

#[test]
fn requests_with_the_same_text_go_to_the_same_endpoint() {
    let endpoints: Vec<Upstream> = (0..5).map(|n| Upstream::saying(&n.to_string())).collect();
    let addresses: Vec<SocketAddr> = endpoints.iter().map(|upstream| upstream.address).collect();
    let ask = |edge: &Edge, tenant: usize| {
        let mut client = Client::connect(edge.http());
        client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX-Tenant: {tenant}\r\n\r\n"));
        client.answer().text()
    };
    for (subset, of_one) in [("", 1), (", nginx.ingress.kubernetes.io/upstream-hash-by-subset: 'true'", 3)] {
        let yaml = format!(
            "{}---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: web, namespace: shop, annotations: {{\
             nginx.ingress.kubernetes.io/upstream-hash-by: $http_x_tenant{subset}}}}}\n\
             spec: {{ingressClassName: nginx, rules: [{{http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}]}}}}]}}\n{}",
            settings("classes: [{name: nginx, http: ['127.0.0.1:0'], ingressNginx: {}}]"),
            service("web", &addresses)
        );
        let (edge, replica) = (Edge::from_yaml(&yaml), Edge::from_yaml(&yaml));
        let met: BTreeSet<String> = (0..40).map(|_| ask(&edge, 7)).collect();
        assert_eq!(met.len(), of_one, "{subset}");
        assert!(met.contains(&ask(&replica, 7)), "every replica chooses alike");
        let all: BTreeSet<String> = (0..60).map(|tenant| ask(&edge, tenant)).collect();
        assert_eq!(all.len(), 5, "{subset}");
    }
}
