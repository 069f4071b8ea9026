//! Carries the bytes of one body over a simulated link.
//!
//! It hands pieces over as they are and never copies them. Invariant: pieces arrive in order and the end behind them all;
//! a body that is not told its end is cut; no more than a few pieces are under way, so a slow reader slows its sender.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use tokio::time::Instant;

use super::{Shared, links::Life};
use crate::{Body, BodySender};

/// Pieces of one body between its sender and its receiver: enough that a latency is not paid for each.
const PIECES_UNDER_WAY_MAX: usize = 16;

/// What is under way.
enum Cargo {
    Piece(Bytes),
    End,
    Cut,
}

/// Carries `source` to `sink` until its end, or until a node is gone or the receiver does not want more. That nobody
/// wants more is seen at the next piece.
pub(super) async fn carry(shared: Arc<Shared>, from: Life, to: Life, source: Body, sink: BodySender) {
    tokio::select! {
        biased;
        () = shared.until_either_gone(from, to) => {}
        () = carry_all(&shared, from, to, source, sink) => {}
    }
}

async fn carry_all(shared: &Shared, from: Life, to: Life, mut source: Body, sink: BodySender) {
    let mut under_way: VecDeque<(Instant, Cargo)> = VecDeque::new();
    let mut more = true;
    loop {
        let due = under_way.front().map(|(arrival, _)| *arrival);
        tokio::select! {
            biased;
            () = shared.arrive(due.unwrap_or_else(Instant::now), from.node, to.node), if due.is_some() => {
                match under_way.pop_front().map(|(_, cargo)| cargo) {
                    Some(Cargo::Piece(piece)) => {
                        if sink.send(piece).await.is_err() {
                            return;
                        }
                    }
                    Some(Cargo::End) => return sink.finish(),
                    Some(Cargo::Cut) | None => return,
                }
            }
            piece = source.next(), if more && under_way.len() < PIECES_UNDER_WAY_MAX => {
                let cargo = match piece {
                    Some(Ok(piece)) => Cargo::Piece(piece),
                    Some(Err(_)) => Cargo::Cut,
                    None => Cargo::End,
                };
                let bytes = if let Cargo::Piece(piece) = &cargo { piece.len() } else { 0 };
                more = matches!(cargo, Cargo::Piece(_));
                // Jitter lets none overtake the one before it: the first in the queue is waited for first.
                let arrival = shared.state.lock().arrival(from.node, to.node, bytes);
                under_way.push_back((arrival, cargo));
            }
        }
    }
}
