//! Statistics against published values; the source stands with each.

use agxpatch::stress::distribution::{
    incomplete_beta, ln_gamma, normal_quantile, student_quantile, student_two_sided,
};
use agxpatch::stress::statistics::{
    Interval, Proportion, SIGNIFICANCE, Sample, difference, fisher, holm, ratio, welch,
};
use proptest::prelude::*;

fn proportion(count: u64, of: u64) -> Proportion {
    Proportion { count, of }
}

#[track_caller]
fn near(value: f64, expected: f64, within: f64) {
    assert!((value - expected).abs() <= within, "{value} is not {expected}");
}

#[track_caller]
fn spans(interval: Interval, low: f64, high: f64) {
    near(interval.low, low, 5e-5);
    near(interval.high, high, 5e-5);
}

/// R. G. Newcombe, "Two-sided confidence intervals for the single proportion",
/// Statistics in Medicine 17 (1998), 857-872, table I, method 3.
#[test]
fn wilson_intervals_are_those_newcombe_tabulates() {
    spans(proportion(81, 263).interval(), 0.2553, 0.3662);
    spans(proportion(15, 148).interval(), 0.0624, 0.1605);
    spans(proportion(0, 20).interval(), 0.0, 0.1611);
    spans(proportion(1, 29).interval(), 0.0061, 0.1718);
}

/// R. G. Newcombe, "Interval estimation for the difference between independent
/// proportions", Statistics in Medicine 17 (1998), 873-890, table II, method 10.
#[test]
fn intervals_of_a_difference_are_those_newcombe_tabulates() {
    spans(difference(proportion(56, 70), proportion(48, 80), SIGNIFICANCE), 0.0524, 0.3339);
    spans(difference(proportion(9, 10), proportion(3, 10), SIGNIFICANCE), 0.1705, 0.8090);
    spans(difference(proportion(6, 7), proportion(2, 7), SIGNIFICANCE), 0.0582, 0.8062);
    spans(difference(proportion(5, 56), proportion(0, 29), SIGNIFICANCE), -0.0381, 0.1926);
    spans(difference(proportion(0, 10), proportion(0, 20), SIGNIFICANCE), -0.1611, 0.2775);
}

/// The lady tasting tea, 3 of 4 against 1 of 4: R, `example(fisher.test)`,
/// p-value = 0.4857; all four right is 2/70 by counting.
#[test]
fn fisher_knows_the_lady_tasting_tea() {
    near(fisher(proportion(3, 4), proportion(1, 4)), 0.4857, 5e-5);
    near(fisher(proportion(4, 4), proportion(0, 4)), 2.0 / 70.0, 1e-12);
}

/// Convictions of like-sex twins of criminals, Fisher (1962): R,
/// `example(fisher.test)`, two-sided p-value = 0.0005367.
#[test]
fn fisher_knows_the_convictions_of_twins() {
    near(fisher(proportion(2, 17), proportion(10, 13)), 0.000_536_7, 5e-8);
}

/// scipy.stats.fisher_exact's documented example, [[8, 2], [1, 5]]: 0.0350 (4 d.p.).
#[test]
fn fisher_agrees_with_scipys_example() {
    near(fisher(proportion(8, 10), proportion(1, 6)), 0.0350, 5e-5);
}

/// Tables of Student's t, two-sided 0.05 (e.g. NIST/SEMATECH e-Handbook 1.3.6.7.2).
#[test]
fn quantiles_of_students_t_are_those_of_the_tables() {
    for (freedom, quantile) in
        [(1.0, 12.706), (2.0, 4.303), (5.0, 2.571), (10.0, 2.228), (30.0, 2.042), (100.0, 1.984)]
    {
        near(student_quantile(0.05, freedom), quantile, 5e-4);
    }
}

/// With one degree of freedom t is Cauchy's: P(|T| > t) = 1 - 2 atan(t) / pi.
#[test]
fn students_t_with_one_degree_is_cauchys() {
    for t in [0.1, 1.0, 3.0, 40.0] {
        near(student_two_sided(t, 1.0), 1.0 - 2.0 * f64::atan(t) / std::f64::consts::PI, 1e-12);
    }
}

/// Closed forms: gamma(n + 1) = n!, gamma(1/2) = sqrt(pi), and
/// I_x(2, 3) = 1 - (1 - x)^4 - 4 x (1 - x)^3.
#[test]
fn gamma_and_beta_meet_their_closed_forms() {
    near(ln_gamma(0.5), std::f64::consts::PI.sqrt().ln(), 1e-12);
    near(ln_gamma(11.0), 3_628_800_f64.ln(), 1e-12);
    for x in [0.0, 0.05, 0.3, 0.5, 0.9, 1.0] {
        let closed = 1.0 - (1.0_f64 - x).powi(4) - 4.0 * x * (1.0 - x).powi(3);
        near(incomplete_beta(2.0, 3.0, x), closed, 1e-13);
    }
}

/// Welch's test on the first example of the Wikipedia article of that name,
/// computed independently here: t = -2.46, 25.0 degrees of freedom, p = 0.021.
#[test]
fn welch_knows_the_textbook_example() {
    let a =
        [27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1, 19.6, 19.0, 21.7, 21.4];
    let b =
        [27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 20.2, 21.9, 22.1, 22.9, 20.5, 24.4];
    let (a, b) = (Sample::of(&a).unwrap(), Sample::of(&b).unwrap());
    near(welch(&a, &b).unwrap(), 0.021, 5e-4);
}

/// Weights of 1, 2, 3, 4, 5: mean 3, variance 2.5, and 3 ± 2.776 √(2.5 / 5).
#[test]
fn a_samples_interval_is_students() {
    let sample = Sample::of(&[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
    near(sample.variance, 2.5, 1e-12);
    let interval = sample.interval.unwrap();
    near(interval.high - 3.0, 2.776 * 0.5_f64.sqrt(), 5e-4);
    near(3.0 - interval.low, interval.high - 3.0, 1e-12);
}

/// The worked example of Holm's procedure: 0.01, 0.04, 0.03, 0.005 become 0.03,
/// 0.06, 0.06, 0.02 (R: `p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")`).
#[test]
fn holms_correction_is_the_one_r_makes() {
    let adjusted = holm(&[0.01, 0.04, 0.03, 0.005]);
    for (value, expected) in adjusted.iter().zip([0.03, 0.06, 0.06, 0.02]) {
        near(value.p, expected, 1e-12);
    }
    // Each is compared with its part of 0.05, which its interval is of.
    for (value, part) in adjusted.iter().zip([3.0, 1.0, 2.0, 4.0]) {
        near(value.level, 0.05 / part, 1e-12);
    }
}

/// Quantiles of the normal distribution, as tables have them.
#[test]
fn normal_quantiles_are_those_of_tables() {
    for (p, z) in [
        (0.05, 1.959_963_984_540_054),
        (0.025, 2.241_402_727_604_947),
        (0.01, 2.575_829_303_548_901),
        (0.001, 3.290_526_731_491_926),
    ] {
        near(normal_quantile(p), z, 1e-12);
    }
}

#[test]
fn corrected_intervals_are_wider_and_no_rate_is_negative() {
    let (a, b) = (proportion(9, 10), proportion(3, 10));
    let (one, three) = (difference(a, b, 0.05), difference(a, b, 0.05 / 3.0));
    assert!(three.low < one.low && one.high < three.high);
    let wide = Sample::of(&[1.0, 100.0]).unwrap().interval.unwrap();
    near(wide.low, 0.0, 0.0);
}

#[test]
fn no_observations_give_no_estimate() {
    assert_eq!(proportion(0, 0).interval(), Interval { low: 0.0, high: 1.0 });
    near(fisher(proportion(0, 0), proportion(0, 0)), 1.0, 1e-12);
    near(fisher(proportion(0, 20), proportion(0, 20)), 1.0, 1e-12);
    assert!(Sample::of(&[]).is_none());
    let one = Sample::of(&[5.0]).unwrap();
    assert!(one.interval.is_none() && welch(&one, &one).is_none());
    assert_eq!(ratio(&one, &one, SIGNIFICANCE), Some((1.0, None)));
}

/// Sums the table's probabilities with exact integers.
fn fisher_by_counting(a: Proportion, b: Proportion) -> f64 {
    fn choose(n: u64, k: u64) -> u128 {
        (0..k).fold(1, |ways, i| ways * u128::from(n - i) / u128::from(i + 1))
    }
    let happened = a.count + b.count;
    let ways = |count: u64| choose(a.of, count) * choose(b.of, happened - count);
    let possible = (0..=happened).filter(|&count| count <= a.of && happened - count <= b.of);
    let unlikely: u128 = possible.map(ways).filter(|&each| each <= ways(a.count)).sum();
    unlikely as f64 / choose(a.of + b.of, happened) as f64
}

proptest! {
    #[test]
    fn fisher_is_the_count_of_tables(na in 0_u64..28, nb in 0_u64..28, a: prop::sample::Index, b: prop::sample::Index) {
        let (a, b) = (proportion(a.index(na as usize + 1) as u64, na), proportion(b.index(nb as usize + 1) as u64, nb));
        prop_assert!((fisher(a, b) - fisher_by_counting(a, b)).abs() < 1e-9);
        prop_assert!((fisher(a, b) - fisher(b, a)).abs() < 1e-9);
    }

    #[test]
    fn an_interval_holds_the_observed_rate(of in 1_u64..500, count: prop::sample::Index) {
        let observed = proportion(count.index(of as usize + 1) as u64, of);
        let Interval { low, high } = observed.interval();
        prop_assert!(0.0 <= low && low <= observed.rate() && observed.rate() <= high && high <= 1.0);
        prop_assert!(high > low);
    }
}
