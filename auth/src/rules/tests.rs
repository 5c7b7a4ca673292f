use super::*;

fn policy(allow: &str) -> Policy {
    Policy::parse(Some(allow), None, None).unwrap_or_else(|error| panic!("{allow}: {error}"))
}

fn skipping(skip: &str) -> Policy {
    Policy::parse(None, None, Some(skip)).unwrap_or_else(|error| panic!("{skip}: {error}"))
}

fn ada() -> Identity {
    Identity {
        subject: "248289".into(),
        email: Some("Ada@Example.com".into()),
        email_verified: true,
        groups: ["admins", "staff"].into(),
        claims: [("tenant".to_owned(), ["blue", "red"].into())].into(),
        ..Identity::named("ada")
    }
}

#[test]
fn one_rule_that_fits_is_enough() {
    for rules in [
        "group:admins",
        "group:nobody, group:staff",
        "email:ada@example.com",
        "email:*@example.com",
        "domain:EXAMPLE.com",
        "user:ada",
        "sub:248289",
        "claim:tenant=red",
        "claim:groups=staff",
        "claim:email=ada@example.com",
        "group:nobody\nuser:ada\n",
    ] {
        let identity = Identity { user: "ada".into(), ..ada() };
        assert_eq!(policy(rules).judge(&identity), Ok(()), "{rules}");
    }
    assert_eq!(Policy::default().judge(&ada()), Ok(()), "without rules everyone who is known may enter");
}

#[test]
fn who_fits_no_rule_hears_what_would_help() {
    for rules in [
        "group:admin",
        "group:ADMINS",
        "email:ada@example.org",
        "email:*@ample.com",
        "domain:com",
        "user:Ada",
        "claim:tenant=green",
        "claim:absent=x",
    ] {
        let denied = policy(rules).judge(&ada());
        assert!(matches!(denied, Err(Denied::NotAllowed { .. })), "{rules}: {denied:?}");
    }
    let denied = policy("group:ops, email:*@example.org, user:bob, email:eve@example.net").judge(&ada());
    let wanted = "an address at example.org, or certain accounts, or group ops".to_owned();
    assert_eq!(denied, Err(Denied::NotAllowed { wanted }), "other people's names are not told");
}

#[test]
fn an_address_counts_only_when_it_is_one_and_is_vouched_for() {
    for (address, domain) in [
        ("a@evil.example@good.example", "good.example"),
        ("a@good.example@evil.example", "good.example"),
        ("@good.example", "good.example"),
        ("good.example", "good.example"),
        ("a@sub.good.example", "good.example"),
        ("a@good.example ", "good.example"),
        ("a@good.example\n", "good.example"),
        ("a b@good.example", "good.example"),
    ] {
        let identity = Identity { email: Some(address.into()), email_verified: true, ..Identity::named("a") };
        assert!(policy(&format!("email:*@{domain}")).judge(&identity).is_err(), "{address:?}");
    }
    let unverified = Identity { email_verified: false, ..ada() };
    for rules in ["email:*@example.com", "email:ada@example.com", "claim:email=ada@example.com"] {
        assert_eq!(policy(rules).judge(&unverified), Err(Denied::EmailUnverified), "{rules}");
    }
    assert_eq!(policy("email:*@example.com, group:staff").judge(&unverified), Ok(()));
}

#[test]
fn a_denial_wins_and_needs_no_verified_address() {
    let policy = Policy::parse(Some("group:staff"), Some("email:*@example.com"), None).expect("rules");
    assert_eq!(policy.judge(&ada()), Err(Denied::Excluded));
    assert_eq!(policy.judge(&Identity { email_verified: false, ..ada() }), Err(Denied::Excluded));
    assert_eq!(policy.judge(&Identity { email: None, ..ada() }), Ok(()));
    let unreadable = Identity { email: Some("ada@x@example.com".into()), ..ada() };
    assert_eq!(policy.judge(&unreadable), Err(Denied::Excluded));
}

#[test]
fn rules_that_cannot_be_read_are_errors() {
    for (rules, error) in [
        ("", RuleError::Empty),
        ("group:a,,group:b", RuleError::Empty),
        ("group:a,", RuleError::Empty),
        ("group:", RuleError::Form("group:".into())),
        ("group: ", RuleError::Form("group:".into())),
        ("admins", RuleError::Form("admins".into())),
        ("role:admins", RuleError::Form("role:admins".into())),
        ("email:*", RuleError::Address("*".into())),
        ("email:a@b@c", RuleError::Address("a@b@c".into())),
        ("email:*@", RuleError::Address("*@".into())),
        ("email:*@*.example.com", RuleError::Address("*@*.example.com".into())),
        ("domain:a@b", RuleError::Form("domain:a@b".into())),
        ("claim:tenant", RuleError::Form("claim:tenant".into())),
        ("claim:tenant=", RuleError::Form("claim:tenant=".into())),
    ] {
        assert_eq!(Policy::parse(Some(rules), None, None), Err(error.clone()), "{rules:?}");
        assert_eq!(Policy::parse(None, Some(rules), None), Err(error), "{rules:?}");
    }
    let many = |count: usize| vec!["group:a"; count].join(",");
    assert!(Policy::parse(Some(&many(RULES_LEN_MAX)), None, None).is_ok());
    assert_eq!(Policy::parse(Some(&many(RULES_LEN_MAX + 1)), None, None), Err(RuleError::TooMany));
}

#[test]
fn skipping_goes_by_method_and_path() {
    let policy = skipping("GET /healthz, /public/*, GET|HEAD /feed, ~/v[0-9]+/status");
    for (method, path, skipped) in [
        (Method::GET, "/healthz", true),
        (Method::POST, "/healthz", false),
        (Method::GET, "/healthz/", false),
        (Method::GET, "/healthzz", false),
        (Method::DELETE, "/public/a/b", true),
        (Method::GET, "/public/", true),
        (Method::GET, "/public", false),
        (Method::GET, "/publicity", false),
        (Method::HEAD, "/feed", true),
        (Method::PUT, "/feed", false),
        (Method::GET, "/v12/status", true),
        (Method::GET, "/v12/status/x", false),
        (Method::GET, "/api/v12/status", false),
        (Method::GET, "/", false),
    ] {
        assert_eq!(policy.skips(&method, path), skipped, "{method} {path}");
    }
    assert!(!Policy::default().skips(&Method::GET, "/"));
}

#[test]
fn an_expression_is_held_against_the_whole_path() {
    let policy = skipping("~a|/b");
    assert!(policy.skips(&Method::GET, "/b"));
    assert!(!policy.skips(&Method::GET, "/b/c"));
    assert!(!policy.skips(&Method::GET, "/x/a"));
}

#[test]
fn paths_that_could_never_match_are_errors() {
    for skip in [
        "healthz",
        "*",
        "/a*",
        "/*/b",
        "/a?b",
        "/a#b",
        "/a//b",
        "/a/../b",
        "/./a",
        "/a\\b",
        "/a;b",
        "/%41",
        "/%2f",
        "/%2F",
        "/%zz",
        "/%e9",
        "/%",
        "/caf\u{e9}",
        "get /a",
        "GET| /a",
        "GET /a /b",
        "~(",
        "",
        "/a,",
    ] {
        assert!(Policy::parse(None, None, Some(skip)).is_err(), "{skip}");
    }
    assert!(skipping("/caf%C3%A9").skips(&Method::GET, "/caf%C3%A9"));
    assert!(skipping("/*").skips(&Method::GET, "/anything"));
}

#[test]
fn the_claims_that_rules_need_are_known() {
    let policy =
        Policy::parse(Some("claim:tenant=a, claim:groups=b, group:c"), Some("claim:blocked=true"), None);
    assert_eq!(policy.expect("rules").extra_claims().collect::<Vec<_>>(), ["tenant", "blocked"]);
}
