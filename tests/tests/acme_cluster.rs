//! Certificates in a cluster: Secrets of a real API server, the binary in its two roles, a real CA (Pebble) and a real name
//! server (BIND). `tests/run cluster` brings all of them.

use std::net::UdpSocket;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use tests::acme::{World, site};
use tests::certificates::{Authority, ClientOptions};
use tests::client::Client;
use tests::cluster::{ControlPlane, eventually, run, script, workspace};
use tests::ports;
use tests::process::{Process, binary};
use tests::replicas::{Replica, introduce, own_address};

/// From object to served certificate, beyond what the CA and DNS take.
const OWN_TIME_MAX: Duration = Duration::from_secs(1);

#[test]
fn a_certificate_is_ordered_by_the_leader_stored_in_a_secret_and_served_by_every_edge() {
    let stage = Stage::start();
    let by_http = format!(
        "solvers:\n      - zones: [http.example.test]\n        provider: {{http01: {{port: {}}}}}\n",
        stage.world.http.port()
    );
    let settings = stage.settings("").replace("solvers:\n", &by_http);
    let mut control = stage.serve("control", &settings);
    let edges = [stage.serve("edge", &settings), stage.serve("edge", &settings)];
    eventually("control leads", || leads(&control));

    let is_served_by_all = |host: &str| edges.iter().all(|edge| stage.is_served(edge, host));
    let lines = || stage.world.ca_lines();
    let own_time = |name: &str, host: &str| {
        let before = lines().len();
        let begun = Instant::now();
        stage.create_site(name, host);
        eventually("the CA is asked", || lines().len() > before);
        let asked = begun.elapsed();
        eventually("the CA hands the certificate out", || {
            lines()[before..].iter().any(|line| line.contains("/certZ/"))
        });
        let issued = Instant::now();
        eventually("both edges serve it", || is_served_by_all(host));
        asked + issued.elapsed()
    };
    let mut times = vec![own_time("site", "www.example.test")];
    // What else runs on this machine only ever adds: the quickest of three counts.
    while times.iter().all(|time| *time >= OWN_TIME_MAX) {
        let number = times.len();
        assert!(number < 3, "from object to served on both replicas: {times:?} beside the CA and DNS");
        times.push(own_time(&format!("site{number}"), &format!("www{number}.example.test")));
    }
    tests::tell(format_args!("from object to served on both replicas: {times:?} beside the CA and DNS"));
    let ordered = times.len();

    assert_eq!(stage.read("secret/site-tls", "shop", "{.type}"), "kubernetes.io/tls");
    assert_eq!(
        stage.read("secret/site-tls", "shop", r"{.metadata.labels.vestibule\.dev/certificate}"),
        "managed"
    );
    assert_eq!(
        stage.read("secret/site-tls", "shop", r"{.metadata.annotations.vestibule\.dev/issuer}"),
        "pebble"
    );
    assert!(edges.iter().all(|edge| !leads(edge)), "an edge orders nothing");
    assert_eq!(stage.world.orders(), ordered, "{:#?}", stage.world.ca_lines());

    // The CA's questions reach one edge or the other.
    stage.create_site("by-http", "x.http.example.test");
    eventually("both edges serve it", || is_served_by_all("x.http.example.test"));
    assert_eq!(stage.world.orders(), ordered + 1, "{:#?}", stage.world.ca_lines());

    // A cluster that is built anew from an export orders nothing.
    eventually("the proof is gone", || stage.world.dig("_acme-challenge.www.example.test", "TXT").is_empty());
    control.stop();
    let export = stage.command(&["export"], "");
    assert!(export.contains("shop"), "{export}");
    stage.cluster.kubectl(&["delete", "secrets", "--all", "--namespace=shop"]);
    stage.cluster.kubectl(&["delete", "secrets", "--all", "--namespace=vestibule"]);
    eventually("the certificate is gone", || !is_served_by_all("www.example.test"));
    let imported = stage.command(&["import"], &export);
    assert!(imported.contains("imported shop/site-tls"), "{imported}");
    eventually("both serve it again", || is_served_by_all("www.example.test"));
    let control = stage.serve("control", &settings);
    eventually("control leads again", || leads(&control));
    eventually("it has looked", || {
        control.ask("/certificates").text().matches("notAfter").count() == ordered + 1
    });
    assert_eq!(stage.world.orders(), ordered + 1);
}

#[test]
fn a_leader_that_hangs_or_dies_leaves_its_order_to_the_next() {
    let stage = Stage::start();
    // A name server that never answers holds an order up before the CA is told to look.
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let stuck =
        format!("propagation: {{servers: ['{}'], timeout: 120s", silent.local_addr().expect("an address"));
    let good = format!("propagation: {{servers: ['{}'], timeout: 10s", stage.world.dns);
    // Two issuers at the same CA, so that either replica can be the one that hangs.
    let two = |first: &str, second: &str| {
        let one = stage.settings("");
        let (head, issuer) = one.split_once("  - name: pebble\n").expect("an issuer");
        let other = issuer.replace("default: true", "default: false").replace(&good, second);
        format!("{head}  - name: pebble\n{}  - name: second\n{other}", issuer.replace(&good, first))
    };
    let first = stage.serve("control", &two(&stuck, &good));
    eventually("the first leads", || leads(&first));
    let second = stage.serve("control", &two(&good, &stuck));
    let edge = stage.serve("edge", &two(&good, &good));

    stage.create_site("one", "one.example.test");
    eventually("the proof is written", || {
        !stage.world.dig("_acme-challenge.one.example.test", "TXT").is_empty()
    });
    first.signal(Signal::STOP);
    eventually("the second goes on with it", || stage.is_served(&edge, "one.example.test"));
    first.signal(Signal::CONT);
    eventually("the first has noticed", || !leads(&first));
    assert!(leads(&second));
    assert_eq!(stage.world.orders(), 1, "{:#?}", stage.world.ca_lines());

    let annotated = site("two", "two.example.test", "vestibule.dev/issuer: second");
    stage.cluster.apply(&annotated);
    eventually("the proof is written", || {
        !stage.world.dig("_acme-challenge.two.example.test", "TXT").is_empty()
    });
    second.signal(Signal::KILL);
    eventually("the first goes on with it", || stage.is_served(&edge, "two.example.test"));
    assert_eq!(stage.world.orders(), 2, "{:#?}", stage.world.ca_lines());
    eventually("the proofs are gone", || {
        let is_gone =
            |name: &str| stage.world.dig(&format!("_acme-challenge.{name}.example.test"), "TXT").is_empty();
        is_gone("one") && is_gone("two")
    });
}

#[test]
fn secrets_of_others_are_left_alone_and_what_cert_manager_left_behind_is_renewed_when_due() {
    let stage = Stage::with_rights(&["--set=certificates.namespaces={shop}"]);
    stage.cluster.apply(CERT_MANAGER);
    stage.cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]);
    stage.cluster.apply(&certificate_object("managed"));
    let asks = "vestibule.dev/issuer: pebble";
    let sites =
        ["foreign", "fresh", "due", "managed"].map(|name| site(name, &format!("{name}.example.test"), asks));
    let authority = Authority::default();
    stage.create_tls("foreign", &authority, json!({"labels": {"app": "shop"}}), (1, 30));
    for (name, days) in [("fresh", (1, 89)), ("due", (80, 10)), ("managed", (80, 10))] {
        let made_by = json!({"annotations": {"cert-manager.io/certificate-name": name}});
        stage.create_tls(name, &authority, made_by, days);
    }
    let version =
        |name: &str| stage.read(&format!("secret/{name}-tls"), "shop", "{.metadata.resourceVersion}");
    let before = ["foreign", "fresh", "managed"].map(version);
    let control = stage.serve("control", &stage.settings(""));
    stage.cluster.apply(&sites.join("---\n"));
    stage.cluster.kubectl(&["create", "namespace", "other"]);
    let elsewhere = site("elsewhere", "elsewhere.example.test", asks);
    stage.cluster.apply(&elsewhere.replace("namespace: shop", "namespace: other"));

    let owner = |name: &str| {
        stage.read(&format!("secret/{name}-tls"), "shop", r"{.metadata.labels.vestibule\.dev/certificate}")
    };
    eventually("what is due is renewed and taken over", || owner("due") == "managed");
    let of_reason = r#"{.items[?(@.reason=="SecretNotOurs")].involvedObject.name}"#;
    eventually("what is not ours is told on its object", || {
        stage.read("events", "shop", of_reason) == "foreign"
    });
    eventually("what cert-manager still manages is told, too", || {
        control.ask("/problems").text().contains("shop/managed-tls (SecretNotOurs)")
    });
    eventually("where it may not write, it does not order", || {
        let problems = control.ask("/problems").text();
        problems.contains("other/elsewhere-tls (StoreUnavailable)") && problems.contains("forbids it")
    });
    assert_eq!(stage.world.orders(), 1, "nothing else is ordered: {:#?}", stage.world.ca_lines());
    let list = control.ask("/certificates").text();
    assert!(list.contains("fresh-tls") && !list.contains("foreign-tls"), "{list}");
    assert_eq!(["foreign", "fresh", "managed"].map(version), before);

    stage.cluster.kubectl(&["delete", "certificates.cert-manager.io", "managed", "--namespace=shop"]);
    eventually("it is taken over once cert-manager is done with it", || owner("managed") == "managed");
    assert_eq!(stage.world.orders(), 2);
}

#[test]
fn listeners_of_gateways_and_sets_and_one_wildcard_for_all_namespaces() {
    let stage = Stage::start();
    stage.cluster.install_gateway_api();
    stage.cluster.kubectl(&["create", "namespace", "team"]);
    let port = ports::unused().port();
    stage.cluster.apply(&gateway(port));
    let settings = format!(
        "{}gateways: [{{gateway: '*', addresses: [127.0.0.1]}}]\n",
        stage.settings("wildcards: ['*.wild.example.test']")
    );
    let control = stage.serve("control", &settings);
    let edge = stage.serve("edge", &settings);
    eventually("control leads", || leads(&control));
    // Without a Lease nobody could order once.
    let alone = stage.serve("control", &format!("{settings}cluster: {{status: off}}\n"));
    assert!(alone.ask("/problems").text().contains("cluster.status is off"));
    drop(alone);
    let at = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    eventually("the listener of the Gateway", || stage.is_shown(at, "gateway.example.test"));
    eventually("the listener of the ListenerSet", || stage.is_shown(at, "set.example.test"));
    assert_eq!(stage.read("secret/gateway-tls", "shop", "{.type}"), "kubernetes.io/tls");
    assert_eq!(stage.read("secret/set-tls", "team", "{.type}"), "kubernetes.io/tls");
    assert_eq!(stage.world.orders(), 2, "no route serves the third: {:#?}", stage.world.ca_lines());

    stage.create_site("a", "a.wild.example.test");
    let in_team = site("b", "b.wild.example.test", "").replace("namespace: shop", "namespace: team");
    stage.cluster.apply(&in_team);
    for host in ["a.wild.example.test", "b.wild.example.test"] {
        eventually(host, || stage.is_served(&edge, host));
    }
    assert_eq!(stage.world.orders(), 3);
    assert_eq!(stage.read("secrets", "shop", "{.items[*].metadata.name}"), "gateway-tls");
    assert_eq!(stage.read("secrets", "team", "{.items[*].metadata.name}"), "set-tls");
}

#[test]
fn the_first_proof_by_http_waits_for_the_replicas_and_no_longer() {
    let stage = Stage::start();
    let keys = "apiVersion: v1\nkind: Secret\nmetadata: {name: edge-replicas, namespace: vestibule}\n";
    stage.cluster.apply(keys);
    let provider = format!("http01: {{port: {}}}", stage.world.http.port());
    let settings = format!(
        "{}replicas: {{listen: '{}', service: vestibule/replicas, secret: edge-replicas}}\n",
        stage.world.settings(&provider, "timeout: 10s", ""),
        std::net::SocketAddr::new(own_address(), 0)
    );
    let start = |role: &str| {
        let process = stage.serve(role, &settings);
        let address = process.address("other replicas");
        Replica { process, address }
    };
    let (control, edges) = (start("control"), [start("edge"), start("edge")]);
    introduce(&stage.cluster, &[&control, &edges[0], &edges[1]]);
    eventually("all three are asked", || {
        control.process.metric("vestibule_replicas ") == Some(3.0)
            && control.process.metric("vestibule_replicas_silent ") == Some(0.0)
    });
    let lines = || stage.world.ca_lines();
    let published = ["secret", "vestibule-acme-http01", "--namespace=vestibule", "--ignore-not-found"];
    let mut times = Vec::new();
    for number in 0..3 {
        // The first proof of an account: nobody answers for it yet.
        stage.cluster.kubectl(&[&["delete"], &published[..]].concat());
        let (name, host) = (format!("site{number}"), format!("www{number}.http.example.test"));
        let before = lines().len();
        stage.create_site(&name, &host);
        let says = |word: &str| lines()[before..].iter().any(|line| line.contains(word));
        eventually("the CA says what it wants", || says("/authZ/"));
        let begun = Instant::now();
        eventually("the CA is told to ask", || says("/chalZ/"));
        times.push(begun.elapsed());
        eventually("both edges serve it", || edges.iter().all(|edge| stage.is_served(&edge.process, &host)));
        if times[number] < OWN_TIME_MAX {
            break;
        }
    }
    tests::tell(format_args!("from what the CA wants to every replica's answer: {times:?}"));
    // What else runs on this machine only ever adds: the quickest counts.
    assert!(times.iter().any(|time| *time < OWN_TIME_MAX), "{times:?}");
}

#[test]
fn credentials_accounts_and_orders_stand_where_only_control_may_read() {
    let in_secret = "--set=settings.issuers[0].solvers[0].provider.rfc2136.key.secretRef.name=tsig";
    let stage = Stage::with_rights(&[in_secret, "--set=rbac.namespaces={shop}"]);
    let key = std::fs::read_to_string(stage.world.path("tsig.secret")).expect("the key");
    stage.cluster.apply(
        &json!({
            "apiVersion": "v1", "kind": "Secret", "stringData": {"key": key},
            "metadata": {"name": "tsig", "namespace": "vestibule-private"},
        })
        .to_string(),
    );
    let listed = "cluster: {namespaces: [shop, vestibule]}\n";
    let accounts = |namespace: &str, field: &str| {
        let options = ["--namespace", namespace, "--selector=vestibule.dev/acme=account"];
        stage.cluster.read_with("secrets", field, &options)
    };

    // As it was before there was such a namespace, with the key in a file.
    let mut before = stage.serve("control", &format!("{}{listed}", stage.settings("")));
    stage.create_site("old", "old.example.test");
    eventually("it is stored", || stage.read("secret/old-tls", "shop", "{.type}") == "kubernetes.io/tls");
    before.stop();
    let account = accounts("vestibule", "{.items[*].data.account}");
    assert!(!account.is_empty());

    let file = format!("file: {}", stage.world.path("tsig.secret").display());
    let private = stage
        .settings("")
        .replace(&file, "secretRef: {name: tsig, key: key}")
        .replace("certificates: {", "certificates: {privateNamespace: vestibule-private, ");
    let settings = format!("{private}{listed}");
    let control = stage.serve("control", &settings);
    let edge = stage.serve("edge", &settings);
    stage.create_site("new", "new.example.test");
    eventually("the edge serves it", || stage.is_served(&edge, "new.example.test"));
    assert!(stage.is_served(&edge, "old.example.test"));
    eventually("the old order is looked after, too", || {
        control.ask("/certificates").text().matches("notAfter").count() == 2
    });
    assert_eq!(stage.world.orders(), 2, "{:#?}", stage.world.ca_lines());
    assert_eq!(accounts("vestibule-private", "{.items[*].data.account}"), account, "it has moved");
    let left = stage.cluster.read_with(
        "secrets",
        "{.items[*].metadata.name}",
        &["--namespace=vestibule", "--selector=vestibule.dev/acme in (account, state)"],
    );
    assert_eq!(left, "", "nothing of it is left beside the certificates");

    let read = |role: &str, namespace: &str, what: &str| {
        let mut kubectl = Command::new("kubectl");
        kubectl.arg("--kubeconfig").arg(stage.cluster.kubeconfig(&service_account(role)));
        kubectl.args(["get", what, "--namespace", namespace, "--output=jsonpath={.data.key}"]);
        kubectl.output().expect("kubectl runs")
    };
    let own = read("control", "vestibule-private", "secret/tsig");
    assert!(own.status.success() && !own.stdout.is_empty(), "{own:?}");
    for what in ["secret/tsig", "secrets"] {
        let refused = read("edge", "vestibule-private", what);
        let words = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && words.contains("Forbidden"), "{words}");
    }
    assert!(read("edge", "vestibule", "secrets").status.success());
    assert!(!edge.ask("/problems").text().contains("CredentialsReadable"));

    // A right for the whole cluster has no exceptions: it is refused, or accepted and told.
    let refused = chart(&[in_secret]);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && words.contains("certificates.readableByEdges"), "{words}");
    let accepted = [in_secret, "--set=certificates.readableByEdges=true"];
    stage.cluster.apply(&rights(&accepted));
    let reads_all = stage.serve("edge", &private);
    eventually("the edge tells of it", || {
        let problems = reads_all.ask("/problems").text();
        problems.contains("CredentialsReadable") && problems.contains("vestibule-private/tsig")
    });
}

/// An API server, a CA and a name server; and a user for each role, with the rights that the chart grants it.
struct Stage {
    cluster: ControlPlane,
    world: World,
    /// Of the CA, in PEM.
    authorities: String,
    /// How many were started.
    edges: AtomicUsize,
}

impl Stage {
    fn start() -> Stage {
        Stage::with_rights(&[])
    }

    /// The same with further values of the chart.
    fn with_rights(values: &[&str]) -> Stage {
        let cluster = ControlPlane::start();
        for namespace in ["vestibule", "shop"] {
            cluster.kubectl(&["create", "namespace", namespace]);
        }
        cluster.apply(&rights(values));
        for role in ["edge", "control"] {
            let mut kubeconfig = script("control-plane");
            kubeconfig.env("NAMESPACE", "vestibule").arg("kubeconfig").arg(&cluster.directory);
            run(kubeconfig.args([&service_account(role), "system:serviceaccounts"]));
        }
        let world = World::start();
        let authorities = world.authorities();
        Stage { cluster, world, authorities, edges: AtomicUsize::new(0) }
    }

    fn settings(&self, more: &str) -> String {
        self.world.settings(&self.world.rfc2136(), "timeout: 10s", more)
    }

    fn serve(&self, role: &str, settings: &str) -> Process {
        let file = self.cluster.directory.join(format!("vestibule-{}.yaml", ports::unused().port()));
        std::fs::write(&file, settings).expect("the settings are written");
        let mut command = Command::new(binary());
        command.args(["serve", "--role", role, "--workers", "1", "--access-log", "off"]);
        command.args(["--http", "127.0.0.1:0", "--https", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        if role == "edge" {
            let which = self.edges.fetch_add(1, Ordering::Relaxed);
            command.arg("--http").arg(self.world.http_of_two()[which].to_string());
        }
        command
            .arg("--settings")
            .arg(file)
            .arg("--kubeconfig")
            .arg(self.cluster.kubeconfig(&service_account(role)));
        let process = Process::start(&mut command);
        process.wait_until_ready();
        process
    }

    /// Makes the Ingress by one request, which takes no longer than it has to.
    fn create_site(&self, name: &str, host: &str) {
        let file = self.world.path("site.yaml");
        std::fs::write(&file, site(name, host, "vestibule.dev/issuer: pebble")).expect("written");
        let server = self.read_config("{.clusters[0].cluster.server}");
        let pki = self.cluster.directory.join("pki");
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--header", "Content-Type: application/yaml"]);
        curl.arg("--cacert").arg(pki.join("ca.crt")).arg("--cert").arg(pki.join("admin.crt"));
        curl.arg("--key").arg(pki.join("admin.key"));
        curl.arg("--data-binary").arg(format!("@{}", file.display()));
        run(curl.arg(format!("{server}/apis/networking.k8s.io/v1/namespaces/shop/ingresses")));
    }

    fn read_config(&self, field: &str) -> String {
        let output = format!("--output=jsonpath={field}");
        let answer = self.cluster.command(&["config", "view", &output]).output().expect("kubectl runs");
        String::from_utf8(answer.stdout).expect("UTF-8")
    }

    fn read(&self, object: &str, namespace: &str, field: &str) -> String {
        self.cluster.read_with(object, field, &["--namespace", namespace])
    }

    /// A Secret with a certificate that began and ends so many days ago and from now.
    fn create_tls(&self, name: &str, authority: &Authority, metadata: Value, days: (i64, i64)) {
        let pair = authority.issue_for(&[&format!("{name}.example.test")], days);
        self.cluster.apply(&pair.to_secret("shop", &format!("{name}-tls"), metadata));
    }

    /// True when the edge shows a certificate of the CA for this host.
    fn is_served(&self, edge: &Process, host: &str) -> bool {
        self.is_shown(edge.https(), host)
    }

    fn is_shown(&self, address: std::net::SocketAddr, host: &str) -> bool {
        // A new one each time: a session that is resumed would show no certificate.
        let config = ClientOptions::trusting(&self.authorities).build();
        Client::connect_tls(address, &config, host, b"").is_ok()
    }

    /// Runs `vestibule certificates` with the rights of control.
    fn command(&self, arguments: &[&str], input: &str) -> String {
        let mut command = Command::new(binary());
        command.arg("certificates").args(arguments);
        command.arg("--kubeconfig").arg(self.cluster.kubeconfig(&service_account("control")));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        use std::io::Write as _;
        child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("written");
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}

/// The rights that the chart grants where there are issuers.
fn rights(values: &[&str]) -> String {
    let output = chart(values);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn chart(values: &[&str]) -> Output {
    let mut helm = Command::new("helm");
    helm.args([
        "template",
        "edge",
        "charts/vestibule",
        "--namespace=vestibule",
        "--kube-version=1.34",
        "--show-only=templates/rbac.yaml",
    ]);
    helm.args(["--set=lease=vestibule,gatewayClass=vestibule,settings.issuers[0].name=pebble"]);
    helm.args(values);
    helm.current_dir(workspace()).output().expect("helm is missing: tests/run cluster installs it")
}

fn service_account(role: &str) -> String {
    format!("system:serviceaccount:vestibule:edge-{role}")
}

fn leads(process: &Process) -> bool {
    process.ask("/certificates").status == 200
}

/// A Gateway with a listener that a route serves and one that none does, a ListenerSet, and the routes.
fn gateway(port: u16) -> String {
    let listener = |name: &str| {
        format!(
            "{{name: {name}, protocol: HTTPS, port: {port}, hostname: {name}.example.test, \
             tls: {{certificateRefs: [{{name: {name}-tls}}]}}}}"
        )
    };
    let route = |name: &str, namespace: &str, parent: &str| {
        format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             spec: {{hostnames: [{name}.example.test], parentRefs: [{{{parent}}}], rules: [{{backendRefs: [{{name: web, port: 80}}]}}]}}\n"
        )
    };
    [
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: vestibule}\n\
         spec: {controllerName: vestibule.dev/gateway-controller}\n"
            .to_owned(),
        format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: shop}}\n\
             spec: {{gatewayClassName: vestibule, allowedListeners: {{namespaces: {{from: All}}}}, listeners: [{}, {}]}}\n",
            listener("gateway"),
            listener("unserved")
        ),
        format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: ListenerSet\nmetadata: {{name: more, namespace: team}}\n\
             spec: {{parentRef: {{name: edge, namespace: shop}}, listeners: [{}]}}\n",
            listener("set")
        ),
        route("gateway", "shop", "name: edge"),
        route("set", "team", "group: gateway.networking.k8s.io, kind: ListenerSet, name: more"),
    ]
    .concat()
}

/// As much of cert-manager as says whether it still looks after a certificate.
const CERT_MANAGER: &str = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
    metadata: {name: certificates.cert-manager.io}\nspec:\n  group: cert-manager.io\n  scope: Namespaced\n  \
    names: {kind: Certificate, plural: certificates}\n  versions:\n  - name: v1\n    served: true\n    storage: true\n    \
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}\n";

fn certificate_object(name: &str) -> String {
    format!(
        "apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec: {{secretName: {name}-tls}}\n"
    )
}
