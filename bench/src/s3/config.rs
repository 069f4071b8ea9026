//! What all connections to one S3 store go by: endpoints, keys, how the bucket is named. Reads files and resolves names; opens
//! no connection.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::args::{RunArgs, SecretKey};
use crate::limits::{MAX_RECEIVE_BUFFER_BYTES, MIN_RECEIVE_BUFFER_BYTES};
use crate::s3::endpoint::{Endpoint, wants_tls};
use crate::s3::tls::client_config;

/// How the store is reached and spoken to.
#[derive(Debug, Clone)]
pub(crate) struct S3Config {
    /// Slots take them in turn; never empty.
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) bucket: String,
    /// The bucket is named in the host.
    pub(crate) virtual_host: bool,
    pub(crate) region: String,
    pub(crate) access_key: String,
    pub(crate) secret_key: SecretKey,
    pub(crate) idle_limit: Duration,
    pub(crate) buffer_bytes: usize,
    pub(crate) sign_payload: bool,
    /// Nobody looks at certificates.
    pub(crate) trusts_anyone: bool,
}

impl S3Config {
    /// # Errors
    /// What is missing among the flags, an endpoint that cannot be resolved, certificates that cannot be read.
    pub(crate) fn new(args: &RunArgs) -> Result<Self> {
        let target = &args.target;
        ensure!(!target.bucket.is_empty(), "the bucket has no name");
        ensure!(
            !target.s3.is_empty(),
            "no target: give an endpoint by --s3 or AWS_ENDPOINT_URL_S3"
        );
        let trust = if target.s3.iter().any(|url| wants_tls(url)) {
            Some(client_config(target.ca.as_deref(), target.insecure)?)
        } else {
            None
        };
        let bucket = target.virtual_host.then_some(target.bucket.as_str());
        let endpoints = target
            .s3
            .iter()
            .map(|url| Endpoint::resolve(url, bucket, trust.clone()));
        let missing = |what, flag, variable| format!("no {what}: give it by {flag} or {variable}");
        let wanted = usize::try_from(args.work.sizes().largest()).unwrap_or(usize::MAX);
        Ok(Self {
            endpoints: endpoints.collect::<Result<_>>()?,
            bucket: target.bucket.clone(),
            virtual_host: target.virtual_host,
            region: target.region.clone(),
            access_key: target
                .access_key
                .clone()
                .with_context(|| missing("access key", "--access-key", "AWS_ACCESS_KEY_ID"))?,
            secret_key: target
                .secret_key
                .clone()
                .with_context(|| missing("secret key", "--secret-key", "AWS_SECRET_ACCESS_KEY"))?,
            idle_limit: Duration::from_secs(target.timeout),
            buffer_bytes: wanted.clamp(MIN_RECEIVE_BUFFER_BYTES, MAX_RECEIVE_BUFFER_BYTES),
            sign_payload: args.work.sign_payload,
            trusts_anyone: target.insecure,
        })
    }

    /// What figures are to be read by: the version is the only one that is spoken.
    pub(crate) fn tls_told(&self) -> String {
        let secured = self.endpoints.iter().filter(|endpoint| endpoint.tls.is_some()).count();
        let told = match secured {
            0 => return "none".to_owned(),
            secured if secured == self.endpoints.len() => "TLS 1.3",
            _ => "TLS 1.3 at some endpoints",
        };
        let trust = if self.trusts_anyone {
            ", any certificate trusted"
        } else {
            ""
        };
        format!("{told}{trust}")
    }

    #[cfg(test)]
    pub(crate) fn example(host: &str) -> Self {
        Self {
            endpoints: vec![Endpoint {
                host: host.to_owned(),
                addresses: Vec::new(),
                tls: None,
            }],
            bucket: "b".to_owned(),
            virtual_host: false,
            region: "us-east-1".to_owned(),
            access_key: "AK".to_owned(),
            secret_key: "SK".parse().unwrap(),
            idle_limit: Duration::from_secs(1),
            buffer_bytes: MIN_RECEIVE_BUFFER_BYTES,
            sign_payload: false,
            trusts_anyone: false,
        }
    }
}
