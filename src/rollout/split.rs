//! How sure one can be of a traffic split: exact binomial statistics, pure functions.

use serde::Serialize;

/// An interval of probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// The lower end, 0 to 1.
    pub low: f64,
    /// The upper end, 0 to 1.
    pub high: f64,
}

impl Interval {
    /// Whether it holds `p`.
    pub fn contains(&self, p: f64) -> bool {
        self.low <= p && p <= self.high
    }
}

/// What a sample says about a wanted share.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// The wanted share, 0 to 1.
    pub wanted: f64,
    /// The observed share, 0 to 1; 0 of an empty sample.
    pub observed: f64,
    /// The exact 95 % interval of the observed share.
    pub interval: Interval,
    /// How likely a sample at least this far off is, if the split is as wanted.
    pub p_value: f64,
    /// Whether the sample is compatible with the wanted share: a right split is called wrong once in a thousand runs.
    pub matches: bool,
}

/// A right split is called wrong this often. The 95 % interval alone would do it once in twenty runs.
const SIGNIFICANCE: f64 = 0.001;

impl Verdict {
    /// Judges `hits` of `total` against the wanted share. Nothing speaks for a split of which nothing was seen.
    pub fn of(hits: u64, total: u64, wanted: f64) -> Self {
        let p_value = binomial_p_value(hits, total, wanted);
        Verdict {
            wanted,
            observed: if total == 0 {
                0.0
            } else {
                hits as f64 / total as f64
            },
            interval: clopper_pearson(hits, total, 0.95),
            p_value,
            matches: total > 0 && p_value >= SIGNIFICANCE,
        }
    }
}

/// The exact (Clopper–Pearson, 1934) two-sided confidence interval of a proportion: the ends are quantiles of beta
/// distributions. It holds the true share at least as often as `confidence` says, for any share and any `total`.
pub fn clopper_pearson(hits: u64, total: u64, confidence: f64) -> Interval {
    if total == 0 {
        return Interval {
            low: 0.0,
            high: 1.0,
        };
    }
    let tail = (1.0 - confidence) / 2.0;
    let (hits, total) = (hits.min(total) as f64, total as f64);
    Interval {
        low: if hits == 0.0 {
            0.0
        } else {
            beta_quantile(tail, hits, total - hits + 1.0)
        },
        high: if hits == total {
            1.0
        } else {
            beta_quantile(1.0 - tail, hits + 1.0, total - hits)
        },
    }
}

/// The exact two-sided p-value of `hits` of `total` under the share `p`: the probability of all outcomes that are no
/// likelier than the one seen.
pub fn binomial_p_value(hits: u64, total: u64, p: f64) -> f64 {
    let hits = hits.min(total);
    if p <= 0.0 || p >= 1.0 {
        let certain = if p <= 0.0 { 0 } else { total };
        return if hits == certain { 1.0 } else { 0.0 };
    }
    let seen = log_probability(hits, total, p);
    // Rounding must not leave out the outcome that mirrors the one seen.
    let limit = seen + 1e-7;
    let sum: f64 = (0..=total)
        .map(|outcome| log_probability(outcome, total, p))
        .filter(|&outcome| outcome <= limit)
        .map(f64::exp)
        .sum();
    sum.min(1.0)
}

fn log_probability(hits: u64, total: u64, p: f64) -> f64 {
    let (k, n) = (hits as f64, total as f64);
    log_gamma(n + 1.0) - log_gamma(k + 1.0) - log_gamma(n - k + 1.0)
        + k * p.ln()
        + (n - k) * (-p).ln_1p()
}

/// The logarithm of the gamma function for positive `x`: Lanczos' approximation, g = 7, nine terms.
pub(super) fn log_gamma(x: f64) -> f64 {
    const TERMS: [f64; 9] = [
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
    let x = x - 1.0;
    let mut sum = TERMS[0];
    for (index, term) in TERMS.iter().enumerate().skip(1) {
        sum += term / (x + index as f64);
    }
    let t = x + 7.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

/// The regularized incomplete beta function, by Lentz' continued fraction (Numerical Recipes, 6.4).
fn beta_cdf(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front =
        (log_gamma(a + b) - log_gamma(a) - log_gamma(b) + a * x.ln() + b * (-x).ln_1p()).exp();
    // The fraction converges quickly below the mean only.
    if x < (a + 1.0) / (a + b + 2.0) {
        front * fraction(x, a, b) / a
    } else {
        1.0 - front * fraction(1.0 - x, b, a) / b
    }
}

fn fraction(x: f64, a: f64, b: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let safe = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / safe(1.0 - (a + b) * x / (a + 1.0));
    let mut result = d;
    for step in 1..10_000 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / safe(1.0 + even * d);
        c = safe(1.0 + even / c);
        result *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / safe(1.0 + odd * d);
        c = safe(1.0 + odd / c);
        let change = d * c;
        result *= change;
        if (change - 1.0).abs() < 1e-15 {
            break;
        }
    }
    result
}

fn beta_quantile(probability: f64, a: f64, b: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    // Each round halves the interval: sixty reach the last bit.
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if beta_cdf(middle, a, b) < probability {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn intervals_are_the_textbooks() {
        // R's binom.test and SciPy's beta.ppf agree on these.
        let known = [
            (0, 10, 0.0, 0.308_497_107_818_760_7),
            (5, 10, 0.187_086_028_447_398_55, 0.812_913_971_552_601_5),
            (10, 100, 0.049_004_689_221_485_95, 0.176_222_597_740_022_66),
            (
                100,
                1000,
                0.082_105_334_355_580_01,
                0.120_287_936_518_692_63,
            ),
            (0, 1000, 0.0, 0.003_682_083_896_865_671),
            (1000, 1000, 0.996_317_916_103_134_4, 1.0),
            (1, 3, 0.008_403_758_659_612_636, 0.905_700_675_949_753_9),
        ];
        for (hits, total, low, high) in known {
            let interval = clopper_pearson(hits, total, 0.95);
            assert!(
                (interval.low - low).abs() < 1e-9,
                "{hits}/{total}: {interval:?}"
            );
            assert!(
                (interval.high - high).abs() < 1e-9,
                "{hits}/{total}: {interval:?}"
            );
        }
    }

    #[test]
    fn p_values_are_the_textbooks() {
        let known = [
            (100, 1000, 0.1, 1.0),
            (130, 1000, 0.1, 0.002_201_726_144_861_195),
            (70, 1000, 0.1, 0.001_068_694_149_873_916),
            (7, 10, 0.5, 0.343_75),
            (0, 100, 0.1, 3.963_421_631_883_785e-5),
            (1, 1000, 0.0, 0.0),
            (0, 1000, 0.0, 1.0),
        ];
        for (hits, total, p, value) in known {
            let found = binomial_p_value(hits, total, p);
            assert!(
                (found - value).abs() < 1e-9,
                "{hits}/{total} at {p}: {found}"
            );
        }
    }

    #[test]
    fn verdicts() {
        assert!(Verdict::of(100, 1000, 0.1).matches);
        assert!(Verdict::of(119, 1000, 0.1).matches);
        assert!(
            !Verdict::of(333, 1000, 0.1).matches,
            "the split follows pod counts"
        );
        assert!(!Verdict::of(0, 1000, 0.1).matches, "nothing was shifted");
        assert!(
            !Verdict::of(1, 1000, 0.0).matches,
            "one request at weight 0 is one too many"
        );
        assert!(Verdict::of(1000, 1000, 1.0).matches);
        assert!(!Verdict::of(0, 0, 0.0).matches, "nothing was seen");
    }

    proptest! {
        #[test]
        fn an_interval_holds_the_share_it_was_made_of(total in 1u64..5000, part in 0.0f64..=1.0) {
            let hits = (part * total as f64).round() as u64;
            let interval = clopper_pearson(hits, total, 0.95);
            prop_assert!(interval.contains(hits as f64 / total as f64));
            prop_assert!(0.0 <= interval.low && interval.high <= 1.0);
            // More of the same narrows it.
            let more = clopper_pearson(hits * 4, total * 4, 0.95);
            prop_assert!(more.high - more.low < interval.high - interval.low);
        }

        #[test]
        fn interval_and_p_value_mirror(total in 1u64..500, part in 0.0f64..=1.0, p in 0.01f64..0.99) {
            let hits = (part * total as f64).round() as u64;
            let (one, other) = (clopper_pearson(hits, total, 0.95), clopper_pearson(total - hits, total, 0.95));
            prop_assert!((one.low - (1.0 - other.high)).abs() < 1e-9);
            let (left, right) = (binomial_p_value(hits, total, p), binomial_p_value(total - hits, total, 1.0 - p));
            prop_assert!((left - right).abs() < 1e-6, "{left} {right}");
            prop_assert!((0.0..=1.0).contains(&left));
        }
    }
}
