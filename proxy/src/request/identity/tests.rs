use super::*;

fn unauthenticated(challenge: &'static str) -> Refused {
    let challenges = vec![HeaderValue::from_static(challenge)];
    Refused { answer: Err(Reject::Unauthenticated(challenges)), cookies: Vec::new() }
}

#[test]
fn of_several_that_know_nobody_every_challenge_is_shown() {
    let both = stronger(Some(unauthenticated("Bearer")), unauthenticated("Basic"));
    let expected = ["Bearer", "Basic"].map(HeaderValue::from_static).to_vec();
    assert_eq!(both.answer.err(), Some(Reject::Unauthenticated(expected)));
}

#[test]
fn an_answer_of_its_own_goes_before_a_mere_challenge() {
    let redirect = || Refused {
        answer: Ok(Response::empty(http::StatusCode::FOUND)),
        cookies: vec![HeaderValue::from_static("a=1")],
    };
    for both in [
        stronger(Some(unauthenticated("Bearer")), redirect()),
        stronger(Some(redirect()), unauthenticated("Bearer")),
    ] {
        assert_eq!(both.answer.ok().map(|answer| answer.status), Some(http::StatusCode::FOUND));
        assert_eq!(both.cookies.len(), 1);
    }
}

#[test]
fn someone_refused_is_named_as_they_know_themselves() {
    let named = |name: Option<&str>, email: Option<&str>| {
        let identity = Identity {
            name: name.map(str::to_owned),
            email: email.map(str::to_owned),
            ..Identity::named("4711")
        };
        match forbidden(Some(&identity), &Denied::Excluded) {
            Reject::Forbidden(forbidden) => forbidden.who,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(named(Some("Ada"), Some("ada@example.com")).as_deref(), Some("ada@example.com"));
    assert_eq!(named(Some("Ada"), None).as_deref(), Some("Ada"));
    assert_eq!(named(None, None).as_deref(), Some("4711"));
    assert_eq!(named(Some(&"x".repeat(WHO_CHARS_MAX + 1)), None).map(|who| who.len()), Some(WHO_CHARS_MAX));
}
