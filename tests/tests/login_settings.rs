//! Providers that people log in to, as they are written: what cannot be used refuses, and says why. Nobody is asked here.

use tests::client::Client;
use tests::edge::Edge;
use tests::manifests::{self, service};
use tests::message::Answer;
use tests::upstream::Upstream;

const CLIENT: &str = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: client, namespace: shop}\nstringData: {secret: hush}\n";
const SECRET: &str = "clientSecret: {secretRef: {namespace: shop, name: client, key: secret}}";

fn get(edge: &Edge, target: &str, lines: &str) -> Answer {
    let mut client = Client::connect(edge.http());
    client.send(format!("GET {target} HTTP/1.1\r\nHost: app.example\r\nConnection: close\r\n{lines}\r\n"));
    client.answer()
}

fn keys() -> String {
    let now = jiff::Timestamp::from_second(1_790_000_000).expect("a time");
    auth::session::KeyRing::new(now).expect("random bytes").to_text()
}

/// A site whose route names `p`, defined by these settings; and what the application was asked.
fn site(provider: &str, annotations: &str, objects: &str) -> (Edge, Upstream) {
    let app = Upstream::saying("app");
    let settings = if provider.is_empty() { String::new() } else { format!("providers: {{p: {provider}}}") };
    let yaml = [
        manifests::settings(&settings),
        CLIENT.to_owned(),
        objects.to_owned(),
        manifests::site(&format!("auth: p\n{annotations}"), app.address),
    ]
    .concat();
    let edge = Edge::from_yaml(&yaml);
    edge.set_session_keys(&keys());
    (edge, app)
}

#[track_caller]
fn refuses(provider: &str, annotations: &str, objects: &str, words: &str) {
    let (edge, app) = site(provider, annotations, objects);
    assert_eq!(get(&edge, "/", "").status, 503, "{provider}");
    assert!(app.requests().is_empty());
    let said: Vec<String> = edge.problems().iter().map(ToString::to_string).collect();
    assert!(said.iter().any(|problem| problem.contains(words)), "{words}: {said:#?}");
    assert!(!said.concat().contains("hush"), "{said:#?}");
}

#[test]
fn a_provider_that_cannot_be_used_refuses_and_says_why() {
    let oidc = |more: &str| format!("{{oidc: {{issuer: \"https://id.example\", clientId: edge, {more}}}}}");
    let nowhere = "clientSecret: {secretRef: {namespace: shop, name: nowhere, key: secret}}";
    for (provider, words) in [
        (oidc(nowhere), "Secret shop/nowhere"),
        (oidc("clientSecret: {secretRef: {namespace: shop, name: client, key: other}}"), "key `other`"),
        (oidc(&format!("{SECRET}, connectTo: dex")), "connectTo"),
        (oidc(&format!("{SECRET}, session: {{lifetime: 0s}}")), "session.lifetime"),
        (oidc(&format!("{SECRET}, session: {{lifetime: 721h}}")), "session.lifetime"),
        (oidc(&format!("{SECRET}, session: {{cookieDomain: com}}")), "cookieDomain"),
        (oidc(&format!("{SECRET}, session: {{store: shared}}")), "`sharedStore`"),
        (oidc(&format!("{SECRET}, session: {{keepTokens: [access]}}")), "`session.store: shared`"),
        (oidc(&format!("{SECRET}, authHost: \"a b\"")), "authHost"),
        (oidc(&format!("{SECRET}, parameters: {{nonce: x}}")), "`nonce`"),
        (format!("{{oidc: {{issuer: id.example, clientId: edge, {SECRET}}}}}"), "issuer"),
        ("{jwt: {issuer: \"https://id.example\", audiences: []}}".into(), "audiences"),
        ("{jwt: {issuer: \"https://id.example\", audiences: [\"\"]}}".into(), "audiences"),
        ("{jwt: {issuer: \"https://id.example\", audiences: [a], algorithms: [HS256]}}".into(), "HS256"),
        ("{jwt: {issuer: \"https://id.example\", audiences: [a], algorithms: [none]}}".into(), "none"),
        (
            "{jwt: {issuer: \"https://id.example\", audiences: [a], jwksUrl: \"file:///etc/passwd\"}}".into(),
            "jwksUrl",
        ),
    ] {
        refuses(&provider, "", "", words);
    }
}

#[test]
fn a_claim_that_no_session_keeps_refuses() {
    let oidc = |keep: &str| {
        format!("{{oidc: {{issuer: \"https://id.example\", clientId: edge, {SECRET}, {keep}}}}}")
    };
    refuses(&oidc("keepClaims: [level]"), "auth-allow: \"claim:tenant=blue\"", "", "keepClaims");
    let (edge, _app) = site(&oidc("keepClaims: [tenant]"), "auth-allow: \"claim:tenant=blue\"", "");
    assert_eq!(get(&edge, "/", "").status, 401);
}

#[test]
fn a_namespace_has_providers_of_its_own_and_nobody_elses() {
    let definition = |namespace: &str, text: &str| {
        format!(
            "---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: p\n  namespace: {namespace}\n  labels: {{vestibule.dev/provider: \"true\"}}\n\
             stringData:\n  secret: hush\n  provider: |\n    {text}\n"
        )
    };
    let own =
        "oidc: {issuer: \"https://id.example\", clientId: edge, clientSecret: {secretRef: {key: secret}}}";
    let (edge, _app) = site("", "", &definition("shop", own));
    assert_eq!(get(&edge, "/", "").status, 401, "{:?}", edge.problems());
    assert_eq!(get(&edge, "/oauth2/userinfo", "").status, 401);
    refuses("", "", &definition("elsewhere", own), "is not known");
    for (text, words) in [
        ("oidc: {issuer: \"https://id.example\", clientId: edge, authHost: a.example}", "only the operator"),
        (
            "oidc: {issuer: \"https://id.example\", clientId: edge, session: {cookieDomain: b.example}}",
            "only the operator",
        ),
        (
            "oidc: {issuer: \"https://id.example\", clientId: edge, session: {store: shared}}",
            "only the operator",
        ),
        (
            "oidc: {issuer: \"https://id.example\", clientId: edge, clientSecret: {secretRef: {namespace: infra, name: x, key: y}}}",
            "infra",
        ),
        (
            "oidc: {issuer: \"https://id.example\", clientId: edge, clientSecret: {file: /etc/passwd}}",
            "secretRef",
        ),
    ] {
        refuses("", "", &definition("shop", text), words);
    }
}

#[test]
fn without_keys_nobody_can_be_known() {
    let app = Upstream::saying("app");
    let provider =
        format!("providers: {{p: {{oidc: {{issuer: \"https://id.example\", clientId: edge, {SECRET}}}}}}}");
    let yaml =
        [manifests::settings(&provider), CLIENT.to_owned(), manifests::site("auth: p", app.address)].concat();
    let edge = Edge::from_yaml(&yaml);
    assert_eq!(get(&edge, "/", "").status, 503);
    assert_eq!(get(&edge, "/oauth2/auth", "").status, 503);
    edge.set_session_keys(&keys());
    assert_eq!(get(&edge, "/", "").status, 401);
    assert!(app.requests().is_empty());
}

#[test]
fn the_pages_of_logins_speak_the_languages_that_are_spoken_here() {
    let (edge, _app) =
        site(&format!("{{oidc: {{issuer: \"https://id.example\", clientId: edge, {SECRET}}}}}"), "", "");
    let html = "Accept: text/html\r\n";
    let cross_site = "Sec-Fetch-Site: cross-site\r\n";
    for (target, lines, status, english, german) in [
        ("/oauth2/signed_out", "", 200, "Signed out", "Abgemeldet"),
        ("/oauth2/callback?state=x&code=y", "", 403, "Not signed in", "Nicht angemeldet"),
        ("/oauth2/start?request=x", "", 403, "Not signed in", "Nicht angemeldet"),
        ("/oauth2/sign_out", cross_site, 403, "Not signed out", "Nicht abgemeldet"),
    ] {
        for (language, tag, words) in [("en", "en", english), ("de-CH, en;q=0.5", "de", german)] {
            let page = get(&edge, target, &format!("{html}{lines}Accept-Language: {language}\r\n"));
            let text = page.text();
            assert_eq!(page.status, status, "{target}");
            assert!(
                text.contains(&format!("<html lang=\"{tag}\">")) && text.contains(words),
                "{target}: {text}"
            );
            assert!(
                text.contains("color-scheme") && !text.contains("src=") && !text.contains("<script"),
                "{text}"
            );
            let policy = page.fields.one("content-security-policy").expect("a policy");
            assert!(policy.starts_with("default-src 'none'"), "{policy}");
            assert_eq!(page.fields.one("cache-control"), Some("no-store"));
        }
        let plain = get(&edge, target, lines);
        assert_eq!(
            (plain.status, plain.fields.one("content-type")),
            (status, Some("text/plain; charset=utf-8"))
        );
    }
}

#[test]
fn sessions_do_not_reach_open_routes_either() {
    let app = Upstream::saying("app");
    let yaml = [manifests::ingress(""), service("web", &[app.address])].concat();
    let edge = Edge::from_yaml(&yaml);
    get(&edge, "/", "Cookie: a=1; __Host-vb_01234567=secret; vbf_0123=secret\r\n");
    assert_eq!(app.requests()[0].fields.all("cookie"), ["a=1"]);
}
