use http::HeaderValue;

use super::*;

#[test]
fn every_spelling_of_a_name_that_tells_is_stripped() {
    let told_by = ToldBy::new(&[
        NamePattern::Exact(HeaderName::from_static("x-user")),
        NamePattern::Prefix("x-team-".into()),
    ]);
    let mut headers = HeaderMap::new();
    let names = [
        "x-user", "x_user", "x.user", "x!user", "x-team-a", "x.team_b", "x-users", "x-us", "xuser", "x-team",
    ];
    for name in names {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static("1"));
    }
    told_by.strip(&mut headers);
    let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["x-team", "x-us", "x-users", "xuser"]);
}
