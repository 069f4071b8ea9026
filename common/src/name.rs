//! Names that users choose: bucket names and object keys, and how a key falls into path components.
//!
//! A sub-directory's component carries its trailing `/`, so the keys `a` and `a/` are different entries and a walk in
//! component order is exactly S3's key order. Invariant: joining a key's components gives the key back, byte for byte.

use crate::limits::KEY_LEN_MAX;

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a bucket name by the rules that AWS documents.
    #[error(
        "a bucket name has 3 to 63 of a-z, 0-9, '-' and '.', starts and ends with a letter or digit, and is no IP address"
    )]
    Bucket,
    /// A key without a byte.
    #[error("a key has at least one byte")]
    KeyEmpty,
    /// A key over the limit.
    #[error("a key has at most {KEY_LEN_MAX} bytes, this one has {0}")]
    KeyTooLong(usize),
}

/// Checks a bucket name by the rules of general purpose buckets.
pub fn check_bucket_name(name: &str) -> Result<(), NameError> {
    let bytes = name.as_bytes();
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let allowed = bytes
        .iter()
        .all(|byte| alphanumeric(byte) || matches!(byte, b'-' | b'.'));
    let ends = bytes.first().is_some_and(alphanumeric) && bytes.last().is_some_and(alphanumeric);
    let is_address = name.split('.').count() == 4 && name.split('.').all(|part| part.parse::<u8>().is_ok());
    let prefixed = name.starts_with("xn--") || name.starts_with("sthree-");
    let suffixed = name.ends_with("-s3alias") || name.ends_with("--ol-s3");
    let well_formed = (3..=63).contains(&bytes.len()) && allowed && ends && !name.contains("..");
    if well_formed && !is_address && !prefixed && !suffixed {
        Ok(())
    } else {
        Err(NameError::Bucket)
    }
}

/// Checks an object key: any 1 to 1,024 bytes.
pub fn check_key(key: &[u8]) -> Result<(), NameError> {
    match key.len() {
        0 => Err(NameError::KeyEmpty),
        1..=KEY_LEN_MAX => Ok(()),
        length => Err(NameError::KeyTooLong(length)),
    }
}

/// The directory components of `key`, each with its trailing `/`, and its last component (empty for a key that ends in `/`).
pub fn split_key(key: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let mut directories: Vec<&[u8]> = key.split_inclusive(|byte| *byte == b'/').collect();
    match directories.pop_if(|last| !last.ends_with(b"/")) {
        Some(last) => (directories, last),
        None => (directories, b""),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_split_into_components() {
        let split = |key: &'static str| {
            let (directories, last) = split_key(key.as_bytes());
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (directories.into_iter().map(text).collect::<Vec<_>>(), text(last))
        };
        assert_eq!(split("a"), (vec![], "a".to_owned()));
        assert_eq!(split("a/"), (vec!["a/".to_owned()], String::new()));
        assert_eq!(split("a/b"), (vec!["a/".to_owned()], "b".to_owned()));
        assert_eq!(split("a//b"), (vec!["a/".to_owned(), "/".to_owned()], "b".to_owned()));
        assert_eq!(split("/a"), (vec!["/".to_owned()], "a".to_owned()));
    }

    proptest! {
        #[test]
        fn component_order_is_key_order(left in "[a/+. ]{1,12}", right in "[a/+. ]{1,12}") {
            let components = |key: &str| {
                let (mut all, last) = split_key(key.as_bytes());
                all.push(last);
                all.into_iter().map(<[u8]>::to_vec).collect::<Vec<_>>()
            };
            prop_assert_eq!(components(&left).cmp(&components(&right)), left.as_bytes().cmp(right.as_bytes()));
            prop_assert_eq!(components(&left).concat(), left.as_bytes());
        }
    }

    #[test]
    fn bucket_names_follow_the_documented_rules() {
        for name in ["abc", "my-bucket", "a.b.c", "0x0", "1.2.3"] {
            assert_eq!(check_bucket_name(name), Ok(()), "{name}");
        }
        for name in [
            "ab",
            "Abc",
            "a_b",
            "-ab",
            "ab-",
            "a..b",
            "192.168.1.1",
            "xn--abc",
            "abc-s3alias",
            "é--",
        ] {
            assert_eq!(check_bucket_name(name), Err(NameError::Bucket), "{name}");
        }
        assert_eq!(check_bucket_name(&"a".repeat(64)), Err(NameError::Bucket));
    }
}
