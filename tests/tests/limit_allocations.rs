//! That counting a request against a rate takes no memory, once its key is known.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use proxy::limit::rule::{WrittenLimits, parse_rates};
use proxy::limit::{Limiter, Limiting, Value};

#[test]
fn a_known_key_is_counted_without_an_allocation() {
    let written =
        WrittenLimits { rates: parse_rates("1000000/s per ip").expect("a rate"), ..Default::default() };
    let limiting: Arc<Limiting> = Limiting::new(&written, "Ingress shop/web").expect("a limit");
    let limit = &limiting.on_arrival.rates[0];
    let limiter = Limiter::new(1_000);
    let count = |number: u32| {
        let address = Value::Address(IpAddr::V4(Ipv4Addr::from_bits(number)));
        limiter.count(limit, address, Duration::from_secs(u64::from(number)));
    };
    // The table is made with the first request.
    let first = allocation_counter::measure(|| count(0));
    assert!(first.count_total > 0, "what is measured here is seen");
    let known = allocation_counter::measure(|| (0..1_000).for_each(|_| count(0)));
    assert_eq!(known.count_total, 0);
    let new = allocation_counter::measure(|| (1..1_000).for_each(count));
    assert_eq!(new.count_total, 0, "nor is one that is new");
}
