//! What an operator sees of a running process: the access log, metrics, status, explain and why.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tests::client::{self, Client};
use tests::manifests;
use tests::process::{Ended, Files, Process, run};
use tests::upstream::Upstream;
use tests::wait::{eventually, eventually_some};

struct Site {
    process: Process,
    _upstream: Upstream,
    files: Files,
}

fn site(annotations: &str, flags: &[&str]) -> Site {
    let upstream = Upstream::saying("hello");
    let files = Files::with("web.yaml", &manifests::site(annotations, upstream.address));
    let process = Process::serve_with(&files, flags);
    Site { process, _upstream: upstream, files }
}

/// Runs a command that asks the process.
fn ask(process: &Process, words: &[&str]) -> Ended {
    let admin = process.admin().to_string();
    run(words.iter().copied().chain(["--admin", &admin]))
}

#[test]
fn one_line_of_json_for_each_request() {
    let site = site("proxy-body-size: '4'", &[]);
    let mut client = Client::connect(site.process.http());
    let request_id = "0123456789abcdef0123456789abcdef";
    client.send(
        "POST /a%41?token=secret HTTP/1.1\r\nHost: Shop.Example\r\nContent-Length: 3\r\nUser-Agent: a \"b\"\r\n\r\nabc",
    );
    assert_eq!(client.answer().status, 200);
    client.send(format!(
        "POST /big HTTP/1.1\r\nHost: shop.example\r\nX-Request-ID: {request_id}\r\nContent-Length: 5\r\n\r\nabcde"
    ));
    let refused = client.answer();
    assert_eq!(refused.status, 413);

    let line = |path: &str| -> Value {
        let line = site.process.out().wait_for(&[&format!("\"path\":\"{path}\"")]);
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    };
    let good = line("/aA");
    let expected = [
        ("method", "POST"),
        ("scheme", "http"),
        ("host", "shop.example"),
        ("client", "127.0.0.1"),
        ("protocol", "HTTP/1.1"),
        ("route", "Ingress shop/web"),
        ("backend", "shop/web:80"),
        ("user_agent", "a \"b\""),
    ];
    for (field, value) in expected {
        assert_eq!(good[field], value, "{field} in {good}");
    }
    assert_eq!((&good["status"], &good["bytes_in"], &good["bytes_out"]), (&200.into(), &3.into(), &5.into()));
    assert_eq!(good.get("reason"), None);
    assert!(!good.to_string().contains("secret"), "query strings are not logged: {good}");

    let bad = line("/big");
    assert_eq!((&bad["status"], &bad["reason"]), (&413.into(), &"body_too_large".into()));
    assert_eq!(
        bad["request_id"],
        refused.fields.one("x-request-id").expect("an id"),
        "the log and the page agree"
    );
    assert_eq!(site.process.out().all().len(), 2, "one line for each request");
}

#[test]
fn the_log_can_be_text_and_can_be_off() {
    let text = site("", &["--access-log", "text"]);
    assert_eq!(client::get(text.process.http(), "shop.example", "/x").status, 200);
    let line = text.process.out().wait_for(&["path=/x"]);
    for word in
        ["method=GET", "host=shop.example", "status=200", "route=\"Ingress shop/web\"", "client=127.0.0.1"]
    {
        assert!(line.contains(word), "{word} in {line}");
    }

    let mut off = site("", &["--access-log", "off"]);
    assert_eq!(client::get(off.process.http(), "shop.example", "/x").status, 200);
    assert_eq!(off.process.stop().code(), Some(0));
    assert_eq!(off.process.out().all(), Vec::<String>::new());
}

#[test]
fn lines_of_the_log_are_whole_when_it_ends() {
    let mut site = site("", &[]);
    let mut client = Client::connect(site.process.http());
    for number in 0..100 {
        assert_eq!(client.get("shop.example", &format!("/{number}")).status, 200);
    }
    assert_eq!(site.process.stop().code(), Some(0));
    let seen = eventually_some("a hundred lines", || {
        let lines = site.process.out().all();
        (lines.len() == 100).then_some(lines)
    });
    for line in seen {
        assert!(serde_json::from_str::<Value>(&line).is_ok(), "{line}");
    }
}

/// A metric family as it is exposed.
#[derive(Default)]
struct Family {
    kind: String,
    help: String,
    /// Labels of each sample, `le` apart.
    series: BTreeSet<String>,
    names: BTreeSet<String>,
}

/// Reads an exposition; panics on what no reader would take.
fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    let mut samples = BTreeSet::new();
    assert_eq!(text.lines().last(), Some("# EOF"));
    for line in text.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "HELP", name, help] => {
                assert!(!families.contains_key(name), "{name} is described twice");
                current = name.to_owned();
                families.entry(current.clone()).or_default().help = help.to_owned();
            }
            ["#", "TYPE", name, kind] => {
                assert_eq!(name, current);
                families.entry(current.clone()).or_default().kind = kind.to_owned();
            }
            ["#", "UNIT", name, unit] => assert!(name.ends_with(unit), "{name} is not in {unit}"),
            ["#", "EOF"] => {}
            _ => {
                let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
                assert!(value.parse::<f64>().is_ok(), "no number: {line}");
                assert!(samples.insert(series.to_owned()), "written twice: {series}");
                let (name, labels) = series.split_once('{').unwrap_or((series, ""));
                assert!(name.starts_with(&current), "{name} stands under {current}");
                let labels: Vec<&str> = labels.split(',').filter(|label| !label.starts_with("le=")).collect();
                let family = families.get_mut(&current).expect("a family");
                family.series.insert(labels.join(","));
                family.names.insert(name.to_owned());
            }
        }
    }
    families
}

#[test]
fn metrics_are_described_and_named_as_the_field_does() {
    let site = site("", &[]);
    assert_eq!(client::get(site.process.http(), "shop.example", "/").status, 200);
    let families = families(&site.process.ask("/metrics").text());
    for (name, family) in &families {
        assert!(
            family.help.len() > 10 && !family.help.ends_with('.'),
            "the help of {name}: {:?}",
            family.help
        );
        assert!(name.starts_with("vestibule_") || name.starts_with("process_"), "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        for unit in ["_ms", "_milliseconds", "_us", "_kilobytes", "_mb"] {
            assert!(!name.ends_with(unit), "{name} is not in a base unit");
        }
        let expected: &[&str] = match &*family.kind {
            "counter" => &["_total"],
            "histogram" => &["_sum", "_count", "_bucket"],
            "gauge" => &[""],
            "info" => &["_info"],
            other => panic!("{name} has the type {other}"),
        };
        for sample in &family.names {
            assert!(expected.iter().any(|suffix| *sample == format!("{name}{suffix}")), "{sample} of {name}");
        }
    }
    for name in ["vestibule_requests", "vestibule_request_duration_seconds", "vestibule_config_problems"] {
        assert!(families.contains_key(name), "{name} is missing");
    }
}

#[test]
fn labels_are_bounded_whatever_clients_send() {
    let site = site("", &[]);
    let host_route = manifests::ingress("").replacen("- http:", "- host: shop.example\n    http:", 1);
    site.files.write("web.yaml", &host_route);
    eventually("only one host is known", || client::get(site.process.http(), "x.example", "/").status == 404);
    let series = || -> usize {
        families(&site.process.ask("/metrics").text()).values().map(|family| family.series.len()).sum()
    };
    let send = |seed: usize| {
        let mut client = Client::connect(site.process.http());
        for number in seed..seed + 50 {
            client
                .send(format!("M{number} /p{number}?q={number} HTTP/1.1\r\nHost: h{number}.example\r\n\r\n"));
            assert_eq!(client.answer().status, 404);
            client.get("shop.example", &format!("/{number}"));
        }
    };
    send(0);
    let before = series();
    send(1000);
    send(2000);
    assert_eq!(series(), before, "names that clients make up make no series");
    let requests = site.process.metric("vestibule_requests_total{kind=\"none\"").expect("a counter");
    assert!(requests >= 150.0, "{requests}");
}

#[test]
fn status_fits_a_screen() {
    let site = site("", &[]);
    let broken: String = (0..40)
        .map(|index| format!("---\nkind: Ingress\nmetadata: [a very long way of being wrong {index}\n"))
        .collect();
    site.files.write("broken.yaml", &broken);
    for index in 0..30 {
        let name = format!("a-rather-long-name-for-an-ingress-that-somebody-might-write-{index}");
        let text =
            manifests::ingress("allow-from: nonsense").replacen("name: web", &format!("name: {name}"), 1);
        site.files.write(&format!("{name}.yaml"), &text);
    }
    eventually("all of it is read", || {
        serde_json::from_slice::<Value>(&site.process.ask("/problems").body)
            .is_ok_and(|problems| problems.as_array().is_some_and(|problems| problems.len() > 30))
    });
    let ended = ask(&site.process, &["status"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.out.lines().count() <= 24, "{}", ended.out);
    for line in ended.out.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    // The port was left to the system; what is shown is the one that it gave.
    let http = site.process.http().to_string();
    for words in ["vestibule 0.1.0", "ready", "requests", "class vestibule (http)", "refused", &http] {
        assert!(ended.out.contains(words), "{words} in\n{}", ended.out);
    }
}

#[test]
fn explain_asks_the_running_process() {
    let site = site("allow-from: 10.0.0.0/8", &[]);
    let ended = ask(&site.process, &["explain", "http://shop.example/cart", "-H", "Accept: text/html"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.out.contains("Ingress shop/web"), "{}", ended.out);
    assert!(ended.out.contains("forwarded to shop/web:80"), "{}", ended.out);
    assert!(
        ended.out.contains(&format!("class vestibule (http) on {}", site.process.http())),
        "{}",
        ended.out
    );
    let ended = ask(&site.process, &["explain", "http://shop.example/cart", "--client", "192.0.2.1"]);
    assert_eq!(ended.code, Some(0), "a refusal is an answer: {ended:?}");
    assert!(ended.out.contains("403 address_denied"), "{}", ended.out);
    assert_eq!(client::get(site.process.http(), "shop.example", "/cart").status, 403, "and so it is");
}

#[test]
fn explain_fails_where_nothing_serves_the_request() {
    let site = site("allow-from: nonsense", &[]);
    let ended = ask(&site.process, &["explain", "http://shop.example/"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.out.contains("503 refused") && ended.out.contains("Ingress shop/web"), "{}", ended.out);
    let ended = ask(&site.process, &["explain", "http://nobody.example/"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
}

#[test]
fn too_little_memory_sheds_load_and_health_is_told_all_the_same() {
    let upstream = Upstream::saying("hello");
    let files = Files::with("web.yaml", &manifests::site("", upstream.address));
    files.write_settings("limits: {memoryBytes: 1024g}");
    // One worker: what is true of new connections is then true of the kept one.
    let process = Process::serve_with(&files, &["--workers", "1"]);
    let mut kept = Client::connect(process.http());
    assert_eq!(kept.get("shop.example", "/").status, 200);
    let limit = || process.metric("vestibule_memory_limit_bytes");
    eventually("the bound is known", || limit() == Some((1_u64 << 40) as f64));

    files.write_settings("limits: {memoryBytes: 1}");
    let is_answered = || {
        let mut client = Client::connect(process.http());
        client.send("GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n");
        client.reader.answer("GET").ok().flatten().map(|answer| answer.status)
    };
    eventually("new connections are closed at once", || is_answered().is_none());
    let refused = kept.get("shop.example", "/");
    assert_eq!(refused.status, 503);
    assert!(refused.fields.has("retry-after") && refused.says_close(), "{refused:?}");
    eventually("the refusal is counted", || {
        process.metric("vestibule_rejects_total{reason=\"overloaded\"}") >= Some(1.0)
    });
    for path in ["/livez", "/readyz", "/status"] {
        assert_eq!(process.ask(path).status, 200, "{path}");
    }

    files.write_settings("limits: {memoryBytes: 0}");
    eventually("it serves again", || is_answered() == Some(200));
}

#[test]
fn explain_says_the_same_from_files_as_from_the_process() {
    let site = site("allow-from: 10.0.0.0/8", &[]);
    let question = ["explain", "http://shop.example/cart", "--client", "10.1.2.3"];
    let live = ask(&site.process, &question);
    let manifests = site.files.manifests();
    let files = run(question.iter().copied().chain(["--manifests", manifests.to_str().expect("UTF-8")]));
    // The addresses differ: the process was told to take free ports.
    let without_addresses = |text: &str| {
        text.lines()
            .map(|line| line.split(" on 127.0.0.1").next().unwrap_or("").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(without_addresses(&live.out), without_addresses(&files.out));
    assert_eq!((live.code, files.code), (Some(0), Some(0)));
}

#[test]
fn why_knows_the_last_refusals() {
    let site = site("allow-from: 10.0.0.0/8", &[]);
    let answer = client::get(site.process.http(), "shop.example", "/cart?token=secret");
    let id = answer.fields.one("x-request-id").expect("an id");
    assert!(answer.text().contains(id), "the page names it: {}", answer.text());
    let ended = ask(&site.process, &["why", id]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for words in ["403 address_denied", "GET shop.example/cart", "127.0.0.1", "Ingress shop/web", id] {
        assert!(ended.out.contains(words), "{words} in\n{}", ended.out);
    }
    assert!(!ended.out.contains("secret"), "{}", ended.out);

    let unknown = ask(&site.process, &["why", "no-such-request"]);
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    assert!(unknown.out.contains("no refusal with this id is remembered"), "{}", unknown.out);
}

#[test]
fn asking_where_nobody_answers_is_exit_code_2() {
    let nobody = tests::upstream::nobody().to_string();
    for words in [vec!["status"], vec!["why", "x"], vec!["explain", "http://a/"]] {
        let ended = run(words.into_iter().chain(["--admin", &nobody]));
        assert_eq!((ended.code, &*ended.out), (Some(2), ""), "{ended:?}");
        assert_eq!(
            ended.err,
            format!(
                "vestibule: admin: {nobody}: Connection refused (os error 111); is `vestibule serve` running, and is \
                 this its admin address?\n"
            )
        );
    }
}
