//! The native client for `cairn bench --native`: opened from a node's directory, as the gateway opens it.

use std::path::Path;

use anyhow::Context as _;
use cairn_bench::{NativeConnector, NativeTarget};
use cairn_client::Client;
use cairn_common::{limits, wire::role::Role};
use tokio::runtime::Runtime;

use crate::{
    cluster::{ClusterDir, ClusterNode, Contacts},
    data_dir::DataDir,
    metrics::Metrics,
};

/// Opens nodes for the benchmark.
pub(crate) struct Connector;

impl NativeConnector for Connector {
    fn connect(&self, node: &Path) -> anyhow::Result<NativeTarget> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("starting the runtime")?;
        let root = std::path::absolute(node).context("the node's directory")?;
        // Two processes must not be one node.
        let data = DataDir::open(&root)?;
        let (client, node) = runtime.block_on(open(data.root()))?;
        let closing = client.clone();
        Ok(NativeTarget::new(client, runtime, move |runtime: &Runtime| {
            runtime.block_on(async {
                // A session that could not be ended runs out by itself.
                let _ended = closing.close().await;
                node.close().await;
            });
            drop(data);
        }))
    }
}

async fn open(root: &Path) -> anyhow::Result<(Client, ClusterNode)> {
    let mut metrics = Metrics::new();
    let node = ClusterNode::open_as(root, metrics.registry(), Role::Client).await?;
    let contacts = Contacts::of(&ClusterDir::of(root))?;
    let client = node
        .client(
            &contacts,
            limits::CHUNK_BUDGET_BYTES,
            cairn_datapath::Metrics::default(),
            false,
        )
        .await?;
    Ok((client, node))
}
