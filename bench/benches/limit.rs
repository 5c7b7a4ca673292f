//! What counting a request against a rate costs: `cargo bench --package bench --bench limit`.
//!
//! A known key may cost 150 ns and no allocation; the table of a million keys is measured with all of them in use.

#![allow(clippy::print_stdout, reason = "standard output is where the numbers go")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use proxy::limit::rule::{WrittenLimits, parse_rates};
use proxy::limit::{Limiter, Limiting, Value};

/// Requests of one measurement; the best of [`ROUNDS`] counts, which other work on the machine disturbs least.
const REQUESTS: u32 = 1_000_000;
const ROUNDS: usize = 7;
const KEYS: usize = 1_000_000;

fn main() {
    let written =
        WrittenLimits { rates: parse_rates("1000000/s per ip").expect("a rate"), ..Default::default() };
    let limiting: Arc<Limiting> = Limiting::new(&written, "Ingress shop/web").expect("a limit");
    let limit = &limiting.on_arrival.rates[0];
    let address = |number: u32| Value::Address(IpAddr::V4(Ipv4Addr::from_bits(number)));
    for (name, keys, start) in [
        ("one known key", 1, 0),
        ("a thousand known keys", 1_000, 0),
        ("a million known keys, in an order that no cache knows", KEYS as u32, 0),
        ("new keys only", u32::MAX, 1 << 30),
    ] {
        let limiter = Limiter::new(KEYS);
        // So that the table is in memory and the keys are known.
        (0..keys.min(KEYS as u32)).for_each(|number| {
            limiter.count(limit, address(number), Duration::ZERO);
        });
        let mut best = Duration::MAX;
        let mut next = start;
        for _ in 0..ROUNDS {
            let began = on_cpu();
            for number in 0..REQUESTS {
                next = if keys == u32::MAX { next + 1 } else { number.wrapping_mul(2_654_435_761) % keys };
                black_box(limiter.count(
                    limit,
                    address(next),
                    Duration::from_nanos(u64::from(number) * 1_000),
                ));
            }
            best = best.min(on_cpu() - began);
        }
        println!("{:>6.1} ns  {name}", best.as_nanos() as f64 / f64::from(REQUESTS));
    }
}

/// How long this thread has run, as the scheduler counts it: what else the machine does is not in it.
fn on_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    Duration::from_nanos(text.split(' ').next().and_then(|number| number.parse().ok()).expect("a number"))
}
