//! What went wrong in other programs of this kind, and the tests that show that it does not here.
//!
//! [`ROWS`] is the table. Who renames one of its tests, renames it here.

use std::path::Path;

use tests::client::Client;
use tests::edge::Edge;
use tests::manifests::{self, service, settings};
use tests::upstream::Upstream;

/// A file, and a test in it.
type Test = (&'static str, &'static str);
type Row = (&'static str, &'static str, &'static [Test]);

/// What it is known as, what happened there, and where it is tested here: the file, and the test in it.
const ROWS: &[Row] = &[
    (
        "CVE-2025-54576, GHSA-7rh7-c77v-6434",
        "a rule for open paths was held against the query, too",
        &[
            (
                "tests/tests/external_auth.rs",
                "a_skipped_path_is_open_by_its_method_and_path_and_by_nothing_else",
            ),
            ("tests/tests/logins.rs", "skipped_paths_need_nobody_and_cannot_be_pretended"),
        ],
    ),
    (
        "CVE-2025-64484, GHSA-vjrc-mh2v-45x6; CVE-2026-54763 and its form with dots",
        "other spellings of identity headers reached the application",
        &[
            ("tests/tests/external_auth.rs", "no_alias_of_an_identity_header_reaches_the_application"),
            ("proxy/src/request/sanitize/tests.rs", "every_trusted_name_is_removed_in_every_spelling"),
            ("proxy/src/request/sanitize/tests.rs", "nothing_that_is_left_folds_to_a_trusted_name"),
        ],
    ),
    (
        "CVE-2026-34457, GHSA-5hvv-m4w4-gf6v; oauth2-proxy #649 and #657",
        "a User-Agent, or an empty one, opened every path",
        &[("tests/tests/known_holes.rs", "no_user_agent_and_no_path_of_a_probe_opens_anything")],
    ),
    (
        "CVE-2026-40575, GHSA-7x63-xv5r-3p2x",
        "the client's X-Forwarded-Uri was what rules for open paths were held against",
        &[(
            "tests/tests/external_auth.rs",
            "a_skipped_path_is_open_by_its_method_and_path_and_by_nothing_else",
        )],
    ),
    (
        "GHSA-pxq7-h93f-9jrg",
        "`#` in a target fooled rules for open paths",
        &[
            (
                "tests/tests/external_auth.rs",
                "no_spelling_of_a_path_is_judged_as_another_one_than_is_forwarded",
            ),
            ("proxy/src/request/target/tests.rs", "what_upstreams_read_differently_is_refused"),
        ],
    ),
    (
        "GHSA-c5c4-8r6x-56w3",
        "an address with two `@` passed a rule about its domain",
        &[("auth/src/rules/tests.rs", "an_address_counts_only_when_it_is_one_and_is_vouched_for")],
    ),
    (
        "GHSA-f24x-5g9q-753f",
        "a login began, and the session that was there before went on (session fixation)",
        &[
            ("auth/src/oidc/tests.rs", "beginning_a_login_ends_the_session_that_was_there"),
            ("tests/tests/logins.rs", "a_login_is_good_in_its_own_browser_host_and_time"),
        ],
    ),
    (
        "GHSA-4mf2, GHSA-qqxw, GHSA-j7px, GHSA-5m6c",
        "people were sent to other sites after a login",
        &[
            ("auth/src/oidc/tests/addresses.rs", "nobody_is_sent_to_another_site"),
            ("tests/tests/logins.rs", "nobody_is_led_away_by_a_login"),
        ],
    ),
    (
        "GHSA-652x-m2gr-hppm",
        "a rule about groups that could not be applied was left out",
        &[
            ("tests/tests/known_holes.rs", "a_rule_that_cannot_be_applied_lets_nobody_in"),
            ("tests/tests/login_settings.rs", "a_claim_that_no_session_keeps_refuses"),
        ],
    ),
    (
        "oauth2-proxy #3365",
        "an empty entry among the groups let everybody in",
        &[
            ("auth/src/rules/tests.rs", "rules_that_cannot_be_read_are_errors"),
            ("tests/tests/known_holes.rs", "a_rule_that_cannot_be_applied_lets_nobody_in"),
        ],
    ),
    (
        "CVE-2026-35051, CVE-2026-39858, CVE-2026-54764",
        "X-Forwarded-Prefix, other spellings, and a port of the client's choice reached the authentication server",
        &[("tests/tests/external_auth.rs", "the_server_hears_of_the_request_from_the_edge_alone")],
    ),
    (
        "CVE-2026-40912, CVE-2026-48020, GHSA-gm3x, CVE-2025-66490",
        "one spelling of a path was judged and another one forwarded",
        &[
            (
                "tests/tests/external_auth.rs",
                "no_spelling_of_a_path_is_judged_as_another_one_than_is_forwarded",
            ),
            ("proxy/src/request/target/tests.rs", "what_is_accepted_is_normal_and_stays"),
        ],
    ),
    (
        "CVE-2026-71325",
        "an object used what belongs to another namespace",
        &[
            ("tests/tests/known_holes.rs", "nothing_of_another_namespace_guards_a_route"),
            ("tests/tests/login_settings.rs", "a_namespace_has_providers_of_its_own_and_nobody_elses"),
        ],
    ),
    (
        "CVE-2026-25748",
        "a 200 that names nobody was taken for an identity",
        &[("tests/tests/external_auth.rs", "a_yes_of_authentik_without_an_identity_is_no_identity")],
    ),
    (
        "CVE-2024-47070",
        "an X-Forwarded-For that could not be read switched a rule off",
        &[("tests/tests/known_holes.rs", "a_forwarding_header_that_cannot_be_read_changes_nothing")],
    ),
    (
        "CVE-2025-48865",
        "`Connection: X-Forwarded-Host` took away what the proxy says",
        &[
            (
                "proxy/src/request/sanitize/tests.rs",
                "connection_removes_what_it_names_but_nothing_that_matters",
            ),
            ("tests/tests/external_auth.rs", "the_server_hears_of_the_request_from_the_edge_alone"),
        ],
    ),
    (
        "tokens in general",
        "`alg: none`, a public key as a shared secret, unknown keys on purpose, other audiences, old nonces",
        &[
            ("auth/src/bearer/tests.rs", "the_algorithm_is_ours_to_choose"),
            ("auth/src/bearer/tests.rs", "a_token_counts_only_with_all_that_it_must_say"),
            ("auth/src/bearer/tests.rs", "keys_are_fetched_when_due_and_not_at_anyones_command"),
            ("auth/src/oidc/tests/exchanging.rs", "an_id_token_counts_only_with_all_that_it_must_say"),
        ],
    ),
    (
        "claims in general",
        "line ends, NUL and bytes beyond ASCII in a claim split a header",
        &[("auth/src/headers/tests.rs", "no_claim_can_split_a_header_or_a_list")],
    ),
];

#[test]
fn each_row_has_its_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (name, _, tests) in ROWS {
        assert!(!tests.is_empty(), "{name}");
        for (file, test) in *tests {
            let text =
                std::fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            assert!(text.contains(&format!("fn {test}(")), "{name}: {file} has no test {test}");
        }
    }
}

const HOST: &str = "app.example";
/// bcrypt of `secret` with the cost 4.
const USERS: &str = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: users, namespace: NAMESPACE}\nstringData:\n  auth: |\n    \
                     ada:$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n";
const PROVIDER: &str =
    "providers: {house: {basic: {users: {secretRef: {namespace: shop, name: users, key: auth}}}}}";
/// `ada:secret`.
const ADA: &str = "Authorization: Basic YWRhOnNlY3JldA==\r\n";

fn users(namespace: &str) -> String {
    USERS.replace("NAMESPACE", namespace)
}

fn edge(annotations: &str, app: &Upstream) -> Edge {
    Edge::from_yaml(
        &[settings(PROVIDER), users("shop"), users("other"), manifests::site(annotations, app.address)]
            .concat(),
    )
}

fn status(edge: &Edge, target: &str, lines: &str) -> u16 {
    let mut client = Client::connect(edge.http());
    client.send(format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n"));
    client.answer().status
}

#[test]
fn no_user_agent_and_no_path_of_a_probe_opens_anything() {
    let app = Upstream::saying("app");
    let edge = edge("auth: house", &app);
    for agent in
        ["", "\"\"", "GoogleHC/1.0", "kube-probe/1.34", "ELB-HealthChecker/2.0", "Prometheus/3.0", "ping"]
    {
        assert_eq!(status(&edge, "/", &format!("User-Agent: {agent}\r\n")), 401, "{agent}");
    }
    for target in
        ["/ping", "/ready", "/readyz", "/livez", "/healthz", "/metrics", "/robots.txt", "/oauth2/static/x"]
    {
        assert_eq!(status(&edge, target, "User-Agent: kube-probe/1.34\r\n"), 401, "{target}");
    }
    assert_eq!(app.count(), 0);
    assert_eq!(status(&edge, "/", ADA), 200);
}

#[test]
fn a_rule_that_cannot_be_applied_lets_nobody_in() {
    let app = Upstream::saying("app");
    for annotations in [
        "auth: house\nauth-allow: \"\"",
        "auth: house\nauth-allow: \"group:\"",
        "auth: house\nauth-allow: \"group:a,,group:b\"",
        "auth: house\nauth-allow: \"user:ada,\"",
        "auth: house\nauth-allow: \"role:admins\"",
        "auth: house\nauth-allow: \"claim:tenant=blue\"",
        "auth: house\nauth-skip: \"/public/[\"\nauth-deny: \"group:\"",
        "auth: hosue",
        "auth: house, none",
        "auth-allow: user:ada",
        "auth-alow: user:ada\nauth: house",
    ] {
        let edge = edge(annotations, &app);
        assert_eq!(status(&edge, "/", ADA), 503, "{annotations}");
        assert!(!edge.problems().is_empty(), "{annotations}");
    }
    assert_eq!(app.count(), 0);
}

#[test]
fn nothing_of_another_namespace_guards_a_route() {
    let app = Upstream::saying("app");
    let server = Upstream::saying("yes");
    let elsewhere = service("server", &[server.address]).replace("namespace: shop", "namespace: other");
    let gate = |namespace: &str| {
        format!(
            "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: gate, namespace: shop, labels: {{vestibule.dev/provider: \"true\"}}}}\n\
             stringData:\n  provider: |\n    external: {{path: /v, service: {{namespace: {namespace}, name: server, port: 80}}}}\n"
        )
    };
    let with = |annotations: &str, gate: &str| {
        let site = manifests::site(annotations, app.address);
        let own = service("server", &[server.address]);
        Edge::from_yaml(
            &[users("shop"), users("other"), own, elsewhere.clone(), gate.to_owned(), site].concat(),
        )
    };
    for (namespace, expected) in [("other", 503), ("shop", 200)] {
        let basic = with(&format!("auth-type: basic\nauth-secret: {namespace}/users"), "");
        assert_eq!(status(&basic, "/", ADA), expected, "{namespace}: {:?}", basic.problems());
        let external = with("auth: gate", &gate(namespace));
        assert_eq!(status(&external, "/", ""), expected, "{namespace}: {:?}", external.problems());
        assert_eq!(
            (basic.problems().is_empty(), external.problems().is_empty()),
            (expected == 200, expected == 200)
        );
    }
    assert_eq!(app.count(), 2, "and nothing else");
}

#[test]
fn a_forwarding_header_that_cannot_be_read_changes_nothing() {
    let app = Upstream::saying("app");
    let server = Upstream::answering(|request| {
        // It lets in whoever comes from this machine, by the edge's word.
        let good = request.fields.all("x-forwarded-for") == ["127.0.0.1"]
            && request.fields.all("x-real-ip") == ["127.0.0.1"];
        let status = if good { "200 OK" } else { "403 Forbidden" };
        format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")
    });
    let provider =
        "providers: {gate: {external: {service: {namespace: shop, name: server, port: 80}, path: /v}}}";
    let yaml = [
        settings(provider),
        manifests::site("auth: gate\nallow-from: 127.0.0.0/8", app.address),
        service("server", &[server.address]),
    ];
    let edge = Edge::from_yaml(&yaml.concat());
    for value in
        ["", "unknown", "10.0.0.1, nonsense", "::ffff:999.1.1.1", "127.0.0.1;DROP", "\t,,,", "10.0.0.1:99999"]
    {
        let lines = format!(
            "X-Forwarded-For: {value}\r\nX_Forwarded_For: {value}\r\nX-Real-Ip: {value}\r\nForwarded: for={value}\r\n"
        );
        assert_eq!(status(&edge, "/", &lines), 200, "{value:?}");
    }
    let denied = Edge::from_yaml(&yaml.concat().replace("127.0.0.0/8", "10.0.0.0/8"));
    for value in ["10.0.0.1", "unknown", ""] {
        assert_eq!(status(&denied, "/", &format!("X-Forwarded-For: {value}\r\n")), 403, "{value:?}");
    }
}
