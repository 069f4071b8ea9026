//! Sizes: one number of bytes as people write it, and the sizes that the objects of a run have.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use super::operation::Operation;
use super::random::Random;
use crate::limits::{MAX_DISTRIBUTION_BYTES, MAX_OBJECT_BYTES};

/// A size in bytes, read and shown with a binary unit where one divides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// The sizes of a run's objects.
#[derive(Debug, Clone, PartialEq)]
pub enum Sizes {
    /// All alike.
    Fixed(ByteSize),
    /// Evenly between the two, both included.
    Range(ByteSize, ByteSize),
    /// By weight.
    Distribution(Arc<Distribution>),
}

/// Sizes and how often each occurs.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    name: String,
    /// The weights added up so far, with the least and the greatest size.
    steps: Vec<(f64, ByteSize, ByteSize)>,
}

/// About the sizes of the files of large source trees.
const SOURCE_TREE: &str =
    "12 0-512\n24 512-2KiB\n34 2KiB-8KiB\n20 8KiB-32KiB\n8 32KiB-128KiB\n1.8 128KiB-512KiB\n0.2 512KiB-2MiB";

impl Sizes {
    /// What an operation takes where nothing is said.
    pub(crate) fn usual(operation: Operation) -> Self {
        if operation == Operation::Untar {
            let tree = Distribution::parse("source-tree", SOURCE_TREE).expect("the sizes above are well-formed");
            return Self::Distribution(Arc::new(tree));
        }
        let bytes = match operation {
            Operation::Metadata => 4 << 10,
            operation if operation.is_on_files() => 64 << 20,
            _ => 1 << 20,
        };
        Self::Fixed(ByteSize(bytes))
    }

    /// The size that `random` draws.
    pub(crate) fn draw(&self, random: &mut Random) -> u64 {
        match self {
            Self::Fixed(size) => size.0,
            Self::Range(least, most) => between(*least, *most, random),
            Self::Distribution(distribution) => distribution.draw(random),
        }
    }

    pub(crate) fn largest(&self) -> u64 {
        match self {
            Self::Fixed(size) => size.0,
            Self::Range(_, most) => most.0,
            Self::Distribution(distribution) => distribution.steps.iter().map(|(_, _, most)| most.0).max().unwrap_or(0),
        }
    }

    /// Bytes of an object on average.
    pub(crate) fn mean(&self) -> f64 {
        let middle = |least: ByteSize, most: ByteSize| (least.0 as f64 + most.0 as f64) / 2.0;
        match self {
            Self::Fixed(size) => size.0 as f64,
            Self::Range(least, most) => middle(*least, *most),
            Self::Distribution(distribution) => {
                let mut before = 0.0;
                let mut sum = 0.0;
                for (so_far, least, most) in &distribution.steps {
                    sum += (so_far - before) * middle(*least, *most);
                    before = *so_far;
                }
                sum / before
            }
        }
    }
}

impl Distribution {
    fn draw(&self, random: &mut Random) -> u64 {
        let total = self.steps.last().map_or(0.0, |(so_far, ..)| *so_far);
        let at = random.fraction() * total;
        let step = self.steps.partition_point(|(so_far, ..)| *so_far <= at);
        let (_, least, most) = self.steps[step.min(self.steps.len() - 1)];
        between(least, most, random)
    }

    /// Lines `WEIGHT SIZE` or `WEIGHT LEAST-MOST`; `#` begins a comment.
    fn parse(name: &str, text: &str) -> Result<Self, String> {
        let mut steps: Vec<(f64, ByteSize, ByteSize)> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or("").trim();
            if line.is_empty() {
                continue;
            }
            let wrong = |why: &str| format!("{name}, line {}: {why}", index + 1);
            let (weight, size) = line
                .split_once(char::is_whitespace)
                .ok_or_else(|| wrong("a weight and a size are wanted"))?;
            let weight: f64 = weight.parse().map_err(|_| wrong("the weight is no number"))?;
            if !(weight > 0.0 && weight.is_finite()) {
                return Err(wrong("the weight is not above 0"));
            }
            let (least, most) = ends(size.trim()).map_err(|error| wrong(&error))?;
            let before = steps.last().map_or(0.0, |(so_far, ..)| *so_far);
            steps.push((before + weight, least, most));
        }
        if steps.is_empty() {
            return Err(format!("{name} holds no size"));
        }
        let name = name.to_owned();
        Ok(Self { name, steps })
    }
}

fn between(least: ByteSize, most: ByteSize, random: &mut Random) -> u64 {
    least.0 + random.below(most.0 - least.0 + 1)
}

/// `SIZE`, or `LEAST-MOST`.
fn ends(text: &str) -> Result<(ByteSize, ByteSize), String> {
    let Some((least, most)) = text.split_once('-') else {
        let size = text.parse()?;
        return Ok((size, size));
    };
    let (least, most) = (least.parse()?, most.parse()?);
    if least > most {
        return Err(format!("{least} is more than {most}"));
    }
    Ok((least, most))
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some(file) = text.strip_prefix('@') else {
            let (least, most) = ends(text)?;
            return Ok(if least == most {
                Self::Fixed(least)
            } else {
                Self::Range(least, most)
            });
        };
        let path = Path::new(file);
        let length = path.metadata().map_err(|error| format!("{file}: {error}"))?.len();
        if length > MAX_DISTRIBUTION_BYTES {
            return Err(format!("{file} is longer than a distribution can be"));
        }
        let text = std::fs::read_to_string(path).map_err(|error| format!("{file}: {error}"))?;
        let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy();
        Distribution::parse(&name, &text).map(|distribution| Self::Distribution(Arc::new(distribution)))
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => size.fmt(f),
            Self::Range(least, most) => write!(f, "{least}-{most}"),
            Self::Distribution(distribution) => f.write_str(&distribution.name),
        }
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number
            .parse()
            .map_err(|_| format!("{text:?} does not begin with a number"))?;
        let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "kib" | "k" => 1 << 10,
            "mib" | "m" => 1 << 20,
            "gib" | "g" => 1 << 30,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            other => return Err(format!("{other:?} is not a unit; KiB, MiB, GiB, KB, MB and GB are")),
        };
        match number.checked_mul(factor) {
            Some(bytes) if bytes <= MAX_OBJECT_BYTES => Ok(Self(bytes)),
            _ => Err(format!("an object can have at most {}", Self(MAX_OBJECT_BYTES))),
        }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        match units
            .iter()
            .find(|(shift, _)| self.0 > 0 && self.0.trailing_zeros() >= *shift)
        {
            Some((shift, unit)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}B", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        let cases = [
            ("4KiB", 4096, "4KiB"),
            ("16MiB", 16 << 20, "16MiB"),
            ("1GiB", 1 << 30, "1GiB"),
            ("1536k", 1536 << 10, "1536KiB"),
            ("1MB", 1_000_000, "1000000B"),
            ("4096", 4096, "4KiB"),
            ("0", 0, "0B"),
        ];
        for (text, bytes, shown) in cases {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!(size, ByteSize(bytes), "{text}");
            assert_eq!(size.to_string(), shown, "{text}");
        }
    }

    #[test]
    fn impossible_sizes_are_refused() {
        for text in [
            "",
            "MiB",
            "-1",
            "4 parsecs",
            "99999999999GiB",
            "2MiB-1MiB",
            "1-",
            "@/no/such/file",
        ] {
            assert!(text.parse::<Sizes>().is_err(), "{text}");
        }
    }

    #[test]
    fn ranges_are_drawn_within_their_ends() {
        let sizes: Sizes = "4KiB-8KiB".parse().unwrap();
        let drawn: Vec<u64> = (0..2_000)
            .map(|number| sizes.draw(&mut Random::of(1, number)))
            .collect();
        assert!(drawn.iter().all(|size| (4096..=8192).contains(size)));
        let mean = drawn.iter().sum::<u64>() as f64 / drawn.len() as f64;
        assert!((mean / sizes.mean() - 1.0).abs() < 0.05, "{mean}");
        assert_eq!((sizes.to_string().as_str(), sizes.largest()), ("4KiB-8KiB", 8192));
    }

    #[test]
    fn a_distribution_is_drawn_by_weight() {
        let text = "# sizes\n3 1KiB\n1 1MiB-2MiB # large\n\n";
        let sizes = Sizes::Distribution(Arc::new(Distribution::parse("d", text).unwrap()));
        let large = (0..10_000)
            .filter(|number| sizes.draw(&mut Random::of(1, *number)) >= 1 << 20)
            .count();
        assert!((2_300..2_700).contains(&large), "{large}");
        assert_eq!(sizes.largest(), 2 << 20);
        assert!((sizes.mean() - (0.75 * 1024.0 + 0.25 * 1.5 * f64::from(1 << 20))).abs() < 1.0);
    }

    #[test]
    fn a_wrong_line_of_a_distribution_is_named() {
        for (text, why) in [
            ("1 1KiB\n1KiB", "line 2"),
            ("x 1KiB", "no number"),
            ("0 1KiB", "above 0"),
            ("1 9-8", "more than"),
            ("# nothing", "no size"),
        ] {
            let error = Distribution::parse("d", text).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
