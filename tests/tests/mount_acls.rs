//! POSIX access control lists on a mount, set and read by the programs that people set and read them with. Needs root and /dev/fuse.

use std::fs;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use cairn_tests::mount::{BUCKET, Mounted, Store};
use cairn_tests::process::run;
use rustix::fs::removexattr;

/// Somebody whom no account of the machine stands for.
const SOMEBODY: u32 = 61_001;
const ANOTHER: u32 = 61_002;
const GROUP: u32 = 61_100;

fn store_and_mount(name: &str) -> Result<(Store, Mounted)> {
    let store = Store::start(name)?;
    let mounted = store.mount("mnt", "allow_other")?;
    Ok((store, mounted))
}

/// A command within a mount, whose folders other users cannot reach by its path.
fn within(mounted: &Mounted, program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(mounted.path("."));
    command
}

/// The same by another user, of these groups beside his own.
fn by(user: u32, groups: &[u32], mounted: &Mounted, arguments: &[&str]) -> Command {
    let mut command = within(mounted, "setpriv", &[]);
    let id = user.to_string();
    command.args(["--reuid", &id, "--regid", &id]);
    if groups.is_empty() {
        command.arg("--clear-groups");
    } else {
        let groups: Vec<String> = groups.iter().map(u32::to_string).collect();
        command.args(["--groups", &groups.join(",")]);
    }
    command.args(arguments);
    command
}

fn may(user: u32, groups: &[u32], mounted: &Mounted, arguments: &[&str]) -> Result<bool> {
    Ok(by(user, groups, mounted, arguments).output()?.status.success())
}

/// What getfacl tells of a file, a word for each entry.
fn list_of(mounted: &Mounted, path: &str) -> Result<String> {
    let told = run(&mut within(
        mounted,
        "getfacl",
        &["--numeric", "--omit-header", "--no-effective", path],
    ))?;
    Ok(told.stdout.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn mode_of(path: &Path) -> Result<u32> {
    Ok(fs::metadata(path)?.permissions().mode() & 0o7777)
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

#[test]
fn a_list_lets_in_whom_it_names_and_follows_chmod() -> Result<()> {
    let (store, mounted) = store_and_mount("acl-access")?;
    let other = store.mount("other", "allow_other")?;
    let file = mounted.path("file");
    fs::write(&file, "secret")?;
    set_mode(&file, 0o600)?;
    let read = ["cat", "file"];
    ensure!(!may(SOMEBODY, &[], &mounted, &read)?, "before a list");

    let entry = format!("u:{SOMEBODY}:r,g:{GROUP}:rw");
    run(&mut within(&mounted, "setfacl", &["-m", &entry, "file"]))?;
    let list = format!("user::rw- user:{SOMEBODY}:r-- group::--- group:{GROUP}:rw- mask::rw- other::---");
    for mount in [&mounted, &other] {
        ensure!(list_of(mount, "file")? == list, "{}", list_of(mount, "file")?);
        ensure!(mode_of(&mount.path("file"))? == 0o660, "the mode shows the mask");
        ensure!(may(SOMEBODY, &[], mount, &read)?, "one who is named");
        ensure!(
            !may(SOMEBODY, &[], mount, &["sh", "-c", "echo >> file"])?,
            "to read only"
        );
        ensure!(!may(ANOTHER, &[], mount, &read)?, "one who is not");
        ensure!(
            may(ANOTHER, &[GROUP], mount, &["sh", "-c", "echo >> file"])?,
            "a group that is named"
        );
    }
    ensure!(
        store.client()?.get(BUCKET, "file")?.starts_with(b"secret"),
        "S3 reads by its own rights"
    );

    // chmod sets the mask, on whichever mount.
    set_mode(&other.path("file"), 0o600)?;
    ensure!(list_of(&mounted, "file")?.contains("mask::---"), "after chmod");
    ensure!(!may(SOMEBODY, &[], &mounted, &read)?, "masked");
    set_mode(&file, 0o640)?;
    ensure!(may(SOMEBODY, &[], &other, &read)?, "unmasked again");

    run(&mut within(&mounted, "setfacl", &["-b", "file"]))?;
    ensure!(
        list_of(&other, "file")? == "user::rw- group::--- other::---",
        "{}",
        list_of(&other, "file")?
    );
    ensure!(mode_of(&file)? == 0o600, "without a list");
    ensure!(!may(SOMEBODY, &[], &mounted, &read)?, "without a list");
    // To remove what is not there is no error, as on other file systems.
    removexattr(&file, "system.posix_acl_access")?;
    run(&mut within(&mounted, "setfacl", &["-k", "."]))?;
    Ok(())
}

#[test]
fn what_is_made_gets_the_list_of_its_directory() -> Result<()> {
    let (_store, mounted) = store_and_mount("acl-default")?;
    fs::create_dir(mounted.path("plain"))?;
    fs::create_dir(mounted.path("shared"))?;
    let entry = format!("u:{SOMEBODY}:rwX");
    run(&mut within(&mounted, "setfacl", &["-d", "-m", &entry, "shared"]))?;
    let make = "umask 027; mkdir $0/d; echo > $0/f; mkfifo $0/p; ln -s f $0/l; mkdir $0/d/e";
    for directory in ["plain", "shared"] {
        run(&mut within(&mounted, "sh", &["-c", make, directory]))?;
    }
    let private = mounted.path("shared/d/private");
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(private)?;
    let mode = |path: &str| mode_of(&mounted.path(path));
    ensure!(
        mode("plain/d")? == 0o750 && mode("plain/f")? == 0o640 && mode("plain/p")? == 0o640,
        "umask"
    );

    // Where there is a default list umask has no part.
    let access = format!("user::rwx user:{SOMEBODY}:rwx group::r-x mask::rwx other::r-x");
    let default = access
        .split(' ')
        .map(|entry| format!("default:{entry}"))
        .collect::<Vec<_>>()
        .join(" ");
    for directory in ["shared/d", "shared/d/e"] {
        let list = list_of(&mounted, directory)?;
        ensure!(list == format!("{access} {default}"), "{directory}: {list}");
        ensure!(mode(directory)? == 0o775, "{directory}");
    }
    for file in ["shared/f", "shared/p"] {
        let list = list_of(&mounted, file)?;
        let expected = format!("user::rw- user:{SOMEBODY}:rwx group::r-x mask::rw- other::r--");
        ensure!(list == expected, "{file}: {list}");
        ensure!(mode(file)? == 0o664, "{file}");
    }
    ensure!(
        list_of(&mounted, "shared/d/private")?.contains("mask::---"),
        "what asks for less"
    );
    let write = [
        "sh",
        "-c",
        "echo more >> shared/f && echo > shared/d/n && rm shared/d/n",
    ];
    ensure!(may(SOMEBODY, &[], &mounted, &write)?, "one who is named");
    ensure!(
        !may(ANOTHER, &[], &mounted, &["sh", "-c", "echo > shared/d/n"])?,
        "one who is not"
    );

    Ok(())
}

#[test]
fn programs_that_copy_take_lists_along() -> Result<()> {
    let store = Store::start("acl-copies")?;
    // So that directories are read with attributes.
    let mounted = store.mount("mnt", "allow_other,cache=1")?;
    fs::create_dir(mounted.path("shared"))?;
    let entry = format!("u:{SOMEBODY}:rwX");
    run(&mut within(
        &mounted,
        "setfacl",
        &["-m", &entry, "-m", &format!("d:{entry}"), "shared"],
    ))?;
    run(&mut within(
        &mounted,
        "sh",
        &["-c", "mkdir shared/d; echo > shared/f; mkfifo shared/d/p"],
    ))?;
    run(&mut within(&mounted, "cp", &["-a", "shared", "copy"]))?;
    run(&mut within(&mounted, "rsync", &["-aA", "shared/", "synced"]))?;
    run(&mut within(
        &mounted,
        "sh",
        &[
            "-c",
            "tar --acls -cf - shared | tar --acls -xf - --one-top-level=tarred",
        ],
    ))?;
    for copy in ["copy", "synced", "tarred/shared"] {
        for file in ["", "/d", "/d/p", "/f"] {
            let (list, original) = (
                list_of(&mounted, &format!("{copy}{file}"))?,
                list_of(&mounted, &format!("shared{file}"))?,
            );
            ensure!(list == original, "{copy}{file}: {list} instead of {original}");
        }
    }
    Ok(())
}

#[test]
fn numbers_in_lists_are_mapped_and_setgid_ends_where_chmod_ends_it() -> Result<()> {
    let (store, mounted) = store_and_mount("acl-owners")?;
    let mapped = store.mount(
        "mapped",
        &format!("allow_other,map_uid={SOMEBODY}:7000,map_gid={GROUP}:7001"),
    )?;
    fs::write(mapped.path("file"), "")?;
    let entry = format!("u:{SOMEBODY}:r,g:{GROUP}:w,u:7:x");
    run(&mut within(&mapped, "setfacl", &["-m", &entry, "file"]))?;
    let (here, stored) = (list_of(&mapped, "file")?, list_of(&mounted, "file")?);
    ensure!(
        here.contains(&format!("user:{SOMEBODY}:r--")) && here.contains(&format!("group:{GROUP}:-w-")),
        "{here}"
    );
    ensure!(
        stored.contains("user:7000:r--") && stored.contains("group:7001:-w-"),
        "{stored}"
    );
    ensure!(
        here.contains("user:7:--x") && stored.contains("user:7:--x"),
        "{here}, {stored}"
    );
    ensure!(
        !within(&mapped, "setfacl", &["-m", "u:7000:r", "file"])
            .status()?
            .success(),
        "the store's number"
    );

    for (groups, kept) in [(&[][..], false), (&[GROUP][..], true)] {
        let file = mounted.path("setgid");
        fs::write(&file, "")?;
        chown(&file, Some(SOMEBODY), Some(GROUP))?;
        set_mode(&file, 0o2770)?;
        let set = format!("u:{ANOTHER}:r");
        run(&mut by(SOMEBODY, groups, &mounted, &["setfacl", "-m", &set, "setgid"]))?;
        ensure!((mode_of(&file)? & 0o2000 != 0) == kept, "of groups {groups:?}");
        fs::remove_file(&file)?;
    }
    Ok(())
}
