use std::sync::atomic::AtomicUsize;

use proptest::prelude::*;

use super::*;
use crate::limit::rule::Period;

const SECOND: u64 = 1_000_000_000;

fn rate(count: u32, period: Period, burst: u32) -> Rate {
    Rate::new(count, period, burst).unwrap()
}

/// A hash as the table expects it, from a number (splitmix64).
fn key(number: u64) -> u64 {
    let mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn passes(cells: &Cells, key: u64, rate: &Rate, now: u64) -> bool {
    cells.count(key, rate, now) == Decision::Passes
}

#[test]
fn a_burst_passes_at_once_and_then_the_rate() {
    let cells = Cells::new(1_000);
    let rate = rate(10, Period::Second, 4);
    let passed = (0..20).filter(|_| passes(&cells, 7, &rate, 5 * SECOND)).count();
    assert_eq!(passed, 4);
    let wait = Duration::from_millis(100);
    assert_eq!(cells.count(7, &rate, 5 * SECOND), Decision::Refused { wait });
    assert!(passes(&cells, 7, &rate, 5 * SECOND + 100_000_000));
    assert!(!passes(&cells, 7, &rate, 5 * SECOND + 100_000_001));
    // Another key has a burst of its own.
    assert!(passes(&cells, 8, &rate, 5 * SECOND));
}

#[test]
fn what_is_refused_is_not_counted() {
    let cells = Cells::new(1_000);
    let rate = rate(1, Period::Second, 1);
    assert!(passes(&cells, 7, &rate, 0));
    assert!((0..1_000).all(|millisecond| !passes(&cells, 7, &rate, millisecond * 1_000_000)));
    assert!(passes(&cells, 7, &rate, SECOND));
}

proptest! {
    /// In any stretch of time no more pass than the burst and what the rate brings in it, and what keeps to the rate passes.
    #[test]
    fn never_more_than_the_rate_and_never_less(
        count in 1_u32..1000,
        burst in 1_u32..100,
        pauses in proptest::collection::vec(0_u64..3_000_000_000, 1..200),
    ) {
        let cells = Cells::new(1_000);
        let rate = rate(count, Period::Minute, burst);
        let mut now = 0;
        let mut passed: Vec<u64> = Vec::new();
        for pause in pauses {
            now += pause;
            let idle = passed.last().is_none_or(|last| now - last >= rate.interval_ns());
            let pass = passes(&cells, 1, &rate, now);
            prop_assert!(pass || !idle, "one that keeps its distance is refused");
            if pass {
                passed.push(now);
            }
        }
        for (first, from) in passed.iter().enumerate() {
            for (last, until) in passed.iter().enumerate().skip(first) {
                let most = u64::from(burst) + (until - from) / rate.interval_ns();
                prop_assert!((last - first + 1) as u64 <= most);
            }
        }
    }
}

#[test]
fn a_million_keys_have_room_in_64_megabytes() {
    let cells = Cells::new(1_000_000);
    assert!(cells.bytes() <= 64_000_000, "{}", cells.bytes());
    let rate = rate(1, Period::Day, 1);
    assert!((0..1_000_000).all(|number| passes(&cells, key(number), &rate, 0)));
    assert_eq!(cells.forgotten(), 0);
    // All are remembered.
    assert!((0..1_000_000).all(|number| !passes(&cells, key(number), &rate, 0)));
}

#[test]
fn a_flood_of_keys_costs_those_that_would_be_forgotten_first() {
    let cells = Cells::new(1_000);
    let (short, long) = (rate(10, Period::Second, 1), rate(1, Period::Day, 1));
    let before = cells.bytes();
    assert!((0..500).all(|number| passes(&cells, key(number), &long, 0)));
    for number in 1_000..200_000 {
        passes(&cells, key(number), &short, 0);
    }
    assert!(cells.forgotten() > 150_000);
    assert_eq!(cells.bytes(), before);
    let remembered = (0..500).filter(|number| !passes(&cells, key(*number), &long, 0)).count();
    assert!(remembered > 490, "{remembered}");
}

#[test]
fn what_is_past_makes_room_without_loss() {
    let cells = Cells::new(1_000);
    let rate = rate(100, Period::Second, 1);
    for number in 0..100_000 {
        // Each key is past before the next hundred come.
        assert!(passes(&cells, key(number), &rate, number * 1_000_000));
    }
    assert_eq!(cells.forgotten(), 0);
}

#[test]
fn many_threads_together_get_no_more_than_one_would() {
    let cells = Cells::new(1_000);
    let passed = AtomicUsize::new(0);
    let rate = rate(1, Period::Hour, 1_000);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (cells, passed) = (&cells, &passed);
            scope.spawn(move || {
                for number in 0..20_000 {
                    let counts = passes(cells, 42, &rate, number);
                    passed.fetch_add(usize::from(counts), Ordering::Relaxed);
                    // New keys come and go meanwhile.
                    passes(
                        cells,
                        key(thread * 1_000_000 + number),
                        &Rate::new(1_000_000, Period::Second, 1).unwrap(),
                        number,
                    );
                }
            });
        }
    });
    assert_eq!(passed.into_inner(), 1_000);
}
