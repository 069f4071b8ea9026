//! What the alert rules and the dashboard ask for is what running processes tell, and each alert is explained and tested.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cairn_tests::dev_cluster::DevCluster;
use cairn_tests::http;
use cairn_tests::place;
use cairn_tests::server::{Options, Server};
use cairn_tests::wait;
use serde_json::Value;

/// The leader looks at the cluster each second until it has seen it.
const BOUND: Duration = Duration::from_secs(60);

const CLUSTER: [&str; 8] = [
    "--metadata",
    "1",
    "--chunkservers",
    "3",
    "--gateways",
    "1",
    "--redundancy",
    "2+1",
];

const PARTS: [&str; 3] = ["metadata-1", "chunkserver-1", "gateway-1"];

fn project(path: &str) -> Result<String> {
    let path = place::project().join(path);
    fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}

/// The metrics that a text names.
fn named(text: &str) -> BTreeSet<String> {
    let is_of_name = |c: char| c.is_ascii_lowercase() || c == '_';
    let words = text.split(|c| !is_of_name(c));
    words
        .filter(|word| word.starts_with("cairn_"))
        .map(|word| word.trim_end_matches("_bucket").to_owned())
        .collect()
}

/// The metrics that a process tells, by the names that queries use.
fn told(metrics: &str) -> BTreeSet<String> {
    let types = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types
        .filter_map(|line| line.split_once(' '))
        .map(|(name, kind)| match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        })
        .collect()
}

fn scrape(cluster: &DevCluster, part: &str) -> Result<String> {
    let running = fs::read_to_string(cluster.data().join(part).join("server.json"))?;
    let running: Value = serde_json::from_str(&running)?;
    let admin = running["admin"].as_str().context("a process has an admin address")?;
    let admin = admin.strip_prefix("http://").context("which speaks HTTP")?;
    Ok(http::get(admin, "/metrics")?.success()?.text())
}

#[test]
fn whatever_the_rules_and_the_dashboard_ask_for_is_told() -> Result<()> {
    let rules = project("packaging/monitoring/alerts.yml")?;
    let dashboard = project("packaging/monitoring/dashboard.json")?;
    let mut asked = named(&rules);
    asked.extend(named(&dashboard));
    ensure!(asked.len() > 60, "names are found: {asked:?}");

    let mut cluster = DevCluster::prepare("monitoring")?;
    cluster.start(&CLUSTER)?;
    let mut client = cluster.client(1)?;
    client.make_bucket("watched")?;
    client.put("watched", "key", vec![7; 300_000])?;
    ensure!(client.get("watched", "none").is_err(), "there is no such key");
    wait::until("the leader has looked at the cluster", BOUND, || {
        let metrics = scrape(&cluster, "metadata-1")?;
        Ok(metrics
            .lines()
            .any(|line| line.starts_with("cairn_cluster_device_up{") && line.ends_with(" 1.0"))
            .then_some(()))
    })?;
    let mut known = BTreeSet::new();
    for part in PARTS {
        known.extend(told(&scrape(&cluster, part)?));
    }
    let tls = Server::start_with("monitoring-tls", Options::new(1, "1").argument("--tls-self-signed"))?;
    known.extend(told(&tls.admin("/metrics")?.success()?.text()));
    let missing: Vec<_> = asked.difference(&known).collect();
    ensure!(missing.is_empty(), "no process tells {missing:?}; told are {known:?}");
    Ok(())
}

#[test]
fn each_alert_is_explained_and_tested() -> Result<()> {
    let rules = project("packaging/monitoring/alerts.yml")?;
    let page = project("docs/monitoring.md")?;
    let tests =
        project("packaging/monitoring/tests/alerts.yml")? + &project("packaging/monitoring/tests/alerts-day.yml")?;
    let alerts: Vec<_> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    ensure!(alerts.len() > 20, "alerts are found: {alerts:?}");
    for alert in alerts {
        ensure!(
            page.contains(&format!("**{alert}**")),
            "docs/monitoring.md is silent about {alert}"
        );
        let fires = format!("        alertname: {alert}\n        exp_alerts:");
        ensure!(tests.contains(&fires), "no test lets {alert} fire");
    }
    Ok(())
}
