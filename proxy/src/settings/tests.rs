use std::path::Path;

use super::units::Bytes;
use super::*;

fn parse(text: &str) -> Result<Settings, String> {
    Settings::parse(text, Path::new("vestibule.yaml")).map_err(|error| error.to_string())
}

fn fault(text: &str) -> String {
    let fault = parse(text).unwrap_err();
    assert!(!fault.contains('\n'), "more than one line: {fault}");
    fault
}

#[test]
fn an_empty_file_gives_the_defaults() {
    assert_eq!(parse("").unwrap(), Settings::default());
    assert_eq!(parse("# nothing\n").unwrap(), Settings::default());
    assert_eq!(parse("limits: {}\n").unwrap(), Settings::default());
    assert_eq!(Settings::default().validate(), Ok(()));
}

#[test]
fn a_whole_file_is_read() {
    let settings = parse(
        "\
classes:
  - name: public
    default: true
    http: [0.0.0.0:80]
    https: ['[::]:443', 0.0.0.0:443]
    trust: {forwarded: [cloudflare, 10.1.2.3]}
  - name: private
    http: [10.0.0.1:8081]
gatewayClasses: [vestibule, other]
gateways:
  - gateway: infra/main
    addresses: [0.0.0.0]
    ports: {80: 8080, 443: 8443}
trust: {proxyProtocol: [lan]}
presets: {lan: [192.168.7.0/24]}
limits: {headerBytes: 64k, bodyBytes: 10m, headers: 200}
timeouts: {headers: 5s, keepAlive: 1m30s, writeIdle: 500ms}
upstream: {connectTimeout: 2s}
tls:
  minVersion: \"1.3\"
  defaultCertificate:
    pem: {certificate: {file: tls.crt}, key: {env: TLS_KEY}}
externalName: {allow: [10.0.0.0/8]}
accessLog: {format: text, query: true}
admin: {address: 127.0.0.1:9000}
contact: Ask help@example.com
drain: 45s
drainSessions: 1h
workers: 4
",
    )
    .unwrap();
    assert_eq!(settings.limits.header_bytes, Bytes(65536));
    assert_eq!(settings.limits.body_bytes.as_limit(), Some(10 << 20));
    assert_eq!(settings.timeouts.keep_alive, Duration::from_secs(90));
    assert_eq!(settings.timeouts.write_idle, Duration::from_millis(500));
    assert_eq!(settings.timeouts.body_idle, Timeouts::default().body_idle);
    assert_eq!(settings.tls.min_version, TlsVersion::Tls13);
    assert_eq!(settings.gateways[0].ports[&443], 8443);
    assert_eq!(settings.access_log.format, AccessLogFormat::Text);
    assert_eq!(settings.workers, NonZeroUsize::new(4));
    assert_eq!(settings.drain_sessions(), Duration::from_secs(3_600));
    assert_eq!(parse("drain: 7s").unwrap().drain_sessions(), Duration::from_secs(7));

    let own = settings.trust_on(&ListenerKey::Class { class: "public".into(), tls: true });
    assert!(own.forwarded.contains(&"173.245.48.0/20".parse().unwrap()));
    assert!(own.forwarded.contains(&"10.1.2.3/32".parse().unwrap()));
    assert!(own.proxy_protocol.is_empty());
    assert!(own.cloudflare.contains(&"173.245.48.0/20".parse().unwrap()));
    assert!(!own.cloudflare.contains(&"10.1.2.3/32".parse().unwrap()));
    let global = settings.trust_on(&ListenerKey::Class { class: "private".into(), tls: false });
    assert_eq!(global.proxy_protocol, ["192.168.7.0/24".parse().unwrap()]);
}

#[test]
fn unquoted_tls_versions_and_plain_words_are_read() {
    assert_eq!(parse("tls: {minVersion: 1.3}").unwrap().tls.min_version, TlsVersion::Tls13);
    assert_eq!(
        parse("tls: {defaultCertificate: refuse}").unwrap().tls.default_certificate,
        DefaultCertificate::Refuse
    );
    assert_eq!(parse("accessLog: {format: off}").unwrap().access_log.format, AccessLogFormat::Off);
}

#[test]
fn faults_name_place_and_mend() {
    assert_eq!(fault("clases: []\n"), "vestibule.yaml:1:1: unknown key `clases`; did you mean `classes`?");
    assert_eq!(fault("\ndrain: 30\n"), "vestibule.yaml:2:8: `30` has no unit; write 30s or 30ms");
    let twice = fault("classes:\n  - {name: a, http: [127.0.0.1:80]}\n  - {name: a, http: [127.0.0.1:81]}\n");
    assert!(
        twice.starts_with("vestibule.yaml:3:6: classes[1].name: the class `a` is written twice"),
        "{twice}"
    );
    let clash = fault("classes:\n- name: a\n  http: [0.0.0.0:80]\n- name: b\n  http:\n  - 127.0.0.1:80\n");
    assert!(clash.starts_with("vestibule.yaml:6:5: classes[1].http[0]: 127.0.0.1:80 clashes"), "{clash}");
    assert!(
        fault("admin: {address: 127.0.0.1:8080}")
            .contains("clashes with 127.0.0.1:8080 of classes[0].http[0]")
    );
    assert!(fault("trust: {forwarded: [cloudfare]}").contains("neither a network nor a preset"));
    assert!(
        fault("gateways: [{gateway: main, addresses: [0.0.0.0]}]").contains("neither namespace/name nor *")
    );
    assert!(fault("limits: {headers: 0}").contains("limits.headers: is 0"));
    assert!(fault("timeouts: {headers: 0s}").contains("timeouts.headers: is 0"));
    assert!(fault("limits: {bodyBytes: 10q}").contains("`10q` is no size"));
    assert!(fault("workers: 0").starts_with("vestibule.yaml:1:"));
    assert!(fault("workers: 5000").contains("more than 1024"));
    assert!(fault("contact: \"two\\nlines\"").contains("no single line of at most 200 bytes"));
    assert!(fault("classes: [{name: a}]").contains("has no address"));
    assert!(fault("a: [1\n").starts_with("vestibule.yaml:"));
}

#[test]
fn port_zero_and_the_other_family_do_not_clash() {
    parse("classes: [{name: a, http: ['127.0.0.1:0', '127.0.0.1:0', '0.0.0.0:80', '[::]:80']}]").unwrap();
}

#[test]
fn a_missing_file_is_one_clear_line() {
    let error = Settings::load(Path::new("/nonexistent/vestibule.yaml")).unwrap_err().to_string();
    assert!(error.starts_with("/nonexistent/vestibule.yaml: "), "{error}");
    assert!(error.contains("--settings"));
}

#[test]
fn paths_start_at_the_directory_of_the_file_and_sizes_are_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("vestibule.yaml");
    std::fs::write(
        &file,
        "tls: {defaultCertificate: {pem: {certificate: {file: a.crt}, key: {file: /abs/a.key}}}}",
    )
    .unwrap();
    std::fs::write(directory.path().join("a.crt"), "pem").unwrap();
    let DefaultCertificate::Pem(pem) = Settings::load(&file).unwrap().tls.default_certificate else {
        panic!()
    };
    assert_eq!(pem.certificate.read().unwrap(), b"pem");
    assert_eq!(pem.key, ValueSource::File("/abs/a.key".into()));
    assert!(pem.key.read().unwrap_err().to_string().contains("/abs/a.key"));
    std::fs::write(&file, "#".repeat((1 << 20) + 1)).unwrap();
    assert!(matches!(Settings::load(&file), Err(SettingsError::TooLarge { .. })));
}

#[test]
fn durations_and_sizes_have_units() {
    assert_eq!(units::parse_duration("1h1m1s1ms"), Some(Duration::from_millis(3_661_001)));
    assert_eq!(units::parse_duration("0s"), Some(Duration::ZERO));
    for wrong in
        ["", "5", "s", "1s1m", "1s1s", "-1s", "1.5s", "1 s", "99999999999999999999s", "18446744073709551h"]
    {
        assert_eq!(units::parse_duration(wrong), None, "{wrong}");
    }
    assert_eq!(Bytes::parse("64k"), Some(Bytes(65536)));
    assert_eq!(Bytes::parse("1Gi"), Some(Bytes(1 << 30)));
    for wrong in ["", "k", "1.5m", "-1", "1kk", "99999999999g"] {
        assert_eq!(Bytes::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn the_schema_says_for_every_key_when_a_change_takes_effect() {
    fn walk(at: &str, schema: &serde_json::Value) {
        if let Some(properties) = schema.get("properties").and_then(serde_json::Value::as_object) {
            for (key, property) in properties {
                let described =
                    property.get("description").and_then(serde_json::Value::as_str).unwrap_or_default();
                let is_group = property.get("$ref").is_some()
                    || property.get("allOf").is_some()
                    || property.get("properties").is_some();
                let says =
                    ["(live)", "(new connections)", "(restart)"].iter().any(|word| described.contains(word));
                assert!(says || (is_group && !described.is_empty()), "{at}.{key}: {described:?}");
            }
        }
    }
    let schema = Settings::schema();
    walk("settings", &schema);
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        walk(name, definition);
        for variant in definition.get("oneOf").and_then(serde_json::Value::as_array).into_iter().flatten() {
            assert!(
                variant.get("description").is_some() || variant.get("enum").is_some(),
                "{name}: {variant}"
            );
        }
    }
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["title"], "vestibule.yaml");
    assert_eq!(schema["properties"]["limits"]["$ref"], "#/$defs/Limits");
}

#[test]
fn a_change_that_needs_a_restart_is_named() {
    let running = Settings::default();
    let mut changed = running.clone();
    changed.drain = Duration::from_secs(1);
    assert!(changed.restart_needed(&running).is_empty());
    changed.workers = NonZeroUsize::new(7);
    changed.admin.enabled = false;
    assert_eq!(changed.restart_needed(&running), ["workers", "admin"]);
}

#[test]
fn replicas_are_found_in_one_way_and_need_a_port() {
    for good in [
        "replicas: {listen: '0.0.0.0:9443', service: edge/replicas}",
        "replicas: {listen: '0.0.0.0:9443', service: edge/replicas, secret: keys}",
        "replicas: {listen: '10.0.0.1:9443', keyFile: keys, addresses: ['10.0.0.1:9443', '10.0.0.2:9443']}",
        "replicas: {listen: '10.0.0.1:9443', keyFile: keys}",
    ] {
        parse(good).unwrap();
    }
    for (bad, words) in [
        ("replicas: {listen: '0.0.0.0:9443'}", "replicas.listen: stands alone"),
        ("replicas: {service: edge/replicas}", "replicas.listen: is missing"),
        ("replicas: {keyFile: keys}", "replicas.listen: is missing"),
        ("replicas: {listen: '0.0.0.0:9443', service: replicas}", "`replicas` is not namespace/name"),
        ("replicas: {listen: '0.0.0.0:9443', service: a/b, addresses: ['10.0.0.1:1']}", "remove one"),
        ("replicas: {listen: '127.0.0.1:10254', keyFile: keys}", "clashes"),
    ] {
        let fault = fault(bad);
        assert!(fault.contains(words), "{bad}: {fault}");
    }
    let listen = "replicas: {listen: '10.0.0.1:9443', keyFile: keys, addresses: [";
    let addresses = |count: usize| format!("{listen}{}]}}", vec!["'10.0.0.1:1'"; count].join(", "));
    parse(&addresses(1024)).unwrap();
    assert!(fault(&addresses(1025)).contains("more than 1024"));
}
