//! The median, and how far it can be trusted.

use serde::Serialize;

/// The median of what the pairs of a run come to, with its 95 % bootstrap interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Paired {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// How many pairs it rests on.
    pub(crate) pairs: usize,
}

/// The ratio of `ours` to `theirs`, round by round: what disturbs both windows of a round cancels out. Rounds in which
/// either is missing do not count; `None` with fewer than [`PAIRS_MIN`] pairs.
pub(crate) fn ratio(ours: &[Option<f64>], theirs: &[Option<f64>]) -> Option<Paired> {
    paired(ours, theirs, |ours, theirs| ours / theirs)
}

/// The same for what `ours` is more than `theirs`.
pub(crate) fn difference(ours: &[Option<f64>], theirs: &[Option<f64>]) -> Option<Paired> {
    paired(ours, theirs, |ours, theirs| ours - theirs)
}

fn paired(ours: &[Option<f64>], theirs: &[Option<f64>], compare: impl Fn(f64, f64) -> f64) -> Option<Paired> {
    let pairs = ours.iter().zip(theirs).filter_map(|(ours, theirs)| Some(compare((*ours)?, (*theirs)?)));
    let all: Vec<f64> = pairs.collect();
    if all.len() < PAIRS_MIN {
        return None;
    }
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let sample: Vec<f64> = all.iter().map(|_| all[random.usize(..all.len())]).collect();
            median(sample)
        })
        .collect();
    medians.sort_by(f64::total_cmp);
    let at = |part: f64| medians[((RESAMPLES - 1) as f64 * part).round() as usize];
    Some(Paired { low: at(0.025), high: at(0.975), pairs: all.len(), median: median(all) })
}

/// The middle value, or the mean of the two in the middle; not a number for none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        len if len.is_multiple_of(2) => f64::midpoint(values[len / 2 - 1], values[len / 2]),
        len => values[len / 2],
    }
}

/// The value below which `part` of the values lie (nearest rank); not a number for none.
pub(crate) fn quantile(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * part).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// With fewer pairs an interval would be decoration.
pub(crate) const PAIRS_MIN: usize = 3;

const RESAMPLES: usize = 10_000;
const SEED: u64 = 1;

#[cfg(test)]
mod tests;
