//! The flags of an endpoint that speaks TLS.

use std::path::PathBuf;

use clap::{Args, builder::FalseyValueParser};

/// What the S3 endpoint shows to its clients. Plain HTTP is spoken where nothing is given.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsArgs {
    /// Certificate chain of the S3 endpoint, PEM, the server's own first. It is taken up anew when the file changes, and at
    /// once on SIGHUP.
    #[arg(long, env = "CAIRN_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Private key of that certificate, PEM.
    #[arg(long, env = "CAIRN_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Makes a certificate in the data directory, for trials: clients are given it as a file.
    #[arg(
        long,
        env = "CAIRN_TLS_SELF_SIGNED",
        value_parser = FalseyValueParser::new(),
        conflicts_with_all = ["tls_cert", "tls_key"]
    )]
    pub(crate) tls_self_signed: bool,
}

impl TlsArgs {
    /// These, or those of the settings file where nothing is given here.
    pub(crate) fn or(self, file: Self) -> Self {
        if self == Self::default() { file } else { self }
    }
}
