//! openraft's own conformance suite over the store.

use std::sync::{Arc, atomic::AtomicU64};

use cairn_common::ids::NodeId;
use openraft::{
    StorageError,
    testing::log::{StoreBuilder, Suite},
};
use tempfile::TempDir;

use crate::{
    raft::{
        CoreMachine,
        applier::{Applier, ApplyProgress},
        tests::Unobserved,
        types::TypeConfig,
    },
    store::{LogStore, SharedCache, StateStore},
};

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, Applier, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Applier), StorageError<TypeConfig>> {
        let directory = tempfile::tempdir().expect("a directory");
        let cache = SharedCache::new(256 << 20);
        // The suite purges what it never applied, so its log is not bound to the state.
        let unbound = Arc::new(AtomicU64::new(u64::MAX));
        let log = LogStore::open(directory.path(), NodeId::new(0), &cache, unbound, Box::new(|_| {}));
        let state = StateStore::open(directory.path(), &cache, Arc::default()).expect("the state opens");
        let progress = Arc::new(ApplyProgress::new(None, u64::MAX, u64::MAX));
        let applier = Applier::new(Arc::new(state), Arc::new(CoreMachine), Arc::new(Unobserved), progress);
        Ok((directory, log.expect("the log opens"), applier))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_passes_openrafts_conformance_suite() {
    Suite::test_all(Builder).await.expect("the store conforms");
}
