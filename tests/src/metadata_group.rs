//! `cairn metadata` as real processes that are one group, until their value is dropped.
//!
//! Invariant: each test has loopback addresses of its own, so that a member comes back under the address it had.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::daemon::{Daemon, Output, field};
use crate::process::{run, run_any};
use crate::{place, wait};

const ELECTION_BOUND: Duration = Duration::from_secs(30);
const PORT: u16 = 9002;

/// Groups that this process has made.
static GROUPS: AtomicUsize = AtomicUsize::new(0);

/// Members of a group, in the order in which they were added.
#[derive(Debug)]
pub struct MetadataGroup {
    // Fields drop in this order: the processes before their folder.
    members: Vec<Member>,
    folder: TempDir,
    /// What every member is started with.
    arguments: Vec<String>,
    /// Its number among those of this process.
    number: usize,
}

/// One member.
#[derive(Debug)]
pub struct Member {
    process: Option<Daemon>,
    arguments: Vec<String>,
    data: PathBuf,
    output: Output,
    /// `host:port` for other nodes.
    address: String,
    /// Its node id.
    pub node: u64,
}

/// An address of this process's own for the member of that index of its group of that number.
fn address_of(group: usize, index: usize) -> String {
    let pid = process::id();
    let last = group % 16 * 16 + index % 15 + 1;
    format!("127.{}.{}.{last}:{PORT}", 1 + (pid >> 8) % 254, pid % 256)
}

impl MetadataGroup {
    /// A group of `count` voters.
    ///
    /// # Errors
    /// It does not come about.
    pub fn start(name: &str, count: usize) -> Result<Self> {
        Self::start_with(name, count, &[])
    }

    /// A group of `count` voters, each started with `arguments`.
    ///
    /// # Errors
    /// It does not come about.
    pub fn start_with(name: &str, count: usize, arguments: &[&str]) -> Result<Self> {
        let mut group = Self {
            members: Vec::new(),
            folder: place::scratch(name)?,
            number: GROUPS.fetch_add(1, Ordering::Relaxed),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        };
        let first = group.prepare(1)?;
        fs::create_dir_all(&first.data)?;
        run(&mut cairn(&["cluster", "init"], &first.data)?)?;
        group.members.push(first);
        group.members[0].start()?;
        for _ in 1..count {
            group.join_member()?;
            group.add_last()?;
        }
        group.leader()?;
        Ok(group)
    }

    /// Starts a further node that waits to be added. Gives its index.
    ///
    /// # Errors
    /// It cannot join the cluster, or does not start.
    pub fn join_member(&mut self) -> Result<usize> {
        let index = self.members.len();
        let mut member = self.prepare(index as u64 + 1)?;
        member.node = self.join(&member.data, "metadata")?;
        member.start()?;
        self.members.push(member);
        Ok(index)
    }

    /// Adds the newest node to the group, as a voter.
    ///
    /// # Errors
    /// The group refuses.
    pub fn add_last(&self) -> Result<()> {
        let last = self.members.last().context("a member")?;
        let node = last.node.to_string();
        self.command(&["add", &node, &last.address])?;
        Ok(())
    }

    /// Makes `data` the directory of a node of these roles. Gives its id.
    ///
    /// # Errors
    /// The first node, which must run, does not let it in.
    pub fn join(&self, data: &Path, roles: &str) -> Result<u64> {
        let first = &self.members[0].data;
        let token =
            run(cairn(&["cluster", "token", "--roles", roles], first)?.args(["--address", &self.members[0].address]))?;
        let joined = run(cairn(&["cluster", "join"], data)?.arg(token.stdout.trim()))?;
        Ok(field(&joined.stdout, "node")?.parse()?)
    }

    /// The member of that number, counted from one: the id of its node, as long as no others have joined.
    fn prepare(&self, node: u64) -> Result<Member> {
        let name = format!("node{node}");
        Ok(Member {
            process: None,
            arguments: self.arguments.clone(),
            data: self.folder.path().join(&name),
            output: Output::in_folder(self.folder.path(), &name),
            address: address_of(self.number, usize::try_from(node)? - 1),
            node,
        })
    }

    /// The member of that index.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn member(&mut self, index: usize) -> &mut Member {
        &mut self.members[index]
    }

    /// All members, those that do not run among them.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// `cairn metadata …` as an operator of any member that runs.
    ///
    /// # Errors
    /// It ends with a failure.
    pub fn command(&self, arguments: &[&str]) -> Result<String> {
        let member = self.members.iter().find(|member| member.process.is_some());
        let member = member.context("a member runs")?;
        Ok(run(&mut cairn(&[&["metadata"], arguments].concat(), &member.data)?)?.stdout)
    }

    /// What `cairn metadata …` says that must fail, as an operator of the first node.
    ///
    /// # Errors
    /// It succeeds.
    pub fn refusal(&self, arguments: &[&str]) -> Result<String> {
        let mut command = cairn(&[&["metadata"], arguments].concat(), &self.members[0].data)?;
        let (succeeded, printed) = run_any(&mut command)?;
        ensure!(!succeeded, "{arguments:?} succeeded:\n{}", printed.stdout);
        Ok(printed.stderr)
    }

    /// What a server says that must not start on `data`.
    ///
    /// # Errors
    /// It runs.
    pub fn start_refused(&self, data: &Path) -> Result<String> {
        let mut command = cairn(&["metadata"], data)?;
        command.args(["--cluster-listen", "127.0.0.1:0", "--cluster-address", "127.0.0.1:9002"]);
        command.args(["--admin", "127.0.0.1:0"]);
        let (status, said) = Output::in_folder(self.folder.path(), "refused").start_refused(&mut command)?;
        ensure!(!status.success(), "it ended as if all were well: {said}");
        Ok(said)
    }

    /// The index of the member that leads.
    ///
    /// # Errors
    /// None does, for long.
    pub fn leader(&self) -> Result<usize> {
        wait::until("the group has a leader", ELECTION_BOUND, || Ok(self.try_leader()))
    }

    fn try_leader(&self) -> Option<usize> {
        let running = self.members.iter().filter(|member| member.process.is_some());
        for member in running {
            let Ok(status) = member.status() else {
                continue;
            };
            let (leader, node) = (status["leader"].as_u64(), member.node);
            // Only the one that says so of itself knows for certain.
            if leader == Some(node) {
                return self.members.iter().position(|member| member.node == node);
            }
        }
        None
    }

    /// Waits until the member of that index may answer.
    ///
    /// # Errors
    /// It does not come to that.
    pub fn ready(&self, index: usize) -> Result<()> {
        wait::until("the member is ready", ELECTION_BOUND, || {
            let ready = self.report(index).is_ok_and(|report| report["ready"] == true);
            Ok(ready.then_some(()))
        })
    }

    /// Waits until all members that run are ready and have applied the same.
    ///
    /// # Errors
    /// They do not catch up.
    pub fn settle(&self) -> Result<()> {
        wait::until("all members have caught up", ELECTION_BOUND, || {
            let running = self.members.iter().filter(|member| member.process.is_some());
            let mut reports = Vec::new();
            for member in running {
                let Ok(status) = member.status() else {
                    return Ok(None);
                };
                match own_report(&status, member.node) {
                    Some(own) if own["ready"] == true => {
                        reports.push((own["applied_index"].clone(), own["chained_hash"].clone()));
                    }
                    _ => return Ok(None),
                }
            }
            let same = reports.windows(2).all(|pair| pair[0] == pair[1]);
            Ok((same && !reports.is_empty()).then_some(()))
        })
    }

    /// The members' nodes and addresses, for a client.
    #[must_use]
    pub fn addresses(&self) -> Vec<(u64, String)> {
        let address = |member: &Member| (member.node, member.address.clone());
        self.members.iter().map(address).collect()
    }

    /// What the member of that index says of itself.
    ///
    /// # Errors
    /// It does not answer.
    pub fn report(&self, index: usize) -> Result<Value> {
        let member = &self.members[index];
        let status = member.status()?;
        own_report(&status, member.node)
            .with_context(|| format!("node {} tells nothing of itself: {status}", member.node))
    }

    /// A folder for what the test itself needs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Member {
    /// Starts it on the data that is there.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn start(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "the member runs already");
        let mut command = cairn(&["metadata"], &self.data)?;
        command.args(["--cluster-listen", &self.address, "--admin", "127.0.0.1:0"]);
        command.args(&self.arguments);
        self.process = Some(self.output.start(&mut command)?);
        Ok(())
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Asks it to stop, and waits for it to end well.
    ///
    /// # Errors
    /// It ends with a failure, or not at all.
    pub fn stop(&mut self) -> Result<()> {
        self.process.take().context("the member runs")?.stop()
    }

    /// # Errors
    /// It does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.as_ref().context("the member runs")?.signal(signal)
    }

    /// Its process id.
    ///
    /// # Errors
    /// It does not run.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.process.as_ref().context("the member runs")?.pid())
    }

    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// All that it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.output.log()
    }

    /// What it says of the group.
    fn status(&self) -> Result<Value> {
        let printed = run(&mut cairn(&["metadata", "status", "--json", "--local"], &self.data)?)?;
        Ok(serde_json::from_str(&printed.stdout)?)
    }
}

/// What a member says of itself in its status.
fn own_report(status: &Value, node: u64) -> Option<Value> {
    let members = status["members"].as_array()?;
    let own = members.iter().find(|member| member["node"].as_u64() == Some(node))?;
    own["report"].is_object().then(|| own["report"].clone())
}

/// `cairn …` on a data directory.
fn cairn(arguments: &[&str], data: &Path) -> Result<Command> {
    let mut command = Command::new(place::cairn_binary()?);
    command.args(arguments).arg("--data").arg(data);
    Ok(command)
}
