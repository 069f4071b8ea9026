//! The command line: flags, their parsing and their defaults. Decides nothing about the run itself.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::limits::{MAX_CONCURRENCY, MAX_OBJECT_BYTES};

/// Loads an S3 endpoint in a closed loop and checks every byte that comes back.
#[derive(Debug, Clone, clap::Args)]
pub struct BenchArgs {
    /// Where the server listens, as http://HOST:PORT (no TLS).
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL_S3")]
    pub endpoint: String,

    /// Access key id.
    #[arg(long, value_name = "ID", env = "AWS_ACCESS_KEY_ID", hide_env_values = true)]
    pub access_key: String,

    /// Secret access key; better given by the environment, where other users cannot read it.
    #[arg(long, value_name = "KEY", env = "AWS_SECRET_ACCESS_KEY", hide_env_values = true)]
    pub secret_key: SecretKey,

    /// Region that requests are signed for.
    #[arg(long, value_name = "REGION", env = "AWS_REGION", default_value = "us-east-1")]
    pub region: String,

    /// Bucket to work in; created where missing, and left in place.
    #[arg(long, value_name = "NAME", default_value = "cairn-bench")]
    pub bucket: String,

    /// What to measure. `get` first writes the objects it will read; `put-get` measures both.
    #[arg(long, value_enum, default_value_t = Operation::PutGet)]
    pub op: Operation,

    /// Size of each object: a number of bytes, or with KiB, MiB, GiB (powers of 1024), KB, MB, GB (powers of 1000).
    #[arg(long, value_name = "SIZE", default_value = "1MiB")]
    pub size: ByteSize,

    /// Requests in flight; each has its own thread and connection.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=MAX_CONCURRENCY as i64))]
    pub concurrency: u32,

    /// Length of each measured phase; 10 seconds where neither this nor --count is given.
    #[arg(long, value_name = "SECS", conflicts_with = "count", value_parser = clap::value_parser!(u64).range(1..))]
    pub duration: Option<u64>,

    /// Requests in each measured phase, instead of a duration.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,

    /// Objects that `get` reads in turn; by default about 1 GiB of them, at least one per slot, at most 4 GiB.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub objects: Option<u64>,

    /// Put before every key.
    #[arg(long, value_name = "PREFIX", default_value = "bench/")]
    pub prefix: String,

    /// Determines keys and content; by default new each run, so that objects of an earlier run cannot pass for this
    /// one's.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Process of the server on this machine, whose CPU time and memory are reported; may be repeated.
    #[arg(long = "server-pid", value_name = "PID")]
    pub server_pids: Vec<u32>,

    /// Name in the BENCH lines, instead of one made from operation, size and concurrency.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// Leave the objects in place.
    #[arg(long)]
    pub keep: bool,

    /// Do not compare what is read with what was written.
    #[arg(long)]
    pub no_verify: bool,

    /// Sign the SHA-256 of each payload (costs client CPU); otherwise payloads are sent unsigned.
    #[arg(long)]
    pub sign_payload: bool,

    /// Longest wait for a connection, and for the server to take or give a byte.
    #[arg(long, value_name = "SECS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,

    /// Also write the results to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// What a run measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Operation {
    /// Write distinct objects.
    Put,
    /// Read objects that were written beforehand.
    Get,
    /// Write, then read what was written.
    PutGet,
}

/// A size in bytes, read and shown with a binary unit where one divides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize(pub u64);

/// A secret that does not show in debug output.
#[derive(Clone)]
pub struct SecretKey(String);

impl SecretKey {
    /// The secret itself, for signing only.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

impl FromStr for SecretKey {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
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
            _ => Err(format!(
                "an object can have at most {} in one PUT",
                Self(MAX_OBJECT_BYTES)
            )),
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
        for text in ["", "MiB", "-1", "4 parsecs", "6GiB", "99999999999GiB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_secret_does_not_show() {
        let key: SecretKey = "hunter2".parse().unwrap();
        assert!(!format!("{key:?}").contains("hunter2"));
    }
}
