//! What goes wrong on the way to a certificate: how it is told, and how it ends well. `tests/run acme`.

use std::fs;

use serde_json::Value;
use tests::acme::serving::{is_served, managed, start, state, wait_for_failure, wait_until_served};
use tests::acme::{World, site};
use tests::certificates::ClientOptions;
use tests::client::Client;
use tests::process::{Process, run};
use tests::upstream::{Upstream, ok};
use tests::wait::eventually;

#[test]
fn a_ca_that_is_down_is_told_and_tried_again_when_the_issuer_changes() {
    let (mut world, backend) = (World::without_ca(), backend());
    let (files, process) =
        start(&world, &world.rfc2136(), "timeout: 10s", "", &["www.example.test"], backend.address);
    let words = wait_for_failure(&files, "site0-tls", "CaUnreachable");
    assert!(words.contains(&world.directory_url()), "{words}");
    eventually("the failure is counted", || {
        let name = "vestibule_certificate_failures_total{issuer=\"pebble\",reason=\"CaUnreachable\"}";
        process.metric(name) == Some(1.0)
    });
    eventually("it is a problem of the Ingress", || {
        let problems = process.ask("/problems").text();
        problems.contains("CertificateFailed") && problems.contains("site0")
    });
    // Before there is a certificate the name is refused, and no other one is shown.
    let config =
        ClientOptions::trusting(&fs::read_to_string(world.path("acme-tls.pem")).expect("read")).build();
    let refused =
        Client::connect_tls(process.https(), &config, "www.example.test", b"").err().expect("refused");
    assert!(refused.to_string().to_lowercase().contains("unrecogni"), "{refused}");
    world.start_ca();
    files.write_settings(&world.settings(&world.rfc2136(), "timeout: 10s", "contact: [ops@example.test]"));
    wait_until_served(&world, &process, "www.example.test");
}

#[test]
fn a_ca_that_has_forgotten_the_account_gets_the_same_key_again() {
    let (mut world, backend) = (World::start(), backend());
    let (files, process) =
        start(&world, &world.rfc2136(), "timeout: 10s", "", &["a.example.test"], backend.address);
    wait_until_served(&world, &process, "a.example.test");
    let accounts = files.manifests().join("acme/.accounts");
    let account = || {
        let file = fs::read_dir(&accounts)
            .expect("a directory")
            .next()
            .expect("an account")
            .expect("an entry")
            .path();
        let text: String = serde_json::from_slice(&fs::read(file).expect("read")).expect("JSON");
        serde_json::from_str::<Value>(&text).expect("JSON")
    };
    let before = account();
    world.stop_ca();
    world.start_ca();
    files.write("late.yaml", &site("late", "b.example.test", ""));
    wait_until_served(&world, &process, "b.example.test");
    let after = account();
    assert_eq!(before["key_pkcs8"], after["key_pkcs8"]);
}

#[test]
fn wrong_credentials_and_zones_that_are_not_there_are_told_with_the_mend() {
    let (world, backend) = (World::start(), backend());
    let wrong = world.rfc2136().replace("tsig.secret", "wrong.secret");
    fs::write(world.path("wrong.secret"), "d3Jvbmctc2VjcmV0LXdyb25nLXNlY3JldA==").expect("written");
    let (files, process) = start(
        &world,
        &wrong,
        "timeout: 10s",
        "",
        &["www.example.test", "www.elsewhere.test"],
        backend.address,
    );
    let words = wait_for_failure(&files, "site0-tls", "DnsCredentials");
    assert!(words.contains("acme") && !words.contains("d3Jvbmc"), "{words}");
    let words = wait_for_failure(&files, "site1-tls", "ZoneMissing");
    assert!(words.contains("elsewhere.test"), "{words}");
    eventually("both are listed with what went wrong", || {
        let list = run(["certificates", "--admin", &process.admin().to_string()]);
        let words = ["DnsCredentials", "ZoneMissing", "tried again in"];
        list.code == Some(1) && words.iter().all(|word| list.out.contains(word))
    });
    // With the right key it is tried at once, and the same order goes on.
    let orders = world.orders();
    files.write_settings(&world.settings(&world.rfc2136(), "timeout: 10s", ""));
    wait_until_served(&world, &process, "www.example.test");
    assert_eq!(world.orders(), orders);
}

#[test]
fn an_expired_certificate_is_served_on_with_a_loud_alarm() {
    let (world, backend) = (World::without_ca(), backend());
    let authority = tests::certificates::Authority::default();
    let pair = authority.issue_for(&["www.example.test"], (80, -1));
    let files = world.files(
        &world.settings(&world.rfc2136(), "timeout: 10s", ""),
        &["www.example.test"],
        backend.address,
    );
    let stored = files.manifests().join("acme/certificates/shop.site0-tls.json");
    fs::create_dir_all(stored.parent().expect("a directory")).expect("made");
    fs::write(&stored, pair.to_secret("shop", "site0-tls", managed())).expect("written");
    let process = Process::serve(&files);
    let config = authority.client().build();
    let refused = Client::connect_tls(process.https(), &config, "www.example.test", b"").err();
    let words = refused.expect("a client that looks at dates").to_string().to_lowercase();
    assert!(words.contains("expired"), "it is the old one that is shown: {words}");
    eventually("the alarm is raised", || process.metric("vestibule_certificate_alarm{") == Some(3.0));
    wait_for_failure(&files, "site0-tls", "CaUnreachable");
    let list = run(["certificates", "--admin", &process.admin().to_string()]);
    assert_eq!(list.code, Some(1), "{list:?}");
}

#[test]
fn a_proof_that_the_ca_does_not_find_is_told_with_what_the_servers_have() {
    let (world, backend) = (World::start(), backend());
    // It says yes to everything and writes nothing.
    let liar = Upstream::saying("fine");
    let provider = format!("webhook: {{endpoint: 'http://{}'}}", liar.address);
    let (files, process) = start(&world, &provider, "check: off", "", &["www.example.test"], backend.address);
    let words = wait_for_failure(&files, "site0-tls", "ProofFailed");
    assert!(words.contains("www.example.test") && words.contains("TXT"), "{words}");
    assert!(state(&files, "site0-tls")["order"].is_null(), "an order that failed is not gone on with");
    eventually("it is cleaned up after", || {
        liar.requests().iter().any(|request| request.target == "/cleanup")
    });
    files.write_settings(&world.settings(&world.rfc2136(), "timeout: 10s", ""));
    wait_until_served(&world, &process, "www.example.test");
}

#[test]
fn a_record_that_does_not_appear_is_never_offered_to_the_ca() {
    let (world, backend) = (World::start(), backend());
    let liar = Upstream::saying("fine");
    let provider = format!("webhook: {{endpoint: 'http://{}'}}", liar.address);
    let (files, process) =
        start(&world, &provider, "timeout: 1s", "", &["www.example.test"], backend.address);
    let words = wait_for_failure(&files, "site0-tls", "DnsPropagation");
    assert!(
        words.contains("_acme-challenge.www.example.test") && words.contains("has no such record"),
        "{words}"
    );
    let state = state(&files, "site0-tls");
    assert!(state["order"]["url"].is_string(), "the order is kept for the next try");
    assert!(world.ca_lines().iter().all(|line| !line.contains("chalZ")), "the CA was not told to look");
    files.write_settings(&world.settings(&world.rfc2136(), "timeout: 10s", ""));
    wait_until_served(&world, &process, "www.example.test");
    assert_eq!(world.orders(), 1);
}

#[test]
fn what_cannot_be_stored_is_fetched_again_and_not_ordered_again() {
    let (world, backend) = (World::start(), backend());
    let files = world.files(
        &world.settings(&world.rfc2136(), "timeout: 10s", ""),
        &["www.example.test"],
        backend.address,
    );
    let in_the_way = files.manifests().join("acme/certificates/.shop.site0-tls.new");
    fs::create_dir_all(&in_the_way).expect("a directory");
    let process = Process::serve(&files);
    let words = wait_for_failure(&files, "site0-tls", "StoreUnavailable");
    assert!(words.contains("certificates/shop.site0-tls.json"), "{words}");
    fs::remove_dir(&in_the_way).expect("removed");
    files.write_settings(&world.settings(&world.rfc2136(), "timeout: 10s", "contact: [ops@example.test]"));
    wait_until_served(&world, &process, "www.example.test");
    assert_eq!(world.orders(), 1);
}

#[test]
fn a_full_disk_is_told_before_anything_is_ordered() {
    let (world, backend) = (World::start(), backend());
    let settings = world.settings(&world.rfc2136(), "timeout: 10s", "");
    let files = world.files(&settings, &["www.example.test"], backend.address);
    // No file may grow beyond nothing. The signal that comes with it is for programs that do not look at errors.
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -S -f 0; exec \"$@\"", "sh"]);
    let serve = tests::process::command(tests::process::binary(), &files);
    command.arg(serve.get_program()).args(serve.get_args());
    let process = Process::start(&mut command);
    process.wait_until_ready();
    eventually("it is counted", || {
        let name = "vestibule_certificate_failures_total{issuer=\"pebble\",reason=\"StoreFull\"}";
        process.metric(name).is_some()
    });
    eventually("it is told", || {
        let problems = process.ask("/problems").text();
        problems.contains("no space is left for") && problems.contains("shop.site0-tls.json")
    });
    assert_eq!(world.orders(), 0);
    assert!(world.ca_lines().iter().all(|line| !line.contains("/sign-me-up")), "no account is made either");

    process.raise_file_limit();
    files.write_settings(&world.settings(&world.rfc2136(), "timeout: 10s", "contact: [ops@example.test]"));
    wait_until_served(&world, &process, "www.example.test");
    assert_eq!(world.orders(), 1);
}

#[test]
fn a_ca_that_refuses_every_nonce_is_told_and_tried_again() {
    let (mut world, backend) = (World::without_ca(), backend());
    world.start_ca_with(&[("PEBBLE_WFE_NONCEREJECT", "100")]);
    let (files, process) =
        start(&world, &world.rfc2136(), "timeout: 10s", "", &["www.example.test"], backend.address);
    let words = wait_for_failure(&files, "site0-tls", "BadNonce");
    assert!(words.contains("nonce"), "{words}");
    world.stop_ca();
    world.start_ca();
    files.write_settings(&world.settings(&world.rfc2136(), "timeout: 10s", "contact: [ops@example.test]"));
    wait_until_served(&world, &process, "www.example.test");
}

#[test]
fn resolvers_that_do_not_answer_are_told_and_the_order_is_kept() {
    let (world, backend) = (World::start(), backend());
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address");
    let good = world.settings(&world.rfc2136(), "timeout: 10s", "");
    let lost = good.replace(&format!("resolvers: ['{}']", world.dns), &format!("resolvers: ['{address}']"));
    assert_ne!(good, lost);
    let files = world.files(&lost, &["www.example.test"], backend.address);
    let process = Process::serve(&files);
    let words = wait_for_failure(&files, "site0-tls", "DnsTimeout");
    assert!(words.contains(&address.to_string()), "{words}");
    files.write_settings(&good);
    wait_until_served(&world, &process, "www.example.test");
    assert_eq!(world.orders(), 1, "the order is gone on with");
}

#[test]
fn a_ca_that_wants_to_know_its_clients_gets_the_binding() {
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let mut world = World::without_ca_but(|config| {
        config["pebble"]["externalAccountBindingRequired"] = true.into();
        config["pebble"]["externalAccountMACKeys"] = serde_json::json!({"kid-1": key});
    });
    world.start_ca();
    let backend = backend();
    let (files, process) =
        start(&world, &world.rfc2136(), "timeout: 10s", "", &["www.example.test"], backend.address);
    let words = wait_for_failure(&files, "site0-tls", "ExternalAccountRequired");
    assert!(words.contains("externalAccount"), "{words}");

    let with = |name: &str, text: &str| {
        fs::write(world.path(name), text).expect("written");
        let more =
            format!("externalAccount: {{keyId: kid-1, key: {{file: {}}}}}", world.path(name).display());
        files.write_settings(&world.settings(&world.rfc2136(), "timeout: 10s", &more));
    };
    with("wrong", &"A".repeat(64));
    eventually("a wrong key is told as such", || {
        let error = &state(&files, "site0-tls")["lastError"];
        let words = error["message"].as_str().unwrap_or_default();
        error["reason"] == "ExternalAccountRequired" && words.contains("verification")
    });
    with("right", key);
    wait_until_served(&world, &process, "www.example.test");
    assert_eq!(world.orders(), 1);
}

#[test]
fn an_account_that_was_deactivated_is_told_with_the_mend() {
    let (world, backend) = (World::start(), backend());
    let (files, process) =
        start(&world, &world.rfc2136(), "timeout: 10s", "", &["a.example.test"], backend.address);
    wait_until_served(&world, &process, "a.example.test");
    let accounts = files.manifests().join("acme/.accounts");
    let file = fs::read_dir(&accounts).expect("a directory").next().expect("one").expect("an entry").path();
    let account: String = serde_json::from_slice(&fs::read(&file).expect("read")).expect("JSON");
    world.deactivate(&account);

    files.write("late.yaml", &site("late", "b.example.test", ""));
    let words = wait_for_failure(&files, "late-tls", "AccountRefused");
    let name = file.file_stem().and_then(|name| name.to_str()).expect("a name");
    assert!(words.contains(name) && words.contains("remove the stored account"), "{words}");
    assert!(is_served(&world, &process, "a.example.test"), "what is there goes on");
    fs::remove_file(&file).expect("removed");
    files.write_settings(&world.settings(&world.rfc2136(), "timeout: 10s", "contact: [ops@example.test]"));
    wait_until_served(&world, &process, "b.example.test");
}

#[test]
fn a_secret_of_somebody_else_is_never_written() {
    let (world, backend) = (World::start(), backend());
    let files = world.files(&world.settings(&world.rfc2136(), "timeout: 10s", ""), &[], backend.address);
    files.write("site.yaml", &site("mine", "mine.example.test", "vestibule.dev/issuer: pebble"));
    files.write(
        "foreign.yaml",
        &site("foreign", "foreign.example.test", "cert-manager.io/cluster-issuer: le"),
    );
    let own = tests::certificates::Authority::default().issue(&["mine.example.test"]);
    files.write("secret.yaml", &own.to_secret("shop", "mine-tls", serde_json::json!({})));
    let process = Process::serve(&files);
    eventually("it is told", || process.ask("/problems").text().contains("SecretNotOurs"));
    eventually("the manager has looked", || process.ask("/certificates").status == 200);
    assert_eq!(process.ask("/certificates").text(), "[]", "and what cert-manager issues is left to it");
    assert_eq!(world.orders(), 0);
}

#[test]
fn a_proof_that_nobody_can_read_is_never_offered_to_the_ca() {
    let (world, backend) = (World::start(), backend());
    let provider = format!("http01: {{port: {}}}", world.http.port());
    // Nothing listens where the name leads.
    let (files, process) =
        start(&world, &provider, "timeout: 1s", "", &["www.example.test"], backend.address);
    let words = wait_for_failure(&files, "site0-tls", "ProofUnreachable");
    assert!(words.contains("127.0.0.1") && words.contains("check: off"), "{words}");
    assert!(world.ca_lines().iter().all(|line| !line.contains("chalZ")), "the CA was not told to look");
    drop(process);
    let again = Process::serve_with(&files, &["--http", &world.http.to_string()]);
    // A change of the issuer forgives what failed before.
    files.write_settings(&world.settings(&provider, "timeout: 2s", ""));
    wait_until_served(&world, &again, "www.example.test");
    assert_eq!(world.orders(), 1, "the order is gone on with");
}

#[test]
fn clean_up_that_fails_delays_nothing() {
    let (world, backend) = (World::start(), backend());
    let updates = world.updates();
    let hook = Upstream::answering(move |request| {
        if request.target == "/cleanup" {
            return "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n".to_owned();
        }
        let proof: Value = serde_json::from_slice(&request.body).expect("JSON");
        let text = |key: &str| proof[key].as_str().expect("text").to_owned();
        updates.add_txt(&text("fqdn"), &text("value"));
        ok(request, "")
    });
    let provider = format!("webhook: {{endpoint: 'http://{}'}}", hook.address);
    let (files, process) =
        start(&world, &provider, "timeout: 10s", "", &["www.example.test"], backend.address);
    wait_until_served(&world, &process, "www.example.test");
    eventually("it was tried", || hook.requests().iter().any(|request| request.target == "/cleanup"));
    eventually("what is left is remembered", || {
        let state = state(&files, "site0-tls");
        state["order"].is_null() && state["records"].as_array().is_some_and(|records| records.len() == 1)
    });
    let list = run(["certificates", "--admin", &process.admin().to_string()]);
    assert_eq!(list.code, Some(0), "it is no failure of the certificate: {list:?}");
}

#[test]
fn a_zone_that_comes_later_is_found() {
    let (mut world, backend) = (World::start(), backend());
    fs::write(world.path("token"), "test-token\n").expect("written");
    let token = world.path("token");
    let provider = |at: std::net::SocketAddr| {
        format!("cloudflare: {{endpoint: 'http://{at}/client/v4', token: {{file: {}}}}}", token.display())
    };
    let without = world.start_double("cloudflare.py", &[("ZONES", "other.test")]);
    let (files, process) =
        start(&world, &provider(without), "timeout: 10s", "", &["www.example.test"], backend.address);
    let words = wait_for_failure(&files, "site0-tls", "ZoneMissing");
    assert!(words.contains("example.test") && words.contains("Cloudflare"), "{words}");
    let with = world.start_double("cloudflare.py", &[("ZONES", "other.test,example.test")]);
    files.write_settings(&world.settings(&provider(with), "timeout: 10s", ""));
    wait_until_served(&world, &process, "www.example.test");
    assert_eq!(world.orders(), 1, "the order is gone on with");
}

fn backend() -> Upstream {
    Upstream::saying("hello")
}
