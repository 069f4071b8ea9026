//! Repair: any shard is made again out of enough others, and a server stores it in place of what is lost or damaged.

use std::{sync::Arc, time::Duration};

use cairn_common::{
    cluster_map::ClusterMap,
    wire::{
        kind::RequestKind,
        map::MapMessage,
        object::Chunk,
        shard::{RepairShard, RepairShardReply},
    },
};
use cairn_datapath::{Datapath, Metrics, ReadError};
use cairn_transport::{Body, InProcess, NoAddresses, call};

use crate::harness::{SERVER, Spot, Store, content, read, scheme};

const LEN: usize = 700_003;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_shard_is_made_again_while_as_many_as_can_be_borne_are_gone() {
    for text in ["3", "2+1", "4+2", "8+3"] {
        let scheme = scheme(text);
        let store = Store::new(scheme.width() as u32, scheme).await;
        let chunk = store.write(scheme, &content(7, LEN)).await;
        let row = store.row(&chunk);
        for index in 0..scheme.width() {
            store.set_down([]);
            let whole = rebuild(&store.datapath(), &store, &chunk, index)
                .await
                .expect("all are there");
            let gone = (0..scheme.tolerance()).map(|other| row[(index + other) % row.len()]);
            store.set_down(gone);
            let made = rebuild(&store.datapath(), &store, &chunk, index)
                .await
                .expect("enough are there");
            assert!(made.bytes == whole.bytes, "{text}, shard {index}");
            assert_eq!(
                (made.block_hashes, made.shard_hashes),
                (whole.block_hashes, whole.shard_hashes)
            );
        }
        store.set_down(row.iter().take(scheme.tolerance() + 1).copied());
        let too_few = rebuild(&store.datapath(), &store, &chunk, 0).await;
        assert!(
            matches!(too_few, Err(ReadError::TooFewShards { .. })),
            "{text}: {too_few:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_replaces_a_lost_and_a_damaged_shard() {
    let scheme = scheme("4+2");
    let store = Store::new(6, scheme).await;
    let bytes = content(8, LEN);
    let chunk = store.write(scheme, &bytes).await;
    let transport =
        Arc::new(InProcess::new().with_service(SERVER, cairn_chunkserver::ChunkServer::KINDS, store.service(), 64));
    store.start_repairs(Arc::clone(&transport));
    store.forget(&chunk, 1).await;
    store.flip(&chunk, 4, Spot::LastByte);
    for index in [1, 4] {
        let message = RepairShard {
            chunk: Some(Chunk {
                explicit_devices: store.row(&chunk),
                missing: 1 << index,
                ..chunk.clone()
            }),
            shard_index: index,
            device: store.row(&chunk)[index as usize],
            incarnation: 1,
            holders: MapMessage::from(&*store.map()).devices,
            servers: Vec::new(),
            epoch: 1,
            rate_mib: 0,
        };
        let patience = Duration::from_secs(20);
        let kind = RequestKind::RepairShard;
        let made = call::<RepairShardReply>(&*transport, SERVER, kind, &message, Body::empty(), patience).await;
        let (reply, _) = made.expect("made");
        assert_eq!(reply.read_bytes, 4 * scheme.shard_len(LEN) as u64);
    }
    store.stop_repairs();
    let datapath = store.datapath();
    assert!(read(&datapath, &chunk, 0, LEN).await.expect("readable") == bytes);
    assert_eq!(datapath.metrics().degraded_reads(), 0);
    // Now that all six are there again, any two can go.
    let row = store.row(&chunk);
    store.set_down([row[0], row[2]]);
    assert!(read(&store.datapath(), &chunk, 0, LEN).await.expect("readable") == bytes);
}

async fn rebuild(
    datapath: &Datapath,
    store: &Store,
    chunk: &Chunk,
    index: usize,
) -> Result<cairn_datapath::WholeShard, ReadError> {
    let map: Arc<ClusterMap> = store.map();
    datapath.rebuild_shard(&map, chunk, index).await
}

impl Store {
    fn start_repairs(&self, transport: Arc<InProcess>) {
        let server = self.meddler.server().expect("it was started");
        server.start_repairs(transport, Arc::new(NoAddresses), Metrics::default());
    }

    fn stop_repairs(&self) {
        self.meddler.server().expect("it was started").stop_repairs();
    }
}
