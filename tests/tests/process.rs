//! The binary as a process: exit codes, one-line messages, signals, drain, inherited sockets.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use rustix::process::Signal;
use socket2::SockRef;
use tests::certificates::Authority;
use tests::client::{self, Client};
use tests::manifests;
use tests::process::{self, Ended, Files, Process, binary, run};
use tests::upstream::{Upstream, ok};
use tests::wait::eventually;

/// The one line of a command that failed with exit code 2.
#[track_caller]
fn refusal(ended: &Ended) -> &str {
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert_eq!(ended.out, "");
    let line = ended.err.strip_suffix('\n').expect("a line");
    assert!(!line.contains('\n'), "more than one line: {line}");
    line.strip_prefix("vestibule: ").expect("the line says who speaks")
}

#[test]
fn wrong_arguments_are_one_line_and_exit_code_2() {
    let missing = "the following required arguments were not provided: <REQUEST_ID>";
    assert_eq!(refusal(&run(["why"])), format!("{missing}; see `vestibule why --help`"));
    assert_eq!(refusal(&run(["bogus"])), "unrecognized subcommand 'bogus'; see `vestibule --help`");
    assert_eq!(
        refusal(&run(["serve", "--manifests", ".", "--http", "8080"])),
        "invalid value '8080' for '--http <ADDRESS>': invalid socket address syntax; see `vestibule --help`"
    );
    assert_eq!(
        refusal(&run(["serve", "--manifests", ".", "--log", "a=b=c"])),
        "log: `a=b=c` is no level; write error, warn, info, debug, or levels by module such as info,proxy=debug"
    );
    assert_eq!(
        refusal(&run(["explain", "http://a/", "--manifests", ".", "-H", "no-colon"])),
        "explain: `no-colon` is no header; write one such as 'Accept: text/html'"
    );
}

#[test]
fn without_manifests_and_without_a_cluster_the_mend_is_named() {
    let mut command = Command::new(binary());
    command.arg("serve").env_remove("KUBERNETES_SERVICE_HOST").env("KUBECONFIG", "/nowhere/at/all");
    let ended = command.output().expect("the binary starts").into();
    let line = refusal(&ended);
    assert!(line.starts_with("serve: no API server: "), "{line}");
    assert!(
        line.ends_with("; run in a Pod with a service account, or give --kubeconfig or --manifests"),
        "{line}"
    );
}

#[test]
fn help_and_version_are_no_failures() {
    let version = run(["--version"]);
    assert_eq!((version.code, &*version.out), (Some(0), "vestibule 0.1.0\n"));
    let help = run(["serve", "--help"]);
    assert_eq!(help.code, Some(0));
    assert!(help.out.contains("--manifests <DIR>"), "{}", help.out);
}

#[test]
fn an_unreadable_directory_is_named() {
    assert_eq!(
        refusal(&run(["serve", "--manifests", "/nowhere/at/all"])),
        "serve: /nowhere/at/all: No such file or directory (os error 2); give a readable directory of manifests"
    );
    assert_eq!(
        refusal(&run(["check", "/nowhere/at/all"])),
        "manifests: /nowhere/at/all: No such file or directory (os error 2); give a readable directory of manifests"
    );
    let files = Files::with("web.yaml", "");
    let file = files.manifests().join("web.yaml");
    assert_eq!(
        refusal(&run([Path::new("serve"), Path::new("--manifests"), &file])),
        format!("serve: {}: not a directory; give the directory that the manifest stands in", file.display())
    );
}

#[test]
fn settings_that_cannot_be_used_are_named_with_line_and_column() {
    let files = Files::default();
    let said = |text: Option<&str>| {
        if let Some(text) = text {
            files.write_settings(text);
        }
        let mut command = process::command(binary(), &files);
        if text.is_none() {
            command.arg("--settings").arg(files.settings());
        }
        let ended = command.output().expect("the binary starts").into();
        refusal(&ended).replace(&*files.settings().to_string_lossy(), "FILE")
    };
    assert_eq!(
        said(None),
        "serve: FILE: No such file or directory (os error 2); give a readable file with --settings"
    );
    assert_eq!(said(Some("worker: 1\n")), "serve: FILE:1:1: unknown key `worker`; did you mean `workers`?");
    assert_eq!(
        said(Some("drain: 1s\nworkers: many\n")),
        "serve: FILE:2:10: is no number; write one such as 8"
    );
    assert_eq!(
        said(Some("trust:\n  forwarded: [cloudfare]\n")),
        "serve: FILE:2:15: trust.forwarded[0]: `cloudfare` is neither a network nor a preset; write a network such as \
         10.0.0.0/8, one of cloudflare, private, loopback, or add it under `presets`"
    );
}

#[test]
fn ports_in_use_are_named_with_a_mend() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address");
    let files = Files::default();
    let said = |flag: &str| {
        let mut command = Command::new(binary());
        command.arg("serve").arg("--log").arg("off").arg("--manifests").arg(files.manifests());
        for flag_of_mine in ["--http", "--https", "--admin"] {
            let taken = address.to_string();
            command.arg(flag_of_mine).arg(if flag == flag_of_mine { &taken } else { "127.0.0.1:0" });
        }
        let ended = command.output().expect("the binary starts").into();
        refusal(&ended).replace(&address.to_string(), "ADDRESS")
    };
    let in_use = "serve: address already in use: ADDRESS: stop the process that has it, or choose another with --http or \
                  --https, or in the settings";
    assert_eq!(said("--http"), in_use);
    assert_eq!(said("--https"), in_use);
    assert_eq!(
        said("--admin"),
        "serve: the admin address ADDRESS: Address already in use (os error 98); choose another with --admin"
    );
}

#[test]
fn check_names_file_and_line_and_ends_with_1() {
    let files = Files::with("good.yaml", &manifests::site("", tests::upstream::nobody()));
    let check = || run([Path::new("check"), &files.manifests()]);
    let good = check();
    assert_eq!(good.code, Some(0), "{good:?}");
    assert!(good.out.contains("No problems."), "{}", good.out);

    files.write("bad.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: shop}\nspec: [\n");
    let bad = check();
    assert_eq!((bad.code, &*bad.err), (Some(1), ""));
    assert!(bad.out.contains("bad.yaml:4: degraded: Unparsable"), "{}", bad.out);

    let text = manifests::site("allow-from: nonsense", tests::upstream::nobody());
    let line = 1 + text.lines().position(|line| line.contains("allow-from")).expect("the annotation");
    files.write("bad.yaml", &text);
    let bad = run([Path::new("check"), &files.manifests().join("../manifests")]);
    assert_eq!(bad.code, Some(1), "{bad:?}");
    assert!(bad.out.contains(&format!("bad.yaml:{line}: refused: ")), "line {line} in {}", bad.out);
}

#[test]
fn check_warns_of_a_host_with_open_and_guarded_paths() {
    let guarded = manifests::ingress("auth-type: basic\nauth-secret: users")
        .replace("name: web\n", "name: guarded\n")
        .replace("path: /,", "path: /admin,");
    let users = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: users, namespace: shop}\n\
                 stringData: {auth: \"ada:$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/\"}\n";
    let site = |annotations: &str| manifests::site(annotations, tests::upstream::nobody());
    let check = |text: String| {
        run([Path::new("check"), &Files::with("site.yaml", &[&text, &guarded, users].concat()).manifests()])
    };
    let mixed = check(site(""));
    assert_eq!(mixed.code, Some(1), "{mixed:?}");
    let said = mixed.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("site.yaml:2: warning: Ingress shop/web: MixedAccess"), "{}", mixed.out);
    for words in ["is open to everyone, while Ingress shop/guarded asks who it is", "1 warning."] {
        assert!(said.contains(words), "{words}: {}", mixed.out);
    }
    // Somebody said that it is meant; both ask; each has a host of its own.
    let elsewhere = site("").replace("- http:", "- host: open.example\n    http:");
    for text in [site("auth: none"), site("auth-type: basic\nauth-secret: users"), elsewhere] {
        let calm = check(text);
        assert_eq!(calm.code, Some(0), "{calm:?}");
        assert!(!calm.out.contains("MixedAccess"), "{}", calm.out);
    }
}

#[test]
fn check_reads_standard_input() {
    let mut child = Command::new(binary())
        .args(["check", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let text = manifests::site("proxy-read-timeout: soon", tests::upstream::nobody())
        + "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n";
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it reads");
    let ended = Ended::from(child.wait_with_output().expect("it ends"));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.out.contains("<stdin>:"), "{}", ended.out);
    assert!(ended.out.contains("Not read: 1 Deployment"), "{}", ended.out);
}

#[test]
fn sigterm_lets_running_requests_finish() {
    let (begun, has_begun) = mpsc::sync_channel(1);
    let (go_on, may_go_on) = mpsc::sync_channel::<()>(1);
    let may_go_on = std::sync::Mutex::new(may_go_on);
    let upstream = Upstream::answering(move |request| {
        if request.target == "/slow" {
            begun.send(()).expect("the test waits");
            may_go_on.lock().expect("one request").recv().expect("the test goes on");
        }
        ok(request, "done")
    });
    let files = Files::with("web.yaml", &manifests::site("", upstream.address));
    let mut process = Process::serve(&files);
    let (http, admin) = (process.http(), process.admin());

    let mut idle = Client::connect(http);
    assert_eq!(idle.get("a.example", "/").status, 200);
    let mut busy = Client::connect(http);
    busy.send("GET /slow HTTP/1.1\r\nHost: a.example\r\n\r\n");
    has_begun.recv().expect("the request reaches the upstream");

    process.signal(Signal::TERM);
    process.err().wait_for(&["stopping"]);
    assert!(idle.is_closed(), "an idle connection is closed");
    // Others may not have heard of the end yet: what they send is still served, and told to come elsewhere.
    let late = client::get(http, "a.example", "/late");
    assert_eq!((late.status, late.says_close()), (200, true));
    assert_eq!(client::get(admin, "admin", "/readyz").status, 200, "a terminating process stays ready");
    assert!(process.is_running());

    go_on.send(()).expect("the upstream waits");
    let answer = busy.answer();
    assert_eq!((answer.status, &*answer.text(), answer.says_close()), (200, "done", true));
    assert!(busy.is_closed());
    assert_eq!(process.wait().code(), Some(0));
    assert!(TcpStream::connect(http).is_err(), "the socket is closed");
}

#[test]
fn a_drain_ends_when_its_time_is_over() {
    let upstream = Upstream::start(|connection| while connection.request().is_some() {});
    let files = Files::with("web.yaml", &manifests::site("", upstream.address));
    files.write_settings("drain: 200ms\n");
    let mut process = Process::serve(&files);
    let mut stuck = Client::connect(process.http());
    stuck.send("GET /stuck HTTP/1.1\r\nHost: a.example\r\n\r\n");
    eventually("the request reaches the upstream", || upstream.count() == 1);
    assert_eq!(process.stop().code(), Some(0));
    process.err().wait_for(&["connections that were still open are cut"]);
    assert!(stuck.is_closed());
    process.out().wait_for(&["\"path\":\"/stuck\""]);
}

#[test]
fn sigint_stops_it_too() {
    let mut process = Process::serve(&Files::default());
    process.signal(Signal::INT);
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn a_socket_of_the_parent_is_used() {
    let upstream = Upstream::saying("hello");
    let files = Files::with("web.yaml", &manifests::site("", upstream.address));
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("an address");
    // A client that comes before the process does waits in the queue.
    let mut early = Client::connect(address);
    early.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    SockRef::from(&socket).set_cloexec(false).expect("a socket");
    let mut command = Command::new(binary());
    command.arg("serve").arg("--manifests").arg(files.manifests());
    command.args(["--http", &address.to_string(), "--https", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    command.env("LISTEN_FDS", "1").env("LISTEN_FDS_FIRST_FD", socket.as_raw_fd().to_string());
    let mut process = Process::start(&mut command);
    process.wait_until_ready();
    assert_eq!(process.http(), address);
    assert_eq!(early.answer().text(), "hello");
    assert_eq!(process.stop().code(), Some(0));

    // The parent still has the socket: the next process takes up what came meanwhile.
    let mut between = Client::connect(address);
    between.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let mut process = Process::start(&mut command);
    assert_eq!(between.answer().text(), "hello");
    assert_eq!(process.stop().code(), Some(0));
}

#[test]
fn a_descriptor_that_is_no_listener_is_refused() {
    let files = Files::default();
    let file = std::fs::File::open(files.manifests()).expect("a directory");
    SockRef::from(&file).set_cloexec(false).expect("a descriptor");
    let mut command = process::command(binary(), &files);
    command.env("LISTEN_FDS", "1").env("LISTEN_FDS_FIRST_FD", file.as_raw_fd().to_string());
    let ended = command.output().expect("the binary starts").into();
    assert_eq!(
        refusal(&ended).replace(&format!("fd {} ", file.as_raw_fd()), "fd N "),
        "serve: LISTEN_FDS: fd N is not a socket; start the process without it, or hand over TCP listeners only"
    );
}

#[test]
fn the_sample_application_stops_at_sigterm() {
    let mut command = Command::new(binary());
    command.args(["sample-app", "--listen", "127.0.0.1:0"]);
    let mut process = Process::start(&mut command);
    // It says nothing, so its end may come before its signal handlers are in place, by the signal itself.
    process.signal(Signal::TERM);
    process.wait();

    let files = Files::default();
    let mut process = Process::serve_with(&files, &["--sample-app", "shop=127.0.0.1:0"]);
    let line = process.err().wait_for(&["the sample upstream answers", "name=shop"]);
    assert!(line.contains("address=127.0.0.1:"), "{line}");
    assert_eq!(process.stop().code(), Some(0));
}

#[test]
fn a_certificate_of_the_settings_that_cannot_be_read_is_named() {
    let pair = Authority::default().issue(&["a.example"]);
    let files = Files::default();
    files.write_settings(
        "tls: {defaultCertificate: {pem: {certificate: {file: chain.pem}, key: {env: NO_SUCH_KEY}}}}\n",
    );
    let said = || {
        let ended = process::command(binary(), &files).output().expect("the binary starts").into();
        refusal(&ended).replace(&*files.settings().parent().expect("a directory").to_string_lossy(), "DIR")
    };
    assert_eq!(
        said(),
        "serve: tls.defaultCertificate: DIR/chain.pem: No such file or directory (os error 2)"
    );
    let chain = files.settings().with_file_name("chain.pem");
    std::fs::write(chain, pair.certificate).expect("room for a file");
    assert_eq!(
        said(),
        "serve: tls.defaultCertificate: the environment variable NO_SUCH_KEY is not set, or not in UTF-8"
    );
}
