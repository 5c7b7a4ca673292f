//! Logins with a real OpenID provider, from the browser's side: `tests/run auth`.

use std::net::SocketAddr;

use serde_json::json;
use tests::client::Client;
use tests::logins::{APP, APPS, Site, browser, replica};
use tests::manifests;
use tests::openid::OpenIdProvider;
use tests::upstream::Upstream;
use tests::wait::eventually;

fn send(edge: SocketAddr, request: &str) -> tests::message::Answer {
    let mut client = Client::connect(edge);
    client.send(request);
    client.answer()
}

#[test]
fn a_login_ends_at_the_page_that_was_wanted_and_the_application_knows_who_it_is() {
    let site = Site::new("", "");
    let mut browser = site.browser();
    let form = browser.visit(&format!("{APP}/deep/link?a=b&c=%2F"));
    let started = &browser.visited[1];
    for part in [
        "code_challenge_method=S256",
        "state=",
        "nonce=",
        "redirect_uri=http%3A%2F%2Fapp.example%2Foauth2%2Fcallback",
    ] {
        assert!(started.contains(part), "{started}");
    }
    assert_eq!(browser.cookies("app.example").len(), 1, "one login is under way");
    let answer = browser.log_in(&form, "ada");
    assert_eq!((answer.status, &*answer.text()), (200, "app"), "{:#?}", browser.visited);
    assert_eq!(browser.visited.last().map(String::as_str), Some("http://app.example/deep/link?a=b&c=%2F"));

    let requests = site.app.requests();
    assert_eq!(requests.len(), 1, "one request reached the application");
    let request = &requests[0];
    for (name, value) in [
        ("x-auth-request-user", "ada"),
        ("x-auth-request-email", "ada@example.test"),
        ("x-auth-request-groups", "admins,staff"),
        ("x-auth-request-preferred-username", "ada"),
    ] {
        assert_eq!(request.fields.all(name), [value], "{name}");
    }
    assert!(!request.fields.has("cookie"), "the session is between browser and edge: {:?}", request.fields);
    let cookies = browser.cookies("app.example");
    assert_eq!(cookies.len(), 1, "the login that ended has no cookie any more: {cookies:?}");
    for line in browser.set_cookies.iter().filter(|line| line.starts_with("vb")) {
        assert!(
            line.contains("; HttpOnly") && line.contains("; SameSite=Lax") && line.contains("; Path=/;"),
            "{line}"
        );
    }

    // Cookies of the application itself still reach it.
    browser.plant("app.example", "theme", "dark");
    browser.open(&format!("{APP}/again"));
    assert_eq!(site.app.requests()[1].fields.all("cookie"), ["theme=dark"]);
}

#[test]
fn only_a_person_is_sent_to_log_in() {
    let site = Site::new("", "");
    let mut browser = site.browser();
    let answer = browser.fetch(&format!("{APP}/api"));
    assert_eq!(answer.status, 401);
    assert!(answer.fields.has("www-authenticate") && !answer.fields.has("set-cookie"), "{:?}", answer.fields);
    for lines in [
        "Accept: */*\r\n",
        "",
        "User-Agent: \r\n",
        "User-Agent: kube-probe/1.34\r\n",
        "Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\nAccept: text/html\r\n",
        "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe\r\nAccept: text/html\r\n",
    ] {
        let answer = browser.send("GET", &format!("{APP}/"), lines, "");
        assert_eq!(answer.status, 401, "{lines}");
        assert!(!answer.fields.has("set-cookie"), "{lines}");
    }
    let posted = browser.send("POST", &format!("{APP}/form"), "Accept: text/html\r\n", "a=b");
    assert_eq!(posted.status, 401, "what was typed would be lost");
    let by_script = browser.fetch(&format!("{APP}/oauth2/start"));
    assert_eq!(by_script.status, 401);
    assert!(site.app.requests().is_empty());
}

#[test]
fn logins_in_several_tabs_do_not_meet() {
    let site = Site::new("", "");
    let mut browser = site.browser();
    let tabs = ["/one", "/two", "/three"].map(|page| browser.open(&format!("{APP}{page}")));
    let locations = tabs.map(|tab| tab.fields.one("location").expect("a redirect").to_owned());
    assert_eq!(browser.cookies("app.example").len(), 3);
    let form = browser.visit(&locations[1]);
    browser.log_in(&form, "ada");
    assert_eq!(browser.visited.last().map(String::as_str), Some("http://app.example/two"));
    for (location, page) in [(&locations[0], "/one"), (&locations[2], "/three")] {
        let answer = browser.visit(location);
        assert_eq!(answer.status, 200);
        assert_eq!(browser.visited.last(), Some(&format!("{APP}{page}")));
    }
}

#[test]
fn rules_say_who_may_enter() {
    let site =
        Site::new("", "auth-allow: \"group:admins, email:eve@example.test\"\nauth-deny: \"user:mallory\"");
    assert_eq!(site.logged_in("ada").open(&format!("{APP}/")).status, 200);
    for account in ["bob", "eve"] {
        let mut browser = site.browser();
        let form = browser.visit(&format!("{APP}/"));
        let answer = browser.log_in(&form, account);
        assert_eq!(answer.status, 403, "{account}");
        assert!(answer.text().contains(&format!("{account}@example.test")), "{}", answer.text());
        assert!(!answer.text().contains("eve@example.test") || account == "eve", "others are not named");
    }
    // Rules are judged at each request: no new login is needed when they change.
    let mut browser = site.logged_in("ada");
    let mut site = site;
    let stricter = site.yaml.replace("group:admins, email:eve@example.test", "group:nobody");
    site.edge.republish(&stricter);
    eventually("the new rule counts", || browser.open(&format!("{APP}/")).status == 403);
}

#[test]
fn skipped_paths_need_nobody_and_cannot_be_pretended() {
    let site = Site::new("", "auth-skip: \"GET /status, /public/*\"");
    let edge = site.edge.http();
    let get = |target: &str, lines: &str| {
        send(edge, &format!("GET {target} HTTP/1.1\r\nHost: app.example\r\nConnection: close\r\n{lines}\r\n"))
            .status
    };
    assert_eq!(get("/status", ""), 200);
    assert_eq!(get("/public/x", ""), 200);
    for target in [
        "/api?x=/status",
        "/status/",
        "/statusx",
        "/api?/public/",
        "/public",
        "/x/../api",
        "/public/../api",
        "/public/%2e%2e/api",
        "//api",
        "/Status",
    ] {
        assert_eq!(get(target, ""), 401, "{target}");
    }
    for target in [
        "/api#/status",
        "/public/..%2fapi",
        "/public/..%5capi",
        "/public\\..\\api",
        "/public/..;/api",
        "/api%00/status",
    ] {
        assert_eq!(get(target, ""), 400, "{target}");
    }
    assert_eq!(get("/api%23/status", ""), 401, "%23 is data");
    for lines in [
        "X-Forwarded-Uri: /status\r\n",
        "X-Original-URL: /status\r\n",
        "X-Forwarded-Method: OPTIONS\r\n",
        "X-Rewrite-URL: /status\r\n",
        "X-Auth-Request-User: ada\r\nX-Forwarded-User: ada\r\n",
        "User-Agent: GoogleHC/1.0\r\n",
    ] {
        assert_eq!(get("/api", lines), 401, "{lines}");
    }
    // What says who it is comes from the edge alone, on open paths too.
    let spoofed: String = [
        "X-Auth-Request-User",
        "x_auth_request_user",
        "X.Auth.Request.User",
        "X-Auth_Request.Email",
        "X-Forwarded-User",
        "X_Forwarded_Groups",
        "Remote-User",
        "remote_user",
        "X-authentik-username",
    ]
    .map(|name| format!("{name}: root\r\n"))
    .concat();
    let before = site.app.requests().len();
    assert_eq!(get("/public/spoofed", &spoofed), 200);
    let seen = site.app.requests()[before].clone();
    assert!(!format!("{:?}", seen.fields).contains("root"), "{:?}", seen.fields);
    // A session that is there says who it is, although nobody had to ask.
    site.logged_in("ada").send("GET", &format!("{APP}/public/y"), &spoofed, "");
    let last = site.app.requests().pop().expect("a request");
    assert_eq!(last.fields.all("x-auth-request-user"), ["ada"]);
    assert!(!format!("{:?}", last.fields).contains("root"), "{:?}", last.fields);
}

#[test]
fn a_login_is_good_in_its_own_browser_host_and_time() {
    let site = Site::new("", "");
    let mut victim = site.browser();
    let mut attacker = site.logged_in("bob");
    // The attacker's callback in the victim's browser logs nobody in.
    attacker.open(&format!("{APP}/oauth2/sign_out"));
    let started = attacker.open(&format!("{APP}/"));
    let location = started.fields.one("location").expect("a redirect").to_owned();
    let answer = attacker.open(&location);
    let callback = answer.fields.one("location").expect("the provider knows bob").to_owned();
    let answer = victim.open(&callback);
    assert_eq!(answer.status, 403, "{callback}: {}", answer.text());
    assert!(victim.cookies("app.example").is_empty());

    // A session is for its host.
    let session = site.logged_in("ada").cookies("app.example");
    let (name, value) = session.iter().next().expect("a session");
    let mut thief = site.browser();
    thief.plant("other.example", name, value);
    assert_eq!(thief.fetch("http://other.example/").status, 401);
    thief.plant("app.example", name, &value.replace('A', "B"));
    assert_eq!(thief.fetch(&format!("{APP}/")).status, 401);

    // Beginning a login ends the session that was there, on the wire, in one answer.
    let mut browser = site.browser();
    browser.plant("app.example", name, "1.planted");
    let answer = browser.open(&format!("{APP}/"));
    assert_eq!(answer.status, 302);
    let cleared = answer.fields.all("set-cookie").iter().any(|line| line.starts_with(&format!("{name}=;")));
    assert!(cleared, "{:?}", answer.fields);
}

#[test]
fn nobody_is_led_away_by_a_login() {
    let site = Site::new("", "");
    for wanted in [
        "//evil.example",
        "https://evil.example/",
        "/%5cevil.example",
        "/%09/evil.example",
        "http://app.example.evil.example/",
        "http:%2f%2fapp.example@evil.example/",
    ] {
        let mut browser = site.browser();
        let form = browser.visit(&format!("{APP}/oauth2/start?rd={wanted}"));
        let answer = browser.log_in(&form, "ada");
        assert_eq!(
            (answer.status, browser.visited.last().map(String::as_str)),
            (200, Some("http://app.example/")),
            "{wanted}"
        );
    }
    let mut browser = site.browser();
    let form = browser.visit(&format!("{APP}/oauth2/start?rd=%2Fpage%3Fa%3Db"));
    browser.log_in(&form, "ada");
    assert_eq!(browser.visited.last().map(String::as_str), Some("http://app.example/page?a=b"));
}

#[test]
fn other_proxies_can_ask_as_they_ask_oauth2_proxy() {
    let site = Site::new("", "");
    let mut browser = site.browser();
    assert_eq!(browser.fetch(&format!("{APP}/oauth2/auth")).status, 401);
    assert_eq!(browser.fetch(&format!("{APP}/oauth2/userinfo")).status, 401);
    let mut browser = site.logged_in("ada");
    let answer = browser.fetch(&format!("{APP}/oauth2/auth"));
    assert_eq!((answer.status, answer.fields.one("x-auth-request-email")), (202, Some("ada@example.test")));
    for (query, status) in [
        ("allowed_groups=admins,other", 202),
        ("allowed_groups=other", 403),
        ("allowed_emails=ada@example.test", 202),
        ("allowed_emails=bob@example.test", 403),
        ("allowed_email_domains=example.test", 202),
        ("allowed_email_domains=example.test&allowed_groups=other", 403),
        ("allowed_groups=", 403),
        ("allowed_groups=admins,,", 403),
    ] {
        assert_eq!(browser.fetch(&format!("{APP}/oauth2/auth?{query}")).status, status, "{query}");
    }
    let info: serde_json::Value =
        serde_json::from_str(&browser.fetch(&format!("{APP}/oauth2/userinfo")).text()).expect("JSON");
    assert_eq!(info["groups"], json!(["admins", "staff"]));
    assert_eq!((&info["user"], &info["email"]), (&json!("ada"), &json!("ada@example.test")));
    assert_eq!(browser.fetch(&format!("{APP}/oauth2/unknown")).status, 404);
}

#[test]
fn claims_that_only_userinfo_says_are_known() {
    let mut site =
        Site::before_start(OpenIdProvider::new(&APPS).with_lean_tokens(), "", "auth-allow: \"group:admins\"");
    site.provider.start();
    assert_eq!(site.logged_in("ada").open(&format!("{APP}/")).status, 200);
    let request = site.app.requests().pop().expect("a request");
    assert_eq!(request.fields.all("x-auth-request-email"), ["ada@example.test"]);
}

#[test]
fn one_auth_host_serves_many_applications() {
    let site = Site::new("      authHost: auth.example", "");
    let mut browser = site.browser();
    let form = browser.visit(&format!("{APP}/page"));
    assert!(
        browser.visited[1].starts_with("http://auth.example/oauth2/start?request="),
        "{:#?}",
        browser.visited
    );
    let answer = browser.log_in(&form, "ada");
    assert_eq!(
        (answer.status, browser.visited.last().map(String::as_str)),
        (200, Some("http://app.example/page"))
    );
    // The next application needs no form, and has a session of its own.
    let answer = browser.visit("http://other.example/two");
    assert_eq!(
        (answer.status, browser.visited.last().map(String::as_str)),
        (200, Some("http://other.example/two"))
    );
    assert!(
        !browser.visited.iter().rev().take(4).any(|at| at.contains("127.0.0.1")),
        "{:#?}",
        browser.visited
    );
    assert_ne!(browser.cookies("app.example"), browser.cookies("other.example"));
}

#[test]
fn tokens_or_else_logins() {
    let app = Upstream::saying("app");
    let mut provider = OpenIdProvider::new(&APPS);
    let issuer = provider.issuer();
    let yaml = [
        manifests::settings(&format!(
            "providers:\n  robots:\n    jwt: {{issuer: \"{issuer}\", audiences: [api]}}\n  dex:\n    oidc:\n      \
             issuer: {issuer}\n      clientId: edge-rs256\n      \
             clientSecret: {{secretRef: {{namespace: shop, name: client, key: secret}}}}\n"
        )),
        "---\napiVersion: v1\nkind: Secret\nmetadata: {name: client, namespace: shop}\n\
         stringData: {secret: edge-secret-0123456789abcdef0123}\n"
            .to_owned(),
        manifests::site("auth: robots, else dex", app.address),
    ]
    .concat();
    let edge = replica(&yaml);
    let with = |token: &str| {
        let lines = format!("Authorization: Bearer {token}\r\n");
        send(
            edge.http(),
            &format!("GET /api HTTP/1.1\r\nHost: app.example\r\nConnection: close\r\n{lines}\r\n"),
        )
    };
    assert_eq!(with("a.b.c").status, 503, "without keys nobody can tell");
    provider.start();
    let good = provider.token(&json!({"sub": "robot", "aud": "api", "groups": ["machines"]}));
    eventually("the keys are there", || with(&good).status == 200);
    let request = app.requests().pop().expect("a request");
    assert_eq!(request.fields.all("x-auth-request-user"), ["robot"]);
    for claims in [
        json!({"sub": "robot", "aud": "other"}),
        json!({"sub": "robot", "aud": "api", "exp": 1}),
        json!({"sub": "robot", "aud": "api", "nbf": 99_999_999_999_u64}),
        json!({"aud": "api"}),
    ] {
        let answer = with(&provider.token(&claims));
        assert_eq!(answer.status, 401, "{claims}");
        assert!(answer.fields.one("www-authenticate").is_some_and(|text| text.contains("invalid_token")));
    }
    assert_eq!(with("a.b.c").status, 401);
    assert_eq!(with(&format!("{good}x")).status, 401);
    // A person without a token is sent to log in, with the other client, whose tokens RS256 signs.
    let mut browser = browser(edge.http());
    let form = browser.visit(&format!("{APP}/"));
    assert_eq!(browser.log_in(&form, "ada").status, 200, "{:#?}", browser.visited);
}

#[test]
fn limits_count_tokens_by_a_claim() {
    let app = Upstream::saying("app");
    let mut provider = OpenIdProvider::new(&APPS);
    let yaml = [
        manifests::settings(&format!(
            "providers:\n  robots:\n    jwt: {{issuer: \"{}\", audiences: [api], keepClaims: [tenant]}}\n",
            provider.issuer()
        )),
        manifests::site("auth: robots\nrate-limit: 2/h per claim tenant", app.address),
    ]
    .concat();
    let edge = replica(&yaml);
    provider.start();
    let with = |claims: &serde_json::Value| {
        let token = provider.token(claims);
        let request = format!(
            "GET / HTTP/1.1\r\nHost: app.example\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        send(edge.http(), &request).status
    };
    let of = |sub: &str, tenant: &str| json!({"sub": sub, "aud": "api", "tenant": tenant});
    eventually("the keys are there", || with(&of("a", "one")) == 200);
    assert_eq!(with(&of("b", "one")), 200);
    assert_eq!(with(&of("c", "one")), 429, "all of one tenant count together");
    assert_eq!(with(&of("a", "two")), 200);
    // Who has no tenant is counted by itself, also where the names are the same.
    let alone = json!({"sub": "two", "aud": "api"});
    assert_eq!([with(&alone), with(&alone), with(&alone)], [200, 200, 429]);
}

#[test]
#[ignore = "a thousand whole logins"]
fn a_thousand_people_log_in_at_the_same_time() {
    let site = Site::new("", "");
    let edge = site.edge.http();
    // All are under way before the first one ends.
    let begun: Vec<_> = std::thread::scope(|scope| {
        let begin = |group: usize| {
            (0..25)
                .map(|person| {
                    let mut browser = browser(edge);
                    let page = format!("{APP}/{group}/{person}");
                    let form = browser.visit(&page);
                    (browser, form, page)
                })
                .collect::<Vec<_>>()
        };
        let groups: Vec<_> = (0..40).map(|group| scope.spawn(move || begin(group))).collect();
        groups.into_iter().map(|group| group.join().expect("no panic")).collect()
    });
    std::thread::scope(|scope| {
        for group in begun {
            scope.spawn(move || {
                for (mut browser, form, page) in group {
                    let answer = browser.log_in(&form, "ada");
                    assert_eq!((answer.status, browser.visited.last()), (200, Some(&page)));
                }
            });
        }
    });
    assert_eq!(site.app.count(), 1000);
}

#[test]
fn a_thousand_logins_begin_at_the_same_time() {
    let site = Site::new("", "");
    site.logged_in("ada");
    let edge = site.edge.http();
    let started: usize = std::thread::scope(|scope| {
        let people: Vec<_> = (0..20)
            .map(|_| {
                scope.spawn(move || {
                    let lines = "Host: app.example\r\nSec-Fetch-Mode: navigate\r\nAccept: text/html\r\n";
                    let mut client = Client::connect(edge);
                    (0..50)
                        .filter(|page| {
                            client.send(format!("GET /{page} HTTP/1.1\r\n{lines}\r\n"));
                            client.answer().status == 302
                        })
                        .count()
                })
            })
            .collect();
        people.into_iter().map(|person| person.join().expect("no panic")).sum()
    });
    assert_eq!(started, 1000);
}
