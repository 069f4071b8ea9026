//! A chunkserver that lies: wrong bytes under hashes that fit them, another shard, another chunk, too little, too much.

use std::sync::Arc;

use bytes::Bytes;
use cairn_common::{
    checksum::{Hash, block_hashes, shard_hash},
    wire::shard::{GetShard, GetShardReply},
};
use cairn_transport::{Body, Response, reply};
use futures::FutureExt;
use prost::Message;

use crate::harness::{Lie, Store, content, read, scheme};

const LEN: usize = 900_001;

fn take(response: Response) -> (GetShardReply, Bytes) {
    let header = GetShardReply::decode(response.header).expect("a reply");
    let pieces = response
        .body
        .collect(usize::MAX)
        .now_or_never()
        .expect("it is at hand")
        .expect("whole");
    (header, Bytes::from(pieces.concat()))
}

fn joined(hashes: &[Hash]) -> Bytes {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

/// Other bytes, with block hashes, and the list of shard hashes too, made to fit them.
fn consistent(get: &GetShard, response: Response, deep: bool) -> Response {
    let (mut header, body) = take(response);
    let other = content(99, body.len());
    let blocks = block_hashes(&other);
    header.block_hashes = joined(&blocks);
    if deep {
        let mut shards: Vec<Hash> = header.shard_hashes.chunks(32).filter_map(Hash::from_slice).collect();
        shards[get.shard_index as usize] = shard_hash(other.len(), &blocks);
        header.shard_hashes = joined(&shards);
    }
    reply(&header, Body::from(Bytes::from(other)))
}

/// The answer that was given for another shard, whatever is asked for.
fn replayed(header: Bytes, body: Bytes) -> Lie {
    Box::new(move |_, _| Response {
        header: header.clone(),
        body: Body::from(body.clone()),
    })
}

/// Lies about shard 0 only, so that the rest suffices.
fn lies() -> [(&'static str, Lie); 6] {
    let only_first = |lie: fn(&GetShard, Response) -> Response| -> Lie {
        Box::new(move |get, response| {
            if get.shard_index == 0 {
                lie(get, response)
            } else {
                response
            }
        })
    };
    [
        (
            "fitting block hashes",
            only_first(|get, response| consistent(get, response, false)),
        ),
        (
            "fitting shard hashes",
            only_first(|get, response| consistent(get, response, true)),
        ),
        (
            "too little",
            only_first(|_, response| {
                let (header, body) = take(response);
                reply(&header, Body::from(body.slice(1..)))
            }),
        ),
        (
            "too much",
            only_first(|_, response| {
                let (header, body) = take(response);
                reply(&header, Body::from(vec![body, Bytes::from_static(b"x")]))
            }),
        ),
        (
            "no hashes",
            only_first(|_, response| {
                let (header, body) = take(response);
                reply(
                    &GetShardReply {
                        block_hashes: Bytes::new(),
                        shard_hashes: Bytes::new(),
                        ..header
                    },
                    Body::from(body),
                )
            }),
        ),
        (
            "another length",
            only_first(|_, response| {
                let (header, body) = take(response);
                reply(
                    &GetShardReply {
                        shard_len: header.shard_len - 1,
                        ..header
                    },
                    Body::from(body),
                )
            }),
        ),
    ]
}

#[tokio::test]
async fn every_lie_is_found_out() {
    let scheme = scheme("4+2");
    let store = Arc::new(Store::new(6, scheme).await);
    let bytes = content(1, LEN);
    let chunk = store.write(scheme, &bytes).await;
    let stranger = store.write(scheme, &content(2, LEN)).await;

    for (name, lie) in lies() {
        *store.meddler.lie.lock() = Some(lie);
        let datapath = store.datapath();
        assert!(
            read(&datapath, &chunk, 0, LEN).await.expect("readable") == bytes,
            "{name}"
        );
        assert_eq!(datapath.metrics().degraded_reads(), 1, "{name}");
    }

    // A whole answer out of place, given for every shard: nothing can be read, and nothing is made up.
    for (name, source, shard) in [("another chunk", &stranger, 0), ("another shard", &chunk, 3)] {
        let (header, body) = recorded(&store, source, shard).await;
        *store.meddler.lie.lock() = Some(replayed(header, body));
        let found = read(&store.datapath(), &chunk, 0, LEN).await;
        assert!(found.is_err(), "{name}");
    }
}

/// The answer of one shard, as it goes over the wire.
async fn recorded(store: &Arc<Store>, chunk: &cairn_common::wire::object::Chunk, shard: u32) -> (Bytes, Bytes) {
    let seen = Arc::new(parking_lot::Mutex::new(None));
    let kept = Arc::clone(&seen);
    *store.meddler.lie.lock() = Some(Box::new(move |get, response| {
        if get.shard_index != shard {
            return response;
        }
        let (header, body) = take(response);
        let header = Bytes::from(header.encode_to_vec());
        *kept.lock() = Some((header.clone(), body.clone()));
        Response {
            header,
            body: Body::from(body),
        }
    }));
    read(&store.datapath(), chunk, 0, LEN).await.expect("readable");
    let answer = seen.lock().take();
    answer.expect("the shard was asked for")
}
