//! Certificates by ACME, end to end: the binary, a real CA (Pebble) and a real name server (BIND). `tests/run acme` brings
//! both.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::Signal;
use tests::acme::serving::{is_served, rule, start, state, wait_for_failure, wait_until_served};
use tests::acme::{World, site, stored};
use tests::certificates::ClientOptions;
use tests::client::Client;
use tests::process::{Process, run};
use tests::upstream::Upstream;
use tests::wait::{eventually, eventually_some};

#[test]
fn a_name_is_proved_issued_served_and_cleaned_up_after() {
    let (world, backend) = (World::start(), backend());
    let (files, mut process) =
        start(&world, &world.rfc2136(), "timeout: 10s", "", &["www.example.test"], backend.address);
    wait_until_served(&world, &process, "www.example.test");
    eventually("the proof is gone", || world.dig("_acme-challenge.www.example.test", "TXT").is_empty());
    eventually("it is counted", || {
        process.metric("vestibule_certificate_orders_total{issuer=\"pebble\"}") == Some(1.0)
    });
    let expiry = process
        .metric("vestibule_certificate_expiry_timestamp_seconds{namespace=\"shop\",name=\"site0-tls\"");
    assert!(expiry.is_some_and(|seconds| seconds > 1.7e9), "{expiry:?}");

    let admin = process.admin().to_string();
    let list = run(["certificates", "--admin", &admin]);
    assert_eq!(list.code, Some(0), "{list:?}");
    for word in ["shop/site0-tls", "pebble", "in 89 d", "www.example.test"] {
        assert!(list.out.contains(word), "{word} in {}", list.out);
    }

    // A restart orders nothing: the account, the certificate and its state are there.
    eventually("the CA was asked when to renew", || !state(&files, "site0-tls")["renewal"].is_null());
    let orders = world.orders();
    assert_eq!(orders, 1, "{:?}", world.ca_lines());
    process.stop();
    let again = Process::serve(&files);
    wait_until_served(&world, &again, "www.example.test");
    eventually("the manager has looked", || again.metric("vestibule_certificate_alarm").is_some());
    assert_eq!(world.orders(), orders);
}

#[test]
fn one_wildcard_serves_every_namespace_and_no_name_gets_its_own() {
    let (world, backend) = (World::start(), backend());
    let more = "wildcards: ['*.example.test', '*.unused.test']";
    let (files, process) = start(
        &world,
        &world.rfc2136(),
        "timeout: 10s",
        more,
        &["a.example.test", "b.example.test"],
        backend.address,
    );
    wait_until_served(&world, &process, "a.example.test");
    wait_until_served(&world, &process, "b.example.test");
    let certificates = files.manifests().join("acme/certificates");
    let names: Vec<String> = fs::read_dir(certificates)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    assert_eq!(names, ["vestibule.vestibule-pebble-wildcard-example.test.json"]);
    assert_eq!(world.orders(), 1);
}

#[test]
fn a_base_name_and_its_wildcard_are_proved_by_one_record_with_two_values() {
    let (world, backend) = (World::start(), backend());
    let files = world.files(&world.settings(&world.rfc2136(), "timeout: 10s", ""), &[], backend.address);
    let both = site("both", "example.test", "")
        .replace("hosts: ['example.test']", "hosts: ['example.test', '*.example.test']");
    files.write("both.yaml", &format!("{both}{}", rule("*.example.test")));
    let process = Process::serve(&files);
    wait_until_served(&world, &process, "example.test");
    wait_until_served(&world, &process, "any.example.test");
    assert_eq!(world.orders(), 1);
}

#[test]
fn a_proof_goes_where_the_name_is_delegated_to() {
    let (world, backend) = (World::start(), backend());
    // BIND follows the alias for the CA, as resolvers do.
    let (_files, process) =
        start(&world, &world.rfc2136(), "timeout: 10s", "", &["alias.example.test"], backend.address);
    wait_until_served(&world, &process, "alias.example.test");
    let log = world.dig("_acme-challenge.alias.example.test", "CNAME");
    assert_eq!(log.trim(), "alias.delegated.test.");
}

#[test]
fn the_ca_says_when_to_renew_and_the_old_certificate_is_served_until_then() {
    let (world, backend) = (World::start(), backend());
    let (files, mut process) =
        start(&world, &world.rfc2136(), "timeout: 10s", "", &["www.example.test"], backend.address);
    wait_until_served(&world, &process, "www.example.test");
    eventually("the CA was asked when to renew", || !state(&files, "site0-tls")["renewal"].is_null());
    process.stop();
    let first = stored(&files, "certificates/shop.site0-tls.json")["data"]["tls.crt"].clone();
    let pem = base64_decode(first.as_str().expect("text"));
    let leaf_end =
        pem.find("-----END CERTIFICATE-----").expect("a leaf") + "-----END CERTIFICATE-----\n".len();
    world.set_renewal_window(&pem[..leaf_end], "2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z");
    // It is asked again when that is due, which is moved to now.
    let path = files.manifests().join("acme/.orders/shop.site0-tls.json");
    let mut state = state(&files, "site0-tls");
    state["renewal"]["nextCheck"] = "2020-01-01T00:00:00Z".into();
    fs::write(&path, state.to_string()).expect("written");

    let process = Process::serve(&files);
    assert!(is_served(&world, &process, "www.example.test"), "the old one is served at once");
    eventually("a new certificate is stored", || {
        stored(&files, "certificates/shop.site0-tls.json")["data"]["tls.crt"] != first
    });
    wait_until_served(&world, &process, "www.example.test");
    assert_eq!(world.orders(), 2);
    let state = eventually_some("the state is that of the new one", || {
        let state = self::state(&files, "site0-tls");
        state["order"].is_null().then_some(state)
    });
    let history = state["history"].as_array().expect("a list");
    assert_eq!(
        history.last().expect("an event")["what"]["ordered"]["exempt"],
        true,
        "it replaces the first: {history:?}"
    );
}

#[test]
fn a_restart_goes_on_with_the_order_that_was_begun() {
    let (world, backend) = (World::start(), backend());
    // A server that never has the record: the order waits for it.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let settings = world.settings(&world.rfc2136(), "timeout: 60s", "");
    let stuck = settings.replace(
        &format!("propagation: {{servers: ['{}']", world.dns),
        &format!("propagation: {{servers: ['{}']", silent.local_addr().expect("an address")),
    );
    assert_ne!(settings, stuck);
    let files = world.files(&stuck, &["www.example.test"], backend.address);
    let mut process = Process::serve(&files);
    eventually("the record is written", || !world.dig("_acme-challenge.www.example.test", "TXT").is_empty());
    let begun = state(&files, "site0-tls")["order"]["url"].clone();
    assert!(begun.is_string());
    process.signal(Signal::KILL);
    process.wait();

    files.write_settings(&settings);
    let process = Process::serve(&files);
    wait_until_served(&world, &process, "www.example.test");
    assert_eq!(world.orders(), 1, "the order is not made again: {:?}", world.ca_lines());
    eventually("the proof is gone", || world.dig("_acme-challenge.www.example.test", "TXT").is_empty());
}

#[test]
fn the_zone_chooses_among_several_accounts_of_one_provider() {
    let (world, backend) = (World::start(), backend());
    fs::write(world.path("wrong.secret"), "d3Jvbmctc2VjcmV0LXdyb25nLXNlY3JldA==").expect("written");
    let right = world.settings(&world.rfc2136(), "timeout: 10s", "");
    let (head, solver) = right.split_once("      - provider").expect("a solver");
    let with = |zones: &str, key: &str| {
        let solver = solver.replace("tsig.secret", key);
        format!("      - zones: [{zones}]\n        provider{solver}")
    };
    let settings = [
        head,
        &with("", "wrong.secret"),
        &with("delegated.test, other.test", "wrong.secret"),
        &with("example.test", "tsig.secret"),
    ]
    .concat();
    let hosts = ["a.example.test", "b.delegated.test"];
    let files = world.files(&settings, &hosts, backend.address);
    let process = Process::serve(&files);
    wait_until_served(&world, &process, "a.example.test");
    wait_for_failure(&files, "site1-tls", "DnsCredentials");
}

#[test]
fn the_preferred_chain_is_taken() {
    let (mut world, backend) = (World::without_ca(), backend());
    world.start_ca_with(&[("PEBBLE_ALTERNATE_ROOTS", "1")]);
    let name = common_name(&world.authorities_of(1));
    assert_ne!(name, common_name(&world.authorities()));
    let more = format!("preferredChain: '{name}'");
    let (files, process) =
        start(&world, &world.rfc2136(), "timeout: 10s", &more, &["www.example.test"], backend.address);
    stored(&files, "certificates/shop.site0-tls.json");
    let config = ClientOptions::trusting(&world.authorities_of(1)).build();
    eventually("it is served with the other chain", || {
        Client::connect_tls(process.https(), &config, "www.example.test", b"").is_ok()
    });
    assert!(!is_served(&world, &process, "www.example.test"), "the usual root does not vouch for it");
}

#[test]
fn each_issuer_has_its_kind_of_key_and_its_profile() {
    let (world, backend) = (World::start(), backend());
    let one = world.settings(&world.rfc2136(), "timeout: 10s", "");
    let (head, issuer) = one.split_once("  - name: pebble\n").expect("an issuer");
    let issuer = issuer.replace("default: true", "default: false");
    let mut settings = head.to_owned();
    let kinds = [
        ("ecdsa256", "classic"),
        ("ecdsa384", "shortlived"),
        ("rsa2048", "unheard-of"),
        ("rsa3072", "classic"),
        ("rsa4096", "classic"),
    ];
    for (name, profile) in kinds {
        let issuer = issuer.replace("profile: classic", &format!("profile: {profile}\n    keyType: {name}"));
        settings.push_str(&format!("  - name: {name}\n{issuer}"));
    }
    let files = world.files(&settings, &[], backend.address);
    for (name, _) in kinds {
        let annotation = format!("vestibule.dev/issuer: {name}");
        files.write(&format!("{name}.yaml"), &site(name, &format!("{name}.example.test"), &annotation));
    }
    let process = Process::serve(&files);
    for (name, _) in kinds {
        wait_until_served(&world, &process, &format!("{name}.example.test"));
    }
    let key = |name: &str| {
        let secret = stored(&files, &format!("certificates/shop.{name}-tls.json"));
        let pem = base64_decode(secret["data"]["tls.key"].as_str().expect("text"));
        rcgen::KeyPair::from_pem(&pem).expect("a key")
    };
    assert_eq!(key("ecdsa256").algorithm(), &rcgen::PKCS_ECDSA_P256_SHA256);
    assert_eq!(key("ecdsa384").algorithm(), &rcgen::PKCS_ECDSA_P384_SHA384);
    for (name, bits) in [("rsa2048", 2048), ("rsa3072", 3072), ("rsa4096", 4096)] {
        let key = key(name);
        assert_eq!(key.algorithm(), &rcgen::PKCS_RSA_SHA256);
        // The modulus, its exponent and what DER puts around them.
        let bytes = key.public_key_raw().len();
        assert!((bits / 8..bits / 8 + 32).contains(&bytes), "{name}: {bytes} bytes");
    }
    process.err().wait_for(&["has no profile `unheard-of`"]);
    eventually("each is listed with its life", || {
        let list = run(["certificates", "--admin", &process.admin().to_string()]).out;
        let has =
            |name: &str, life: &str| list.lines().any(|line| line.contains(name) && line.contains(life));
        has("ecdsa256-tls", "in 89 d") && has("ecdsa384-tls", "in 5 d")
    });
}

#[test]
fn the_host_of_all_logins_has_a_certificate_of_its_own() {
    let (world, backend) = (World::start(), backend());
    let settings = format!(
        "{}providers: {{dex: {{oidc: {{issuer: 'https://id.example.test', clientId: edge, authHost: auth.example.test}}}}}}\n",
        world.settings(&world.rfc2136(), "timeout: 10s", "")
    );
    let files = world.files(&settings, &[], backend.address);
    let plain = site("auth", "auth.example.test", "vestibule.dev/auth: dex");
    let plain = plain.replace("  tls: [{hosts: ['auth.example.test'], secretName: auth-tls}]\n", "");
    assert!(!plain.contains("tls"), "{plain}");
    files.write("auth.yaml", &plain);
    let process = Process::serve(&files);
    let config = ClientOptions::trusting(&world.authorities()).build();
    eventually("it is served", || {
        Client::connect_tls(process.https(), &config, "auth.example.test", b"").is_ok()
    });
    stored(&files, "certificates/vestibule.vestibule-pebble-auth.example.test.json");
}

#[test]
fn a_new_certificate_under_traffic_drops_nothing() {
    let (world, backend) = (World::start(), backend());
    let (files, process) =
        start(&world, &world.rfc2136(), "timeout: 10s", "", &["www.example.test"], backend.address);
    wait_until_served(&world, &process, "www.example.test");
    let first = stored(&files, "certificates/shop.site0-tls.json")["data"]["tls.crt"].clone();
    let config = ClientOptions::trusting(&world.authorities()).build();
    let (address, stop, count) = (process.https(), AtomicBool::new(false), AtomicUsize::new(0));
    let connect = || Client::connect_tls(address, &config, "www.example.test", b"");
    let ask = |client: &mut Client| {
        assert_eq!(client.get("www.example.test", "/").status, 200);
        count.fetch_add(1, Ordering::Relaxed);
    };
    std::thread::scope(|scope| {
        // They end when this block does, however that is.
        let _ends = Ends(&stop);
        let fresh = || {
            while !stop.load(Ordering::Relaxed) {
                ask(&mut connect().expect("a handshake"));
            }
        };
        let kept = || {
            let mut client = connect().expect("a handshake");
            while !stop.load(Ordering::Relaxed) {
                ask(&mut client);
            }
        };
        let clients = [scope.spawn(fresh), scope.spawn(fresh), scope.spawn(kept)];
        let both = site("site0", "www.example.test", "")
            .replace("hosts: ['www.example.test']", "hosts: ['www.example.test', 'app.example.test']");
        files.write("site0.yaml", &format!("{both}{}", rule("app.example.test")));
        wait_until_served(&world, &process, "app.example.test");
        assert_ne!(stored(&files, "certificates/shop.site0-tls.json")["data"]["tls.crt"], first);
        let before = count.load(Ordering::Relaxed);
        eventually("traffic goes on", || {
            assert!(clients.iter().all(|client| !client.is_finished()), "a client has failed");
            count.load(Ordering::Relaxed) > before + 200
        });
    });
}

#[test]
fn two_processes_with_one_store_order_once() {
    let (world, backend) = (World::start(), backend());
    let (files, first) =
        start(&world, &world.rfc2136(), "timeout: 10s", "", &["www.example.test"], backend.address);
    let second = Process::serve(&files);
    wait_until_served(&world, &first, "www.example.test");
    wait_until_served(&world, &second, "www.example.test");
    let leads = |process: &Process| process.ask("/certificates").status == 200;
    assert!(leads(&first) != leads(&second));
    assert_eq!(world.orders(), 1);
}

#[test]
fn an_export_put_into_an_empty_store_is_used_without_an_order() {
    let (world, backend) = (World::start(), backend());
    let settings = world.settings(&world.rfc2136(), "timeout: 10s", "");
    let (files, mut process) =
        start(&world, &world.rfc2136(), "timeout: 10s", "", &["www.example.test"], backend.address);
    wait_until_served(&world, &process, "www.example.test");
    eventually("the CA was asked when to renew", || !state(&files, "site0-tls")["renewal"].is_null());
    process.stop();
    let manifests = files.manifests();
    let export = run(["certificates", "export", "--manifests", manifests.to_str().expect("UTF-8")]);
    assert_eq!(export.code, Some(0), "{export:?}");

    let new = world.files(&settings, &["www.example.test"], backend.address);
    let mut import = std::process::Command::new(tests::process::binary())
        .args(["certificates", "import", "--manifests"])
        .arg(new.manifests())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the binary starts");
    use std::io::Write as _;
    import.stdin.take().expect("a pipe").write_all(export.out.as_bytes()).expect("written");
    let imported = import.wait_with_output().expect("it ends");
    let said = String::from_utf8(imported.stdout).expect("UTF-8");
    assert!(
        said.contains("imported shop/site0-tls") && said.contains("1 certificates, 1 accounts"),
        "{said}"
    );
    let process = Process::serve(&new);
    assert!(is_served(&world, &process, "www.example.test"), "at once");
    assert_eq!(world.orders(), 1);
}

#[test]
fn whichever_replica_is_asked_proves_a_name_by_http() {
    let (world, backend) = (World::start(), backend());
    let provider = format!("http01: {{port: {}}}", world.http.port());
    let settings = world.settings(&provider, "timeout: 10s", "");
    let hosts = ["www.http.example.test", "app.http.example.test"];
    let files = world.files(&settings, &hosts, backend.address);
    // The names have both addresses, as they would with a load balancer of two nodes.
    let addresses = world.http_of_two();
    let replicas = addresses.map(|address| Process::serve_with(&files, &["--http", &address.to_string()]));
    for (replica, host) in replicas.iter().flat_map(|replica| hosts.map(|host| (replica, host))) {
        wait_until_served(&world, replica, host);
    }
    assert_eq!(world.orders(), 2, "{:?}", world.ca_lines());
    assert!(
        world.dig("_acme-challenge.www.http.example.test", "TXT").is_empty(),
        "nothing is written into DNS"
    );

    let ask = |address: SocketAddr, host: &str, path: &str| Client::connect(address).get(host, path);
    let path = "/.well-known/acme-challenge/some-token_1";
    let first = ask(addresses[0], hosts[0], path);
    assert_eq!(first.status, 200);
    assert!(first.text().starts_with("some-token_1."), "{}", first.text());
    assert_eq!(ask(addresses[1], hosts[0], path).text(), first.text());
    assert_eq!(ask(addresses[0], "other.example.test", path).status, 404);
    assert_eq!(
        ask(addresses[0], hosts[0], "/elsewhere").status,
        308,
        "everything else goes to https as before"
    );
}

#[test]
fn cloudflare_takes_the_proof() {
    let (mut world, backend) = (World::start(), backend());
    let address = world.start_double("cloudflare.py", &[("ZONES", "example.test"), ("CF_FAIL", "1")]);
    fs::write(world.path("token"), "test-token\n").expect("written");
    let provider = format!(
        "cloudflare: {{endpoint: 'http://{address}/client/v4', token: {{file: {}}}}}",
        world.path("token").display()
    );
    let (_files, process) = start(
        &world,
        &provider,
        "timeout: 10s",
        "wildcards: ['*.example.test']",
        &["cf.example.test", "example.test"],
        backend.address,
    );
    wait_until_served(&world, &process, "cf.example.test");
    wait_until_served(&world, &process, "example.test");
    eventually("the proofs are gone", || world.dig("_acme-challenge.example.test", "TXT").is_empty());
}

#[test]
fn route53_takes_the_proof_with_signed_requests() {
    let (mut world, backend) = (World::start(), backend());
    let environment = [("R53_PENDING", "1"), ("R53_FAIL", "1"), ("R53_ZONE", "example.test")];
    let address = world.start_double("route53.py", &environment);
    fs::write(world.path("key-id"), "AKIATESTTESTTESTTEST").expect("written");
    fs::write(world.path("key"), "test-secret").expect("written");
    let provider = format!(
        "route53: {{endpoint: 'http://{address}', accessKeyId: {{file: {}}}, secretAccessKey: {{file: {}}}}}",
        world.path("key-id").display(),
        world.path("key").display()
    );
    let files = world.files(&world.settings(&provider, "timeout: 10s", ""), &[], backend.address);
    let both = site("both", "r.example.test", "")
        .replace("hosts: ['r.example.test']", "hosts: ['r.example.test', '*.r.example.test']");
    files.write(
        "both.yaml",
        &both.replace("rules:", "defaultBackend: {service: {name: web, port: {number: 80}}}\n  rules:"),
    );
    let process = Process::serve(&files);
    wait_until_served(&world, &process, "r.example.test");
    eventually("the proofs are gone", || world.dig("_acme-challenge.r.example.test", "TXT").is_empty());
}

#[test]
fn route53_takes_the_proof_from_whoever_was_given_a_role() {
    let (mut world, backend) = (World::start(), backend());
    let environment = [
        ("R53_ZONE", "example.test"),
        ("R53_ROLE", "arn:aws:iam::123456789012:role/dns"),
        ("R53_TOKEN", "the-word-of-the-cluster"),
        ("R53_EXTERNAL_ID", "edge"),
    ];
    let address = world.start_double("route53.py", &environment);
    let account = |role: &str, more: &str| {
        format!(
            "route53: {{endpoint: 'http://{address}', stsEndpoint: 'http://{address}', webIdentity: {{role: \
             'arn:aws:iam::123456789012:role/{role}', tokenFile: {}}}{more}}}",
            world.path("token").display()
        )
    };
    // The Pod's own role may do nothing but take on another one; and the same role without that way round.
    let assume = ", assumeRole: {role: 'arn:aws:iam::123456789012:role/dns', externalId: edge}";
    let first = world.settings(&account("pod", assume), "timeout: 10s", "");
    let second = world.settings(&account("dns", ""), "timeout: 10s", "");
    let (_, issuer) = second.split_once("  - name: pebble\n").expect("an issuer");
    let both = format!("{first}  - name: direct\n{}", issuer.replace("default: true", "default: false"));
    fs::write(world.path("token"), "somebody-else").expect("written");
    let files = world.files(&both, &["assumed.example.test"], backend.address);
    files.write("direct.yaml", &site("direct", "direct.example.test", "vestibule.dev/issuer: direct"));
    let process = Process::serve(&files);
    for name in ["site0-tls", "direct-tls"] {
        let words = wait_for_failure(&files, name, "DnsCredentials");
        assert!(words.contains("InvalidIdentityToken") && !words.contains("somebody-else"), "{words}");
    }

    // As kubelets do: the file is new, and a change of the issuer has it tried at once.
    fs::write(world.path("token"), "the-word-of-the-cluster\n").expect("written");
    files.write_settings(
        &both.replace("    profile: classic\n", "    profile: classic\n    contact: [ops@example.test]\n"),
    );
    wait_until_served(&world, &process, "assumed.example.test");
    wait_until_served(&world, &process, "direct.example.test");
    eventually("the proofs are gone", || {
        ["assumed", "direct"]
            .iter()
            .all(|name| world.dig(&format!("_acme-challenge.{name}.example.test"), "TXT").is_empty())
    });
    let granted = |what: &str| world.double_lines().iter().any(|line| line == what);
    assert!(granted("granted AssumeRoleWithWebIdentity arn:aws:iam::123456789012:role/pod"));
    assert!(granted("granted AssumeRole arn:aws:iam::123456789012:role/dns"));
    assert!(granted("granted AssumeRoleWithWebIdentity arn:aws:iam::123456789012:role/dns"));
}

#[test]
fn route53_is_asked_five_times_a_second_at_most() {
    let (mut world, backend) = (World::start(), backend());
    let address = world.start_double("route53.py", &[("R53_ZONE", "example.test")]);
    fs::write(world.path("key-id"), "AKIATESTTESTTESTTEST").expect("written");
    fs::write(world.path("key"), "test-secret").expect("written");
    let provider = format!(
        "route53: {{endpoint: 'http://{address}', accessKeyId: {{file: {}}}, secretAccessKey: {{file: {}}}}}",
        world.path("key-id").display(),
        world.path("key").display()
    );
    let hosts = ["a.example.test", "b.example.test", "c.example.test"];
    let (_files, process) = start(&world, &provider, "timeout: 20s", "", &hosts, backend.address);
    // They are ordered side by side, by one account.
    for host in hosts {
        wait_until_served(&world, &process, host);
    }
    let times = eventually_some("it was asked often enough", || {
        let lines = world.double_lines();
        let times: Vec<f64> =
            lines.iter().filter_map(|line| line.strip_prefix("asked at ")?.parse().ok()).collect();
        (times.len() >= 16).then_some(times)
    });
    // Fifteen intervals of 200 ms; a question may have been late on its way, and none can be early.
    let took = times[15] - times[0];
    assert!(took > 2.0, "sixteen questions in {took} s: {times:?}");
}

fn backend() -> Upstream {
    Upstream::saying("hello")
}

#[test]
fn publication_is_seen_by_resolvers_where_nobody_else_can_be_asked() {
    let (world, backend) = (World::start(), backend());
    let propagation = "check: resolvers, delay: 1s, timeout: 10s";
    let (_files, process) =
        start(&world, &world.rfc2136(), propagation, "", &["www.example.test"], backend.address);
    wait_until_served(&world, &process, "www.example.test");
    eventually("the proof is gone", || world.dig("_acme-challenge.www.example.test", "TXT").is_empty());
}

/// Ends the clients of a test.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Of the first certificate of this PEM.
fn common_name(pem: &str) -> String {
    use rustls_pki_types::pem::PemObject as _;
    let certificate = rustls_pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM");
    let name = String::from_utf8_lossy(&certificate);
    // Pebble's names are a word and some hexadecimal digits.
    let begin = name.rfind("Pebble Root CA ").expect("the name of a root");
    name[begin..begin + "Pebble Root CA ".len() + 6].to_owned()
}

fn base64_decode(text: &str) -> String {
    use base64::Engine;
    let bytes = base64::prelude::BASE64_STANDARD.decode(text).expect("base64");
    String::from_utf8(bytes).expect("UTF-8")
}
