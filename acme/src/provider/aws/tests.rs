use std::io::Write;

use super::super::tests::Script;
use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().expect(text)
}

/// Of the test suite that AWS publishes for Signature Version 4.
fn suite() -> Keys {
    Keys {
        id: "AKIDEXAMPLE".to_owned(),
        secret: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
        session: None,
    }
}

fn signature(uri: &str) -> String {
    let mut request = Request::get(uri).body(Bytes::new()).expect("a request");
    sign(&mut request, &suite(), "us-east-1", "service", at("2015-08-30T12:36:00Z")).expect("signed");
    request.headers()[header::AUTHORIZATION].to_str().expect("text").to_owned()
}

#[test]
fn signatures_are_those_of_the_published_suite() {
    // get-vanilla
    assert_eq!(
        signature("https://example.amazonaws.com/"),
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
         SignedHeaders=host;x-amz-date, \
         Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
    );
    // get-vanilla-query-order-key-case, whose query is sorted before it is signed
    let query = encode_pairs(&[("Param1", "value1"), ("Param2", "value2")]);
    let signed = signature(&format!("https://example.amazonaws.com/?{query}"));
    assert!(signed.ends_with("b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"), "{signed}");
}

#[test]
fn what_is_signed_is_encoded_strictly() {
    assert_eq!(encode_pairs(&[("a b", "é/~"), ("c", "")]), "a%20b=%C3%A9%2F~&c=");
}

const STS_ANSWER: &str = r#"<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><SessionToken>token</SessionToken>
<SecretAccessKey>secret</SecretAccessKey><Expiration>2026-01-01T01:00:00Z</Expiration>
<AccessKeyId>ASIAEXAMPLE</AccessKeyId></Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"#;

#[tokio::test]
async fn a_token_is_traded_for_keys_and_renewed_in_time() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    writeln!(file, "a.b.c").expect("written");
    let now = Arc::new(std::sync::Mutex::new(at("2026-01-01T00:00:00Z")));
    let clock = now.clone();
    let script = Script::default();
    script.answer(200, STS_ANSWER).answer(200, STS_ANSWER);
    let identity = Identity::WebIdentity {
        role: "arn:aws:iam::1:role/dns".to_owned(),
        token_file: file.path().to_owned(),
    };
    let credentials = Credentials::new(
        identity,
        None,
        "eu-central-1",
        None,
        Arc::new(script.clone()),
        Arc::new(move || *clock.lock().expect("no panic")),
    );
    let keys = credentials.keys().await.expect("keys");
    assert_eq!((&*keys.id, keys.session.as_ref().map(Secret::expose)), ("ASIAEXAMPLE", Some("token")));
    let request = &script.requests()[0];
    assert_eq!(request.uri(), "https://sts.eu-central-1.amazonaws.com/");
    assert_eq!(
        std::str::from_utf8(request.body()).expect("text"),
        "Action=AssumeRoleWithWebIdentity&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fdns&RoleSessionName=vestibule\
         &Version=2011-06-15&WebIdentityToken=a.b.c"
    );
    assert!(request.headers().get(header::AUTHORIZATION).is_none(), "the token is the proof");
    *now.lock().expect("no panic") = at("2026-01-01T00:54:59Z");
    credentials.keys().await.expect("keys");
    assert_eq!(script.requests().len(), 1, "they still last");
    *now.lock().expect("no panic") = at("2026-01-01T00:55:00Z");
    credentials.keys().await.expect("keys");
    assert_eq!(script.requests().len(), 2);
}

#[tokio::test]
async fn a_role_is_assumed_with_signed_words() {
    let script = Script::default();
    script
        .answer(200, STS_ANSWER)
        .answer(403, "<E><Error><Code>AccessDenied</Code><Message>no</Message></Error></E>");
    let assume =
        AssumeRole { role: "arn:aws:iam::2:role/dns".to_owned(), external_id: Some("x y".to_owned()) };
    let make = || {
        let clock: Clock = Arc::new(|| at("2026-01-01T00:00:00Z"));
        let (identity, http) = (Identity::Keys(suite()), Arc::new(script.clone()));
        Credentials::new(identity, Some(assume.clone()), "cn-north-1", None, http, clock)
    };
    assert_eq!(make().keys().await.expect("keys").id, "ASIAEXAMPLE");
    let request = &script.requests()[0];
    assert_eq!(request.uri(), "https://sts.cn-north-1.amazonaws.com.cn/");
    assert!(std::str::from_utf8(request.body()).expect("text").contains("ExternalId=x%20y"));
    let signed = request.headers()[header::AUTHORIZATION].to_str().expect("text");
    assert!(signed.contains("Credential=AKIDEXAMPLE/20260101/cn-north-1/sts/aws4_request"), "{signed}");
    let error = make().keys().await.expect_err("refused");
    assert_eq!(error, ProviderError::Credentials("STS: AccessDenied: no".to_owned()));
    assert!(!format!("{:?}", make().identity).contains("wJalr"), "keys are never shown");
}
