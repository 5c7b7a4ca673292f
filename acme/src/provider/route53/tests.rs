use super::super::aws::{Identity, Keys};
use super::super::tests::Script;
use super::*;
use crate::secret::Secret;

fn account(script: &Script) -> Route53 {
    let keys = Keys { id: "AKIA".to_owned(), secret: Secret::new("s"), session: None };
    let clock: crate::Clock = Arc::new(|| "2026-01-01T00:00:00Z".parse().expect("a time"));
    let (identity, http) = (Identity::Keys(keys), Arc::new(script.clone()));
    let credentials = Credentials::new(identity, None, "eu-central-1", None, http, clock);
    let mut account = Route53::new(Arc::new(credentials), None, None);
    (account.throttle, account.sync_interval) = (Throttle::none(), Duration::ZERO);
    account
}

fn zone() -> Zone {
    Zone { name: "example.com".to_owned(), id: "Z1".to_owned() }
}

fn set(name: &str, values: &[&str]) -> String {
    let values: String = values
        .iter()
        .map(|value| format!("<ResourceRecord><Value>\"{value}\"</Value></ResourceRecord>"))
        .collect();
    format!(
        "<ListResourceRecordSetsResponse xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><ResourceRecordSets>\
         <ResourceRecordSet><Name>{name}</Name><Type>TXT</Type><TTL>300</TTL><ResourceRecords>{values}</ResourceRecords>\
         </ResourceRecordSet></ResourceRecordSets></ListResourceRecordSetsResponse>"
    )
}

fn change(status: &str) -> String {
    format!("<R><ChangeInfo><Id>/change/C1</Id><Status>{status}</Status></ChangeInfo></R>")
}

fn error(code: &str) -> String {
    format!("<ErrorResponse><Error><Code>{code}</Code><Message>words</Message></Error></ErrorResponse>")
}

#[tokio::test]
async fn values_of_others_stay_and_a_change_is_waited_for() {
    let script = Script::default();
    script
        .answer(200, &set("_acme-challenge.example.com.", &["other"]))
        .answer(400, &error("PriorRequestNotComplete"))
        .answer(200, &change("PENDING"))
        .answer(200, &change("PENDING"))
        .answer(200, &change("INSYNC"));
    let values = ["one".to_owned(), "two".to_owned()];
    account(&script).add(&zone(), "_acme-challenge.example.com", &values).await.expect("added");
    assert_eq!(
        script.asked(),
        [
            "GET /2013-04-01/hostedzone/Z1/rrset?maxitems=1&name=_acme-challenge.example.com&type=TXT",
            "POST /2013-04-01/hostedzone/Z1/rrset/",
            "POST /2013-04-01/hostedzone/Z1/rrset/",
            "GET /2013-04-01/change/C1",
            "GET /2013-04-01/change/C1",
        ]
    );
    let body = String::from_utf8(script.requests()[2].body().to_vec()).expect("text");
    assert!(body.contains("<Action>UPSERT</Action>"), "{body}");
    for value in ["other", "one", "two"] {
        assert!(
            body.contains(&format!("<Value>\"{value}\"</Value>")),
            "base and wildcard go in one change: {body}"
        );
    }
}

#[tokio::test]
async fn what_stands_there_already_is_not_written() {
    let script = Script::default();
    script.answer(200, &set("_acme-challenge.example.com.", &["one"]));
    account(&script).add(&zone(), "_acme-challenge.example.com", &["one".to_owned()]).await.expect("added");
    assert_eq!(script.asked().len(), 1);
}

#[tokio::test]
async fn the_next_record_in_the_list_is_not_taken_for_ours() {
    let script = Script::default();
    script.answer(200, &set("a-later-name.example.com.", &["other"])).answer(200, &change("INSYNC"));
    account(&script).add(&zone(), "_acme-challenge.example.com", &["one".to_owned()]).await.expect("added");
    let body = String::from_utf8(script.requests()[1].body().to_vec()).expect("text");
    assert!(!body.contains("other"), "{body}");
}

#[tokio::test]
async fn clean_up_takes_ours_and_repeats_the_set_exactly() {
    let script = Script::default();
    script.answer(200, &set("_acme-challenge.example.com.", &["b", "a"])).answer(200, &change("INSYNC"));
    let both = ["a".to_owned(), "b".to_owned()];
    account(&script).remove(&zone(), "_acme-challenge.example.com", &both).await.expect("removed");
    let body = String::from_utf8(script.requests()[1].body().to_vec()).expect("text");
    assert!(body.contains("<Action>DELETE</Action>") && body.contains("<TTL>300</TTL>"), "{body}");
    assert!(body.find("\"b\"") < body.find("\"a\""), "in the order in which they came: {body}");

    let script = Script::default();
    script.answer(200, &set("_acme-challenge.example.com.", &["a", "other"])).answer(200, &change("INSYNC"));
    account(&script).remove(&zone(), "_acme-challenge.example.com", &both).await.expect("removed");
    let body = String::from_utf8(script.requests()[1].body().to_vec()).expect("text");
    assert!(body.contains("UPSERT") && body.contains("\"other\"") && !body.contains("\"a\""), "{body}");

    let script = Script::default();
    script.answer(200, &set("_acme-challenge.example.com.", &["other"]));
    account(&script).remove(&zone(), "_acme-challenge.example.com", &both).await.expect("nothing to remove");
    assert_eq!(script.asked().len(), 1);
}

#[tokio::test]
async fn only_a_public_zone_of_exactly_this_name_counts() {
    let zones = |name: &str, private: bool| {
        format!(
            "<R><HostedZones><HostedZone><Id>/hostedzone/Z9</Id><Name>{name}</Name><Config><PrivateZone>{private}\
             </PrivateZone></Config></HostedZone></HostedZones></R>"
        )
    };
    let script = Script::default();
    script
        .answer(200, &zones("example.com.", false))
        .answer(200, &zones("example.com.", true))
        .answer(200, &zones("example.net.", false));
    let account = account(&script);
    assert_eq!(
        account.zone("example.com").await,
        Ok(Some(Zone { name: "example.com".to_owned(), id: "Z9".to_owned() }))
    );
    assert_eq!(account.zone("example.com").await, Ok(None));
    assert_eq!(account.zone("example.com").await, Ok(None));
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let script = Script::default();
    script
        .answer(403, &error("SignatureDoesNotMatch"))
        .answer(503, "down")
        .fail("no route to host")
        .answer(400, &error("InvalidInput"));
    let account = account(&script);
    let mut errors = Vec::new();
    for _ in 0..4 {
        errors.push(account.zone("example.com").await.expect_err("refused"));
    }
    assert_eq!(
        errors,
        [
            ProviderError::Credentials("SignatureDoesNotMatch: words".to_owned()),
            ProviderError::Unavailable("status 503: down".to_owned()),
            ProviderError::Unavailable("no route to host".to_owned()),
            ProviderError::Refused("InvalidInput: words".to_owned()),
        ]
    );
}
