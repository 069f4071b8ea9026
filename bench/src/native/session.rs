//! One slot's operations by the native client. Every wait has a deadline, and ends where the phase is ended.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cairn_client::{Client, ClientError};
use cairn_common::wire::command::WriteCondition;
use cairn_common::wire::object::ObjectAttributes;
use cairn_common::wire::query::ListQuery;
use futures::StreamExt as _;
use tokio::runtime::Handle;

use crate::content::{Dataset, Object};
use crate::failure::{ErrorKind, OpError};
use crate::limits::{MIN_BYTES_PER_SECOND, SOCKET_TICK};
use crate::reading::Reading;
use crate::target::{ObjectSession, Page};

/// The entity tag of objects that this tool writes by this way; nobody compares it.
const ETAG: &str = "cairn-bench";

/// How often a copy is tried whose source is overwritten each time.
const COPY_ATTEMPTS_MAX: u32 = 16;

/// A slot's hold on the cluster; the client and its connections are shared by all.
pub(super) struct NativeSession<'a> {
    pub(super) client: Client,
    pub(super) runtime: Handle,
    pub(super) bucket: &'a str,
    pub(super) idle_limit: Duration,
    pub(super) halt: &'a AtomicBool,
}

impl NativeSession<'_> {
    /// Waits for `operation`, which moves `bytes`.
    fn wait<T>(&self, bytes: u64, operation: impl Future<Output = Result<T, OpError>>) -> Result<T, OpError> {
        let limit = self.idle_limit + Duration::from_secs(bytes / MIN_BYTES_PER_SECOND);
        self.runtime.block_on(async {
            tokio::select! {
                result = operation => result,
                () = halted(self.halt) => Err(OpError::Interrupted),
                () = tokio::time::sleep(limit) => Err(OpError::TooSlow { doing: "the operation", limit }),
            }
        })
    }
}

impl NativeSession<'_> {
    async fn copy_once(&self, from: &[u8], to: &[u8]) -> Result<(), ClientError> {
        let info = self.client.object_info(self.bucket, from).await?;
        let attributes = info.attributes.clone().unwrap_or_default();
        let (source, condition) = ((from, &info), WriteCondition::default());
        let copied = self
            .client
            .copy_by_reference(self.bucket, source, to, attributes, condition)
            .await?;
        copied.map(drop).ok_or(ClientError::CopyInSteps)
    }
}

impl ObjectSession for NativeSession<'_> {
    fn connect(&mut self) -> Result<(), OpError> {
        Ok(())
    }

    fn put(&mut self, dataset: &Dataset, object: &Object) -> Result<(), OpError> {
        self.wait(object.size_bytes, async {
            let mut writer = self.client.body_writer(self.bucket).await.map_err(failed)?;
            let mut at = 0;
            while at < object.size_bytes {
                let window = dataset.window(object, at..object.size_bytes);
                let mut bytes = BytesMut::with_capacity(window.bytes as usize);
                window.pieces().for_each(|piece| bytes.extend_from_slice(piece));
                writer.write(bytes.freeze()).await.map_err(failed)?;
                at += window.bytes;
            }
            let body = writer.finish().await.map_err(failed)?;
            let attributes = ObjectAttributes {
                etag: ETAG.to_owned(),
                ..ObjectAttributes::default()
            };
            let condition = WriteCondition::default();
            let key = object.key.as_bytes();
            let put = self.client.put_object(self.bucket, key, attributes, body, condition);
            put.await.map(drop).map_err(failed)
        })
    }

    fn put_parts(&mut self, _dataset: &Dataset, _object: &Object, _part_bytes: u64) -> Result<(), OpError> {
        Err(OpError::Protocol(
            "uploads in parts are not measured by this way".to_owned(),
        ))
    }

    fn get(&mut self, reading: &mut Reading<'_>, ranged: bool) -> Result<(), OpError> {
        self.wait(reading.bytes(), async {
            let opened = self.client.open_object(self.bucket, reading.key().as_bytes()).await;
            let opened = opened.map_err(failed)?;
            let (wanted, size) = (reading.range(), opened.info().size);
            if size < wanted.end || (!ranged && size != wanted.end) {
                return Err(OpError::Length {
                    key: reading.key().to_owned(),
                    expected: wanted.end,
                    found: size,
                });
            }
            let mut pieces = std::pin::pin!(opened.read(wanted));
            while let Some(piece) = pieces.next().await {
                reading.take(&piece.map_err(failed)?)?;
            }
            reading.finish()
        })
    }

    fn stat(&mut self, key: &str) -> Result<u64, OpError> {
        self.wait(0, async {
            let info = self.client.object_info(self.bucket, key.as_bytes()).await;
            info.map(|info| info.size).map_err(failed)
        })
    }

    fn delete(&mut self, key: &str) -> Result<(), OpError> {
        self.wait(0, async {
            let condition = WriteCondition::default();
            let deleted = self.client.delete_object(self.bucket, key.as_bytes(), condition).await;
            deleted.map_err(failed)
        })
    }

    fn delete_many(&mut self, keys: &[String]) -> Result<(), OpError> {
        keys.iter().try_for_each(|key| self.delete(key))
    }

    fn copy(&mut self, from: &str, to: &str) -> Result<(), OpError> {
        self.wait(0, async {
            for _ in 1..COPY_ATTEMPTS_MAX {
                match self.copy_once(from.as_bytes(), to.as_bytes()).await {
                    // The source was overwritten since it was looked at.
                    Err(ClientError::PreconditionFailed) => {}
                    result => return result.map_err(failed),
                }
            }
            self.copy_once(from.as_bytes(), to.as_bytes()).await.map_err(failed)
        })
    }

    fn list(&mut self, prefix: &str, after: &str, limit: u32) -> Result<Page, OpError> {
        // The key that comes right after another one is that with a zero byte behind it.
        let from = match after {
            "" => Vec::new(),
            after => [after.as_bytes(), b"\0"].concat(),
        };
        let query = |from: Bytes, limit| ListQuery {
            bucket: self.bucket.to_owned(),
            prefix: Bytes::copy_from_slice(prefix.as_bytes()),
            delimiter: Bytes::new(),
            from,
            limit,
        };
        self.wait(0, async {
            let (mut page, mut from) = (Page::default(), Bytes::from(from));
            // A page of the store may be shorter than what was asked for.
            loop {
                let left = limit - page.keys.len() as u32;
                let found = self.client.list(query(from, left)).await.map_err(failed)?;
                for entry in found.entries {
                    page.bytes += entry.key.len() as u64;
                    page.keys.push(String::from_utf8_lossy(&entry.key).into_owned());
                }
                from = found.next_from;
                page.is_truncated = !from.is_empty();
                if from.is_empty() || page.keys.len() as u32 >= limit {
                    return Ok(page);
                }
            }
        })
    }

    fn abort_uploads(&mut self, _prefix: &str, _own: &dyn Fn(&str) -> bool) -> Result<u64, OpError> {
        // This way begins none.
        Ok(0)
    }
}

/// Returns once the phase is ended.
async fn halted(halt: &AtomicBool) {
    while !halt.load(Ordering::Relaxed) {
        tokio::time::sleep(SOCKET_TICK).await;
    }
}

fn failed(error: ClientError) -> OpError {
    let kind = match &error {
        ClientError::NoSuchBucket | ClientError::NoSuchKey | ClientError::NoSuchUpload => ErrorKind::NotFound,
        ClientError::OutOfSpace(_) => ErrorKind::NoSpace,
        ClientError::SlowDown(_) => ErrorKind::SlowDown,
        ClientError::Unavailable(_) => ErrorKind::Connect,
        ClientError::OutcomeUnknown(_) => ErrorKind::Closed,
        ClientError::Corrupt(_) => ErrorKind::Corrupt,
        ClientError::BucketExists
        | ClientError::BucketNotEmpty
        | ClientError::NoSuchAccessKey
        | ClientError::PreconditionFailed
        | ClientError::UploadChanged
        | ClientError::Name(_)
        | ClientError::NotAnObject(_)
        | ClientError::CopyInSteps
        | ClientError::LimitExceeded(_)
        | ClientError::Internal(_) => ErrorKind::Status,
    };
    OpError::Client {
        kind,
        message: error.to_string(),
    }
}
