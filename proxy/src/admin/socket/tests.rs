use super::*;

#[test]
fn the_user_of_the_process_and_root_may_command() {
    assert!(may_command(1000, 1000));
    assert!(may_command(0, 1000));
    assert!(!may_command(1001, 1000));
    assert!(!may_command(1001, 0), "nobody but root may command what root runs");
}

#[test]
fn a_command_names_its_workload() {
    let parse = |text: &str| parse(&text.parse().expect("a target"));
    let web = Reference::parse("process/web").expect("a reference").within(&"shop".into());
    assert_eq!(parse("/wake?workload=shop/process/web"), Ok((web.clone(), Command::Wake)));
    assert_eq!(parse("/sleep?workload=shop%2Fprocess%2Fweb"), Ok((web.clone(), Command::Sleep)));
    let keep = Command::KeepAwake(Duration::from_secs(60));
    assert_eq!(parse("/keep-awake?workload=shop/process/web&seconds=60"), Ok((web, keep)));
    let Ok((_, Command::KeepAwake(longest))) =
        parse(&format!("/keep-awake?workload=a/process/b&seconds={}", u64::MAX))
    else {
        panic!("a command")
    };
    assert_eq!(longest.as_secs(), AWAKE_SECONDS_MAX);
    for wrong in
        ["/wake", "/wake?workload=web", "/wake?workload=shop/web", "/keep-awake?workload=shop/process/web"]
    {
        assert_eq!(parse(wrong).map_err(|(status, _)| status), Err(StatusCode::BAD_REQUEST), "{wrong}");
    }
    assert_eq!(parse("/restart").map_err(|(status, _)| status), Err(StatusCode::NOT_FOUND));
}

#[tokio::test]
async fn a_socket_that_nobody_listens_on_is_replaced_and_no_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("admin.sock");
    let first = Socket::bind(&path).expect("a socket");
    assert!(Socket::bind(&path).is_err(), "somebody listens there");
    let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(first);
    assert!(!path.exists(), "it takes its file away");
    // As a process that is killed leaves it behind.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
    drop(Socket::bind(&path).expect("nobody listens"));
    std::fs::write(&path, "something else").expect("a file");
    assert!(Socket::bind(&path).is_err());
    assert_eq!(std::fs::read_to_string(&path).expect("the file"), "something else");
}
