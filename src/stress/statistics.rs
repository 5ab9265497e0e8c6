//! Intervals and tests for counts and for measured rates.
//!
//! Crashes are rare and trials few, so the methods are those that hold for
//! small counts: Wilson's score interval for a proportion (never below 0, not
//! of width 0 at 0 crashes), Newcombe's hybrid of two of them for a difference,
//! Fisher's exact test. For rates: Student's interval and Welch's test, which
//! does not assume equal variances. Intervals are of 95 %; where several comparisons
//! are made, those of the comparisons are widened as Holm's correction demands of the
//! p-values, so that one never contradicts the other for that reason.

use serde::{Deserialize, Serialize};

use super::distribution::{ln_choose, normal_quantile, student_quantile, student_two_sided};

/// A p-value below this is called significant; intervals leave out as much.
pub const SIGNIFICANCE: f64 = 0.05;

/// A range that holds the true value with the stated confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// So many of so many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proportion {
    /// Times it happened.
    pub count: u64,
    /// Times it could have.
    pub of: u64,
}

impl Proportion {
    /// The observed rate; 0 where nothing was observed.
    pub fn rate(self) -> f64 {
        if self.of == 0 { 0.0 } else { self.count as f64 / self.of as f64 }
    }

    /// Wilson's score interval (Wilson 1927). Nothing observed leaves 0 to 1.
    pub fn interval(self) -> Interval {
        self.interval_at(SIGNIFICANCE)
    }

    /// The interval that misses the true rate with probability `level`.
    fn interval_at(self, level: f64) -> Interval {
        if self.of == 0 {
            return Interval { low: 0.0, high: 1.0 };
        }
        let z = normal_quantile(level);
        let (n, p) = (self.of as f64, self.rate());
        let centre = p + z * z / (2.0 * n);
        let spread = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
        let scale = 1.0 + z * z / n;
        let low = if self.count == 0 { 0.0 } else { (centre - spread) / scale };
        let high = if self.count == self.of { 1.0 } else { (centre + spread) / scale };
        Interval { low, high }
    }
}

/// The difference `a - b` of two rates (Newcombe 1998, method 10), missed with
/// probability `level`.
pub fn difference(a: Proportion, b: Proportion, level: f64) -> Interval {
    let (ia, ib) = (a.interval_at(level), b.interval_at(level));
    let (pa, pb) = (a.rate(), b.rate());
    Interval {
        low: pa - pb - (pa - ia.low).hypot(ib.high - pb),
        high: pa - pb + (ia.high - pa).hypot(pb - ib.low),
    }
}

/// Fisher's exact test, two-sided: the probability, given the margins, of a
/// table no more likely than the one observed.
pub fn fisher(a: Proportion, b: Proportion) -> f64 {
    let happened = a.count + b.count;
    let all = a.of + b.of;
    let ln_probability = |count: u64| {
        ln_choose(a.of, count) + ln_choose(b.of, happened - count) - ln_choose(all, happened)
    };
    let observed = ln_probability(a.count);
    // Equal tables differ by rounding; 1e-7 is what R allows.
    let bound = observed + 1e-7;
    let least = happened.saturating_sub(b.of);
    let most = happened.min(a.of);
    let sum: f64 = (least..=most)
        .map(ln_probability)
        .filter(|probability| *probability <= bound)
        .map(f64::exp)
        .sum();
    sum.min(1.0)
}

/// Mean and spread of measured values, none of which is negative.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// How many values.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// Their variance with `count - 1`; 0 for a single value.
    pub variance: f64,
    /// Student's interval for the mean, cut off at 0; none for a single value.
    pub interval: Option<Interval>,
}

impl Sample {
    /// Of `values`; none if there are none.
    pub fn of(values: &[f64]) -> Option<Sample> {
        let count = values.len();
        if count == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / count as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let freedom = count as f64 - 1.0;
        let variance = if count > 1 { squares / freedom } else { 0.0 };
        let interval = (count > 1).then(|| {
            let spread = student_quantile(SIGNIFICANCE, freedom) * (variance / count as f64).sqrt();
            Interval { low: (mean - spread).max(0.0), high: mean + spread }
        });
        Some(Sample { count: count as u64, mean, variance, interval })
    }

    fn error_squared(&self) -> f64 {
        self.variance / self.count as f64
    }
}

/// Degrees of freedom by Welch and Satterthwaite for errors `a` and `b`.
fn freedom(a: f64, na: u64, b: f64, nb: u64) -> f64 {
    (a + b).powi(2) / (a * a / (na as f64 - 1.0) + b * b / (nb as f64 - 1.0))
}

/// Welch's test that two means are equal; none with fewer than two values each
/// or without any spread.
pub fn welch(a: &Sample, b: &Sample) -> Option<f64> {
    let error = a.error_squared() + b.error_squared();
    if a.count < 2 || b.count < 2 || error <= 0.0 {
        return None;
    }
    let t = (a.mean - b.mean) / error.sqrt();
    Some(student_two_sided(t, freedom(a.error_squared(), a.count, b.error_squared(), b.count)))
}

/// The ratio of two positive means with its interval, by the delta method on the
/// logarithm, missed with probability `level`.
pub fn ratio(a: &Sample, b: &Sample, level: f64) -> Option<(f64, Option<Interval>)> {
    if a.mean <= 0.0 || b.mean <= 0.0 {
        return None;
    }
    let value = a.mean / b.mean;
    if a.count < 2 || b.count < 2 {
        return Some((value, None));
    }
    let relative = |sample: &Sample| sample.error_squared() / sample.mean.powi(2);
    let (ra, rb) = (relative(a), relative(b));
    if ra + rb <= 0.0 {
        return Some((value, Some(Interval { low: value, high: value })));
    }
    let t = student_quantile(level, freedom(ra, a.count, rb, b.count));
    let factor = (t * (ra + rb).sqrt()).exp();
    Some((value, Some(Interval { low: value / factor, high: value * factor })))
}

/// A p-value that stays honest when several are looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Corrected {
    /// The p-value, corrected.
    pub p: f64,
    /// What the uncorrected one has to be below: [`SIGNIFICANCE`], divided.
    pub level: f64,
}

/// Holm's correction.
pub fn holm(p_values: &[f64]) -> Vec<Corrected> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&i, &j| p_values[i].total_cmp(&p_values[j]));
    let mut adjusted = vec![Corrected { p: 1.0, level: SIGNIFICANCE }; p_values.len()];
    let mut least: f64 = 0.0;
    for (rank, &index) in order.iter().enumerate() {
        let factor = (p_values.len() - rank) as f64;
        least = least.max((p_values[index] * factor).min(1.0));
        adjusted[index] = Corrected { p: least, level: SIGNIFICANCE / factor };
    }
    adjusted
}
