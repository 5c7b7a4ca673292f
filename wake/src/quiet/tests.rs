use super::*;

fn reason(quiet: &Quiet, agent: &str, path: &str) -> Option<Reason> {
    quiet.reason(&Visitor { user_agent: agent.as_bytes(), path: path.as_bytes(), speculative: false })
}

#[test]
fn machines_that_look_in_are_known() {
    let quiet = Quiet::default();
    for (agent, expected) in [
        ("kube-probe/1.34", Reason::Probe),
        ("ELB-HealthChecker/2.0", Reason::Probe),
        ("Uptime-Kuma/1.23.11", Reason::Monitor),
        ("Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)", Reason::Monitor),
        ("Prometheus/3.1.0", Reason::Scraper),
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", Reason::Crawler),
        ("Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", Reason::Crawler),
        ("Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)", Reason::Crawler),
        ("TelegramBot (like TwitterBot)", Reason::Crawler),
        ("facebookexternalhit/1.1", Reason::Crawler),
    ] {
        assert_eq!(reason(&quiet, agent, "/"), Some(expected), "{agent}");
    }
}

#[test]
fn people_and_their_programs_wake() {
    let quiet = Quiet::default();
    for agent in [
        "",
        "curl/8.14.1",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
        "Mozilla/5.0 (Linux; Android 9; CUBOT NOTE Build/PPR1) AppleWebKit/537.36 Chrome/120.0 Mobile Safari/537.36",
        "Go-http-client/2.0",
        "okhttp/4.12.0",
        "Nextcloud-android/3.30",
    ] {
        assert_eq!(reason(&quiet, agent, "/"), None, "{agent}");
    }
    for path in ["/", "/favicon.ico/x", "/.well-known/openid-configuration", "/robots.txt2"] {
        assert_eq!(reason(&quiet, "curl/8", path), None, "{path}");
    }
}

#[test]
fn what_browsers_ask_for_by_themselves_is_quiet() {
    let quiet = Quiet::default();
    for path in ["/favicon.ico", "/robots.txt", "/apple-touch-icon.png", "/apple-touch-icon-120x120.png"] {
        assert_eq!(reason(&quiet, "curl/8", path), Some(Reason::Path), "{path}");
    }
    let ahead = Visitor { speculative: true, path: b"/", ..Visitor::default() };
    assert_eq!(quiet.reason(&ahead), Some(Reason::Speculative));
}

#[test]
fn a_route_names_its_own() {
    let quiet = Quiet::default().with_agents("My-Monitor, checker (v1").expect("agents");
    assert_eq!(reason(&quiet, "Acme my-monitor/3", "/"), Some(Reason::Agent));
    assert_eq!(reason(&quiet, "x checker (V1) y", "/"), Some(Reason::Agent));
    assert_eq!(reason(&quiet, "Uptime-Kuma/1.23", "/"), Some(Reason::Monitor), "besides the known ones");
    let quiet = Quiet::default().with_paths("/healthz, /internal/*").expect("paths");
    assert_eq!(reason(&quiet, "curl/8", "/healthz"), Some(Reason::Path));
    assert_eq!(reason(&quiet, "curl/8", "/internal/x"), Some(Reason::Path));
    assert_eq!(reason(&quiet, "curl/8", "/healthz/x"), None);
}

#[test]
fn a_route_may_let_the_known_agents_wake() {
    let quiet = Quiet::default().with_agents("none, acme").expect("agents");
    assert_eq!(reason(&quiet, "Uptime-Kuma/1.23", "/"), None);
    assert_eq!(reason(&quiet, "Acme", "/"), Some(Reason::Agent));
}

#[test]
fn a_list_has_bounds() {
    let fault = |list: &str| Quiet::default().with_paths(list).expect_err(list);
    for list in ["metrics", "/a*b", "*", "/a, b"] {
        assert!(matches!(fault(list), QuietError::Path(_)), "{list}");
    }
    let many = |count: usize| vec!["/a"; count].join(",");
    assert!(Quiet::default().with_paths(&many(ENTRIES_MAX)).is_ok());
    assert_eq!(fault(&many(ENTRIES_MAX + 1)), QuietError::TooMany(ENTRIES_MAX + 1));
    let long = |length: usize| format!("/{}", "a".repeat(length - 1));
    assert!(Quiet::default().with_paths(&long(ENTRY_LEN_MAX)).is_ok());
    assert!(matches!(fault(&long(ENTRY_LEN_MAX + 1)), QuietError::TooLong(_)));
}

#[test]
fn lists_compare_by_what_they_say() {
    let quiet = |agents: &str| Quiet::default().with_agents(agents).expect("agents");
    assert_eq!(quiet("a,b"), quiet(" a , b"));
    assert_ne!(quiet("a,b"), quiet("a"));
    assert_ne!(quiet("none"), Quiet::default());
}
