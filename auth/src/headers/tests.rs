use super::*;

fn ada() -> Identity {
    Identity {
        subject: "248289".into(),
        user: "ada".into(),
        name: Some("Ada Lovelace".into()),
        email: Some("ada@example.com".into()),
        email_verified: true,
        groups: ["admins", "staff"].into(),
        claims: [("tenant".to_owned(), ["blue"].into())].into(),
    }
}

fn told(rules: &HeaderRules, identity: &Identity) -> Vec<String> {
    rules
        .values(identity)
        .map(|(name, value)| format!("{name}: {}", value.to_str().expect("ASCII")))
        .collect()
}

#[test]
fn each_preset_speaks_as_its_model_does() {
    for (preset, expected) in [
        (
            "oauth2-proxy",
            [
                "x-auth-request-user: 248289",
                "x-auth-request-email: ada@example.com",
                "x-auth-request-groups: admins,staff",
                "x-auth-request-preferred-username: ada",
            ]
            .as_slice(),
        ),
        (
            "forwarded",
            &[
                "x-forwarded-user: 248289",
                "x-forwarded-email: ada@example.com",
                "x-forwarded-groups: admins,staff",
                "x-forwarded-preferred-username: ada",
            ],
        ),
        (
            "authelia",
            &[
                "remote-user: ada",
                "remote-groups: admins,staff",
                "remote-name: Ada Lovelace",
                "remote-email: ada@example.com",
            ],
        ),
        (
            "authentik",
            &[
                "x-authentik-username: ada",
                "x-authentik-groups: admins|staff",
                "x-authentik-email: ada@example.com",
                "x-authentik-name: Ada Lovelace",
                "x-authentik-uid: 248289",
            ],
        ),
        ("X-User=email, X-Tenant=tenant, X-None=absent", &["x-user: ada@example.com", "x-tenant: blue"]),
    ] {
        assert_eq!(told(&HeaderRules::parse(preset).expect(preset), &ada()), expected);
    }
}

#[test]
fn no_claim_can_split_a_header_or_a_list() {
    let rules = HeaderRules::parse("X-Name=name, X-Groups=groups").expect("rules");
    for (name, groups, expected) in [
        ("a\r\nX-Admin: yes", vec!["a,admins", "b"], "x-name: a%0D%0AX-Admin: yes|x-groups: a%2Cadmins,b"),
        ("nul\0", vec!["", "x"], "x-name: nul%00|x-groups: x"),
        ("Jos\u{e9}", vec!["caf\u{e9}"], "x-name: Jos%C3%A9|x-groups: caf%C3%A9"),
        ("Jos%C3%A9", vec!["%2C"], "x-name: Jos%25C3%25A9|x-groups: %252C"),
    ] {
        let groups = groups.into_iter().collect();
        let identity = Identity { name: Some(name.into()), groups, ..Identity::named("a") };
        assert_eq!(told(&rules, &identity).join("|"), expected);
    }
    let authentik = HeaderRules::from(HeaderPreset::Authentik);
    let identity = Identity { groups: ["a|admins", "b,c"].into(), ..Identity::named("a") };
    assert!(told(&authentik, &identity).contains(&"x-authentik-groups: a%7Cadmins|b,c".to_owned()));
}

#[test]
fn what_a_client_sent_is_replaced_or_removed_never_left() {
    let rules = HeaderRules::from(HeaderPreset::OAuth2Proxy);
    let spoofed = || {
        let mut headers = HeaderMap::new();
        for name in rules.names() {
            headers.append(name, HeaderValue::from_static("root"));
            headers.append(name, HeaderValue::from_static("root"));
        }
        headers.insert("accept", HeaderValue::from_static("*/*"));
        headers
    };
    let mut headers = spoofed();
    rules.apply(Some(&Identity::named("bob")), &mut headers);
    assert_eq!(headers.get_all("x-auth-request-user").iter().collect::<Vec<_>>(), ["bob"]);
    assert!(!headers.contains_key("x-auth-request-email"));
    assert!(!headers.contains_key("x-auth-request-groups"));
    assert!(headers.contains_key("accept"));

    let mut headers = spoofed();
    rules.apply(None, &mut headers);
    assert_eq!(headers.keys().collect::<Vec<_>>(), ["accept"]);
}

#[test]
fn rules_that_would_do_harm_are_refused() {
    use HeaderRulesError as Error;
    for (text, error) in [
        ("", Error::Empty),
        ("X-User=email,", Error::Empty),
        ("traefik", Error::Form("traefik".into())),
        ("X-User=", Error::Form("X-User=".into())),
        ("X User=email", Error::Name("X User".into())),
        ("Authorization=email", Error::Protected("Authorization".into())),
        ("Cookie=email", Error::Protected("Cookie".into())),
        ("Host=email", Error::Protected("Host".into())),
        ("X_Forwarded.For=email", Error::Protected("X_Forwarded.For".into())),
        ("X-User=email, x-user=sub", Error::Twice("x-user".into())),
    ] {
        assert_eq!(HeaderRules::parse(text), Err(error), "{text}");
    }
    let many = |count: usize| (0..count).map(|n| format!("X-{n}=sub")).collect::<Vec<_>>().join(",");
    assert!(HeaderRules::parse(&many(HEADER_RULES_LEN_MAX)).is_ok());
    assert_eq!(HeaderRules::parse(&many(HEADER_RULES_LEN_MAX + 1)), Err(Error::TooMany));
    assert!(HeaderRules::parse("X-Forwarded-User=email").expect("rules").is_custom());
}

#[test]
fn the_claims_that_headers_need_are_known() {
    let rules = HeaderRules::parse("X-User=email, X-Tenant=tenant, X-Groups=groups").expect("rules");
    assert_eq!(rules.extra_claims().collect::<Vec<_>>(), ["tenant"]);
}
