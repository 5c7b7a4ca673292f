//! Providers that are not where their names lead, and providers with an issuer for each client, as Kanidm has them; with a
//! real OpenID provider: `tests/run auth`.

use std::fmt::Write as _;
use std::process::Command;

use serde_json::{Value, json};
use tests::certificates::Authority;
use tests::client::Client;
use tests::edge::Edge;
use tests::logins::{APP, APPS, replica};
use tests::manifests;
use tests::message::Answer;
use tests::openid::{Browser, OpenIdProvider};
use tests::process::{self, Files, Process};
use tests::upstream::Upstream;
use tests::wait::eventually;

/// Nothing resolves it: who arrives there was told where it is.
const ID: &str = "id.example";
const SECRET: &str = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: client, namespace: shop}\n\
                      stringData: {secret: edge-secret-0123456789abcdef0123}\n";

// ---- Reached under a public name that leads elsewhere ---------------------------------------------------------------

/// A provider that is known as `https://id.example`, with a certificate for `certified`, and an edge that reaches it by
/// `connectTo`; the edge is a process, because the authorities of the system are those of a process.
struct Inside {
    authority: Authority,
    provider: OpenIdProvider,
    app: Upstream,
    edge: Process,
    files: Files,
}

impl Inside {
    fn new(certified: &str) -> Self {
        let authority = Authority::default();
        let mut provider = OpenIdProvider::new(&APPS).with_tls(ID, &authority, certified);
        provider.start();
        let app = Upstream::saying("app");
        let (issuer, door) = (provider.issuer(), provider.address());
        let files = Files::with(
            "site.yaml",
            &[SECRET, &manifests::site("auth: robots, else dex", app.address)].concat(),
        );
        let bundle = files.manifests().with_file_name("authorities.pem");
        std::fs::write(&bundle, authority.pem()).expect("a file");
        files.write_settings(&format!(
            "auth: {{sessionKeys: {{file: '{}'}}}}\nproviders:\n  robots:\n    \
             jwt: {{issuer: '{issuer}', audiences: [api], connectTo: '{door}'}}\n  dex:\n    oidc:\n      \
             issuer: {issuer}\n      clientId: edge\n      \
             clientSecret: {{secretRef: {{namespace: shop, name: client, key: secret}}}}\n      \
             scopes: [profile, email, groups]\n      connectTo: '{door}'\n",
            bundle.with_file_name("sessions").display()
        ));
        let mut command: Command = process::command(process::binary(), &files);
        let edge = Process::start(command.env("SSL_CERT_FILE", &bundle).env_remove("SSL_CERT_DIR"));
        edge.wait_until_ready();
        Inside { authority, provider, app, edge, files }
    }

    fn browser(&self) -> Browser {
        let hosts = [("app.example", self.edge.http()), (ID, self.provider.address())];
        Browser::new(&hosts).trusting(&self.authority)
    }

    fn with_token(&self, token: &str) -> u16 {
        let mut client = Client::connect(self.edge.http());
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: app.example\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
        ));
        client.answer().status
    }
}

#[test]
fn a_provider_inside_the_cluster_is_reached_under_its_public_name() {
    let site = Inside::new(ID);
    let mut browser = site.browser();
    let form = browser.visit(&format!("{APP}/page"));
    // The document was fetched there and speaks of public addresses, because it was asked for under the public name.
    assert!(browser.visited[1].starts_with("https://id.example/auth?"), "{:#?}", browser.visited);
    // Keys, and the code's tokens, come by the same door.
    let answer = browser.log_in(&form, "ada");
    assert_eq!((answer.status, &*answer.text()), (200, "app"), "{:#?}", browser.visited);
    assert_eq!(browser.visited.last().map(String::as_str), Some("http://app.example/page"));
    let request = site.app.requests().pop().expect("a request");
    assert_eq!(request.fields.all("x-auth-request-email"), ["ada@example.test"]);
    // So do the keys of bearer tokens.
    let token = site.provider.token(&json!({"sub": "robot", "aud": "api"}));
    eventually("the keys are there", || site.with_token(&token) == 200);
    assert_eq!(site.with_token(&site.provider.token(&json!({"sub": "robot", "aud": "other"}))), 401);
}

#[test]
fn behind_another_door_the_certificate_is_for_the_public_name_all_the_same() {
    // Vouched for, and even for the address that is connected to.
    for certified in ["other.example", "127.0.0.1"] {
        let site = Inside::new(certified);
        let answer = site.browser().open(&format!("{APP}/page"));
        assert_eq!(answer.status, 503, "{certified}: {}", answer.text());
        assert!(answer.text().contains("Sign-in is not available"), "{}", answer.text());
        assert!(!answer.fields.has("location") && !answer.fields.has("set-cookie"), "{:?}", answer.fields);
        let said = site.edge.err().wait_for(&["the provider cannot be used now", "no TLS with id.example"]);
        assert!(said.contains("not valid for name \"id.example\""), "{said}");
        let token = site.provider.token(&json!({"sub": "robot", "aud": "api"}));
        assert_eq!(site.with_token(&token), 503, "without keys nobody can tell");
        assert_eq!(site.app.count(), 0);
        drop(site.files);
    }
}

// ---- An issuer for each client --------------------------------------------------------------------------------------

/// A provider with the clients `shop` and `till`, each with an issuer of its own, both with the same keys. `app.example` is
/// for those whom the first knows, `other.example` for those whom the second knows.
struct Site {
    provider: OpenIdProvider,
    app: Upstream,
    edge: Edge,
}

impl Site {
    /// `auth.example` logs in at the second issuer's endpoints, and trusts this one: `shop` or `till`.
    fn new(trusted: &str) -> Self {
        let mut provider = OpenIdProvider::new(&APPS).with_issuers_of(&["shop", "till"]);
        provider.start();
        let secret = "clientSecret: {secretRef: {namespace: shop, name: client, key: secret}}";
        let mut settings = String::from("providers:\n");
        for client in ["shop", "till"] {
            let issuer = provider.issuer_of(client);
            let _ = write!(
                settings,
                "  {client}:\n    oidc: {{issuer: '{issuer}', clientId: {client}, scopes: [email], {secret}}}\n  \
                 tokens-of-{client}:\n    jwt: {{issuer: '{issuer}', audiences: [{client}]}}\n"
            );
        }
        let mut objects = vec![
            of_host("app.example", "tokens-of-shop, else shop"),
            of_host("other.example", "tokens-of-till, else till"),
        ];
        if !trusted.is_empty() {
            let (issuer, at) = (provider.issuer_of(trusted), provider.issuer_of("till"));
            let _ = write!(
                settings,
                "  mixed:\n    oidc: {{issuer: '{issuer}', clientId: till, scopes: [email], {secret}, endpoints: \
                 {{authorization: '{at}/auth', token: '{at}/token', jwks: '{at}/jwks', userinfo: '{at}/me'}}}}\n"
            );
            objects.push(of_host("auth.example", "mixed"));
        }
        let app = Upstream::saying("app");
        objects.push(manifests::service("web", &[app.address]));
        let edge = replica(&[manifests::settings(&settings), SECRET.to_owned(), objects.concat()].concat());
        assert_eq!(edge.problems(), []);
        Site { provider, app, edge }
    }

    fn browser(&self) -> Browser {
        tests::logins::browser(self.edge.http())
    }
}

fn of_host(host: &str, auth: &str) -> String {
    manifests::ingress(&format!("auth: {auth}"))
        .replace("name: web\n", &format!("name: {host}\n"))
        .replace("- http:", &format!("- host: {host}\n    http:"))
}

/// Logs in at the provider, whose form is open, and keeps its answer from the edge: the address of the callback.
fn callback(browser: &mut Browser, (host, form): (&str, &Answer), account: &str, site: &Site) -> String {
    browser.point(host, site.app.address);
    browser.log_in(form, account);
    browser.point(host, site.edge.http());
    browser.visited.last().expect("the callback").clone()
}

/// The parameter of an address.
fn parameter<'a>(address: &'a str, name: &str) -> &'a str {
    let start = format!("{name}=");
    let found = address.split(['?', '&']).find_map(|pair| pair.strip_prefix(&start));
    found.unwrap_or_else(|| panic!("no {name} in {address}"))
}

#[test]
fn each_client_logs_in_at_its_own_issuer() {
    let site = Site::new("");
    for (host, client) in [("app.example", "shop"), ("other.example", "till")] {
        let mut browser = site.browser();
        let form = browser.visit(&format!("http://{host}/page"));
        let asked = &browser.visited[1];
        assert!(asked.starts_with(&format!("{}/auth?", site.provider.issuer_of(client))), "{asked}");
        assert_eq!(parameter(asked, "code_challenge_method"), "S256");
        assert_eq!(browser.log_in(&form, "ada").status, 200, "{:#?}", browser.visited);
        let request = site.app.requests().pop().expect("a request");
        assert_eq!(request.fields.all("x-auth-request-email"), ["ada@example.test"]);
    }
}

#[test]
fn a_token_that_names_another_issuer_is_none_even_where_its_key_is_known() {
    // The endpoints, given one by one, are those of `till`; who is trusted is either.
    for (trusted, status) in [("till", 302), ("shop", 403)] {
        let site = Site::new(trusted);
        let mut browser = site.browser();
        let form = browser.visit("http://auth.example/page");
        assert!(browser.visited[1].starts_with(&site.provider.issuer_of("till")), "{:#?}", browser.visited);
        let callback = callback(&mut browser, ("auth.example", &form), "ada", &site);
        // The callback names its issuer, too (RFC 9207). Without that word it is the token that decides.
        let (start, _) = callback.split_once("&iss=").expect("the issuer comes last");
        let answer = browser.open(start);
        assert_eq!(answer.status, status, "{trusted}: {}", answer.text());
        let known = browser.fetch("http://auth.example/").status;
        assert_eq!(known, if status == 302 { 200 } else { 401 }, "{trusted}");
    }
}

#[test]
fn a_session_of_one_client_is_none_of_another() {
    let site = Site::new("");
    let session = |host: &str| {
        let mut browser = site.browser();
        let form = browser.visit(&format!("http://{host}/"));
        assert_eq!(browser.log_in(&form, "ada").status, 200);
        let (name, value) = browser.cookies(host).into_iter().next().expect("a session");
        (name, value)
    };
    let (of_one, of_two) = (session("app.example"), session("other.example"));
    let with = |name: &str, value: &str| {
        let mut browser = site.browser();
        browser.plant("other.example", name, value);
        browser.fetch("http://other.example/").status
    };
    assert_eq!(with(&of_two.0, &of_two.1), 200);
    assert_eq!([with(&of_one.0, &of_one.1), with(&of_two.0, &of_one.1)], [401, 401]);
}

#[test]
fn a_code_of_one_issuer_is_none_of_another() {
    let site = Site::new("");
    for says in ["till", "shop"] {
        let mut attacker = site.browser();
        let form = attacker.visit("http://other.example/");
        let callback = callback(&mut attacker, ("other.example", &form), "bob", &site);
        let code = parameter(&callback, "code");

        let mut victim = site.browser();
        let asked = victim.open("http://app.example/");
        let state = parameter(asked.fields.one("location").expect("a redirect"), "state").to_owned();
        let issuer = site.provider.issuer_of(says);
        let before = site.app.count();
        let answer = victim
            .open(&format!("http://app.example/oauth2/callback?state={state}&code={code}&iss={issuer}"));
        assert_eq!(answer.status, 403, "{says}: {}", answer.text());
        assert_eq!((victim.cookies("app.example").len(), site.app.count()), (0, before), "{says}");
        // It was good where it belongs.
        assert_eq!(attacker.open(&callback).status, 302);
    }
}

#[test]
fn bearer_tokens_of_one_issuer_are_none_of_another() {
    let site = Site::new("");
    let with = |host: &str, claims: &Value| {
        let token = site.provider.token(claims);
        let mut client = Client::connect(site.edge.http());
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
        ));
        client.answer().status
    };
    let of = |issuer: &str, audience: &str| json!({"iss": site.provider.issuer_of(issuer), "sub": "robot", "aud": audience});
    for (host, issuer, audience, status) in [
        ("app.example", "shop", "shop", 200),
        ("other.example", "till", "till", 200),
        ("app.example", "till", "till", 401),
        ("app.example", "till", "shop", 401),
        ("app.example", "shop", "till", 401),
        ("other.example", "shop", "till", 401),
    ] {
        assert_eq!(with(host, &of(issuer, audience)), status, "{host} {issuer} {audience}");
    }
    let of_the_origin = json!({"iss": site.provider.issuer(), "sub": "robot", "aud": "shop"});
    assert_eq!(with("app.example", &of_the_origin), 401, "an issuer that begins alike is another one");
}
