//! External authentication against servers that answer as authentik, Authelia and OAuth2-Proxy document it, and what an
//! attacker would try on the way to them.

use std::net::SocketAddr;

use tests::client::Client;
use tests::edge::Edge;
use tests::manifests::{self, service};
use tests::message::{Answer, Received};
use tests::upstream::{Upstream, nobody, ok};

const HOST: &str = "app.example";
/// What a browser sends when a person follows a link.
const NAVIGATION: &str = "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nAccept: text/html\r\n";
/// What a script sends.
const SCRIPT: &str = "Sec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\nAccept: application/json\r\n";

/// An application, a server that is asked, and the edge before both.
struct Site {
    app: Upstream,
    server: Upstream,
    edge: Edge,
}

impl Site {
    /// `provider` is the settings of an external provider, without its Service; `annotations` are those of the route.
    fn new(provider: &str, annotations: &str, server: Upstream) -> Self {
        let app = Upstream::saying("app");
        let edge = Edge::from_yaml(&site(provider, annotations, app.address, server.address));
        Site { app, server, edge }
    }

    /// Sends one request with these header lines, on a connection of its own.
    fn send(&self, method: &str, target: &str, headers: &str) -> Answer {
        request(self.edge.address("http"), method, target, headers)
    }

    fn get(&self, target: &str, headers: &str) -> Answer {
        self.send("GET", target, headers)
    }

    /// The one request that the application has seen.
    #[track_caller]
    fn seen(&self) -> Received {
        let requests = self.app.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests[0].clone()
    }
}

fn site(provider: &str, annotations: &str, app: SocketAddr, server: SocketAddr) -> String {
    let service_of = "service: {namespace: shop, name: server, port: 80}";
    let provider = format!("providers: {{gate: {{external: {{{service_of}, {provider}}}}}}}");
    [
        manifests::settings(&provider),
        manifests::site(&format!("auth: gate\n{annotations}"), app),
        service("server", &[server]),
    ]
    .concat()
}

fn request(edge: SocketAddr, method: &str, target: &str, headers: &str) -> Answer {
    let mut client = Client::connect(edge);
    client.send(format!("{method} {target} HTTP/1.1\r\nHost: {HOST}\r\n{headers}\r\n"));
    client.answer_to(method)
}

fn answer(status: &str, headers: &[&str], body: &str) -> String {
    let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    format!("HTTP/1.1 {status}\r\n{lines}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// A server that says yes to everyone, with these header lines.
fn yes(headers: &'static [&'static str]) -> Upstream {
    Upstream::answering(move |_| answer("200 OK", headers, ""))
}

fn cookie_of(request: &Received, name: &str) -> Option<String> {
    let cookies = request.fields.all("cookie").join("; ");
    let mut pairs = cookies.split("; ").filter_map(|pair| pair.split_once('='));
    pairs.find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
}

// authentik: outpost, `/outpost.goauthentik.io/auth/traefik`.

/// Answers as the outpost does for Traefik: 500 without its three headers; a login begins with 302 and cookies, ends by a query on
/// any path, and a session is 200 with headers.
fn authentik() -> Upstream {
    Upstream::answering(|request| {
        if request.target != "/outpost.goauthentik.io/auth/traefik" {
            return ok(request, "outpost");
        }
        let field = |name: &str| request.fields.one(name).map(str::to_owned);
        let (Some(proto), Some(host), Some(uri)) =
            (field("x-forwarded-proto"), field("x-forwarded-host"), field("x-forwarded-uri"))
        else {
            return answer("500 Internal Server Error", &[], "");
        };
        if uri.contains("X-authentik-auth-callback=true") {
            let location = format!("Location: {proto}://{host}/deep");
            return answer(
                "302 Found",
                &[&location, "Set-Cookie: authentik_proxy_0a1b2c3d=good; Path=/"],
                "",
            );
        }
        match cookie_of(request, "authentik_proxy_0a1b2c3d").as_deref() {
            Some("good") => answer(
                "200 OK",
                &[
                    "X-authentik-username: ada",
                    "X-authentik-groups: admins|staff",
                    "X-authentik-email: ada@example.com",
                    "X-authentik-uid: 77",
                ],
                "",
            ),
            // CVE-2026-25748: a malformed cookie was answered 200, without saying who it is.
            Some("malformed") => answer("200 OK", &[], ""),
            _ => answer(
                "302 Found",
                &[
                    "Location: https://auth.example/application/o/authorize/?client_id=x",
                    "Set-Cookie: authentik_proxy_0a1b2c3d=state; Path=/; HttpOnly",
                    "Set-Cookie: authentik_hint=1; Path=/",
                ],
                "",
            ),
        }
    })
}

#[test]
fn authentik_begins_a_login_with_its_own_redirect_and_all_of_its_cookies() {
    let site = Site::new("preset: authentik", "", authentik());
    let answer = site.get("/deep?a=b", NAVIGATION);
    assert_eq!(answer.status, 302);
    assert_eq!(
        answer.fields.one("location"),
        Some("https://auth.example/application/o/authorize/?client_id=x")
    );
    assert_eq!(answer.fields.all("set-cookie").len(), 2, "{answer:?}");
    let asked = &site.server.requests()[0];
    assert_eq!(asked.fields.one("x-forwarded-uri"), Some("/deep?a=b"));
    assert_eq!(asked.fields.one("x-forwarded-host"), Some(HOST));
    assert_eq!(asked.fields.one("x-forwarded-proto"), Some("http"));
    assert_eq!(asked.fields.one("host"), Some("server.shop.svc"));
    let ended = site.get("/anything?X-authentik-auth-callback=true&code=1", NAVIGATION);
    assert_eq!((ended.status, ended.fields.one("location")), (302, Some("http://app.example/deep")));
    assert_eq!(site.app.count(), 0);
}

#[test]
fn authentik_says_who_it_is_and_nobody_else_can() {
    let site = Site::new("preset: authentik", "auth-allow: group:admins", authentik());
    let answer = site.get(
        "/",
        "Cookie: theme=dark; authentik_proxy_0a1b2c3d=good\r\nX-Authentik-Username: root\r\nX.authentik.jwt: forged\r\nX-authentik-name: Root\r\n",
    );
    assert_eq!(answer.status, 200);
    let seen = site.seen();
    assert_eq!(seen.fields.all("x-authentik-username"), ["ada"]);
    assert_eq!(seen.fields.all("x-authentik-groups"), ["admins|staff"]);
    // What the server did not say, the client cannot say either.
    assert!(!seen.fields.has("x-authentik-name") && !seen.fields.has("x.authentik.jwt"), "{seen:?}");
}

#[test]
fn a_yes_of_authentik_without_an_identity_is_no_identity() {
    let site = Site::new("preset: authentik", "", authentik());
    let answer = site.get("/", "Cookie: authentik_proxy_0a1b2c3d=malformed\r\n");
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains("reason: unidentified"), "{}", answer.text());
    assert_eq!(site.app.count(), 0);
}

#[test]
fn the_paths_of_the_outpost_are_served_on_the_host_of_the_application() {
    let site = Site::new("preset: authentik", "", authentik());
    let answer =
        site.get("/outpost.goauthentik.io/start?rd=x", "Cookie: a=b\r\nX-authentik-username: root\r\n");
    assert_eq!((answer.status, answer.text().as_str()), (200, "outpost"));
    let asked = &site.server.requests()[0];
    assert_eq!(asked.target, "/outpost.goauthentik.io/start?rd=x");
    assert_eq!(asked.fields.one("host"), Some(HOST));
    assert!(!asked.fields.has("x-authentik-username"));
    assert_eq!(site.app.count(), 0);
}

// Authelia: `/api/authz/forward-auth`.

/// Answers as Authelia does: 400 unless the request is described; 302 for people, 401 for programs; 403 for those who may not.
fn authelia() -> Upstream {
    Upstream::answering(|request| {
        if request.target != "/api/authz/forward-auth" {
            return answer("404 Not Found", &[], "");
        }
        let one = |name: &str| request.fields.one(name).unwrap_or_default().to_owned();
        let method = one("x-forwarded-method");
        let described = ["x-forwarded-proto", "x-forwarded-host", "x-forwarded-uri", "x-forwarded-for"];
        let is_upper = |byte: u8| byte.is_ascii_uppercase();
        if method.is_empty()
            || !method.bytes().all(is_upper)
            || described.iter().any(|name| one(name).is_empty())
        {
            return answer("400 Bad Request", &[], "");
        }
        match cookie_of(request, "authelia_session").as_deref() {
            Some("ada") => answer(
                "200 OK",
                &[
                    "Remote-User: ada",
                    "Remote-Groups: admins,staff",
                    "Remote-Name: Ada",
                    "Remote-Email: ada@example.com",
                    "Set-Cookie: authelia_session=ada; Path=/",
                ],
                "",
            ),
            Some("eve") => answer("403 Forbidden", &["Content-Type: text/plain"], "403 Forbidden"),
            // The rule `bypass`: everyone may, and nobody is known.
            Some("bypass") => answer("200 OK", &[], ""),
            _ if one("accept").contains("text/html") => {
                let location =
                    format!("Location: https://auth.example/?rd=http%3A%2F%2Fapp.example&rm={method}");
                let status =
                    if ["GET", "HEAD"].contains(&method.as_str()) { "302 Found" } else { "303 See Other" };
                answer(status, &[&location], "<a href=\"x\">Found</a>")
            }
            _ => answer(
                "401 Unauthorized",
                &["WWW-Authenticate: Basic realm=\"Authelia\""],
                "401 Unauthorized",
            ),
        }
    })
}

#[test]
fn authelia_sends_people_to_its_portal_and_tells_programs_401() {
    let site = Site::new("preset: authelia", "", authelia());
    let person = site.get("/a", NAVIGATION);
    assert_eq!(person.status, 302);
    assert_eq!(
        person.fields.one("location"),
        Some("https://auth.example/?rd=http%3A%2F%2Fapp.example&rm=GET")
    );
    let form = site.send("POST", "/a", "Accept: text/html\r\nContent-Length: 0\r\n");
    assert_eq!(form.status, 303);
    let script = site.get("/a", SCRIPT);
    assert_eq!(script.status, 401);
    assert_eq!(script.fields.one("www-authenticate"), Some("Basic realm=\"Authelia\""));
    assert_eq!(script.text(), "401 Unauthorized");
    assert_eq!(site.app.count(), 0);
}

#[test]
fn authelia_says_who_it_is_and_who_may_not() {
    let site = Site::new("preset: authelia", "", authelia());
    let answer =
        site.get("/", "Cookie: authelia_session=ada\r\nRemote-User: root\r\nRemote.Groups: wheel\r\n");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.fields.all("set-cookie"), ["authelia_session=ada; Path=/"]);
    let seen = site.seen();
    assert_eq!(seen.fields.all("remote-user"), ["ada"]);
    assert_eq!(seen.fields.all("remote-groups"), ["admins,staff"]);
    assert!(!seen.fields.has("remote.groups"));
    let refused = site.get("/", "Cookie: authelia_session=eve\r\n");
    assert_eq!((refused.status, refused.text().as_str()), (403, "403 Forbidden"));
    assert_eq!(site.app.count(), 1);
}

#[test]
fn the_bypass_of_authelia_counts_only_where_no_identity_is_asked_for() {
    let strict = Site::new("preset: authelia", "", authelia());
    assert_eq!(strict.get("/", "Cookie: authelia_session=bypass\r\n").status, 403);
    let lenient = Site::new("preset: authelia, requireHeaders: []", "", authelia());
    assert_eq!(lenient.get("/", "Cookie: authelia_session=bypass\r\nRemote-User: root\r\n").status, 200);
    assert!(!lenient.seen().fields.has("remote-user"));
}

// OAuth2-Proxy: `/oauth2/auth`.

fn oauth2_proxy() -> Upstream {
    Upstream::answering(|request| {
        if request.target != "/oauth2/auth" {
            return ok(request, "oauth2-proxy");
        }
        match cookie_of(request, "_oauth2_proxy").as_deref() {
            Some("ada") => answer(
                "202 Accepted",
                &[
                    "Gap-Auth: ada@example.com",
                    "X-Auth-Request-User: 4711",
                    "X-Auth-Request-Email: ada@example.com",
                    "X-Auth-Request-Groups: admins,staff",
                ],
                "Authenticated",
            ),
            // A skip rule of OAuth2-Proxy itself: it says yes to nobody in particular.
            Some("skipped") => answer("202 Accepted", &[], "Authenticated"),
            _ => answer("401 Unauthorized", &["Set-Cookie: _oauth2_proxy=; Max-Age=0"], "Unauthorized\n"),
        }
    })
}

#[test]
fn oauth2_proxy_lets_people_sign_in_on_the_same_host_and_comes_back_to_the_page() {
    let site = Site::new("preset: oauth2-proxy", "", oauth2_proxy());
    let person = site.get("/deep?a=b&c=d", NAVIGATION);
    assert_eq!(person.status, 302);
    assert_eq!(person.fields.one("location"), Some("/oauth2/start?rd=%2Fdeep%3Fa%3Db%26c%3Dd"));
    assert_eq!(person.fields.all("set-cookie"), ["_oauth2_proxy=; Max-Age=0"]);
    assert_eq!(person.fields.one("cache-control"), Some("no-store"));
    let start = site.get("/oauth2/start?rd=%2Fdeep", NAVIGATION);
    assert_eq!((start.status, start.text().as_str()), (200, "oauth2-proxy"));
    assert_eq!(site.app.count(), 0);
}

#[test]
fn a_login_never_begins_for_what_is_no_page() {
    let site = Site::new("preset: oauth2-proxy", "", oauth2_proxy());
    for (method, headers) in [
        ("GET", SCRIPT),
        ("GET", "Accept: */*\r\n"),
        ("GET", "Accept: text/html\r\nX-Requested-With: XMLHttpRequest\r\n"),
        ("GET", "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe\r\nAccept: text/html\r\n"),
        ("GET", "Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\nAccept: text/html\r\n"),
        (
            "POST",
            "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nAccept: text/html\r\nContent-Length: 0\r\n",
        ),
    ] {
        let answer = site.send(method, "/", headers);
        assert_eq!((answer.status, answer.text().as_str()), (401, "Unauthorized\n"), "{headers}");
        assert!(!answer.fields.has("location"), "{answer:?}");
    }
}

#[test]
fn oauth2_proxy_says_who_it_is() {
    let site = Site::new("preset: oauth2-proxy", "auth-allow: email:*@example.com", oauth2_proxy());
    let answer = site.get(
        "/",
        "Cookie: _oauth2_proxy=ada\r\nX-Auth-Request-User: root\r\nX-Auth-Request-Access-Token: t\r\n",
    );
    assert_eq!(answer.status, 200);
    let seen = site.seen();
    assert_eq!(seen.fields.all("x-auth-request-user"), ["4711"]);
    assert_eq!(seen.fields.all("x-auth-request-email"), ["ada@example.com"]);
    assert!(!seen.fields.has("x-auth-request-access-token") && !seen.fields.has("gap-auth"));
    assert_eq!(site.get("/", "Cookie: _oauth2_proxy=skipped\r\n").status, 403);
}

// What is asked.

#[test]
fn the_server_hears_of_the_request_from_the_edge_alone() {
    let site = Site::new("path: /verify", "", yes(&[]));
    let forged = "X-Forwarded-Uri: /public\r\nX_Forwarded_Uri: /public\r\nX.Forwarded.Uri: /public\r\n\
        X-Forwarded-Prefix: /x\r\nX-Forwarded-Method: OPTIONS\r\nX-Forwarded-Host: evil.example\r\n\
        X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Port: 1\r\nX-Original-URL: http://evil.example/\r\n\
        X-Original-Method: OPTIONS\r\nX-Original-URI: /public\r\nX-Scheme: https\r\nX-Real-Ip: 10.0.0.1\r\n\
        X-Auth-Request-Redirect: //evil.example\r\nX-Auth-Request-User: root\r\nX_Auth_User: root\r\n\
        Forwarded: for=10.0.0.1\r\nX-Forwarded-Server: s\r\nX-Forwarded-Tls-Client-Cert: c\r\nX.Real.Ip: 10.0.0.1\r\n\
        Ssl-Client-Verify: SUCCESS\r\nConnection: X-Forwarded-Host, X-Forwarded-Uri\r\n";
    assert_eq!(site.send("DELETE", "/a//b?x=/public", &format!("{forged}X-Own: kept\r\n")).status, 200);
    let asked = &site.server.requests()[0];
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("GET", "/verify"));
    let port = site.edge.address("http").port();
    // The class is bound to port 0 in tests, which stands for the usual port.
    let expected = [
        ("x-forwarded-uri", "/a/b?x=/public"),
        ("x-forwarded-method", "DELETE"),
        ("x-forwarded-host", HOST),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-port", "80"),
        ("x-real-ip", "127.0.0.1"),
        ("x-original-url", "http://app.example/a/b?x=/public"),
        ("x-original-method", "DELETE"),
        ("x-original-uri", "/a/b?x=/public"),
        ("x-auth-request-redirect", "/a/b?x=/public"),
        ("x-scheme", "http"),
        ("x-own", "kept"),
    ];
    for (name, value) in expected {
        assert_eq!(asked.fields.all(name), [value], "{name} (listening on {port})");
    }
    let known: Vec<&str> = expected.iter().map(|(name, _)| *name).chain(["host", "x-request-id"]).collect();
    let strange: Vec<_> = asked.fields.0.iter().filter(|(name, _)| !known.contains(&name.as_str())).collect();
    assert!(strange.is_empty(), "{strange:?}");
}

#[test]
fn a_preset_sends_only_what_its_server_looks_at() {
    let site = Site::new("preset: authelia", "", authelia());
    site.get("/", "Cookie: authelia_session=ada\r\nAuthorization: Bearer x\r\nX-Own: 1\r\nRange: bytes=0-1\r\nIf-None-Match: y\r\n");
    let asked = &site.server.requests()[0];
    assert_eq!(asked.fields.all("authorization"), ["Bearer x"]);
    for name in ["x-own", "range", "if-none-match", "accept-encoding", "content-length"] {
        assert!(!asked.fields.has(name), "{name}: {asked:?}");
    }
}

/// What is matched, judged and forwarded are the same bytes, or the request is refused.
#[test]
fn no_spelling_of_a_path_is_judged_as_another_one_than_is_forwarded() {
    let site = Site::new("path: /verify", "auth-skip: /public/*", yes(&[]));
    for (target, becomes) in [
        ("/public/../private", Some("/private")),
        ("/public/%2e%2e/private", Some("/private")),
        ("/public/%2E./private", Some("/private")),
        ("//private", Some("/private")),
        ("/%70rivate", Some("/private")),
        ("/private?x=/public/", Some("/private?x=/public/")),
        ("/private%23/public/", Some("/private%23/public/")),
        ("/private%3F/public/", Some("/private%3F/public/")),
        ("/public/..%2fprivate", None),
        ("/public/..;/private", None),
        ("/public/..\\private", None),
        ("/public/%00/../private", None),
        ("/private#/public/", None),
        ("/public/%c0%ae%c0%ae/private", None),
    ] {
        let (asked, served) = (site.server.count(), site.app.count());
        let answer = site.get(target, "");
        match becomes {
            Some(path) => {
                assert_eq!(answer.status, 200, "{target}");
                assert_eq!(site.server.count(), asked + 1, "{target} was not asked about");
                let judged = site.server.requests().pop().expect("a question");
                assert_eq!(judged.fields.one("x-forwarded-uri"), Some(path), "{target}");
                assert_eq!(site.app.requests().pop().expect("a request").target, path, "{target}");
            }
            None => {
                assert_eq!(answer.status, 400, "{target}");
                assert_eq!((site.server.count(), site.app.count()), (asked, served), "{target}");
            }
        }
    }
}

#[test]
fn a_skipped_path_is_open_by_its_method_and_path_and_by_nothing_else() {
    let site = Site::new("path: /verify", "auth-skip: GET /status", authelia());
    let forged = "X-Forwarded-Uri: /status\r\nX-Original-URL: http://app.example/status\r\nUser-Agent: kube-probe/1.31\r\n";
    for (method, target, headers) in [
        ("GET", "/api?x=/status", ""),
        ("GET", "/api", forged),
        ("GET", "/api", "User-Agent: \r\n"),
        ("GET", "/status/x", ""),
        ("GET", "/status-page", ""),
        ("GET", "/STATUS", ""),
        ("POST", "/status", "Content-Length: 0\r\n"),
        ("OPTIONS", "/api", "Origin: https://evil.example\r\nAccess-Control-Request-Method: GET\r\n"),
    ] {
        // The path is none of Authelia's, so that every question is answered 404: nothing passes.
        assert_eq!(site.send(method, target, headers).status, 503, "{method} {target} {headers}");
    }
    assert_eq!(site.app.count(), 0);
    assert_eq!(
        site.get("/status", "Remote-User: root\r\nRemote_User: root\r\nX.Authentik.Username: root\r\n")
            .status,
        200
    );
    let seen = site.seen();
    assert_eq!(seen.fields.0.iter().filter(|(_, value)| value == "root").count(), 0, "{seen:?}");
}

// Who says who it is.

/// Every name by which an application may be told who asks, in every spelling that some application takes for it.
#[test]
fn no_alias_of_an_identity_header_reaches_the_application() {
    let server = yes(&["X-Auth-Request-User: ada", "X-Team: blue"]);
    let annotations = "auth-skip: /open";
    let site = Site::new("path: /v, responseHeaders: [X-Auth-Request-User, X-Team]", annotations, server);
    let names = [
        "X-Forwarded-User",
        "X-Forwarded-Email",
        "X-Forwarded-Groups",
        "X-Forwarded-Preferred-Username",
        "X-Forwarded-Access-Token",
        "X-Auth-Request-User",
        "X-Auth-Request-Email",
        "X-Auth-Request-Groups",
        "X-Auth-Request-Preferred-Username",
        "X-Auth-Request-Access-Token",
        "Remote-User",
        "Remote-Groups",
        "Remote-Name",
        "Remote-Email",
        "X-Authentik-Username",
        "X-Authentik-Groups",
        "X-Authentik-Entitlements",
        "X-Authentik-Email",
        "X-Authentik-Name",
        "X-Authentik-Uid",
        "X-Authentik-Jwt",
        "X-Authentik-Meta-App",
        "X-Team",
    ];
    for target in ["/", "/open"] {
        for chunk in names.chunks(6) {
            let mut headers = String::new();
            for name in chunk {
                let mixed = name.replacen('-', "_", 1).replace('-', ".");
                for alias in [(*name).to_owned(), name.replace('-', "_"), name.replace('-', "."), mixed] {
                    headers += &format!("{alias}: forged\r\n{}: forged\r\n", alias.to_uppercase());
                }
            }
            let answer = site.get(target, &headers);
            assert_eq!(answer.status, 200, "{answer:?}");
            let seen = site.app.requests().pop().expect("a request");
            let forged: Vec<_> = seen.fields.0.iter().filter(|(_, value)| value.contains("forged")).collect();
            assert!(forged.is_empty(), "{target}: {forged:?}");
            let told = if target == "/" { vec!["blue"] } else { vec![] };
            assert_eq!(seen.fields.all("x-team"), told, "{target}");
        }
    }
}

#[test]
fn rules_are_judged_by_what_the_server_says() {
    let site = Site::new("preset: authelia", "auth-allow: group:owners, email:*@example.org", authelia());
    let answer = site.get(
        "/",
        &format!("Cookie: authelia_session=ada\r\nAccept-Language: de-AT,en;q=0.5\r\n{NAVIGATION}"),
    );
    assert_eq!(answer.status, 403);
    let page = answer.text();
    assert!(page.contains("<html lang=\"de\">") && page.contains("ada@example.com"), "{page}");
    assert!(page.contains("owners") && page.contains("example.org"), "{page}");
    let plain = site.get("/", "Cookie: authelia_session=ada\r\n").text();
    assert!(plain.contains("You are signed in as ada@example.com."), "{plain}");
    assert_eq!(site.app.count(), 0);
}

// When the server is not well.

#[test]
fn nobody_enters_while_the_server_cannot_be_asked() {
    let app = Upstream::saying("app");
    let edge = Edge::from_yaml(&site("preset: authelia", "", app.address, nobody()));
    let page = request(edge.address("http"), "GET", "/", NAVIGATION);
    assert_eq!(page.status, 503);
    assert!(page.text().contains("Sign-in is not available"), "{}", page.text());
    assert!(page.fields.has("retry-after"));
    assert_eq!(app.count(), 0);
}

#[test]
fn an_answer_that_is_no_clear_yes_keeps_everyone_out() {
    for status in [
        "500 Internal Server Error",
        "502 Bad Gateway",
        "404 Not Found",
        "400 Bad Request",
        "429 Too Many Requests",
        "304 Not Modified",
        "300 Multiple Choices",
    ] {
        let server = Upstream::answering(move |_| answer(status, &[], ""));
        let site = Site::new("path: /verify", "", server);
        assert_eq!(site.get("/", "").status, 503, "{status}");
        assert_eq!(site.app.count(), 0);
    }
    let garbage = Upstream::start(|connection| {
        connection.head();
        connection.send("220 smtp.example ESMTP\r\n");
    });
    assert_eq!(Site::new("path: /verify", "", garbage).get("/", "").status, 503);
}

#[test]
fn a_server_that_does_not_answer_is_not_waited_for_beyond_the_deadline() {
    let silent = Upstream::start(|connection| {
        connection.head();
        connection.wait_for_close();
    });
    let site = Site::new("path: /verify, timeout: 200ms", "", silent);
    assert_eq!(site.get("/", "").status, 503);
    let slow = Upstream::start(|connection| {
        connection.head();
        // A no whose body never ends.
        connection.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 10\r\n\r\n12345");
        connection.wait_for_close();
    });
    let site = Site::new("path: /verify, timeout: 200ms", "", slow);
    assert_eq!(site.get("/", "").status, 503);
    assert_eq!(site.app.count(), 0);
}

#[test]
fn the_body_of_a_no_is_bounded() {
    for (length, status) in [(256 << 10, 403), ((256 << 10) + 1, 503)] {
        let server = Upstream::answering(move |_| answer("403 Forbidden", &[], &"x".repeat(length)));
        let site = Site::new("path: /verify", "", server);
        assert_eq!(site.get("/", "").status, status, "{length} bytes");
    }
}

// Bodies, cookies, caches, connections.

#[test]
fn a_body_goes_along_up_to_its_bound_and_reaches_the_application_whole() {
    let site = Site::new("path: /verify, method: preserve, forwardBody: 10", "", yes(&[]));
    let answer = site.send("PUT", "/", "Content-Type: text/plain\r\nContent-Length: 10\r\n\r\n0123456789");
    assert_eq!(answer.status, 200);
    let asked = &site.server.requests()[0];
    assert_eq!((asked.method.as_str(), asked.body.as_slice()), ("PUT", b"0123456789".as_slice()));
    assert_eq!(asked.fields.one("content-type"), Some("text/plain"));
    assert_eq!(site.seen().body, b"0123456789");
    let over = site.send("PUT", "/", "Content-Length: 11\r\n\r\n0123456789a");
    assert_eq!(over.status, 413);
    let mut client = Client::connect(site.edge.address("http"));
    client.send(format!(
        "PUT / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n0123456789a\r\n0\r\n\r\n"
    ));
    assert_eq!(client.answer_to("PUT").status, 413);
    assert_eq!((site.server.count(), site.app.count()), (1, 1));
}

#[test]
fn every_cookie_of_a_yes_reaches_the_browser_even_when_the_application_fails() {
    let server = || yes(&["Set-Cookie: a=1; Path=/", "Set-Cookie: b=2; Path=/"]);
    let app = Upstream::answering(|_| answer("200 OK", &["Set-Cookie: own=3"], "app"));
    let (first, second) = (server(), server());
    let edge = Edge::from_yaml(&site("path: /verify", "", app.address, first.address));
    let cookies = ["own=3", "a=1; Path=/", "b=2; Path=/"];
    assert_eq!(request(edge.address("http"), "GET", "/", "").fields.all("set-cookie"), cookies);
    let edge = Edge::from_yaml(&site("path: /verify", "", nobody(), second.address));
    let failed = request(edge.address("http"), "GET", "/", "");
    assert_eq!((failed.status, failed.fields.all("set-cookie")), (502, cookies[1..].to_vec()));
}

#[test]
fn answers_are_kept_by_key_and_only_a_yes_without_cookies_is() {
    let server = Upstream::answering(|request| match cookie_of(request, "s").as_deref() {
        Some("no") => answer("401 Unauthorized", &[], "no"),
        Some("fresh") => answer("200 OK", &["Set-Cookie: s=next", "X-Who: fresh"], ""),
        other => answer("200 OK", &[&format!("X-Who: {}", other.unwrap_or("nobody"))], ""),
    });
    let provider =
        "path: /verify, responseHeaders: [X-Who], cache: {key: $cookie_s$http_authorization, duration: 1h}";
    let site = Site::new(provider, "", server);
    let mut questions = 0;
    let mut ask = |cookie: &str, status: u16, asked: usize| {
        assert_eq!(site.get("/", &format!("Cookie: s={cookie}\r\n")).status, status, "{cookie}");
        questions += asked;
        assert_eq!(site.server.count(), questions, "{cookie}");
    };
    ask("ada", 200, 1);
    ask("ada", 200, 0);
    ask("eve", 200, 1);
    ask("ada", 200, 0);
    ask("no", 401, 1);
    ask("no", 401, 1);
    ask("fresh", 200, 1);
    ask("fresh", 200, 1);
    let told: Vec<String> = site
        .app
        .requests()
        .iter()
        .map(|seen| seen.fields.one("x-who").unwrap_or_default().to_owned())
        .collect();
    assert_eq!(told, ["ada", "ada", "eve", "ada", "fresh", "fresh"]);
}

#[test]
fn questions_go_over_connections_that_are_kept() {
    let site = Site::new("path: /verify", "", yes(&[]));
    let mut client = Client::connect(site.edge.address("http"));
    for _ in 0..20 {
        assert_eq!(client.get(HOST, "/").status, 200);
    }
    assert_eq!((site.server.count(), site.server.connections()), (20, 1));
}

// Keys of the route.

#[test]
fn the_keys_of_nginx_mean_what_they_mean_there() {
    let (app, server) = (Upstream::saying("app"), oauth2_proxy());
    let annotations = "auth-url: \"http://server.shop.svc.cluster.local/oauth2/auth\"\n\
        auth-signin: \"https://$host/oauth2/start\"\n\
        auth-response-headers: \"X-Auth-Request-User, X-Auth-Request-Email, Set-Cookie\"\n\
        auth-method: HEAD\n\
        auth-request-redirect: \"https://$host/home\"\n\
        auth-proxy-set-headers: question";
    let config_map = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: question, namespace: shop}\n\
        data: {X-Sent-From: edge of $host}\n";
    let edge = Edge::from_yaml(
        &[
            manifests::site(annotations, app.address),
            service("server", &[server.address]),
            config_map.to_owned(),
        ]
        .concat(),
    );
    assert!(edge.problems().is_empty(), "{:?}", edge.problems());
    let http = edge.address("http");
    let person = request(http, "GET", "/a?b=c", NAVIGATION);
    assert_eq!(
        (person.status, person.fields.one("location")),
        (302, Some("https://app.example/oauth2/start?rd=http%3A%2F%2Fapp.example%2Fa%3Fb%3Dc"))
    );
    let asked = &server.requests()[0];
    assert_eq!(
        (asked.method.as_str(), asked.fields.one("host")),
        ("HEAD", Some("server.shop.svc.cluster.local"))
    );
    assert_eq!(asked.fields.one("x-auth-request-redirect"), Some("https://app.example/home"));
    assert_eq!(asked.fields.one("x-sent-from"), Some("edge of app.example"));
    assert_eq!(request(http, "GET", "/a", SCRIPT).status, 401);
    let known = request(http, "GET", "/", "Cookie: _oauth2_proxy=ada\r\nX-Auth-Request-Email: x\r\n");
    assert_eq!(known.status, 200);
    let seen = &app.requests()[0];
    assert_eq!(seen.fields.all("x-auth-request-email"), ["ada@example.com"]);
    assert!(!seen.fields.has("x-auth-request-groups") && !seen.fields.has("set-cookie"));
}

#[test]
fn an_answer_to_head_has_no_body() {
    let server = Upstream::answering(|request| {
        if request.method == "HEAD" {
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\n".into()
        } else {
            answer("403 Forbidden", &[], "forbidden")
        }
    });
    let site = Site::new("path: /verify", "", server);
    let head = site.send("HEAD", "/", "");
    assert_eq!((head.status, head.body.len()), (403, 0));
    assert_eq!(site.get("/", "").text(), "forbidden");
}

// The filter of HTTPRoute.

fn filtered(filter: &str, app: SocketAddr, server: SocketAddr) -> String {
    let route = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: shop}}\n\
         spec: {{gatewayClassName: vestibule, listeners: [{{name: http, port: 80, protocol: HTTP}}]}}\n---\n\
         apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: web, namespace: shop}}\n\
         spec:\n  parentRefs: [{{name: edge}}]\n  rules:\n\
         \x20 - filters: [{{type: ExternalAuth, externalAuth: {{{filter}}}}}]\n    backendRefs: [{{name: web, port: 80}}]\n"
    );
    [route, service("web", &[app]), service("server", &[server])].concat()
}

#[test]
fn the_filter_external_auth_asks_with_the_request_itself() {
    let server = Upstream::answering(|request| match request.fields.one("authorization") {
        Some("Bearer good") => answer("200 OK", &["X-Who: ada", "X-Other: 1", "Set-Cookie: a=1"], ""),
        // 202 is no success of this filter.
        Some("Bearer nearly") => answer("202 Accepted", &["X-Who: ada"], ""),
        _ => answer("403 Forbidden", &["X-Why: because"], "no"),
    });
    let app = Upstream::saying("app");
    let filter = "protocol: HTTP, backendRef: {name: server, port: 80}, forwardBody: {maxSize: 5}, \
        http: {path: /check, allowedHeaders: [X-Tenant], allowedResponseHeaders: [X-Who]}";
    let edge = Edge::from_yaml(&filtered(filter, app.address, server.address));
    let http = edge.address("shop/edge:80");
    let headers = "Authorization: Bearer good\r\nX-Tenant: t\r\nCookie: c=1\r\nX-Who: root\r\nX.Who: root\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(request(http, "POST", "/a?b=c", headers).status, 200);
    let asked = &server.requests()[0];
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("POST", "/check/a?b=c"));
    assert_eq!((asked.fields.one("host"), asked.body.as_slice()), (Some(HOST), b"hello".as_slice()));
    assert!(asked.fields.has("x-tenant") && !asked.fields.has("cookie"), "{asked:?}");
    let seen = &app.requests()[0];
    assert_eq!((seen.fields.all("x-who"), seen.body.as_slice()), (vec!["ada"], b"hello".as_slice()));
    assert!(!seen.fields.has("x.who") && !seen.fields.has("x-other"), "{seen:?}");
    let refused = request(http, "GET", "/", "");
    assert_eq!((refused.status, refused.fields.one("x-why")), (403, Some("because")));
    assert_eq!(request(http, "GET", "/", "Authorization: Bearer nearly\r\n").status, 503);
    let long = request(http, "POST", "/", "Authorization: Bearer good\r\nContent-Length: 6\r\n\r\nhello!");
    assert_eq!(long.status, 413);
    assert_eq!(app.count(), 1);
}

#[test]
fn a_filter_that_cannot_be_enforced_refuses_its_rule() {
    for filter in [
        "protocol: GRPC, backendRef: {name: server, port: 80}",
        "protocol: HTTP",
        "protocol: HTTP, backendRef: {name: server, port: 81}",
        "protocol: HTTP, backendRef: {name: absent, port: 80}",
        "protocol: HTTP, backendRef: {name: server, namespace: other, port: 80}",
        "protocol: HTTP, backendRef: {name: server, port: 80}, http: {path: \"/a?b\"}",
        "protocol: HTTP, backendRef: {name: server, port: 80}, http: {allowedResponseHeaders: [Content-Length]}",
    ] {
        let (app, server) = (Upstream::saying("app"), yes(&[]));
        let edge = Edge::from_yaml(&filtered(filter, app.address, server.address));
        assert_eq!(request(edge.address("shop/edge:80"), "GET", "/", "").status, 500, "{filter}");
        assert_eq!(app.count(), 0);
    }
}
