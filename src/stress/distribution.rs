//! The few distribution functions the statistics rest on.
//!
//! Textbook series: Lanczos' approximation of the gamma function (g = 7, nine
//! terms) and Lentz' continued fraction of the incomplete beta function
//! (DLMF 5.11 and 8.17.22), good to about fourteen digits in the range used.

use std::f64::consts::PI;

const LANCZOS: [f64; 9] = [
    0.999_999_999_999_809_9,
    676.520_368_121_885_1,
    -1_259.139_216_722_402_8,
    771.323_428_777_653_1,
    -176.615_029_162_140_6,
    12.507_343_278_686_905,
    -0.138_571_095_265_720_12,
    9.984_369_578_019_572e-6,
    1.505_632_735_149_311_6e-7,
];

/// Natural logarithm of the gamma function, for positive `x`.
pub fn ln_gamma(x: f64) -> f64 {
    let x = x - 1.0;
    let base = x + 7.5;
    let series: f64 = LANCZOS
        .iter()
        .enumerate()
        .map(|(index, term)| if index == 0 { *term } else { term / (x + index as f64) })
        .sum();
    0.5 * (2.0 * PI).ln() + (x + 0.5) * base.ln() - base + series.ln()
}

/// Natural logarithm of the number of ways to choose `k` of `n`.
pub fn ln_choose(n: u64, k: u64) -> f64 {
    ln_gamma(n as f64 + 1.0) - ln_gamma(k as f64 + 1.0) - ln_gamma((n - k) as f64 + 1.0)
}

/// The regularised incomplete beta function.
pub fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p()).exp();
    // The fraction converges fast on this side of the mean; use symmetry else.
    if x < (a + 1.0) / (a + b + 2.0) {
        front * beta_fraction(a, b, x) / a
    } else {
        1.0 - front * beta_fraction(b, a, 1.0 - x) / b
    }
}

fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away_from_zero = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for m in 1..500 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut change = 1.0;
        for term in [even, odd] {
            d = 1.0 / away_from_zero(1.0 + term * d);
            c = away_from_zero(1.0 + term / c);
            change = c * d;
            fraction *= change;
        }
        if (change - 1.0).abs() < 1e-15 {
            break;
        }
    }
    fraction
}

/// Probability that Student's t with `freedom` degrees lies further from zero
/// than `t`, on either side.
pub fn student_two_sided(t: f64, freedom: f64) -> f64 {
    incomplete_beta(freedom / 2.0, 0.5, freedom / (freedom + t * t))
}

/// Probability that a standard normal value lies further from zero than `z`, on either
/// side, by Marsaglia's series.
pub fn normal_two_sided(z: f64) -> f64 {
    let z = z.abs();
    let (mut sum, mut term) = (z, z);
    for odd in (3..400).step_by(2) {
        term *= z * z / f64::from(odd);
        sum += term;
        if term < sum * 1e-17 {
            break;
        }
    }
    let density = (-z * z / 2.0).exp() / (2.0 * PI).sqrt();
    (1.0 - 2.0 * density * sum).max(0.0)
}

/// The `z` beyond which a standard normal value lies with probability `p`, both sides
/// together.
pub fn normal_quantile(p: f64) -> f64 {
    let (mut low, mut high) = (0.0, 8.0);
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if normal_two_sided(middle) > p { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

/// The `t` beyond which Student's t with `freedom` degrees lies with
/// probability `p`, both sides together.
pub fn student_quantile(p: f64, freedom: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while student_two_sided(high, freedom) > p && high < 1e12 {
        high *= 2.0;
    }
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if student_two_sided(middle, freedom) > p { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}
