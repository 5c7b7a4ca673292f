//! Names and passwords: from a Secret, from a file, and by the keys of ingress-nginx.

use std::fmt::Write as _;

use tests::client::Client;
use tests::edge::Edge;
use tests::manifests::{self, service, settings};
use tests::message::Answer;
use tests::upstream::Upstream;

const HOST: &str = "app.example";
/// `openssl passwd -apr1 -salt abcdefgh secret`.
const APR1: &str = "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/";
/// bcrypt of `secret` with the cost 4.
const BCRYPT: &str = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";
/// `ada:secret`, and other pairs, in base64.
const ADA: &str = "Authorization: Basic YWRhOnNlY3JldA==\r\n";
const ADA_WRONG: &str = "Authorization: Basic YWRhOndyb25n\r\n";
const EVE: &str = "Authorization: Basic ZXZlOnNlY3JldA==\r\n";
const BOB: &str = "Authorization: Basic Ym9iOnNlY3JldA==\r\n";

fn secret(name: &str, key: &str, lines: &[String]) -> String {
    let mut text = format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: shop}}\nstringData:\n  {key}: |\n"
    );
    for line in lines {
        writeln!(text, "    {line}").expect("a string takes it");
    }
    text
}

fn users() -> Vec<String> {
    vec![format!("ada:{BCRYPT}"), format!("bob:{APR1}")]
}

const PROVIDER: &str = "providers: {house: {basic: {users: {secretRef: {namespace: shop, name: users, key: auth}}, realm: The house, groups: [staff]}}}";

fn get(edge: &Edge, headers: &str) -> Answer {
    let mut client = Client::connect(edge.address("http"));
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{headers}\r\n"));
    client.answer()
}

#[test]
fn a_password_opens_and_is_not_passed_on() {
    let app = Upstream::saying("app");
    let manifests = [
        settings(PROVIDER),
        manifests::site("auth: house\nauth-allow: group:staff", app.address),
        secret("users", "auth", &users()),
    ];
    let edge = Edge::from_yaml(&manifests.concat());
    for (headers, status) in [
        ("", 401),
        (ADA, 200),
        (BOB, 200),
        (ADA_WRONG, 401),
        (EVE, 401),
        ("Authorization: Basic !!!\r\n", 401),
        ("Authorization: Bearer x\r\n", 401),
        (&format!("{ADA}{BOB}"), 401),
        (ADA, 200),
    ] {
        let answer = get(&edge, headers);
        assert_eq!(answer.status, status, "{headers}: {answer:?}");
        if status == 401 {
            let challenge = answer.fields.one("www-authenticate");
            assert_eq!(challenge, Some("Basic realm=\"The house\", charset=\"UTF-8\""), "{headers}");
        }
    }
    let seen = app.requests();
    assert_eq!(seen.len(), 3);
    let told: Vec<_> =
        seen.iter().map(|request| request.fields.one("x-auth-request-preferred-username")).collect();
    assert_eq!(told, [Some("ada"), Some("bob"), Some("ada")]);
    assert!(seen.iter().all(|request| !request.fields.has("authorization")));
    edge.logged("the line of a user", |line| line["user"] == "ada" && line["status"] == 200);
}

#[test]
fn a_changed_password_counts_at_once() {
    let app = Upstream::saying("app");
    let manifests = |lines: &[String]| {
        [settings(PROVIDER), manifests::site("auth: house", app.address), secret("users", "auth", lines)]
            .concat()
    };
    let mut edge = Edge::from_yaml(&manifests(&users()));
    assert_eq!(get(&edge, ADA).status, 200);
    edge.republish(&manifests(&[format!("ada:{}", APR1.replace('h', "i"))]));
    tests::wait::eventually("the old password is no good", || get(&edge, ADA).status == 401);
}

#[test]
fn users_may_stand_in_a_file_of_the_edge_but_not_for_tenants() {
    let app = Upstream::saying("app");
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("users");
    std::fs::write(&file, users().join("\n")).expect("a file");
    let provider = format!("providers: {{house: {{basic: {{users: {{file: {}}}}}}}}}", file.display());
    let edge = Edge::from_yaml(&[settings(&provider), manifests::site("auth: house", app.address)].concat());
    assert_eq!((get(&edge, ADA).status, get(&edge, "").status), (200, 401));
    let definition = format!("basic: {{users: {{file: {}}}}}", file.display());
    let tenant = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: mine, namespace: shop, labels: {vestibule.dev/provider: \"true\"}}\nstringData:\n";
    let tenant = format!("{tenant}  provider: '{definition}'\n");
    let edge = Edge::from_yaml(&[manifests::site("auth: mine", app.address), tenant].concat());
    assert_eq!(get(&edge, ADA).status, 503);
    let definition = "basic: {users: {secretRef: {key: users}}}";
    let tenant = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: mine, namespace: shop, labels: {vestibule.dev/provider: \"true\"}}\nstringData:\n";
    let tenant = format!("{tenant}  provider: '{definition}'\n  users: 'ada:{APR1}'\n");
    let edge = Edge::from_yaml(&[manifests::site("auth: mine", app.address), tenant].concat());
    assert_eq!((get(&edge, ADA).status, get(&edge, ADA_WRONG).status), (200, 401));
}

#[test]
fn the_keys_of_nginx_ask_for_a_password() {
    let app = Upstream::saying("app");
    let file = [
        manifests::site("auth-type: basic\nauth-secret: users\nauth-realm: Staff only", app.address),
        secret("users", "auth", &users()),
    ];
    let edge = Edge::from_yaml(&file.concat());
    let challenged = get(&edge, "");
    assert_eq!(
        challenged.fields.one("www-authenticate"),
        Some("Basic realm=\"Staff only\", charset=\"UTF-8\"")
    );
    assert_eq!((challenged.status, get(&edge, ADA).status), (401, 200));
    let map = [
        manifests::site("auth-type: basic\nauth-secret: shop/users\nauth-secret-type: auth-map", app.address),
        secret("users", "ada", &[BCRYPT.to_owned()]),
    ];
    let edge = Edge::from_yaml(&map.concat());
    assert_eq!((get(&edge, ADA).status, get(&edge, ADA_WRONG).status), (200, 401));
}

#[test]
fn limits_count_by_account_and_by_group_wherever_they_come_from() {
    let app = Upstream::saying("app");
    let annotations = "auth: house\nrate-limit: 2/h per user; 3/h per group";
    let yaml =
        [settings(PROVIDER), manifests::site(annotations, app.address), secret("users", "auth", &users())];
    let edge = Edge::from_yaml(&yaml.concat());
    for (headers, status) in [
        // Who is not let in is not counted.
        (ADA_WRONG, 401),
        (ADA_WRONG, 401),
        (ADA, 200),
        (ADA, 200),
        (ADA, 429),
        (BOB, 200),
        // Bob has one more, his group has none.
        (BOB, 429),
    ] {
        let answer = get(&edge, headers);
        assert_eq!(answer.status, status, "{headers}: {answer:?}");
    }
    assert_eq!(app.count(), 3);
}

#[test]
fn limits_by_address_come_before_the_question_who_it_is() {
    let app = Upstream::saying("app");
    let annotations = "auth: house\nrate-limit: 3/h per ip; 1/h per user";
    let yaml =
        [settings(PROVIDER), manifests::site(annotations, app.address), secret("users", "auth", &users())];
    let edge = Edge::from_yaml(&yaml.concat());
    let statuses: Vec<u16> =
        [ADA_WRONG, ADA, ADA, ADA_WRONG].iter().map(|headers| get(&edge, headers).status).collect();
    assert_eq!(statuses, [401, 200, 429, 429]);
}

#[test]
fn places_at_the_same_time_are_those_of_an_account() {
    let app = Upstream::start(|connection| {
        while let Some(request) = connection.request() {
            if request.target == "/slow" {
                // Holds its place until the client leaves.
                connection.request();
                return;
            }
            connection.send(tests::upstream::ok(&request, "app"));
        }
    });
    let annotations = "auth: house\nconcurrency-limit: 1 per user";
    let yaml =
        [settings(PROVIDER), manifests::site(annotations, app.address), secret("users", "auth", &users())];
    let edge = Edge::from_yaml(&yaml.concat());
    let mut slow = Client::connect(edge.address("http"));
    slow.send(format!("GET /slow HTTP/1.1\r\nHost: {HOST}\r\n{ADA}\r\n"));
    tests::wait::eventually("the slow one is under way", || app.count() == 1);
    assert_eq!((get(&edge, ADA).status, get(&edge, BOB).status), (429, 200));
    drop(slow);
    tests::wait::eventually("its place is given back", || get(&edge, ADA).status == 200);
}

#[test]
fn users_that_cannot_be_had_keep_everyone_out() {
    let app = Upstream::saying("app");
    for (annotations, secret) in [
        ("auth-type: basic", String::new()),
        ("auth-type: basic\nauth-secret: absent", String::new()),
        ("auth-type: digest\nauth-secret: users", secret("users", "auth", &users())),
        ("auth-secret: users", secret("users", "auth", &users())),
        ("auth-type: basic\nauth-secret: other/users", secret("users", "auth", &users())),
        ("auth-type: basic\nauth-secret: users", secret("users", "wrong", &users())),
        ("auth-type: basic\nauth-secret: users", secret("users", "auth", &["ada:plain".into()])),
        ("auth-type: basic\nauth-secret: users", secret("users", "auth", &["# nobody".into()])),
    ] {
        let edge = Edge::from_yaml(&[manifests::site(annotations, app.address), secret].concat());
        assert_eq!(get(&edge, ADA).status, 503, "{annotations}");
        let problems = format!("{:?}", edge.problems());
        assert!(
            !problems.contains(APR1) && !problems.contains(BCRYPT) && !problems.contains("plain"),
            "{problems}"
        );
    }
    assert_eq!(app.count(), 0);
}

/// The hash of a high cost is computed elsewhere: a worker that waited for it would answer nobody meanwhile.
#[test]
fn other_requests_are_answered_while_a_password_is_verified() {
    // bcrypt with the cost 8, of nothing that is tried here: a wrong password costs as much as a good one.
    let slow = "ada:$2b$08$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";
    let app = Upstream::saying("app");
    let open = "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: open, namespace: shop}\n\
        spec: {rules: [{host: open.example, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: open, port: {number: 80}}}}]}}]}\n";
    let other = Upstream::saying("open");
    let yaml = [
        settings(PROVIDER),
        manifests::site("auth: house", app.address),
        secret("users", "auth", &[slow.to_owned()]),
        open.to_owned(),
        service("open", &[other.address]),
    ];
    let edge = Edge::from_yaml(&yaml.concat());
    let address = edge.address("http");
    let mut waiting = Client::connect(address);
    waiting.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{ADA_WRONG}\r\n"));
    let mut answered = 0;
    let hashing = std::thread::spawn(move || waiting.answer().status);
    let mut client = Client::connect(address);
    while !hashing.is_finished() {
        assert_eq!(client.get("open.example", "/").status, 200);
        answered += 1;
    }
    assert_eq!(hashing.join().expect("an answer"), 401);
    // The edge of a test has one worker: had it computed the hash, at most one request would have slipped through before.
    assert!(answered > 5, "{answered} requests were answered meanwhile");
}
