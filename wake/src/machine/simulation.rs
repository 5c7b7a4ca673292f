//! Several replicas, an API server, requests and faults, all in virtual time and random order.
//!
//! Every run prints its seed when it fails; `WAKE_SEED=7` runs that one alone, and `WAKE_SEEDS=1000` so many.

mod world;

use world::{Activity, Fault, World};

use super::*;

/// What must hold is asserted by the world at every step.
fn run(world: &mut World) -> Activity {
    world.run(Duration::from_secs(20 * 60));
    world.heal();
    world.run(Duration::from_secs(4 * 3600));
    world.assert_all_answered();
    world.assert_all_asleep();
    world.activity()
}

fn run_seed(seed: u64, faults: &[Fault]) -> Activity {
    let attempt = std::panic::catch_unwind(|| run(&mut World::new(seed, faults, false)));
    if let Ok(activity) = attempt {
        return activity;
    }
    // Once more, to tell how it came to that: the same seed is the same story.
    let mut world = World::new(seed, faults, true);
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&mut world)));
    panic!("seed {seed} with {faults:?}; the last of what happened:\n{}", world.story());
}

fn run_all(faults: &[Fault]) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("WAKE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("WAKE_SEEDS").unwrap_or(SEEDS),
    };
    let mut all = Activity::default();
    for seed in seeds {
        let activity = run_seed(seed, faults);
        all.slept += activity.slept;
        all.woken += activity.woken;
    }
    // A world in which nothing happens shows nothing.
    assert!(all.slept > 0 && all.woken > 0, "{all:?}");
}

#[test]
fn nothing_is_lost_when_all_goes_well() {
    run_all(&[]);
}

#[test]
fn nothing_is_lost_when_messages_are_lost_and_late() {
    run_all(&[Fault::Network]);
}

#[test]
fn nothing_in_use_sleeps_when_the_api_server_fails() {
    run_all(&[Fault::ApiServer]);
}

#[test]
fn nothing_in_use_sleeps_when_replicas_and_leaders_come_and_go() {
    run_all(&[Fault::Replicas]);
}

#[test]
fn nothing_in_use_sleeps_when_others_scale_too() {
    run_all(&[Fault::Hands]);
}

#[test]
fn nothing_in_use_sleeps_when_everything_fails_at_once() {
    run_all(&[Fault::Network, Fault::ApiServer, Fault::Replicas, Fault::Hands]);
}

const SEEDS: u64 = 20;

#[test]
#[ignore = "minutes: tests/run nightly"]
fn nothing_is_lost_over_many_seeds() {
    let faults = [Fault::Network, Fault::ApiServer, Fault::Replicas, Fault::Hands];
    for seed in SEEDS..SEEDS + 2000 {
        // Every mixture of faults in turn.
        let mixture: Vec<Fault> = faults
            .into_iter()
            .enumerate()
            .filter(|(bit, _)| seed >> bit & 1 == 1)
            .map(|(_, fault)| fault)
            .collect();
        run_seed(seed, &mixture);
    }
}
