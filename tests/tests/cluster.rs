//! Nodes of a cluster as their operator meets them: init, tokens, joining, renewing, revoking, with real processes.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use cairn_tests::{
    place, process,
    server::{Options, Server},
    wait,
};

const BOUND: Duration = Duration::from_secs(30);

/// `cairn cluster …` on the data directory `data`.
fn cluster(data: &Path, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(place::cairn_binary()?);
    command.arg("cluster").args(arguments).arg("--data").arg(data);
    Ok(command)
}

fn output(data: &Path, arguments: &[&str]) -> Result<String> {
    Ok(process::run(&mut cluster(data, arguments)?)?.stdout)
}

/// What a command that must fail says.
fn refusal(data: &Path, arguments: &[&str]) -> Result<String> {
    let (succeeded, printed) = process::run_any(&mut cluster(data, arguments)?)?;
    ensure!(!succeeded, "{arguments:?} succeeded:\n{}", printed.stdout);
    Ok(printed.stderr)
}

fn token(server: &Server, arguments: &[&str]) -> Result<String> {
    let arguments = [&["token"], arguments].concat();
    Ok(output(&server.data(), &arguments)?.trim().to_owned())
}

/// A first node whose server runs, and a folder for further nodes.
fn first_node(name: &str) -> Result<(Server, PathBuf)> {
    let mut server = Server::prepare(
        name,
        Options::default().argument("--cluster-listen").argument("127.0.0.1:0"),
    )?;
    fs::create_dir_all(server.data())?;
    let made = output(&server.data(), &["init"])?;
    ensure!(made.contains("node        1"), "{made}");
    server.start_again()?;
    let nodes = server.folder().join("nodes");
    fs::create_dir_all(&nodes)?;
    Ok((server, nodes))
}

#[test]
fn a_node_joins_once_is_greeted_renewed_and_shut_out() -> Result<()> {
    let (server, nodes) = first_node("cluster-join")?;
    let (second, third) = (nodes.join("second"), nodes.join("third"));
    let token = token(&server, &["--roles", "chunkserver,client"])?;
    let joined = output(&second, &["join", &token])?;
    ensure!(
        joined.contains("node        2") && joined.contains("chunkserver,client"),
        "{joined}"
    );
    let greeted = output(&second, &["ping", "--count", "3"])?;
    ensure!(
        greeted.lines().count() == 3 && greeted.contains("node 1: cairn"),
        "{greeted}"
    );
    output(&server.data(), &["ping"])?;
    let told: serde_json::Value = serde_json::from_str(&output(&second, &["node", "--json"])?)?;
    ensure!(
        told["node"] == 2
            && told["roles"] == serde_json::json!(["chunkserver", "client"])
            && told["holds_authority"] == false,
        "{told}"
    );
    let first = output(&server.data(), &["node"])?;
    ensure!(
        first.contains("node        1") && first.contains("held here"),
        "{first}"
    );

    let used = refusal(&third, &["join", &token])?;
    ensure!(used.contains("used"), "{used}");
    let already = refusal(&second, &["join", &token])?;
    ensure!(already.contains("already"), "{already}");

    // Further servers are not run yet; nothing is made where one is refused.
    let mut command = Command::new(place::cairn_binary()?);
    let (succeeded, printed) = process::run_any(command.args(["server", "--data"]).arg(&second))?;
    ensure!(
        !succeeded && printed.stderr.contains("first node"),
        "{}",
        printed.stderr
    );
    ensure!(!second.join("store.toml").exists(), "a refused server has made a store");

    output(&second, &["renew"])?;
    output(&second, &["ping"])?;
    let members = output(&server.data(), &["members"])?;
    ensure!(members.lines().count() == 3, "{members}");

    output(&server.data(), &["revoke", "2"])?;
    wait::until("the running server takes up the revocation", BOUND, || {
        let (succeeded, printed) = process::run_any(&mut cluster(&second, &["ping"])?)?;
        Ok((!succeeded && printed.stderr.contains("revoked")).then_some(()))
    })?;
    let renewing = refusal(&second, &["renew"])?;
    ensure!(renewing.contains("revoked"), "{renewing}");
    let itself = refusal(&server.data(), &["revoke", "1"])?;
    ensure!(itself.contains("this one"), "{itself}");
    server.client()?.make_bucket("still-serving")?;
    Ok(())
}

#[test]
fn tokens_that_do_not_hold_are_refused_with_the_reason() -> Result<()> {
    let (server, nodes) = first_node("cluster-tokens")?;
    let node = nodes.join("node");
    let expired = token(&server, &["--valid", "0s"])?;
    let refused = refusal(&node, &["join", &expired])?;
    ensure!(refused.contains("expired"), "{refused}");

    let good = token(&server, &[])?;
    let cut = refusal(&node, &["join", &good[..good.len() - 3]])?;
    ensure!(cut.contains("token"), "{cut}");
    let rubbish = refusal(&node, &["join", "cairn-join-1.rubbish"])?;
    ensure!(rubbish.contains("token"), "{rubbish}");

    let (other, _) = first_node("cluster-tokens-other")?;
    let address = cluster_address(&other)?;
    let foreign = refusal(&node, &["join", &good, "--address", &address])?;
    ensure!(foreign.contains("certificate"), "{foreign}");

    // After all of that the token still holds, and standard input keeps it off the process list.
    let mut join = cluster(&node, &["join", "-"])?;
    let file = nodes.join("token");
    fs::write(&file, &good)?;
    process::run(join.stdin(fs::File::open(&file)?))?;
    Ok(())
}

fn cluster_address(server: &Server) -> Result<String> {
    let text = fs::read_to_string(server.data().join("server.json"))?;
    let json: serde_json::Value = serde_json::from_str(&text)?;
    Ok(json["cluster"]
        .as_str()
        .context("no address for other nodes")?
        .to_owned())
}

#[test]
fn keys_are_readable_by_their_owner_only() -> Result<()> {
    let (server, nodes) = first_node("cluster-keys")?;
    let node = nodes.join("node");
    output(&node, &["join", &token(&server, &[])?])?;
    let mut secrets = 0;
    for file in files_below(&server.data())?.into_iter().chain(files_below(&node)?) {
        let text = String::from_utf8_lossy(&fs::read(&file)?).into_owned();
        if text.contains("PRIVATE KEY") {
            secrets += 1;
            let mode = fs::metadata(&file)?.permissions().mode() & 0o777;
            ensure!(mode == 0o600, "{} has mode {mode:o}", file.display());
        }
    }
    ensure!(secrets == 3, "{secrets} private keys: the authority's and two nodes'");
    // One that others could have read is not used.
    let key = node.join("cluster/node.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644))?;
    let refused = refusal(&node, &["ping"])?;
    ensure!(refused.contains("chmod 600"), "{refused}");
    Ok(())
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            if !path.ends_with("metadata") && !path.ends_with("devices") {
                found.extend(files_below(&path)?);
            }
        } else if path.is_file() {
            found.push(path);
        }
    }
    Ok(found)
}

#[test]
fn a_store_becomes_a_cluster_and_keeps_its_objects() -> Result<()> {
    let mut server = Server::start_with(
        "cluster-late",
        Options::default().argument("--cluster-listen").argument("127.0.0.1:0"),
    )?;
    let mut client = server.client()?;
    client.make_bucket("before")?;
    client.put("before", "key", "value")?;
    let running = refusal(&server.data(), &["init"])?;
    ensure!(running.contains("in use"), "{running}");
    server.stop()?;
    output(&server.data(), &["init"])?;
    let twice = refusal(&server.data(), &["init"])?;
    ensure!(twice.contains("already"), "{twice}");
    server.start_again()?;
    ensure!(
        server.client()?.get("before", "key")? == b"value",
        "the object is there"
    );
    output(&server.data(), &["ping"])?;
    let metrics = server.admin("/metrics")?.text();
    ensure!(
        metrics.contains("cairn_transport_request_seconds_count{peer=\"1\",kind=\"hello\",side=\"server\"}"),
        "requests of nodes are counted:\n{metrics}"
    );
    Ok(())
}
