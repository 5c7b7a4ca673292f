use std::sync::Mutex;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// An API server that follows a script: what is asked for goes to a function, which says what is answered.
pub(super) struct Scripted {
    pub(super) client: Client,
    asked: Arc<Mutex<Vec<String>>>,
}

/// What the script answers.
pub(super) enum Answer {
    Json(u16, String),
    /// With `Retry-After: 0`, so that a test need not wait.
    Busy(u16),
    /// Lines of a watch, which then stays open.
    Watch(Vec<String>),
    /// Lines of a watch, which then ends.
    Ended(Vec<String>),
    /// The connection is cut before an answer.
    Cut,
}

impl Scripted {
    /// `script` is given the method, the path with its query, and how often just that path, without its query, was asked
    /// before (lists and watches are counted apart).
    pub(super) async fn start(
        script: impl Fn(&str, &str, usize) -> Answer + Send + Sync + 'static,
    ) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (script, log) = (Arc::new(script), asked.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer_one(stream, script.clone(), log.clone()));
            }
        });
        let mut config = Config::new(format!("http://{address}").parse().unwrap());
        config.default_retry = false;
        Scripted { client: Client::try_from(config).unwrap(), asked }
    }

    /// What was asked, in order.
    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn answer_one(
    mut stream: TcpStream,
    script: Arc<impl Fn(&str, &str, usize) -> Answer>,
    log: Arc<Mutex<Vec<String>>>,
) -> Option<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let end = head.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let mut body = head.split_off(end);
    let head = String::from_utf8(head).ok()?;
    // What was sent is read to its end, or closing would take the answer along.
    let lower = head.to_ascii_lowercase();
    let length = lower.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
    while body.len() < length.unwrap_or(0) {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    let mut words = head.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let same = |logged: &String| {
        logged.contains("watch=") == target.contains("watch=") && path(logged) == path(target)
    };
    let before = {
        let mut log = log.lock().unwrap();
        let before = log.iter().filter(|logged| same(logged)).count();
        log.push(target.to_owned());
        before
    };
    let (status, extra, lines, stays) = match script(method, target, before) {
        Answer::Json(status, body) => (status, "", vec![body], false),
        Answer::Busy(status) => (status, "Retry-After: 0\r\n", vec!["{}".into()], false),
        Answer::Watch(lines) => (200, "", lines, true),
        Answer::Ended(lines) => (200, "", lines, false),
        Answer::Cut => return None,
    };
    let text = format!("HTTP/1.1 {status} Scripted\r\n{extra}Connection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).await.ok()?;
    for line in lines {
        stream.write_all(format!("{line}\n").as_bytes()).await.ok()?;
    }
    if stays {
        std::future::pending::<()>().await;
    }
    Some(())
}

fn path(target: &str) -> &str {
    target.split('?').next().unwrap_or_default()
}

pub(super) fn config_map(name: &str, version: u32) -> String {
    format!(
        r#"{{"metadata":{{"name":"{name}","namespace":"default","resourceVersion":"{version}",
        "managedFields":[{{"manager":"kubectl"}}]}},"data":{{"ca.crt":"{version}"}}}}"#
    )
    .replace('\n', "")
}

pub(super) fn list(version: u32, items: &[String]) -> Answer {
    let items = items.join(",");
    let text = format!(r#"{{"metadata":{{"resourceVersion":"{version}"}},"items":[{items}]}}"#);
    Answer::Json(200, text)
}

fn status(code: u16) -> Answer {
    Answer::Json(code, format!(r#"{{"kind":"Status","code":{code},"message":"no"}}"#))
}

/// Empty lists, and watches that stay open, for every kind but ConfigMaps.
fn others(target: &str) -> Option<Answer> {
    if target.contains("/configmaps") {
        return None;
    }
    Some(if target.contains("watch=") { Answer::Watch(Vec::new()) } else { list(1, &[]) })
}

fn names(cluster: &Cluster) -> Vec<String> {
    cluster.objects().config_maps.iter().map(|map| map.metadata.name.to_string()).collect()
}

#[tokio::test]
async fn nothing_is_told_before_every_kind_was_listed() {
    let server = Scripted::start(|_, target, before| match others(target) {
        // The last to be listed.
        Some(_) if target.starts_with("/api/v1/services?limit") && before < 2 => status(500),
        Some(answer) => answer,
        None if target.contains("watch=") => Answer::Watch(Vec::new()),
        None => list(7, &[config_map("a", 3), config_map("b", 4)]),
    })
    .await;
    let mut cluster = Cluster::follow(&server.client, &ClusterOptions::default());
    cluster.changed().await;
    assert_eq!(names(&cluster), ["a", "b"]);
    assert!(server.asked().iter().filter(|target| target.starts_with("/api/v1/services?limit")).count() == 3);
    assert_eq!(cluster.problems(), []);
}

#[tokio::test]
async fn a_watch_goes_on_from_the_list_and_after_an_end_from_its_last_event() {
    let server = Scripted::start(|_, target, before| {
        others(target).unwrap_or_else(|| {
            let event = |event: &str, object: String| format!(r#"{{"type":"{event}","object":{object}}}"#);
            match (target.contains("watch="), before) {
                (false, _) => list(7, &[config_map("a", 3), config_map("b", 4)]),
                (true, 0) => Answer::Ended(vec![
                    event("ADDED", config_map("c", 8)),
                    event("DELETED", config_map("a", 9)),
                    event("BOOKMARK", r#"{"metadata":{"resourceVersion":"12"}}"#.into()),
                ]),
                (true, _) => Answer::Watch(vec![event("MODIFIED", config_map("b", 13))]),
            }
        })
    })
    .await;
    let mut cluster = Cluster::follow(&server.client, &ClusterOptions::default());
    while names(&cluster) != ["b", "c"]
        || cluster.objects().config_maps.find("default", "b").unwrap().metadata.resource_version
            != Box::<str>::from("13")
    {
        cluster.changed().await;
    }
    let watches: Vec<String> = server
        .asked()
        .into_iter()
        .filter(|target| target.contains("configmaps?watch"))
        .map(|target| target.split("resourceVersion=").nth(1).unwrap().to_owned())
        .collect();
    assert_eq!(watches, ["7", "12"]);
}

#[tokio::test]
async fn one_broken_object_is_a_problem_and_fails_nothing() {
    let broken = r#"{"metadata":{"name":"bad","namespace":"default","resourceVersion":"5"},"data":7}"#;
    let server = Scripted::start(move |_, target, _| {
        others(target).unwrap_or_else(|| match target.contains("watch=") {
            false => list(7, &[config_map("a", 3), broken.into(), config_map("b", 4)]),
            true => Answer::Watch(vec![format!(
                r#"{{"type":"MODIFIED","object":{}}}"#,
                broken.replace("bad", "a").replace('5', "8")
            )]),
        })
    })
    .await;
    let mut cluster = Cluster::follow(&server.client, &ClusterOptions::default());
    while cluster.problems().len() < 2 {
        cluster.changed().await;
    }
    assert_eq!(names(&cluster), ["a", "b"], "the version before stays");
    let problems = cluster.problems();
    let told: Vec<_> =
        problems.iter().map(|problem| (problem.object.clone().unwrap().name, problem.severity)).collect();
    assert_eq!(told, [("a".into(), Severity::Degraded), ("bad".into(), Severity::Refused)]);
}

#[tokio::test]
async fn kinds_that_are_missing_or_forbidden_are_told_and_asked_for_again() {
    let server = Scripted::start(|_, target, before| match others(target) {
        Some(_) if target.contains("/httproutes?limit") => status(404),
        Some(_) if target.contains("/gateways?limit") && before < 4 => status(404),
        Some(answer) => answer,
        None => status(403),
    })
    .await;
    let mut cluster = Cluster::follow(&server.client, &ClusterOptions::default());
    cluster.changed().await;
    let told =
        |cluster: &Cluster| cluster.problems().iter().map(Problem::to_string).collect::<Vec<_>>().join("\n");
    while !told(&cluster).contains("forbids to list and watch configmaps") {
        cluster.changed().await;
    }
    assert!(told(&cluster).contains("no httproutes"), "{}", told(&cluster));
    while told(&cluster).contains("no gateways") {
        cluster.changed().await;
    }
    // Both versions were asked for.
    let asked = server.asked();
    for version in ["v1", "v1beta1"] {
        let wanted = format!("/apis/gateway.networking.k8s.io/{version}/httproutes?");
        assert!(asked.iter().any(|target| target.starts_with(&wanted)), "{asked:?}");
    }
}

#[tokio::test]
async fn namespaces_are_read_one_by_one_where_they_are_named() {
    let server = Scripted::start(|_, target, _| match target.contains("watch=") {
        true => Answer::Watch(Vec::new()),
        false => list(1, &[]),
    })
    .await;
    let options = ClusterOptions {
        namespaces: vec!["shop".into(), "blog".into()],
        private_namespace: Some("edge-private".into()),
        ..ClusterOptions::default()
    };
    let mut cluster = Cluster::follow(&server.client, &options);
    cluster.changed().await;
    let asked = server.asked();
    for wanted in [
        "/api/v1/namespaces/shop/secrets?limit=50&fieldSelector=type%21%3Dhelm.sh",
        "/apis/networking.k8s.io/v1/namespaces/blog/ingresses?limit=500",
        "/apis/networking.k8s.io/v1/ingressclasses?",
        "/api/v1/namespaces?limit",
        "/api/v1/namespaces/edge-private/secrets?limit=50",
    ] {
        assert!(asked.iter().any(|target| target.starts_with(wanted)), "{wanted} in {asked:#?}");
    }
    let private = asked.iter().filter(|target| target.contains("/edge-private/"));
    assert!(private.clone().all(|target| target.contains("/secrets?")), "{private:?}");
    assert!(!asked.iter().any(|target| target.starts_with("/api/v1/secrets")));
}
