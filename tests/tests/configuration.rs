//! What a running process makes of changes to its manifests and settings.

use tests::certificates::Authority;
use tests::client::{self, Client};
use tests::manifests;
use tests::process::{self, Files, Process, binary};
use tests::upstream::{Upstream, nobody};
use tests::wait::eventually;

/// An Ingress for one host.
fn host(name: &str, annotations: &str) -> String {
    manifests::ingress(annotations).replacen("name: web", &format!("name: {name}"), 1).replacen(
        "- http:",
        &format!("- host: {name}.example\n    http:"),
        1,
    )
}

fn status(process: &Process, host: &str) -> u16 {
    client::get(process.http(), host, "/").status
}

#[test]
fn routes_come_and_go_with_their_files() {
    let upstream = Upstream::saying("hello");
    let files = Files::with("service.yaml", &manifests::service("web", &[upstream.address]));
    let process = Process::serve(&files);
    assert_eq!(status(&process, "a.example"), 404);
    files.write("a.yaml", &host("a", ""));
    eventually("the route is there", || status(&process, "a.example") == 200);
    files.remove("a.yaml");
    eventually("the route is gone", || status(&process, "a.example") == 404);
}

#[test]
fn a_file_that_breaks_keeps_its_last_objects_and_the_others_go_on() {
    let upstream = Upstream::saying("hello");
    let files = Files::with("service.yaml", &manifests::service("web", &[upstream.address]));
    files.write("a.yaml", &host("a", ""));
    let process = Process::serve(&files);
    assert_eq!(status(&process, "a.example"), 200);

    files.write("a.yaml", &format!("{}  broken: [\n", host("a", "")));
    files.write("b.yaml", &host("b", ""));
    eventually("the other file is taken up", || status(&process, "b.example") == 200);
    assert_eq!(status(&process, "a.example"), 200, "what the file held before stays");
    let line = process.err().wait_for(&["Unparsable", "a.yaml:"]);
    assert!(line.contains("what the file held before stays in use"), "{line}");
    let problems: serde_json::Value = serde_json::from_slice(&process.ask("/problems").body).expect("JSON");
    let [problem] = problems.as_array().expect("a list").as_slice() else { panic!("{problems}") };
    let lines = host("a", "").lines().count() + 1;
    let place = problem["place"].as_str().expect("a place");
    assert!(place.ends_with(&format!("a.yaml:{lines}")), "{place} and not line {lines}");

    files.write("a.yaml", &host("a", "proxy-body-size: 1k"));
    eventually("the problem is mended", || process.ask("/problems").text().trim() == "[]");
    process.err().wait_for(&["1 problems are mended"]);
}

#[test]
fn a_bad_access_rule_refuses_at_once_and_the_last_good_one_is_not_kept() {
    let upstream = Upstream::saying("hello");
    let files = Files::with("service.yaml", &manifests::service("web", &[upstream.address]));
    files.write("a.yaml", &host("a", "allow-from: 127.0.0.0/8"));
    files.write("b.yaml", &host("b", ""));
    let process = Process::serve(&files);
    assert_eq!(status(&process, "a.example"), 200);

    files.write("a.yaml", &host("a", "allow-from: 127.0.0.0/8, 10.0.0.0/33"));
    eventually("the route refuses", || status(&process, "a.example") == 503);
    assert_eq!(status(&process, "b.example"), 200);
    let answer = client::get(process.http(), "a.example", "/");
    assert!(answer.text().contains("reason: refused"), "{}", answer.text());
    process.err().wait_for(&["ERROR", "10.0.0.0/33", "a.yaml:"]);

    files.write("a.yaml", &host("a", "allow-from: 127.0.0.0/8"));
    eventually("the mended rule is in force", || status(&process, "a.example") == 200);
}

#[test]
fn settings_are_taken_up_while_it_runs_and_bad_ones_are_not() {
    let upstream = Upstream::saying("hello");
    let files = Files::with("service.yaml", &manifests::service("web", &[upstream.address]));
    files.write("a.yaml", &host("a", ""));
    files.write_settings("contact: Ask anna@example.com\n");
    let process = Process::serve(&files);
    let page = || client::get(process.http(), "nobody.example", "/").text();
    assert!(page().contains("anna@example.com"), "{}", page());

    files.write_settings("contact: Ask bert@example.com\n");
    eventually("the new contact is named", || page().contains("bert@example.com"));

    files.write_settings("contact: Ask carl@example.com\nworker: 3\n");
    process.err().wait_for(&["the settings stay as they were", "unknown key `worker`"]);
    eventually("the fault is a problem", || process.ask("/problems").text().contains("InvalidSettings"));
    assert!(page().contains("bert@example.com"), "{}", page());

    files.write_settings("contact: Ask carl@example.com\nworkers: 3\n");
    eventually("the mended file is in force", || page().contains("carl@example.com"));
    process.err().wait_for(&["the new value of workers takes effect when the process is restarted"]);
    eventually("the problem is gone", || process.ask("/problems").text().trim() == "[]");
}

#[test]
fn tls_1_2_can_be_refused() {
    let authority = Authority::default();
    let pair = authority.issue(&["a.example"]);
    let files = Files::with("secret.yaml", &manifests::tls_secret("a", &pair.certificate, &pair.key));
    let tls = "  tls: [{hosts: [a.example], secretName: a}]\n  rules:\n";
    files.write("a.yaml", &host("a", "").replacen("  rules:\n", tls, 1));
    files.write_settings("tls: {minVersion: '1.2'}\n");
    let process = Process::serve(&files);
    let speaks = |version| {
        let config = authority.client().version(version).build();
        Client::connect_tls(process.https(), &config, "a.example", b"").is_ok()
    };
    assert!(speaks(&rustls::version::TLS12) && speaks(&rustls::version::TLS13));
    files.write_settings("tls: {minVersion: '1.3'}\n");
    eventually("TLS 1.2 is refused", || !speaks(&rustls::version::TLS12));
    assert!(speaks(&rustls::version::TLS13));
}

#[test]
fn the_default_certificate_is_taken_up_while_it_runs() {
    let upstream = Upstream::saying("hello");
    let files = Files::with("web.yaml", &manifests::site("", upstream.address));
    let (one, two) = (Authority::new("one"), Authority::new("two"));
    let put = |authority: &Authority| {
        let pair = authority.issue(&["a.example"]);
        std::fs::write(files.settings().with_file_name("chain.pem"), pair.certificate)
            .expect("room for a file");
        std::fs::write(files.settings().with_file_name("key.pem"), pair.key).expect("room for a file");
    };
    let pem = "tls: {defaultCertificate: {pem: {certificate: {file: chain.pem}, key: {file: key.pem}}}}\n";
    put(&one);
    files.write_settings(pem);
    let process = Process::serve(&files);
    let shows = |authority: &Authority| {
        Client::connect_tls(process.https(), &authority.client().build(), "a.example", b"").is_ok()
    };
    assert!(shows(&one) && !shows(&two));
    put(&two);
    files.write_settings(&format!("# again\n{pem}"));
    eventually("the new certificate is shown", || shows(&two));

    std::fs::remove_file(files.settings().with_file_name("key.pem")).expect("a file");
    files.write_settings(&format!("contact: Ask anna@example.com\n{pem}"));
    process.err().wait_for(&["the settings stay as they were", "key.pem"]);
    assert!(shows(&two), "the last good one stays");
    files.write_settings("tls: {defaultCertificate: refuse}\n");
    eventually("unknown names are refused", || !shows(&two));
    assert_eq!(status(&process, "a.example"), 200);
}

#[test]
fn listeners_open_and_close_while_it_runs() {
    let upstream = Upstream::saying("hello");
    let files = Files::with("service.yaml", &manifests::service("web", &[upstream.address]));
    let process = Process::serve(&files);
    let port = nobody().port();
    let gateway = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: own, namespace: shop}}\n\
         spec:\n  gatewayClassName: vestibule\n  listeners: [{{name: http, port: {port}, protocol: HTTP}}]\n---\n\
         apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: own, namespace: shop}}\n\
         spec:\n  parentRefs: [{{name: own}}]\n  rules: [{{backendRefs: [{{name: web, port: 80}}]}}]\n"
    );
    files.write("gateway.yaml", &gateway);
    assert_eq!(process.address("Gateway shop/own").port(), port);
    let address = ([127, 0, 0, 1], port).into();
    assert_eq!(client::get(address, "any.example", "/").text(), "hello");
    files.remove("gateway.yaml");
    eventually("the socket is closed", || std::net::TcpStream::connect(address).is_err());
}

#[test]
fn an_address_in_use_is_a_problem_once_it_runs() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("an address").port();
    let files = Files::default();
    let process = Process::serve(&files);
    files.write(
        "gateway.yaml",
        &format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: own, namespace: shop}}\n\
             spec:\n  gatewayClassName: vestibule\n  listeners: [{{name: http, port: {port}, protocol: HTTP}}]\n"
        ),
    );
    eventually("the clash is a problem", || process.ask("/problems").text().contains("PortUnavailable"));
    assert_eq!(status(&process, "a.example"), 404, "the other listeners go on");
}

#[test]
fn it_is_ready_only_when_everything_is_served() {
    let upstream = Upstream::saying("hello");
    let files = Files::with("service.yaml", &manifests::service("web", &[upstream.address]));
    let many: String = (0..300).map(|index| host(&format!("h{index}"), "")).collect();
    files.write("many.yaml", &many);
    let process = Process::start(&mut process::command(binary(), &files));
    let admin = process.admin();
    eventually("it is ready", || {
        let ready = client::get(admin, "admin", "/readyz").status;
        assert!([200, 503].contains(&ready), "{ready}");
        assert_eq!(client::get(admin, "admin", "/livez").status, 200, "it is alive before it is ready");
        ready == 200
    });
    // The first request after that is served, on every listener.
    assert_eq!(status(&process, "h299.example"), 200);
    assert!(process.https().port() > 0);
}
