//! What a package installs: manual pages and completions that the program makes, and the package itself where there is dpkg.

use std::fs;
use std::process::Command;

use anyhow::{Result, ensure};
use cairn_tests::place;
use cairn_tests::process::run;

#[test]
fn pages_that_units_refer_to_and_completions_are_made() -> Result<()> {
    let folder = place::scratch("pages")?;
    run(Command::new(place::cairn_binary()?).arg("man").arg(folder.path()))?;
    let mut units = 0;
    for unit in fs::read_dir(place::project().join("packaging/systemd"))? {
        let text = fs::read_to_string(unit?.path())?;
        let pages = text.lines().filter_map(|line| line.strip_prefix("Documentation=man:"));
        for page in pages {
            let page = page.replace("(1)", ".1");
            ensure!(folder.path().join(&page).is_file(), "{page} is not made");
            units += 1;
        }
    }
    ensure!(units == 5, "each of five units has a page, not {units}");
    for (shell, holds) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef cairn"),
        ("fish", "complete -c cairn"),
    ] {
        let script = run(Command::new(place::cairn_binary()?).args(["completions", shell]))?.stdout;
        ensure!(
            script.contains(holds) && script.contains("feature-level"),
            "{shell}: {script}"
        );
    }
    Ok(())
}

#[test]
fn a_package_holds_the_program_its_units_and_its_pages() -> Result<()> {
    let has = |command: &str| Command::new(command).arg("--version").output().is_ok();
    if !has("dpkg-deb") || !has("dpkg-shlibdeps") {
        return Ok(());
    }
    let folder = place::scratch("package")?;
    let made = run(Command::new(place::project().join("scripts/package"))
        .arg(place::cairn_binary()?)
        .arg(folder.path())
        .arg("9.8.7"))?;
    let package = made.stdout.trim();
    ensure!(package.contains("/cairn_9.8.7_"), "{package}");
    let listed = run(Command::new("dpkg-deb").args(["--contents", package]))?.stdout;
    for file in [
        "./usr/bin/cairn",
        "./usr/sbin/mount.cairn -> ../bin/cairn",
        "./usr/lib/systemd/system/cairn-metadata.service",
        "./usr/lib/systemd/system/cairn-mount@.service",
        "./usr/lib/sysusers.d/cairn.conf",
        "./usr/share/man/man1/cairn-mount.1.gz",
        "./usr/share/cairn/monitoring/alerts.yml",
        "./usr/share/bash-completion/completions/cairn",
    ] {
        let is_there = |line: &str| line.ends_with(file) && line.contains("root/root");
        ensure!(listed.lines().any(is_there), "{file} is not in\n{listed}");
    }
    Ok(())
}
