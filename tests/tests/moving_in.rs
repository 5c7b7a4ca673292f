//! Beside a real nginx, configured as ingress-nginx would for the same annotations: the same requests, the same answers.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tests::client::Client;
use tests::edge::Edge;
use tests::manifests::{service, settings};
use tests::message::Answer;
use tests::ports;
use tests::scenario::run;
use tests::upstream::Upstream;
use tests::wait::eventually;

const HOST: &str = "shop.example";

/// An nginx with one server, ended with the test.
struct Nginx {
    process: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Nginx {
    /// `http` and `server` are lines of these contexts; `UPSTREAM` in them is the upstream's address.
    fn start(http: &str, server: &str, upstream: SocketAddr) -> Nginx {
        let directory = tempfile::tempdir().expect("a directory");
        let address = ports::unused();
        let path = directory.path().display();
        let text = format!(
            "daemon off; master_process off; worker_processes 1; pid {path}/pid; error_log {path}/error.log;\nevents {{ worker_connections 64; }}\n\
             http {{\naccess_log off; server_tokens off; client_body_temp_path {path}/body; proxy_temp_path {path}/proxy;\n\
             fastcgi_temp_path {path}/f; uwsgi_temp_path {path}/u; scgi_temp_path {path}/s; absolute_redirect on; port_in_redirect off;\n\
             proxy_http_version 1.1; proxy_set_header Host $http_host; proxy_set_header Connection '';\n\
             {http}\nserver {{ listen {address}; server_name _; client_max_body_size 1m;\n{server}\n}} }}\n"
        );
        let file = directory.path().join("nginx.conf");
        std::fs::write(&file, text.replace("UPSTREAM", &upstream.to_string())).expect("a file");
        let process = Command::new("nginx")
            .args(["-p".as_ref(), directory.path().as_os_str(), "-c".as_ref(), file.as_os_str()])
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx: apt-get install nginx-light");
        eventually("nginx answers", || std::net::TcpStream::connect(address).is_ok());
        Nginx { process, address, _directory: directory }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One set of annotations, with what ingress-nginx makes of it.
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
    Edge::from_yaml(&format!("{class}{ingress}{}", service("web", &[upstream])))
}

#[test]
fn nginx_and_the_edge_answer_alike() {
    let mut differences = Vec::new();
    for case in CASES {
        let (behind_nginx, behind_edge) = (Upstream::saying("web"), Upstream::saying("web"));
        let nginx = Nginx::start(case.http, case.server, behind_nginx.address);
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
