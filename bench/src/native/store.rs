//! A bucket of a cluster, reached by the native client.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use cairn_client::{Client, ClientError};
use tokio::runtime::Runtime;

use super::session::NativeSession;
use crate::args::TargetArgs;
use crate::target::{Fact, Facts, ObjectSession, ObjectStore};

/// Opens a node's directory and connects its client.
pub trait NativeConnector: Sync {
    /// # Errors
    /// A directory that is no node which may be a client, a cluster that does not answer.
    fn connect(&self, node: &Path) -> Result<NativeTarget>;
}

/// A connected client, with the runtime that it runs on.
pub struct NativeTarget {
    client: Client,
    runtime: Runtime,
    close: Option<Close>,
}

/// Ends what was begun, on the runtime that it was begun on.
type Close = Box<dyn FnOnce(&Runtime) + Send + Sync>;

/// A bucket of the cluster.
pub(crate) struct NativeStore {
    target: NativeTarget,
    address: String,
    bucket: String,
    idle_limit: Duration,
}

impl NativeTarget {
    /// `close` ends what the connector has begun.
    pub fn new(client: Client, runtime: Runtime, close: impl FnOnce(&Runtime) + Send + Sync + 'static) -> Self {
        Self {
            client,
            runtime,
            close: Some(Box::new(close)),
        }
    }
}

impl Drop for NativeTarget {
    fn drop(&mut self) {
        if let Some(close) = self.close.take() {
            close(&self.runtime);
        }
    }
}

impl NativeStore {
    /// # Errors
    /// As the connector's.
    pub(crate) fn new(connector: &dyn NativeConnector, node: &Path, args: &TargetArgs) -> Result<Self> {
        Ok(Self {
            target: connector.connect(node)?,
            address: node.display().to_string(),
            bucket: args.bucket.clone(),
            idle_limit: Duration::from_secs(args.timeout),
        })
    }
}

impl ObjectStore for NativeStore {
    fn prepare(&self, _halt: &AtomicBool) -> Result<Facts> {
        let NativeTarget { client, runtime, .. } = &self.target;
        let found = runtime.block_on(async {
            let limit = self.idle_limit;
            let bucket = async {
                match client.bucket(&self.bucket).await {
                    Err(ClientError::NoSuchBucket) => {
                        client.create_bucket(&self.bucket, "").await?;
                        client.bucket(&self.bucket).await
                    }
                    found => found,
                }
            };
            tokio::time::timeout(limit, bucket).await
        });
        let context = || format!("cannot use the bucket {}", self.bucket);
        let Ok(found) = found else {
            bail!("{}: no answer for {:?}", context(), self.idle_limit);
        };
        let info = found.with_context(context)?;
        let redundancy = match (info.data_shards, info.parity_shards) {
            (1, 0) => "1 copy".to_owned(),
            (1, parity) => format!("{} copies", parity + 1),
            (data, parity) => format!("{data}+{parity}"),
        };
        Ok(Facts {
            kind: "native".to_owned(),
            address: self.address.clone(),
            redundancy: Fact::first(Some(redundancy), None),
            tls: Some("QUIC, TLS 1.3".to_owned()),
            ..Facts::default()
        })
    }

    fn session<'a>(&'a self, _slot: u32, halt: &'a AtomicBool) -> Box<dyn ObjectSession + 'a> {
        let NativeTarget { client, runtime, .. } = &self.target;
        Box::new(NativeSession {
            client: client.clone(),
            runtime: runtime.handle().clone(),
            bucket: &self.bucket,
            idle_limit: self.idle_limit,
            halt,
        })
    }

    fn works_in_background(&self) -> bool {
        true
    }

    fn takes_parts(&self) -> bool {
        false
    }
}
