//! The server as its operator meets it: first start, credentials, `env`, `status`, configuration, signals, admin address.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cairn_tests::daemon::field;
use cairn_tests::s3::{Client, Request};
use cairn_tests::server::{self, ACCESS_KEY, Options, SECRET_KEY, Server};
use cairn_tests::sigv4::Credentials;
use cairn_tests::{content, process, wait};
use rustix::process::Signal;
use serde_json::Value;

const BOUND: Duration = Duration::from_secs(30);

/// The credentials that the server printed at its last start.
fn printed_credentials(server: &Server) -> Result<Credentials> {
    let printed = server.printed();
    Ok(Credentials {
        access_key: field(&printed, "access key")?,
        secret_key: field(&printed, "secret key")?,
        ..server::credentials()
    })
}

fn assert_works(address: &str, credentials: Credentials, bucket: &str) -> Result<()> {
    let mut client = Client::new(address, credentials);
    client.make_bucket(bucket)?;
    client.put(bucket, "key", "value")?;
    ensure!(client.get(bucket, "key")? == b"value", "what was put is read");
    Ok(())
}

#[test]
fn the_first_start_makes_credentials_that_later_starts_reuse() -> Result<()> {
    let mut server = Server::start_with("server-first", Options::bare())?;
    let first = printed_credentials(&server)?;
    ensure!(
        first.access_key.len() >= 16 && first.secret_key.len() >= 32,
        "{first:?} is too short"
    );
    assert_works(server.address()?, first.clone(), "first")?;
    ensure!(
        server.printed().contains("aws "),
        "a ready aws command is printed:\n{}",
        server.printed()
    );
    for file in files_containing(&server.data(), &first.secret_key)? {
        let mode = fs::metadata(&file)?.permissions().mode() & 0o777;
        ensure!(
            mode == 0o600,
            "{} holds the secret and has mode {mode:o}",
            file.display()
        );
    }

    server.stop()?;
    server.start_again()?;
    let again = printed_credentials(&server)?;
    ensure!(
        again.access_key == first.access_key && again.secret_key == first.secret_key,
        "other credentials"
    );
    assert_works(server.address()?, first, "again")
}

/// The files right in `folder` that hold the text; at least one must.
fn files_containing(folder: &Path, text: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() && String::from_utf8_lossy(&fs::read(&path)?).contains(text) {
            found.push(path);
        }
    }
    ensure!(!found.is_empty(), "no file in {} holds the secret", folder.display());
    Ok(found)
}

#[test]
fn secrets_are_not_logged() -> Result<()> {
    let server = Server::start_with("server-secrets", Options::bare().environment("CAIRN_LOG", "debug"))?;
    let credentials = printed_credentials(&server)?;
    assert_works(server.address()?, credentials.clone(), "bucket")?;
    ensure!(
        !server.log().contains(&credentials.secret_key),
        "the log holds the secret key"
    );
    Ok(())
}

#[test]
fn credentials_of_the_environment_are_taken() -> Result<()> {
    let server = Server::start("server-environment")?;
    let printed = printed_credentials(&server)?;
    ensure!(printed.access_key == ACCESS_KEY, "{printed:?}");
    assert_works(server.address()?, server::credentials(), "bucket")
}

#[test]
fn env_prints_exports_that_a_shell_takes() -> Result<()> {
    let server = Server::start("server-env")?;
    let exports = process::run(&mut server.subcommand("env")?)?.stdout;
    let script = format!(
        "set -eu\n{exports}\nprintf '%s\\n' \"$AWS_ACCESS_KEY_ID\" \"$AWS_SECRET_ACCESS_KEY\" \"$AWS_REGION\" \
         \"$AWS_ENDPOINT_URL_S3\""
    );
    let shown = process::run(Command::new("sh").args(["-c", &script]).env_clear())?.stdout;
    let expected = [
        ACCESS_KEY,
        SECRET_KEY,
        server::REGION,
        &format!("http://{}", server.address()?),
    ];
    assert_eq!(shown.lines().collect::<Vec<_>>(), expected);
    Ok(())
}

#[test]
fn status_tells_health_devices_and_space() -> Result<()> {
    let mut server = Server::start("server-status")?;
    assert_works(server.address()?, server::credentials(), "bucket")?;
    let text = process::run(&mut server.subcommand("status")?)?.stdout.to_lowercase();
    ensure!(text.contains("4+2"), "the redundancy is told:\n{text}");
    ensure!(
        text.contains("failure domain"),
        "six folders of one disk are told to be one failure domain:\n{text}"
    );

    let status = status_json(&server)?;
    let devices = status
        .get("devices")
        .and_then(Value::as_array)
        .context("a list of devices")?;
    assert_eq!(devices.len(), 6, "{status:#}");

    server.stop()?;
    fs::rename(server.device(1), server.folder().join("away"))?;
    server.start_again()?;
    let text = process::run(&mut server.subcommand("status")?)?.stdout.to_lowercase();
    ensure!(
        text.contains("down"),
        "a device that is gone is told to be down:\n{text}"
    );
    Ok(())
}

fn status_json(server: &Server) -> Result<Value> {
    let printed = process::run(server.subcommand("status")?.arg("--json"))?.stdout;
    serde_json::from_str(&printed).with_context(|| format!("the status is no JSON:\n{printed}"))
}

#[test]
fn status_of_a_stopped_server_says_so() -> Result<()> {
    let mut server = Server::start("server-stopped")?;
    server.stop()?;
    let (success, printed) = process::run_any(&mut server.subcommand("status")?)?;
    let text = format!("{}{}", printed.stdout, printed.stderr).to_lowercase();
    ensure!(!success, "a status that is not healthy ends with a failure");
    ensure!(text.contains("not running") || text.contains("stopped"), "{text}");
    Ok(())
}

#[test]
fn folders_of_one_disk_are_told_to_be_one_failure_domain() -> Result<()> {
    let server = Server::start("server-domains")?;
    let told = format!("{}{}", server.printed(), server.log()).to_lowercase();
    ensure!(told.contains("failure domain"), "{told}");
    let single = Server::start_with("server-single", Options::bare())?;
    assert_works(single.address()?, printed_credentials(&single)?, "bucket")
}

#[test]
fn server_json_tells_where_it_runs() -> Result<()> {
    let server = Server::start("server-json")?;
    let json: Value = serde_json::from_slice(&fs::read(server.data().join("server.json"))?)?;
    assert_eq!(json["pid"], server.pid()?);
    assert_eq!(json["endpoint"], format!("http://{}", server.address()?));
    Ok(())
}

#[test]
fn a_second_process_on_the_same_data_is_refused() -> Result<()> {
    let server = Server::start("server-second")?;
    let (status, printed) = server.start_refused()?;
    ensure!(!status.success(), "it ended with {status}");
    ensure!(printed.contains("in use"), "{printed}");
    assert_works(server.address()?, server::credentials(), "still-works")
}

#[test]
fn a_device_of_another_store_is_refused() -> Result<()> {
    let mut first = Server::start("server-stranger-a")?;
    let mut second = Server::start("server-stranger-b")?;
    first.stop()?;
    second.stop()?;
    fs::remove_dir_all(first.device(0))?;
    process::run(Command::new("cp").arg("-r").args([second.device(0), first.device(0)]))?;
    // Either the whole start is refused, or the stranger is not used.
    let started = first.start_again();
    let told = first.log().to_lowercase();
    ensure!(
        started.is_err() || told.contains("another") || told.contains("foreign"),
        "{told}"
    );
    Ok(())
}

#[test]
fn sigterm_drains_an_upload_in_progress() -> Result<()> {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Server::start("server-drain")?;
        let mut client = server.client()?;
        client.make_bucket("drain")?;
        let body = content::bytes(1, 24 << 20);
        let mut upload = client.begin(&Request::object("PUT", "drain", "key"), body.len() as u64)?;
        upload.send(&body[..12 << 20])?;
        server.signal(signal)?;
        let address = server.address()?.to_owned();
        wait::until("no new connections are taken", BOUND, || {
            let mut late = Client::new(&address, server::credentials());
            let answer = late.send(&Request::object("GET", "drain", "key"));
            Ok(answer.map_or(true, |response| response.status == 503).then_some(()))
        })?;
        upload.send(&body[12 << 20..])?;
        upload.finish()?.success().context("the upload that was in progress")?;
        let status = server.ended()?;
        ensure!(status.success(), "it ended with {status}");

        server.start_again()?;
        ensure!(
            server.client()?.get("drain", "key")? == body,
            "the drained upload is stored"
        );
    }
    Ok(())
}

#[test]
fn unknown_configuration_keys_are_errors() -> Result<()> {
    let file = "[oops]\nunheard_of = 1\n";
    let server = Server::prepare("server-config", Options::default().argument("--config=cairn.toml"))?;
    fs::write(server.folder().join("cairn.toml"), file)?;
    let (status, printed) = server.start_refused()?;
    ensure!(!status.success(), "it ended with {status}");
    ensure!(printed.contains("oops"), "the message names the key:\n{printed}");
    Ok(())
}

#[test]
fn flags_that_make_no_sense_are_errors() -> Result<()> {
    for (devices, redundancy, hint) in [(6, "0+2", "0+2"), (6, "4+2+1", "4+2+1"), (3, "4+2", "device")] {
        let server = Server::prepare("server-flags", Options::new(devices, redundancy))?;
        let (status, printed) = server.start_refused()?;
        ensure!(
            !status.success(),
            "{redundancy} on {devices} devices: it ended with {status}"
        );
        ensure!(
            printed.contains(hint),
            "{redundancy} on {devices} devices: the message does not help:\n{printed}"
        );
    }
    Ok(())
}

#[test]
fn health_and_metrics_are_served() -> Result<()> {
    let server = Server::start("server-admin")?;
    assert_works(server.address()?, server::credentials(), "bucket")?;
    assert_eq!(server.admin("/health/live")?.status, 200);
    assert_eq!(server.admin("/health/ready")?.status, 200);
    assert_eq!(server.admin("/nothing/here")?.status, 404);
    let metrics = server.admin("/metrics")?.success()?;
    let kind = metrics.header("content-type").unwrap_or_default().to_owned();
    ensure!(
        kind.starts_with("application/openmetrics-text") || kind.starts_with("text/plain"),
        "{kind}"
    );
    let text = metrics.text();
    ensure!(
        text.lines().any(|line| line.starts_with("# TYPE cairn_")),
        "no metric of ours:\n{text}"
    );
    Ok(())
}

#[test]
fn logs_are_json_when_asked_for() -> Result<()> {
    let server = Server::start_with("server-logs", Options::default().argument("--log-format=json"))?;
    let log = server.log();
    ensure!(log.lines().count() > 0, "something is logged at start");
    for line in log.lines() {
        let value: Value = serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
        ensure!(value.get("level").is_some(), "{line}");
    }
    Ok(())
}
