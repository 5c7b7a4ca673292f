//! What it costs to look after many certificates: the memory of a process that serves a thousand and manages them, beside
//! one that only serves them.

use serde_json::json;
use tests::acme::site;
use tests::certificates::{Authority, Pair};
use tests::cluster::eventually;
use tests::process::{Files, Process};

const CERTIFICATES: usize = 1000;
const OWN_BYTES_MAX: usize = 20 << 20;

#[test]
fn a_thousand_certificates_are_managed_in_little_memory() {
    let authority = Authority::default();
    let pairs: Vec<Pair> =
        (0..CERTIFICATES).map(|number| authority.issue_for(&[&host(number)], (1, 89))).collect();
    let (files, process) = start(&pairs, "");
    let served = process.resident_bytes();
    drop((files, process));

    // A CA that nobody answers for: every certificate is asked about and has its state.
    let issuers = "issuers:\n  - name: le\n    default: true\n    directory: https://127.0.0.1:1/dir\n    \
                   solvers: [{provider: {webhook: {endpoint: 'http://127.0.0.1:1'}}}]\n";
    let (files, process) = start(&pairs, issuers);
    let states = files.manifests().join("acme/.orders");
    eventually("every certificate was asked about", || {
        let names = std::fs::read_dir(&states).into_iter().flatten().flatten().map(|entry| entry.file_name());
        names.filter(|name| !name.to_string_lossy().starts_with('.')).count() == CERTIFICATES
    });
    eventually("all of them are told of", || {
        let metrics = process.ask("/metrics").text();
        metrics.lines().filter(|line| line.starts_with("vestibule_certificate_alarm{")).count()
            == CERTIFICATES
    });
    let managed = process.resident_bytes();
    let own = managed.saturating_sub(served);
    tests::tell(format_args!(
        "{CERTIFICATES} certificates: {served} bytes served, {managed} managed, {own} more"
    ));
    assert!(own < OWN_BYTES_MAX, "{own} bytes more than the {served} that it takes to serve them");
}

/// A process that serves a site for each certificate, once all of them are live.
fn start(pairs: &[Pair], issuers: &str) -> (Files, Process) {
    let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    let files = Files::with("web.yaml", &tests::manifests::service("web", &[nowhere]));
    files.write_settings(&format!("tls: {{defaultCertificate: refuse}}\n{issuers}"));
    let sites: Vec<String> =
        (0..CERTIFICATES).map(|number| site(&format!("site{number}"), &host(number), "")).collect();
    files.write("sites.yaml", &sites.join("---\n"));
    let certificates = files.manifests().join("acme/certificates");
    std::fs::create_dir_all(&certificates).expect("a directory");
    for (number, pair) in pairs.iter().enumerate() {
        let managed = json!({"labels": {"vestibule.dev/certificate": "managed"}});
        let secret = pair.to_secret("shop", &format!("site{number}-tls"), managed);
        let file = certificates.join(format!("shop.site{number}-tls.json"));
        std::fs::write(file, secret).expect("written");
    }
    let process = Process::serve(&files);
    (files, process)
}

fn host(number: usize) -> String {
    format!("site{number}.example.test")
}
