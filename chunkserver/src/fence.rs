//! What keeps a device from deleting a stray that the map has come to want there since.
//!
//! A shard is a stray by one map, and where it belongs by a later one. Whoever has a copy made raises the fence to its map, and
//! what was judged by an older one is not deleted any more. Invariant: while a stray is being deleted the fence is not raised, so
//! that a copy is looked for either before the fence stands or after the stray is gone. It is not kept on the disk: a request does not
//! outlive the process that it was sent to.

use tokio::sync::{RwLock, RwLockReadGuard};

/// The newest map under which a device was given a copy.
#[derive(Default)]
pub(crate) struct Fence(RwLock<u64>);

impl Fence {
    /// Nothing that was judged by an older map than `epoch` passes from now on.
    pub(crate) async fn raise(&self, epoch: u64) {
        let mut fence = self.0.write().await;
        *fence = epoch.max(*fence);
    }

    /// Lets pass what was judged by the map of `epoch`, for as long as the pass is held.
    pub(crate) async fn pass(&self, epoch: u64) -> Option<RwLockReadGuard<'_, u64>> {
        let fence = self.0.read().await;
        (epoch >= *fence).then_some(fence)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn older_judgements_do_not_pass_and_a_pass_holds_the_fence() {
        let fence = Fence::default();
        let pass = fence.pass(3).await.expect("no fence stands");
        assert!(fence.raise(5).now_or_never().is_none());
        drop(pass);
        fence.raise(5).await;
        fence.raise(4).await;
        assert!(fence.pass(4).await.is_none());
        assert!(fence.pass(5).await.is_some());
    }
}
