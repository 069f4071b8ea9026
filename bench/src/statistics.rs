//! How sure a ratio is. Samples are of runs, not of operations: operations of one run are not independent of each other, so
//! that only repeated runs tell how much a figure varies. Ratios are compared by their logarithms, with Student's t.

/// 97.5% quantiles of Student's t, by degrees of freedom from 1.
const STUDENT: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

/// For more degrees of freedom.
const NORMAL: f64 = 1.96;

/// One figure over another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ratio {
    /// Of geometric means.
    pub(crate) value: f64,
    /// Where the true ratio is in 95 of 100 cases; absent with fewer than two runs each.
    pub(crate) interval: Option<(f64, f64)>,
}

impl Ratio {
    /// Of runs that were made in pairs, in the same round: what changes from round to round does not count.
    pub(crate) fn paired(pairs: &[(f64, f64)]) -> Option<Self> {
        let logs = pairs.iter().map(|(before, after)| (after / before).ln());
        let logs: Vec<f64> = logs.filter(|log| log.is_finite()).collect();
        if logs.is_empty() {
            return None;
        }
        let (mean, variance) = moments(&logs);
        let spread = variance.map(|variance| {
            let error = (variance / logs.len() as f64).sqrt();
            student(logs.len() as f64 - 1.0) * error
        });
        Some(Self::around(mean, spread))
    }

    /// Of runs that have nothing to do with each other (Welch).
    pub(crate) fn unpaired(before: &[f64], after: &[f64]) -> Option<Self> {
        let logs = |samples: &[f64]| -> Vec<f64> {
            let logs = samples.iter().map(|sample| sample.ln());
            logs.filter(|log| log.is_finite()).collect()
        };
        let (before, after) = (logs(before), logs(after));
        if before.is_empty() || after.is_empty() {
            return None;
        }
        let ((mean_before, variance_before), (mean_after, variance_after)) = (moments(&before), moments(&after));
        let spread = variance_before.zip(variance_after).map(|(one, other)| {
            let (count_one, count_other) = (before.len() as f64, after.len() as f64);
            let (one, other) = (one / count_one, other / count_other);
            let weight = one * one / (count_one - 1.0) + other * other / (count_other - 1.0);
            let freedom = if weight > 0.0 {
                (one + other).powi(2) / weight
            } else {
                1.0
            };
            student(freedom) * (one + other).sqrt()
        });
        Some(Self::around(mean_after - mean_before, spread))
    }

    /// Whether the figures differ beyond what chance explains.
    pub(crate) fn differs(&self) -> bool {
        self.interval.is_some_and(|(low, high)| low > 1.0 || high < 1.0)
    }

    fn around(mean: f64, spread: Option<f64>) -> Self {
        Self {
            value: mean.exp(),
            interval: spread.map(|spread| ((mean - spread).exp(), (mean + spread).exp())),
        }
    }
}

/// Mean of the samples, and half the width of its 95% interval where there are two or more.
pub(crate) fn mean_and_spread(samples: &[f64]) -> (f64, Option<f64>) {
    let (mean, variance) = moments(samples);
    let count = samples.len() as f64;
    (
        mean,
        variance.map(|variance| student(count - 1.0) * (variance / count).sqrt()),
    )
}

/// Mean, and variance where there are two samples or more.
fn moments(samples: &[f64]) -> (f64, Option<f64>) {
    let count = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / count;
    let squares = samples.iter().map(|sample| (sample - mean).powi(2)).sum::<f64>();
    (mean, (samples.len() > 1).then(|| squares / (count - 1.0)))
}

fn student(freedom: f64) -> f64 {
    // Fewer degrees of freedom than there are is the careful side.
    let freedom = freedom.floor().max(1.0) as usize;
    STUDENT.get(freedom - 1).copied().unwrap_or(NORMAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) -> bool {
        (found / expected - 1.0).abs() < 1e-3
    }

    #[test]
    fn pairs_are_compared_round_by_round() {
        // Rounds differ twofold, the ratio hardly.
        let ratio = Ratio::paired(&[(100.0, 110.0), (200.0, 222.0), (50.0, 54.5)]).unwrap();
        let (low, high) = ratio.interval.unwrap();
        assert!(close(ratio.value, 1.1) && low > 1.07 && high < 1.13, "{ratio:?}");
        assert!(ratio.differs());
        let ratio = Ratio::unpaired(&[100.0, 200.0, 50.0], &[110.0, 222.0, 54.5]).unwrap();
        assert!(!ratio.differs() && close(ratio.value, 1.1), "{ratio:?}");
    }

    #[test]
    fn welch_is_met() {
        // Logs 0, 1, 2 and 3, 4, 5: difference 3, standard error sqrt(2/3), four degrees of freedom.
        let exp = |logs: [f64; 3]| logs.map(f64::exp);
        let ratio = Ratio::unpaired(&exp([0.0, 1.0, 2.0]), &exp([3.0, 4.0, 5.0])).unwrap();
        let half = 2.776 * (2.0_f64 / 3.0).sqrt();
        let (low, high) = ratio.interval.unwrap();
        assert!(close(ratio.value, 3.0_f64.exp()) && close(low, (3.0 - half).exp()) && close(high, (3.0 + half).exp()));
    }

    #[test]
    fn one_run_each_is_no_interval() {
        let ratio = Ratio::paired(&[(2.0, 3.0)]).unwrap();
        assert_eq!((ratio.value, ratio.interval, ratio.differs()), (1.5, None, false));
        assert_eq!(Ratio::unpaired(&[2.0], &[3.0, 3.0]).unwrap().interval, None);
        assert_eq!(Ratio::paired(&[]), None);
        assert_eq!(Ratio::unpaired(&[0.0], &[1.0]), None);
    }

    #[test]
    fn a_mean_has_a_spread() {
        let (mean, spread) = mean_and_spread(&[1.0, 2.0, 3.0]);
        assert!(close(mean, 2.0) && close(spread.unwrap(), 4.303 / 3.0_f64.sqrt()));
        assert_eq!(mean_and_spread(&[5.0]), (5.0, None));
    }
}
