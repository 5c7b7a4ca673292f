use super::*;

fn networks(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().expect("a network")).collect()
}

#[test]
fn addresses_are_those_of_nodes_and_pods() {
    let known = ClusterNetworks::default();
    assert!(!known.hold("192.0.2.1".parse().unwrap()));
    assert!(known.learn(networks(&["192.0.2.1/32", "10.42.0.0/24", "2001:db8::/64"])));
    assert!(!known.learn(networks(&["10.42.0.0/24", "192.0.2.1/32", "2001:db8::/64", "192.0.2.1/32"])));
    for (address, is_held) in [
        ("192.0.2.1", true),
        ("::ffff:192.0.2.1", true),
        ("192.0.2.2", false),
        ("10.42.0.200", true),
        ("10.42.1.1", false),
        ("2001:db8::7", true),
    ] {
        assert_eq!(known.hold(address.parse().unwrap()), is_held, "{address}");
    }
    assert!(known.learn(Vec::new()));
    assert!(!known.hold("192.0.2.1".parse().unwrap()));
}

#[test]
fn there_is_room_for_so_many() {
    let known = ClusterNetworks::default();
    let all: Vec<IpNet> =
        (0..NETWORKS_LEN_MAX as u32 + 1).map(|n| IpNet::from(IpAddr::from((n * 2).to_be_bytes()))).collect();
    known.learn(all);
    let held = |n: usize| known.hold(IpAddr::from((n as u32 * 2).to_be_bytes()));
    assert!(held(0) && !known.hold("0.0.0.1".parse().unwrap()));
    assert!(held(NETWORKS_LEN_MAX - 1) && !held(NETWORKS_LEN_MAX));
}
