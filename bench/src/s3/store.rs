//! An S3 store as the target of a load.

use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, anyhow};

use crate::args::RunArgs;
use crate::content::{Dataset, Object};
use crate::failure::{ErrorKind, OpError};
use crate::reading::Reading;
use crate::s3::client::Client;
use crate::s3::config::S3Config;
use crate::s3::{listing, uploads};
use crate::target::{Fact, Facts, ObjectSession, ObjectStore, Page};

/// A bucket of an S3 store.
pub(crate) struct S3Store {
    config: S3Config,
    address: String,
}

impl S3Store {
    /// # Errors
    /// Flags that do not say how to reach the store.
    pub(crate) fn new(args: &RunArgs) -> Result<Self> {
        Ok(Self {
            config: S3Config::new(args)?,
            address: args.target.s3.join(","),
        })
    }
}

impl ObjectStore for S3Store {
    fn prepare(&self, halt: &AtomicBool) -> Result<Facts> {
        let mut client = Client::new(&self.config, 0, halt);
        let found = match client.head_bucket() {
            // HEAD has no body that would name the error, so PUT is asked as well.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Denied) => client.create_bucket(),
            result => result,
        };
        let version = match found {
            Ok(head) => head.server,
            Err(OpError::Status { status: 409, .. }) => None,
            Err(error) => {
                return Err(anyhow!(error)).with_context(|| format!("cannot use the bucket {}", self.config.bucket));
            }
        };
        Ok(Facts {
            kind: "s3".to_owned(),
            address: self.address.clone(),
            version: Fact::first(version, None),
            tls: Some(self.config.tls_told()),
            ..Facts::default()
        })
    }

    fn session<'a>(&'a self, slot: u32, halt: &'a AtomicBool) -> Box<dyn ObjectSession + 'a> {
        Box::new(Session {
            client: Client::new(&self.config, slot, halt),
        })
    }
}

struct Session<'a> {
    client: Client<'a>,
}

impl ObjectSession for Session<'_> {
    fn connect(&mut self) -> Result<(), OpError> {
        self.client.connect()
    }

    fn put(&mut self, dataset: &Dataset, object: &Object) -> Result<(), OpError> {
        self.client.put(dataset, object, 0..object.size_bytes, "").map(drop)
    }

    fn put_parts(&mut self, dataset: &Dataset, object: &Object, part_bytes: u64) -> Result<(), OpError> {
        uploads::put_parts(&mut self.client, dataset, object, part_bytes)
    }

    fn get(&mut self, reading: &mut Reading<'_>, ranged: bool) -> Result<(), OpError> {
        self.client.get(reading, ranged)
    }

    fn stat(&mut self, key: &str) -> Result<u64, OpError> {
        self.client.stat(key)
    }

    fn delete(&mut self, key: &str) -> Result<(), OpError> {
        self.client.delete(key)
    }

    fn delete_many(&mut self, keys: &[String]) -> Result<(), OpError> {
        self.client.delete_many(keys)
    }

    fn copy(&mut self, from: &str, to: &str) -> Result<(), OpError> {
        self.client.copy(from, to)
    }

    fn list(&mut self, prefix: &str, after: &str, limit: u32) -> Result<Page, OpError> {
        listing::list(&mut self.client, prefix, after, limit)
    }

    fn abort_uploads(&mut self, prefix: &str, own: &dyn Fn(&str) -> bool) -> Result<u64, OpError> {
        uploads::abort_all(&mut self.client, prefix, own)
    }
}
