//! Where a server's devices are, as failure domains are told apart.

use clap::Args;

#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LabelArgs {
    /// The machine that it runs on, as failure domains of the level `host` are told apart [default: the system's host name].
    #[arg(long, env = "CAIRN_HOST", value_name = "NAME")]
    pub(crate) host: Option<String>,
    /// The rack that it is in.
    #[arg(long, env = "CAIRN_RACK", value_name = "NAME")]
    pub(crate) rack: Option<String>,
    /// The zone that it is in.
    #[arg(long, env = "CAIRN_ZONE", value_name = "NAME")]
    pub(crate) zone: Option<String>,
}

impl LabelArgs {
    /// These, and what `other` says where they say nothing.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            host: self.host.or(other.host),
            rack: self.rack.or(other.rack),
            zone: self.zone.or(other.zone),
        }
    }
}
