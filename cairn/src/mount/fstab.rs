//! What mount(8) calls for a line of /etc/fstab of the type `cairn`: this program under the name `mount.cairn`.
//!
//! ```text
//! mount.cairn SOURCE DIR [-sfnv] [-o OPTIONS] [-t TYPE] [-N NAMESPACE]
//! ```

use std::{ffi::OsString, path::Path};

/// The name.
const NAME: &str = "mount.cairn";

/// The arguments of this program that those of the helper mean; themselves where it was not called as one. None where nothing is to be
/// done.
pub(crate) fn arguments(called: impl IntoIterator<Item = OsString>) -> Option<Vec<OsString>> {
    let called: Vec<OsString> = called.into_iter().collect();
    let is_helper = called.first().is_some_and(|program| {
        let name = Path::new(program).file_name();
        name.is_some_and(|name| name == NAME)
    });
    if !is_helper {
        return Some(called);
    }
    let mut meant: Vec<OsString> = ["cairn", "mount", "--background"].map(OsString::from).into();
    let mut rest = called.into_iter().skip(1);
    while let Some(argument) = rest.next() {
        match argument.to_str() {
            Some("-o") => meant.extend(["-o".into(), rest.next().unwrap_or_default()]),
            // Of another kind of mount there is no question here.
            Some("-t" | "-N") => drop(rest.next()),
            Some(flags)
                if flags.len() > 1
                    && flags.starts_with('-')
                    && flags[1..].chars().all(|flag| "sfnv".contains(flag)) =>
            {
                if flags.contains('f') {
                    return None;
                }
            }
            _ => meant.push(argument),
        }
    }
    Some(meant)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(called: &str) -> Option<String> {
        let meant = arguments(called.split(' ').map(OsString::from))?;
        let words: Vec<String> = meant.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        Some(words.join(" "))
    }

    #[test]
    fn a_line_of_fstab_is_a_mount_in_the_background() {
        let called = "/sbin/mount.cairn photos/2026 /mnt/photos -n -o rw,data=/var/lib/cairn/mount";
        let expected = "cairn mount --background photos/2026 /mnt/photos -o rw,data=/var/lib/cairn/mount";
        assert_eq!(meant(called).as_deref(), Some(expected));
        assert_eq!(meant("mount.cairn photos /mnt -fv"), None);
        assert_eq!(meant("/usr/bin/cairn status").as_deref(), Some("/usr/bin/cairn status"));
    }
}
