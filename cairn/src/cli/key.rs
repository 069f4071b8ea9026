//! The command line of `cairn key`.

use std::{collections::BTreeMap, str::FromStr};

use cairn_common::wire::account::Rights;
use clap::{Args, Subcommand};

use super::DataArgs;

/// What can be done about access keys, on the directory of a running store or of a node that is one of the cluster's metadata
/// servers.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Makes a key and prints it with its secret, which is shown this once.
    Create(CreateKeyArgs),
    /// Lists the keys.
    List(KeyListArgs),
    /// Shows a key and what it may do.
    Show(ShowKeyArgs),
    /// Gives a key rights in buckets, beside those that it has.
    Allow(AllowArgs),
    /// Takes rights in buckets from a key.
    Deny(DenyArgs),
    /// Deletes a key: gateways refuse it within 5 s.
    #[command(alias = "revoke")]
    Delete(KeyArgs),
}

#[derive(Args, Clone, Debug)]
pub(crate) struct CreateKeyArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Name of the key: 1 to 64 of letters, digits and `+=,.@_-`.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Rights in a bucket: read, write or owner, several with commas, or all; may be repeated. Without any the key may do
    /// nothing yet.
    #[arg(long, value_name = "BUCKET=RIGHTS")]
    pub(crate) allow: Vec<BucketRights>,
    /// Lets the key make buckets, in which it then has all rights.
    #[arg(long)]
    pub(crate) create_buckets: bool,
    /// Lets the key do everything, in every bucket.
    #[arg(long, conflicts_with = "allow")]
    pub(crate) admin: bool,
    /// Prints JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct KeyListArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Prints JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct KeyArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// The key's name, or its access key id.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ShowKeyArgs {
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    /// Prints JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct AllowArgs {
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    /// Rights in a bucket: read, write or owner, several with commas, or all.
    #[arg(value_name = "BUCKET=RIGHTS", required = true)]
    pub(crate) rights: Vec<BucketRights>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct DenyArgs {
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    /// A bucket, or rights in it as `allow` takes them; a bucket alone stands for all.
    #[arg(value_name = "BUCKET[=RIGHTS]", required = true, value_parser = parse_denied)]
    pub(crate) rights: Vec<BucketRights>,
}

/// Rights in one bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BucketRights {
    pub(crate) bucket: String,
    pub(crate) rights: Rights,
}

const ALL: Rights = Rights {
    read: true,
    write: true,
    owner: true,
};

impl BucketRights {
    /// By bucket; what is named for one several times comes together.
    pub(crate) fn gathered(all: &[Self]) -> BTreeMap<&str, Rights> {
        let mut gathered: BTreeMap<&str, Rights> = BTreeMap::new();
        for one in all {
            let rights = gathered.entry(&one.bucket).or_default();
            *rights = Rights {
                read: rights.read || one.rights.read,
                write: rights.write || one.rights.write,
                owner: rights.owner || one.rights.owner,
            };
        }
        gathered
    }
}

impl FromStr for BucketRights {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "BUCKET=RIGHTS, where RIGHTS are read, write or owner, several with commas, or all".to_owned();
        let (bucket, names) = text.split_once('=').ok_or_else(wrong)?;
        if bucket.is_empty() {
            return Err(wrong());
        }
        let mut rights = Rights::default();
        for name in names.split(',') {
            match name {
                "read" => rights.read = true,
                "write" => rights.write = true,
                "owner" => rights.owner = true,
                "all" => rights = ALL,
                _ => return Err(wrong()),
            }
        }
        Ok(Self {
            bucket: bucket.to_owned(),
            rights,
        })
    }
}

fn parse_denied(text: &str) -> Result<BucketRights, String> {
    if text.contains('=') {
        return text.parse();
    }
    Ok(BucketRights {
        bucket: text.to_owned(),
        rights: ALL,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_named_with_their_bucket() {
        let rights = |read, write, owner| Rights { read, write, owner };
        for (text, expected) in [
            ("b=read", rights(true, false, false)),
            ("b=write,read", rights(true, true, false)),
            ("b=owner", rights(false, false, true)),
            ("b=all", ALL),
        ] {
            let parsed: BucketRights = text.parse().expect(text);
            assert_eq!((parsed.bucket.as_str(), parsed.rights), ("b", expected), "{text}");
        }
        for text in ["", "b", "b=", "=read", "b=read,", "b=delete", "b=Read"] {
            assert!(text.parse::<BucketRights>().is_err(), "{text}");
        }
        assert_eq!(parse_denied("b").expect("a bucket").rights, ALL);
        assert_eq!(
            parse_denied("b=read").expect("one right").rights,
            rights(true, false, false)
        );
    }

    #[test]
    fn what_is_named_several_times_comes_together() {
        let all: Vec<BucketRights> = ["b=read", "a=read", "b=write"]
            .map(|text| text.parse().expect("rights"))
            .into();
        let gathered = BucketRights::gathered(&all);
        assert_eq!(gathered.len(), 2);
        assert!(gathered["b"].read && gathered["b"].write && !gathered["b"].owner && !gathered["a"].write);
    }
}
