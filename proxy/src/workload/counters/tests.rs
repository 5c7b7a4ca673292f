use super::super::trouble::TroubleReason;
use super::*;

fn workload(name: &str) -> Workload {
    wake::workload::Reference::parse(name).expect(name).within(&"shop".into())
}

fn counters() -> Counters {
    Counters::new(Arc::default())
}

#[test]
fn the_time_asleep_is_added_up() {
    let (counters, web, start) = (counters(), workload("deployment/web"), Instant::now());
    let after = |seconds| start + Duration::from_secs(seconds);
    let asleep = |at| counters.counts(at).rows[0].2;
    counters.see(start, [(&web, State::Asleep)].into_iter(), |_| None);
    assert_eq!(asleep(after(10)), Duration::from_secs(10), "while it is");
    // Seen again, it is the same sleep.
    counters.see(after(20), [(&web, State::Asleep)].into_iter(), |_| None);
    counters.see(after(30), [(&web, State::Waking { since: Duration::ZERO })].into_iter(), |_| None);
    counters.see(after(40), [(&web, State::Awake)].into_iter(), |_| None);
    assert_eq!(asleep(after(50)), Duration::from_secs(30));
    counters.see(after(60), [(&web, State::Asleep)].into_iter(), |_| None);
    assert_eq!(asleep(after(61)), Duration::from_secs(31));
}

#[test]
fn what_became_of_it_is_counted() {
    let (counters, web, now) = (counters(), workload("deployment/web"), Instant::now());
    counters.see(now, [(&web, State::Awake)].into_iter(), |_| None);
    for note in [
        Note::Waking,
        Note::Awake { took: Some(Duration::from_millis(800)) },
        Note::Awake { took: None },
        Note::WakeFailed("x".into()),
        Note::Asleep,
        Note::SleepAborted,
        Note::SleepFailed("x".into()),
        Note::Contested,
    ] {
        counters.note(&web, &note);
    }
    let counts = counters.counts(now);
    let row = &counts.rows[0].1;
    assert_eq!((row.woken, row.wakes_failed, row.slept), (1, 1, 1));
    assert_eq!((row.sleeps_aborted, row.sleeps_failed, row.contested), (1, 1, 1));
    let bucket = START_BOUNDS_SECONDS.iter().position(|bound| *bound == 1.0).expect("a bound");
    assert_eq!((counts.starts.durations[bucket], counts.starts.durations.iter().sum::<u64>()), (1, 1));
    assert_eq!(counts.starts.sum, Duration::from_millis(800));
}

#[test]
fn no_more_is_kept_than_there_are() {
    let (counters, now) = (counters(), Instant::now());
    let (web, old) = (workload("deployment/web"), workload("deployment/old"));
    counters.see(now, [(&old, State::Awake), (&web, State::Awake)].into_iter(), |_| None);
    counters.see(now, [(&web, State::Failed("x".into()))].into_iter(), |_| None);
    let rows = counters.counts(now).rows;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].1.condition, Some(Condition::Failed));
    // Nothing is counted for what is not there.
    counters.note(&old, &Note::Asleep);
    assert_eq!(counters.counts(now).rows.len(), 1);
}

#[test]
fn a_start_that_is_longer_than_all_bounds_has_a_place() {
    let mut starts = Starts::default();
    starts.count(Duration::from_secs(3600));
    assert_eq!(starts.durations[START_BOUNDS_SECONDS.len()], 1);
}

#[test]
fn why_it_is_not_awake_is_known() {
    let (counters, web, now) = (counters(), workload("deployment/web"), Instant::now());
    let told = || counters.counts(now).rows[0].1.trouble.clone();
    let trouble = || Some(Arc::new(Trouble { reason: TroubleReason::Image, detail: "Pod web-1".into() }));
    counters.see(now, [(&web, State::Waking { since: Duration::ZERO })].into_iter(), |_| trouble());
    assert_eq!(told().as_deref(), Some("image: Pod web-1"));
    counters.see(now, [(&web, State::Failed("forbidden".into()))].into_iter(), |_| None);
    assert_eq!(told().as_deref(), Some("forbidden"));
    counters.see(now, [(&web, State::Awake)].into_iter(), |_| trouble());
    assert_eq!(told(), None);
}
