use super::*;

fn shown(text: &str) -> String {
    let rules = parse_rates(text).expect(text);
    rules.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[test]
fn several_rules_stand_in_one_value() {
    assert_eq!(shown("20/s burst 40 per ip; 600/m per route"), "20/s burst 40 per ip; 600/m per route");
    assert_eq!(shown("5/hour per header X-Api-Key dry-run"), "5/h per header x-api-key dry-run");
    assert_eq!(shown("20/s"), "20/s per ip");
    assert_eq!(shown("20/s per user cluster dry-run"), "20/s per user cluster dry-run");
    assert_eq!(
        shown("20/s per user; 30/s per group; 40/s per claim tenant"),
        "20/s per user; 30/s per group; 40/s per claim tenant"
    );
    assert_eq!(shown(" 1/d  burst 1 ;"), "1/d per ip");
}

#[test]
fn concurrency_has_no_time() {
    let limits = parse_at_once("10 per ip; 200 per route").unwrap();
    assert_eq!(
        limits.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["10 at once per ip", "200 at once per route"]
    );
    assert!(parse_at_once("10 per ip cluster").unwrap_err().contains("cluster"));
    assert!(parse_at_once("10 burst 5").unwrap_err().contains("burst"));
}

#[test]
fn what_cannot_be_read_is_named() {
    for (text, part) in [
        ("", "no rule"),
        ("20", "no rate"),
        ("0/s", "`0` is no number"),
        ("1000001/s", "from 1 to 1000000"),
        ("20/week", "none of s, m, h and d"),
        ("20/s burst", "no number"),
        ("20/s burst 1 burst 2", "twice"),
        ("20/s per", "needs a word"),
        ("20/s per moon", "per moon"),
        ("20/s per header", "needs a name"),
        ("20/s per claim", "needs a name"),
        ("20/s per header X:", "the name of a header"),
        ("20/s quickly", "`quickly` is not known"),
        ("1/s;1/s;1/s;1/s;1/s;1/s;1/s;1/s;1/s", "9 rules"),
    ] {
        let error = parse_rates(text).expect_err(text);
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn the_longest_and_the_shortest_intervals_do_not_overflow() {
    let year = Rate::new(1, Period::Day, 366).unwrap();
    assert_eq!(year.tolerance_ns(), 365 * 86_400 * 1_000_000_000);
    assert_eq!(Rate::new(1, Period::Day, 367), None);
    assert_eq!(Rate::new(1, Period::Day, COUNT_MAX), None);
    assert!(parse_rates("1/d burst 1000").unwrap_err().contains("more than a year"));
    let shortest = Rate::new(COUNT_MAX, Period::Second, 1).unwrap();
    assert_eq!((shortest.interval_ns(), shortest.tolerance_ns()), (1_000, 0));
}
