use super::*;

#[test]
fn a_path_expression_matches_from_the_start_only() {
    let pattern = RegexPattern::path("/v[0-9]+", LetterCase::Sensitive).unwrap();
    assert!(pattern.is_match(b"/v1"));
    assert!(pattern.is_match(b"/v12/items"));
    assert!(!pattern.is_match(b"/api/v1"));
    assert!(!pattern.is_match(b"/V1"));
}

#[test]
fn an_expression_that_anchors_itself_means_the_same() {
    for text in ["^/v1$", "/v1$"] {
        let pattern = RegexPattern::path(text, LetterCase::Sensitive).unwrap();
        assert!(pattern.is_match(b"/v1"));
        assert!(!pattern.is_match(b"/v1/"));
    }
}

#[test]
fn the_anchor_holds_for_every_alternative() {
    let pattern = RegexPattern::path("/a|/b", LetterCase::Sensitive).unwrap();
    assert!(pattern.is_match(b"/b"));
    assert!(!pattern.is_match(b"/c/b"));
    let pattern = RegexPattern::value("a|ab").unwrap();
    assert!(pattern.is_match(b"ab"));
    assert!(!pattern.is_match(b"abc"));
    assert!(!pattern.is_match(b"xa"));
}

#[test]
fn case_may_be_ignored() {
    let pattern = RegexPattern::path("/Admin", LetterCase::Insensitive).unwrap();
    assert!(pattern.is_match(b"/aDMIN"));
    assert_ne!(pattern, RegexPattern::path("/Admin", LetterCase::Sensitive).unwrap());
}

#[test]
fn any_byte_is_a_character() {
    let pattern = RegexPattern::value("a.c").unwrap();
    assert!(pattern.is_match(b"a\xffc"));
}

#[test]
fn captures_are_numbered_as_written() {
    let pattern = RegexPattern::path("/(a)/(.*)", LetterCase::Sensitive).unwrap();
    let captures = pattern.regex().captures(b"/a/rest").unwrap();
    assert_eq!(&captures[2], b"rest");
}

#[test]
fn a_group_cannot_be_closed_to_escape_the_anchor() {
    let error = RegexPattern::path("/a)|(?:.*", LetterCase::Sensitive).unwrap_err();
    assert!(matches!(error, RegexError::Syntax { .. }), "{error}");
}

#[test]
fn what_takes_more_than_linear_time_is_refused_with_a_reason() {
    for text in ["/(?=a)", r"/(a)\1"] {
        let message = RegexPattern::path(text, LetterCase::Sensitive).unwrap_err().to_string();
        assert!(message.contains("not supported"), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn a_text_may_be_as_long_as_the_bound_and_no_longer() {
    let text = format!("/{}", "a".repeat(REGEX_TEXT_BYTES_MAX - 1));
    assert!(RegexPattern::path(&text, LetterCase::Sensitive).is_ok());
    let bytes = REGEX_TEXT_BYTES_MAX + 1;
    let error = RegexPattern::path(&format!("{text}a"), LetterCase::Sensitive).unwrap_err();
    assert_eq!(error, RegexError::TooLong { bytes });
}

#[test]
fn a_program_that_grows_too_large_is_refused() {
    let error = RegexPattern::path("/((a{100}){100}){100}", LetterCase::Sensitive).unwrap_err();
    assert_eq!(error, RegexError::TooLarge);
}

#[test]
fn expressions_are_equal_when_they_are_written_alike() {
    let path = |text| RegexPattern::path(text, LetterCase::Sensitive).unwrap();
    assert_eq!(path("/a"), path("/a"));
    assert_ne!(path("/a"), path("/b"));
    assert_ne!(path("/a"), RegexPattern::value("/a").unwrap());
}
