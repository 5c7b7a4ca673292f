use std::net::IpAddr;

use super::*;

fn rules(allow: &[&str], deny: &[&str]) -> AddressRules {
    let parse = |ranges: &[&str]| ranges.iter().map(|range| range.parse().unwrap()).collect();
    AddressRules { allow: parse(allow), deny: parse(deny) }
}

#[test]
fn deny_wins_over_allow_and_an_empty_allow_list_is_open() {
    let table = [
        (rules(&[], &[]), "203.0.113.9", true),
        (rules(&["10.0.0.0/8"], &[]), "10.1.2.3", true),
        (rules(&["10.0.0.0/8"], &[]), "11.1.2.3", false),
        (rules(&["10.0.0.0/8"], &["10.1.0.0/16"]), "10.1.2.3", false),
        (rules(&["10.1.2.3/32"], &["10.0.0.0/8"]), "10.1.2.3", false),
        (rules(&[], &["203.0.113.0/24"]), "203.0.113.9", false),
        (rules(&[], &["203.0.113.0/24"]), "203.0.114.9", true),
        (rules(&["2001:db8::/32"], &[]), "2001:db8::1", true),
        (rules(&["2001:db8::/32"], &[]), "2001:db9::1", false),
        (rules(&["2001:db8::/32"], &[]), "10.1.2.3", false),
        (rules(&["10.0.0.0/8"], &[]), "2001:db8::1", false),
        (rules(&["0.0.0.0/0"], &[]), "2001:db8::1", false),
    ];
    for (rules, address, open) in table {
        let verdict = check(&rules, address.parse::<IpAddr>().unwrap());
        assert_eq!(verdict, if open { Ok(()) } else { Err(Reject::AddressDenied) }, "{rules:?} {address}");
    }
}

#[test]
fn mapped_addresses_are_judged_as_ipv4() {
    let mapped: IpAddr = "::ffff:10.1.2.3".parse().unwrap();
    assert_eq!(check(&rules(&[], &["10.0.0.0/8"]), mapped), Err(Reject::AddressDenied));
    let plain: IpAddr = "10.1.2.3".parse().unwrap();
    assert_eq!(check(&rules(&[], &["::ffff:10.0.0.0/104"]), plain), Err(Reject::AddressDenied));
    assert_eq!(check(&rules(&[], &["::/0"]), plain), Err(Reject::AddressDenied));
}
