//! The one dependency rule, and what must never be linked.
//!
//! `proxy → auth, acme, wake`; those three never see each other, a server, or Kubernetes; `wake` does not even see HTTP.
//! Inside `proxy` only `cluster` imports kube.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

#[test]
fn the_cores_never_see_each_other() {
    for core in CORES {
        let others: Vec<&str> = CORES.into_iter().chain(["proxy"]).filter(|name| *name != core).collect();
        assert_absent(core, &others);
    }
}

#[test]
fn the_cores_see_no_server_and_no_kubernetes() {
    for core in CORES {
        assert_absent(core, &KUBERNETES);
        assert_absent(core, &SERVERS);
    }
    assert_absent("wake", &HTTP);
    // hyper's server is a feature of the same crate: what a core asks for stands in its own manifest.
    let metadata = metadata();
    for core in CORES {
        assert_eq!(server_features(&metadata, core), Vec::<String>::new(), "{core} asks for a server");
    }
}

#[test]
fn nothing_that_is_released_links_a_second_tls_or_http_stack() {
    assert_absent("proxy", &BANNED);
}

#[test]
fn what_is_linked_is_seen() {
    for platform in PLATFORMS {
        let linked = linked("proxy", platform);
        for name in ["auth", "acme", "wake", "hyper", "http", "aws-lc-sys"] {
            assert!(linked.contains(name), "proxy links {name} on {platform}: {linked:?}");
        }
    }
}

#[test]
fn only_the_cluster_module_imports_kube() {
    let mut files = Vec::new();
    for member in ["proxy", "auth", "acme", "wake", "bench"] {
        rust_files(&workspace().join(member).join("src"), &mut files);
    }
    assert!(files.len() > 10, "the sources are where this test looks: {files:?}");
    let cluster = workspace().join("proxy/src/cluster");
    let guilty: Vec<&PathBuf> = files
        .iter()
        .filter(|file| !file.starts_with(&cluster) && **file != cluster.with_extension("rs"))
        .filter(|file| imports_kube(&std::fs::read_to_string(file).expect("a source file is readable")))
        .collect();
    assert!(guilty.is_empty(), "import kube or k8s_openapi outside of proxy/src/cluster: {guilty:?}");
}

#[test]
fn a_forbidden_feature_or_import_would_be_found() {
    let asks = |features: &[&str]| {
        let dependency = serde_json::json!({"name": "hyper", "kind": null, "features": features});
        let metadata = serde_json::json!({"packages": [{"name": "auth", "dependencies": [dependency]}]});
        server_features(&metadata, "auth")
    };
    assert_eq!(asks(&["client", "server"]), ["hyper/server"]);
    assert_eq!(asks(&["client", "http1"]), Vec::<String>::new());

    for text in
        ["use kube::Client;", "use kube;", "    let c = kube::Client::new();", "use k8s_openapi::api;"]
    {
        assert!(imports_kube(text), "{text}");
    }
    for text in ["use crate::kubernetes;", "// as kube::Client does", "let kube = 1;", "use minikube::x;"] {
        assert!(!imports_kube(text), "{text}");
    }
}

#[track_caller]
fn assert_absent(root: &str, banned: &[&str]) {
    for platform in PLATFORMS {
        let linked = linked(root, platform);
        let found: Vec<&&str> = banned.iter().filter(|name| linked.contains(**name)).collect();
        assert!(found.is_empty(), "{root} links {found:?}; `cargo tree -p {root} -i NAME` says through what");
    }
}

/// The names of all packages that `root` links or is built with on `platform`, itself apart. What only tests use does
/// not count. (`cargo metadata` will not do: it also lists optional dependencies that no feature switches on.)
fn linked(root: &str, platform: &str) -> BTreeSet<String> {
    let edges = ["--edges", "normal,build", "--prefix", "none", "--format", "{p}"];
    let tree = cargo(&[&["tree", "--locked", "--package", root, "--target", platform], &edges[..]].concat());
    let names = tree.lines().filter_map(|line| line.split(' ').next());
    names.filter(|name| !name.is_empty() && *name != root).map(str::to_owned).collect()
}

/// Features of hyper and hyper-util that bring a server and that `package` asks for itself.
fn server_features(metadata: &Value, package: &str) -> Vec<String> {
    let package = list(&metadata["packages"]).iter().find(|of| of["name"] == package).expect("the package");
    let hyper = |dep: &&Value| dep["name"] == "hyper" || dep["name"] == "hyper-util";
    let server = |feature: &&str| feature.starts_with("server") || *feature == "full";
    let features = |dep: &Value| -> Vec<String> {
        let name = dep["name"].as_str().unwrap_or_default();
        let all = list(&dep["features"]).iter().filter_map(Value::as_str).filter(server);
        all.map(|feature| format!("{name}/{feature}")).collect()
    };
    list(&package["dependencies"])
        .iter()
        .filter(|dep| dep["kind"] != "dev")
        .filter(hyper)
        .flat_map(features)
        .collect()
}

/// Whether a line of code, not of comment, names the crates.
fn imports_kube(text: &str) -> bool {
    let names = |line: &str, name: &str| {
        line.match_indices(name).any(|(at, _)| {
            let identifier = |letter: char| letter.is_alphanumeric() || letter == '_';
            let before = line[..at].chars().next_back();
            let after = &line[at + name.len()..];
            let own_word = !before.is_some_and(identifier) && !after.starts_with(identifier);
            own_word && (after.starts_with("::") || line.trim_start().starts_with("use "))
        })
    };
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .any(|line| names(line, "kube") || names(line, "k8s_openapi"))
}

fn rust_files(directory: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a source directory is readable") {
        let path = entry.expect("an entry of a source directory").path();
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

fn metadata() -> Value {
    let text = cargo(&["metadata", "--locked", "--format-version", "1", "--no-deps"]);
    serde_json::from_str(&text).expect("cargo prints JSON")
}

fn cargo(arguments: &[&str]) -> String {
    let output =
        Command::new(env!("CARGO")).args(arguments).current_dir(workspace()).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo prints UTF-8")
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the workspace is there")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

const CORES: [&str; 3] = ["auth", "acme", "wake"];
const KUBERNETES: [&str; 5] = ["kube", "kube-client", "kube-core", "kube-runtime", "k8s-openapi"];
const SERVERS: [&str; 4] = ["axum", "warp", "actix-web", "tiny_http"];
const HTTP: [&str; 4] = ["http", "http-body", "hyper", "h2"];
const BANNED: [&str; 5] = ["ring", "openssl-sys", "native-tls", "reqwest", "openssl"];

/// What is released.
const PLATFORMS: [&str; 2] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];
