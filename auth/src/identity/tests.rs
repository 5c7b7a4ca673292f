use serde_json::json;

use super::*;

fn identity(claims: Value, names: &ClaimNames, extra: &[&str]) -> Option<Identity> {
    let extra: Vec<String> = extra.iter().map(|name| (*name).to_owned()).collect();
    Identity::from_claims(claims.as_object().expect("an object"), names, &extra)
}

#[test]
fn the_claims_of_a_token_become_an_identity() {
    let claims = json!({
        "sub": "248289", "preferred_username": "ada", "name": "Ada", "email": "ada@example.com", "email_verified": true,
        "groups": ["admins", "staff"], "level": 3, "secret": "not asked for",
    });
    let ada = identity(claims, &ClaimNames::default(), &["level", "absent"]).expect("an identity");
    assert_eq!((&*ada.subject, &*ada.user, ada.email_verified), ("248289", "ada", true));
    assert_eq!(ada.groups, ["admins", "staff"]);
    assert_eq!(ada.claims.keys().collect::<Vec<_>>(), ["level"]);
    assert_eq!(ada.values("level"), ["3"]);
    assert_eq!(ada.values("groups"), ["admins", "staff"]);
}

#[test]
fn who_has_no_subject_is_nobody() {
    for claims in [json!({}), json!({"sub": ""}), json!({"sub": 1}), json!({"sub": ["a"]})] {
        assert_eq!(identity(claims, &ClaimNames::default(), &[]), None);
    }
}

#[test]
fn an_address_is_verified_only_when_the_provider_says_so() {
    for (said, verified) in [
        (json!(true), true),
        (json!("true"), true),
        (json!(false), false),
        (json!("false"), false),
        (json!(1), false),
        (json!(null), false),
    ] {
        let claims = json!({"sub": "a", "email": "a@example.com", "email_verified": said});
        let found = identity(claims, &ClaimNames::default(), &[]).expect("an identity");
        assert_eq!(found.email_verified, verified, "{said}");
    }
    let trusting = ClaimNames { trust_email: true, ..ClaimNames::default() };
    let found = identity(json!({"sub": "a", "email": "a@example.com"}), &trusting, &[]);
    assert!(found.expect("an identity").email_verified);
}

#[test]
fn groups_are_found_where_the_provider_keeps_them() {
    let at = |groups: &str| ClaimNames { groups: groups.into(), ..ClaimNames::default() };
    let claims = json!({
        "sub": "a", "realm_access": {"roles": ["ops"]}, "https://example.com/roles": ["dev"], "groups": "one",
    });
    for (name, expected) in
        [("realm_access.roles", "ops"), ("https://example.com/roles", "dev"), ("groups", "one")]
    {
        assert_eq!(
            identity(claims.clone(), &at(name), &[]).expect("an identity").groups,
            [expected],
            "{name}"
        );
    }
    assert!(identity(claims, &at("realm_access.none"), &[]).expect("an identity").groups.is_empty());
}
