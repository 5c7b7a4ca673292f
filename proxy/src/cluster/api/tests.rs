use super::super::tests::{Answer, Scripted, config_map};
use super::*;

const CONFIG_MAPS: Scope = Scope { kind: Kind::ConfigMap, namespace: None };

#[tokio::test]
async fn a_list_is_read_page_by_page() {
    let server = Scripted::start(|_, target, before| {
        let next = if before == 0 { r#","continue":"a/b=""# } else { "" };
        assert_eq!(target.contains("continue=a%2Fb%3D"), before == 1, "{target}");
        let map = config_map(&format!("map-{before}"), 1);
        Answer::Json(200, format!(r#"{{"metadata":{{"resourceVersion":"7"{next}}},"items":[{map}]}}"#))
    })
    .await;
    let listed = CONFIG_MAPS.list(&server.client, "v1", None).await.unwrap();
    assert_eq!((listed.objects.len(), &*listed.version), (2, "7"));
    assert!(server.asked()[0].starts_with("/api/v1/configmaps?limit=50"));
}

#[tokio::test]
async fn an_empty_list_may_have_no_items_at_all() {
    let server = Scripted::start(|_, _, _| {
        Answer::Json(200, r#"{"metadata":{"resourceVersion":"7"},"items":null}"#.into())
    })
    .await;
    assert!(CONFIG_MAPS.list(&server.client, "v1", None).await.unwrap().objects.is_empty());
}

#[tokio::test]
async fn a_page_that_is_too_large_is_asked_for_in_parts() {
    let server = Scripted::start(|_, target, before| match before {
        0 => Answer::Json(200, " ".repeat(ANSWER_BYTES_MAX + 1)),
        _ => {
            assert!(target.contains("limit=25"), "{target}");
            Answer::Json(200, r#"{"metadata":{"resourceVersion":"7"},"items":[]}"#.into())
        }
    })
    .await;
    CONFIG_MAPS.list(&server.client, "v1", None).await.unwrap();
}

#[tokio::test]
async fn an_endless_line_of_a_watch_is_given_up() {
    let server =
        Scripted::start(|_, _, _| Answer::Watch(vec![" ".repeat(ANSWER_BYTES_MAX + (4 << 20))])).await;
    let mut watch = CONFIG_MAPS.watch(&server.client, "v1", "7").await.unwrap();
    // The line ends in the end, but by then too much has come.
    assert!(matches!(watch.next(None).await, Err(Failure::TooLarge)));
}

#[test]
fn a_secret_that_cannot_be_read_is_not_quoted() {
    let raw: Box<RawValue> =
        serde_json::from_str(r#"{"metadata":{"name":"s","namespace":"n"},"data":{"password":["hunter2"]}}"#)
            .unwrap();
    let broken = read(Kind::Secret, &raw).unwrap_err();
    assert_eq!(broken.object.unwrap().to_string(), "Secret n/s");
    assert!(!broken.message.contains("hunter2"), "{}", broken.message);
}

#[test]
fn an_answer_says_what_to_do_next() {
    let failure = |code, after: Option<u64>| {
        Status { code, message: "m".into() }.failure(after.map(Duration::from_secs))
    };
    assert_eq!(failure(404, None), Failure::Missing);
    assert_eq!(failure(403, None), Failure::Forbidden("m".into()));
    assert_eq!(failure(409, None), Failure::Conflict);
    assert_eq!(failure(410, None), Failure::Gone);
    assert_eq!(failure(429, Some(3)), Failure::Busy(Duration::from_secs(3)));
    assert_eq!(failure(503, Some(3)), Failure::Busy(Duration::from_secs(3)));
    assert!(matches!(failure(503, None), Failure::Failed(_)));
    assert!(matches!(failure(401, Some(3)), Failure::Failed(_)));
}
