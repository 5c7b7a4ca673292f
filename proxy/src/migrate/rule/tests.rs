use super::*;

fn hosts(hosts: &[&str]) -> Vec<String> {
    hosts.iter().map(|host| (*host).to_owned()).collect()
}

#[test]
fn hosts_paths_and_clients_are_read() {
    let found = parse("Host(`a.example`, `b.example`) && (PathPrefix(`/x`) || Path(`/y`))").unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].hosts, hosts(&["a.example", "b.example"]));
    assert_eq!(found[0].paths, [Path::Prefix("/x".into())]);
    assert_eq!(found[1].paths, [Path::Exact("/y".into())]);
    let found = parse("Host(\"a.example\") && ClientIP(`10.0.0.0/8`)").unwrap();
    assert_eq!(found[0].clients, hosts(&["10.0.0.0/8"]));
    assert_eq!(
        parse(r"HostRegexp(`^[a-z0-9-]+\.example\.com$`)").unwrap()[0].hosts,
        hosts(&["*.example.com"])
    );
}

#[test]
fn what_an_ingress_cannot_say_is_an_error() {
    for (rule, part) in [
        ("Host(`a`) && Method(`GET`)", "`Method` has no equivalent"),
        ("Host(`a`) && !PathPrefix(`/x`)", "`!`"),
        ("Host(`a`) && Host(`b`)", "two conditions on the host"),
        ("PathPrefix(`/a`) && Path(`/b`)", "two conditions on the path"),
        ("Host(`a`", "cannot be read"),
        ("Host(`a", "not closed"),
        ("Host", "no arguments"),
        ("", "missing"),
        ("Host(`a`) Host(`b`)", "nothing was expected"),
        ("HostRegexp(`a|b`)", "expression for hosts"),
        ("Host(`a`) § x", "no meaning"),
    ] {
        let error = parse(rule).expect_err(rule);
        assert!(error.contains(part), "{rule}: {error}");
    }
}

#[test]
fn alternatives_are_bounded() {
    let or = vec!["Host(`a`)"; ALTERNATIVES_MAX + 1].join(" || ");
    assert!(parse(&or).unwrap_err().contains("alternatives"));
    let pair = "(PathPrefix(`/a`) || PathPrefix(`/b`))";
    assert!(parse(&format!("({}) && {pair}", vec!["Host(`a`)"; 60].join(" || "))).is_err());
}
