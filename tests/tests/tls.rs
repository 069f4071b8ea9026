//! The S3 endpoint over TLS: with real clients, with another certificate while it serves, and with those who speak something
//! else.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use cairn_tests::clients::Clients;
use cairn_tests::daemon::field;
use cairn_tests::http::Connection;
use cairn_tests::process::{self, run_any};
use cairn_tests::s3::{Client, Request};
use cairn_tests::server::{Options, Server, credentials};
use cairn_tests::{content, wait};
use cairn_transport::identity::SelfSigned;
use rustix::process::Signal;

const BUCKET: &str = "secured";
const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";

/// How long a change of the files may take to be noticed: they are looked at every ten seconds.
const NOTICED_WITHIN: Duration = Duration::from_secs(60);

fn certificate() -> Result<SelfSigned> {
    Ok(SelfSigned::make(&["127.0.0.1".to_owned(), "localhost".to_owned()])?)
}

fn write(folder: &Path, certificate: &str, key: &str) -> Result<()> {
    fs::write(folder.join(CERTIFICATE), certificate)?;
    fs::write(folder.join(KEY), key)?;
    Ok(())
}

fn options() -> Options {
    let flags = ["--tls-cert", CERTIFICATE, "--tls-key", KEY];
    flags.into_iter().fold(Options::new(1, "1"), Options::argument)
}

/// A server that shows `shown`.
fn server(name: &str, shown: &SelfSigned) -> Result<Server> {
    let mut server = Server::prepare(name, options())?;
    write(server.folder(), &shown.certificate_pem, &shown.key_pem)?;
    server.start_again()?;
    Ok(server)
}

fn client(server: &Server, trusted: &str) -> Result<Client> {
    Ok(Client::new(server.address()?, credentials()).trusting(trusted))
}

#[test]
fn aws_speaks_tls_with_a_certificate_that_it_was_given() -> Result<()> {
    let server = Server::start_with("tls-aws", Options::new(1, "1").argument("--tls-self-signed"))?;
    let endpoint = field(&server.printed(), "endpoint")?;
    ensure!(endpoint.starts_with("https://"), "{endpoint}");
    let bundle = server.data().join("tls/certificate.pem");
    let bundle = bundle.to_str().expect("a path of ours");
    let exports = process::run(&mut server.subcommand("env")?)?.stdout;
    ensure!(
        exports.contains(&format!("AWS_CA_BUNDLE='{bundle}'")) && exports.contains(&endpoint),
        "{exports}"
    );

    let clients = Clients::ready()?;
    let aws = |arguments: &[&str]| {
        let mut command = clients.aws(&server)?;
        command.env("AWS_ENDPOINT_URL_S3", &endpoint).args(arguments);
        anyhow::Ok(command)
    };
    let (success, printed) = run_any(&mut aws(&["s3", "mb", "s3://secured"])?)?;
    ensure!(
        !success && printed.stderr.contains("CERTIFICATE_VERIFY_FAILED"),
        "{printed:?}"
    );
    process::run(&mut aws(&["--ca-bundle", bundle, "s3", "mb", "s3://secured"])?)?;
    let file = server.folder().join("file");
    fs::write(&file, content::bytes(3, 20 << 20))?;
    let (file, back) = (file.to_str().expect("a path of ours"), server.folder().join("back"));
    process::run(&mut aws(&[
        "--ca-bundle",
        bundle,
        "s3",
        "cp",
        file,
        "s3://secured/file",
    ])?)?;
    let mut download = aws(&["--ca-bundle", bundle, "s3", "cp", "s3://secured/file"])?;
    process::run(download.arg(&back))?;
    ensure!(fs::read(file)? == fs::read(back)?, "what was uploaded is downloaded");
    Ok(())
}

#[test]
fn another_certificate_is_taken_up_while_a_client_goes_on() -> Result<()> {
    let (first, second, third) = (certificate()?, certificate()?, certificate()?);
    let server = server("tls-reload", &first)?;
    let mut old = client(&server, &first.certificate_pem)?;
    old.make_bucket(BUCKET)?;
    // Nothing tells the server: it looks by itself, or is asked to.
    for (next, signal) in [(&second, Some(Signal::HUP)), (&third, None)] {
        write(server.folder(), &next.certificate_pem, &next.key_pem)?;
        if let Some(signal) = signal {
            server.signal(signal)?;
        }
        let mut round = 0;
        let mut new = wait::until("the new certificate is shown", NOTICED_WITHIN, || {
            round += 1;
            old.put(BUCKET, "old", format!("round {round}"))?;
            let mut new = client(&server, &next.certificate_pem)?;
            Ok(new.get(BUCKET, "old").is_ok().then_some(new))
        })?;
        old.put(BUCKET, "old", "still here")?;
        ensure!(new.get(BUCKET, "old")? == b"still here", "both are served");
        ensure!(
            client(&server, &first.certificate_pem)?.get(BUCKET, "old").is_err(),
            "the first is shown no more"
        );
    }
    Ok(())
}

#[test]
fn a_bad_pair_is_told_of_and_the_one_before_is_kept() -> Result<()> {
    let (first, second) = (certificate()?, certificate()?);
    let server = server("tls-bad-pair", &first)?;
    client(&server, &first.certificate_pem)?.make_bucket(BUCKET)?;
    let bad = [
        (second.certificate_pem.as_str(), first.key_pem.as_str()),
        ("", &first.key_pem),
        (&second.certificate_pem, "no key"),
    ];
    for (count, (certificate, key)) in bad.into_iter().enumerate() {
        write(server.folder(), certificate, key)?;
        server.signal(Signal::HUP)?;
        wait::until("the log tells what to do", NOTICED_WITHIN, || {
            let told = server.log().matches("put a certificate chain and the key that").count();
            Ok((told > count).then_some(()))
        })?;
        client(&server, &first.certificate_pem)?.put(BUCKET, "key", "value")?;
    }
    write(server.folder(), &second.certificate_pem, &second.key_pem)?;
    server.signal(Signal::HUP)?;
    wait::until("the good pair is shown", NOTICED_WITHIN, || {
        Ok(client(&server, &second.certificate_pem)?.get(BUCKET, "key").ok())
    })?;
    ensure!(
        !server.log().contains(first.key_pem.lines().nth(1).unwrap_or("?")),
        "a key is logged"
    );
    Ok(())
}

#[test]
fn a_bad_pair_at_the_start_is_refused() -> Result<()> {
    let (first, second) = (certificate()?, certificate()?);
    let server = Server::prepare("tls-refused", options())?;
    let (status, said) = server.start_refused()?;
    ensure!(!status.success() && said.contains(CERTIFICATE), "{said}");
    write(server.folder(), &first.certificate_pem, &second.key_pem)?;
    let (status, said) = server.start_refused()?;
    ensure!(!status.success() && said.contains("do not serve together"), "{said}");
    Ok(())
}

#[test]
fn who_speaks_no_tls_is_told_or_cut_off() -> Result<()> {
    let shown = certificate()?;
    let server = server("tls-plain", &shown)?;
    let address = server.address()?;
    let silent = || Connection::open(address);
    let mut waiting = (0..300).map(|_| silent()).collect::<Result<Vec<_>>>()?;

    // More than there are places for handshakes say nothing, and hold up nobody.
    let mut secured = client(&server, &shown.certificate_pem)?;
    secured.make_bucket(BUCKET)?;
    secured.put(BUCKET, "key", "value")?;

    let mut plain = Client::new(address, credentials());
    for request in [
        Request::object("GET", BUCKET, "key"),
        Request::object("PUT", BUCKET, "key").body(content::bytes(1, 30_000)),
    ] {
        let answer = plain.send(&request)?;
        ensure!(answer.verdict() == "400 InvalidRequest", "{}", answer.verdict());
        ensure!(answer.text().contains("https://"), "{}", answer.text());
    }
    let mut garbage = silent()?;
    garbage.send(&[0x16, 3, 1, 0, 5, 9, 9, 9, 9, 9])?;
    // An alert, or nothing: an end in any case.
    wait::until("garbage is cut off", NOTICED_WITHIN, || {
        Ok(garbage.closed().is_ok().then_some(()))
    })?;
    waiting[0].closed()?;
    ensure!(secured.get(BUCKET, "key")? == b"value", "nothing was changed");
    ensure!(
        server.metric("cairn_gateway_failed_handshakes_total")? >= 3.0,
        "failures are counted"
    );
    Ok(())
}
