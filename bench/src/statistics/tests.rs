use super::*;

#[test]
fn the_median_is_in_the_middle() {
    assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
    assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), 2.5);
    assert!(median(Vec::new()).is_nan());
}

#[test]
fn a_quantile_is_one_of_the_values() {
    let values: Vec<f64> = (1..=100).map(f64::from).collect();
    assert_eq!(quantile(values.clone(), 0.99), 99.0);
    assert_eq!(quantile(values, 1.0), 100.0);
    assert_eq!(quantile(vec![7.0], 0.5), 7.0);
    assert!(quantile(Vec::new(), 0.5).is_nan());
}

#[test]
fn what_disturbs_both_sides_of_a_round_cancels_out() {
    let theirs: Vec<Option<f64>> = [10.0, 20.0, 40.0, 15.0].map(Some).to_vec();
    let ours: Vec<Option<f64>> = theirs.iter().map(|cost| cost.map(|cost| cost * 0.9)).collect();
    let ratio = ratio(&ours, &theirs).unwrap();
    for value in [ratio.median, ratio.low, ratio.high] {
        assert!((value - 0.9).abs() < 1e-9, "{ratio:?}");
    }
    assert_eq!(ratio.pairs, 4);
    let more: Vec<Option<f64>> = theirs.iter().map(|cost| cost.map(|cost| cost + 2.0)).collect();
    let difference = difference(&more, &theirs).unwrap();
    assert_eq!((difference.low, difference.median, difference.high), (2.0, 2.0, 2.0));
}

#[test]
fn the_interval_holds_the_median_and_is_as_wide_as_the_noise() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut noisy = |noise: f64| -> Vec<Option<f64>> {
        (0..30).map(|_| Some(10.0 * (1.0 + noise * (random.f64() - 0.5)))).collect()
    };
    let calm = ratio(&noisy(0.01), &noisy(0.01)).unwrap();
    let wild = ratio(&noisy(0.5), &noisy(0.5)).unwrap();
    assert!(calm.low <= calm.median && calm.median <= calm.high);
    assert!(calm.high - calm.low < 0.02, "{calm:?}");
    assert!(wild.high - wild.low > 3.0 * (calm.high - calm.low), "{wild:?}");
}

#[test]
fn missing_rounds_are_left_out() {
    let ours = [Some(1.0), None, Some(2.0), Some(3.0), Some(9.0)];
    let theirs = [Some(1.0), Some(5.0), Some(2.0), Some(3.0), None];
    assert_eq!(ratio(&ours, &theirs).unwrap().pairs, 3);
    assert_eq!(ratio(&ours[..3], &theirs[..3]), None);
}
