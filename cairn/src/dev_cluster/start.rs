//! How a cluster comes about, and how it is started again: metadata first, then chunkservers, the first cluster map, gateways.
//!
//! Invariant: every step looks whether it was done before, so a start that was cut short is completed by the next; every wait has a
//! deadline and says what it waited for.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::{
    cluster::Cluster,
    names::{Kind, PartName},
    program::words,
    report::tell,
};
use crate::cluster::ClusterDir;

/// How long a command of an operator may take.
const COMMAND_DEADLINE: Duration = Duration::from_secs(60);

/// How long the processes may take to find each other.
const AGREEMENT_DEADLINE: Duration = Duration::from_secs(90);

/// How often it is looked whether they have.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// The node that makes the cluster and lets the others in.
const FIRST: PartName = PartName {
    kind: Kind::Metadata,
    number: 1,
};

impl Cluster {
    /// Starts everything.
    pub(super) async fn start(&mut self) -> anyhow::Result<()> {
        self.start_metadata().await.context("starting the metadata service")?;
        self.start_chunkservers().await.context("starting the chunkservers")?;
        let gateways = self.of_kind(Kind::Gateway);
        self.join_missing(&gateways).await.context("starting the gateways")?;
        self.start_parts(&gateways).await.context("starting the gateways")
    }

    async fn start_metadata(&mut self) -> anyhow::Result<()> {
        let first = self.part(FIRST)?.root.clone();
        if !ClusterDir::of(&first).exists() {
            fs::create_dir_all(&first).with_context(|| format!("making {}", first.display()))?;
            self.operate(&["cluster", "init"], "").await?;
        }
        let others: Vec<_> = self
            .of_kind(Kind::Metadata)
            .into_iter()
            .filter(|name| *name != FIRST)
            .collect();
        // Those of before at once: it may take a majority to go on.
        let (known, new): (Vec<_>, Vec<_>) = others.iter().partition(|name| self.has_joined(**name));
        let known: Vec<_> = [FIRST].into_iter().chain(known).collect();
        self.start_parts(&known).await?;
        self.join_missing(&new).await?;
        self.start_parts(&new).await?;
        let group = self
            .await_state("metadata", "a leader is elected", |group| group["leader"] != 0)
            .await?;
        for name in others {
            let node = self.node(name)?;
            let is_voter = |member: &Value| member["node"] == node && member["role"] == "voter";
            if group["members"]
                .as_array()
                .is_some_and(|members| members.iter().any(is_voter))
            {
                continue;
            }
            let address = self.shape.cluster_address(name).to_string();
            self.operate(&["metadata", "add", &node.to_string(), &address], "")
                .await?;
            tell(format_args!("{name} is a voter"));
        }
        Ok(())
    }

    async fn start_chunkservers(&mut self) -> anyhow::Result<()> {
        let chunkservers = self.of_kind(Kind::Chunkserver);
        self.join_missing(&chunkservers).await?;
        self.start_parts(&chunkservers).await?;
        let count = chunkservers.len();
        let all_up = |status: &Value| servers(status).filter(|server| server["up"] == true).count() == count;
        let status = self
            .await_state("cluster", "all chunkservers have told of themselves", all_up)
            .await?;
        if status["epoch"] == 0 {
            let all_devices = |status: &Value| servers(status).flat_map(devices).all(|device| device["up"] == true);
            self.await_state("cluster", "all devices are up", all_devices).await?;
            let redundancy = self.shape.redundancy.clone();
            self.operate(&["cluster", "apply", "--redundancy", &redundancy], "")
                .await?;
            tell("the first cluster map is in force");
            return Ok(());
        }
        for device in servers(&status)
            .flat_map(devices)
            .filter(|device| device["up"] == false)
        {
            tell(format_args!("device {} is down: {}", device["id"], device["reason"]));
        }
        Ok(())
    }

    fn has_joined(&self, name: PartName) -> bool {
        self.parts
            .get(&name)
            .is_some_and(|part| ClusterDir::of(&part.root).exists())
    }

    fn node(&mut self, name: PartName) -> anyhow::Result<u64> {
        Ok(ClusterDir::of(&self.part(name)?.root).identity()?.peer().node.value())
    }

    /// Makes the directories of nodes out of those that are none yet.
    async fn join_missing(&mut self, names: &[PartName]) -> anyhow::Result<()> {
        for name in names {
            if self.has_joined(*name) {
                continue;
            }
            let address = self.shape.cluster_address(FIRST).to_string();
            let make = ["cluster", "token", "--roles", name.kind.role(), "--address", &address];
            let token = self.operate(&make, "").await?;
            let data = self.part(*name)?.root.clone();
            let join = words([&"cluster", &"join", &"--data", &data, &"-"]);
            self.program.run(&join, &token, COMMAND_DEADLINE).await?;
            tell(format_args!("{name} has joined"));
        }
        Ok(())
    }

    /// `cairn …` on the directory of the first node.
    async fn operate(&mut self, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        let data = self.part(FIRST)?.root.clone();
        let mut words: Vec<_> = arguments.iter().map(Into::into).collect();
        words.extend(["--data".into(), data.into()]);
        self.program.run(&words, input, COMMAND_DEADLINE).await
    }

    /// Waits until `cairn metadata status` or `cairn cluster status` tells what it should.
    async fn await_state(
        &mut self,
        subcommand: &str,
        what: &str,
        holds: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        let begun = Instant::now();
        loop {
            let told = self.operate(&[subcommand, "status", "--json"], "").await;
            let last = match told.and_then(|text| Ok(serde_json::from_str(&text)?)) {
                Ok(status) if holds(&status) => return Ok(status),
                Ok(status) => format!("`cairn {subcommand} status` told last: {status}"),
                Err(error) => format!("{error:#}"),
            };
            if begun.elapsed() > AGREEMENT_DEADLINE {
                let log = self.part(FIRST)?.log_end();
                bail!("waited {AGREEMENT_DEADLINE:?} in vain until {what}: {last}\n{log}");
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}

fn servers(status: &Value) -> impl Iterator<Item = &Value> {
    status["servers"].as_array().into_iter().flatten()
}

fn devices(server: &Value) -> impl Iterator<Item = &Value> {
    server["devices"].as_array().into_iter().flatten()
}
