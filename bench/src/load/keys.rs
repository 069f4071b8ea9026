//! Which of the objects an operation takes: in turn, evenly, or a few of them far more often than the rest.

use std::fmt;
use std::str::FromStr;

use super::random::Random;

/// Larger than any number of objects, and prime: multiplying by it scatters ranks over all of them, each to one place.
const SCATTER: u64 = 0xffff_ffff_ffff_ffc5;

/// How keys are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum KeyOrder {
    /// One after the other, again and again.
    Turn,
    /// Each as likely.
    Uniform,
    /// The k-th most popular with a likelihood of 1/k^exponent.
    Zipf(f64),
}

/// Chooses among a number of objects.
#[derive(Debug, Clone)]
pub(crate) enum KeyPicker {
    Turn(u64),
    Uniform(u64),
    Zipf(Zipf),
}

/// The generator of Gray et al., "Quickly Generating Billion-Record Synthetic Databases".
#[derive(Debug, Clone)]
pub(crate) struct Zipf {
    count: u64,
    exponent: f64,
    alpha: f64,
    zeta: f64,
    eta: f64,
}

impl KeyPicker {
    /// `count` is above 0. Zipf adds up a series of that length once.
    pub(crate) fn new(order: KeyOrder, count: u64) -> Self {
        match order {
            KeyOrder::Turn => Self::Turn(count),
            KeyOrder::Uniform => Self::Uniform(count),
            KeyOrder::Zipf(exponent) => Self::Zipf(Zipf::new(count, exponent)),
        }
    }

    /// The place, below the count, that operation `number` takes.
    pub(crate) fn pick(&self, number: u64, random: &mut Random) -> u64 {
        match self {
            Self::Turn(count) => number % count,
            Self::Uniform(count) => random.below(*count),
            Self::Zipf(zipf) => {
                let rank = zipf.rank(random.fraction());
                (u128::from(rank) * u128::from(SCATTER) % u128::from(zipf.count)) as u64
            }
        }
    }
}

impl Zipf {
    fn new(count: u64, exponent: f64) -> Self {
        let zeta_of = |count: u64| (1..=count).map(|rank| (rank as f64).powf(-exponent)).sum::<f64>();
        let zeta = zeta_of(count);
        let eta = (1.0 - (2.0 / count as f64).powf(1.0 - exponent)) / (1.0 - zeta_of(2.min(count)) / zeta);
        let alpha = 1.0 / (1.0 - exponent);
        Self {
            count,
            exponent,
            alpha,
            zeta,
            eta,
        }
    }

    /// The rank, from 0, at `fraction` of all likelihood.
    fn rank(&self, fraction: f64) -> u64 {
        let at = fraction * self.zeta;
        if at < 1.0 || self.count == 1 {
            return 0;
        }
        if at < 1.0 + 0.5_f64.powf(self.exponent) || self.count == 2 {
            return 1;
        }
        let rank = self.count as f64 * (self.eta * fraction - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(self.count - 1)
    }
}

impl FromStr for KeyOrder {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "turn" => Ok(Self::Turn),
            None if text == "uniform" => Ok(Self::Uniform),
            None if text == "zipf" => Ok(Self::Zipf(0.99)),
            Some(("zipf", exponent)) => {
                let exponent: f64 = exponent.parse().map_err(|_| format!("{exponent:?} is no number"))?;
                if exponent > 0.0 && exponent < 1.0 {
                    Ok(Self::Zipf(exponent))
                } else {
                    Err("the exponent of zipf lies between 0 and 1, such as 0.99".to_owned())
                }
            }
            _ => Err("turn, uniform, zipf and zipf:EXPONENT are known".to_owned()),
        }
    }
}

impl fmt::Display for KeyOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Turn => f.write_str("turn"),
            Self::Uniform => f.write_str("uniform"),
            Self::Zipf(exponent) => write!(f, "zipf:{exponent}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(order: KeyOrder, count: u64, draws: u64) -> Vec<u64> {
        let picker = KeyPicker::new(order, count);
        let mut counts = vec![0; count as usize];
        for number in 0..draws {
            counts[picker.pick(number, &mut Random::of(3, number)) as usize] += 1;
        }
        counts
    }

    #[test]
    fn orders_are_read_and_shown() {
        for text in ["turn", "uniform", "zipf:0.99", "zipf:0.5"] {
            assert_eq!(text.parse::<KeyOrder>().unwrap().to_string(), text);
        }
        for text in ["", "zipf:1", "zipf:x", "zipf:-1", "random"] {
            assert!(text.parse::<KeyOrder>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_order_stays_within_the_objects() {
        for order in [
            KeyOrder::Turn,
            KeyOrder::Uniform,
            KeyOrder::Zipf(0.99),
            KeyOrder::Zipf(0.2),
        ] {
            for count in [1, 2, 3, 1000] {
                assert_eq!(counts(order, count, 5_000).iter().sum::<u64>(), 5_000);
            }
        }
    }

    #[test]
    fn zipf_prefers_as_it_says() {
        let mut counts = counts(KeyOrder::Zipf(0.99), 1000, 200_000);
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let zeta: f64 = (1..=1000).map(|rank| f64::from(rank).powf(-0.99)).sum();
        for rank in [1_u32, 2] {
            let expected = 200_000.0 * f64::from(rank).powf(-0.99) / zeta;
            let found = counts[rank as usize - 1] as f64;
            assert!((found / expected - 1.0).abs() < 0.05, "{rank}: {found} {expected}");
        }
        // The half that is taken least gets what its share is.
        let least: u64 = counts[500..].iter().sum();
        let expected: f64 = (501..=1000).map(|rank| f64::from(rank).powf(-0.99)).sum::<f64>() * 200_000.0 / zeta;
        assert!((least as f64 / expected - 1.0).abs() < 0.1, "{least} {expected}");
    }
}
