//! An endpoint: a socket and the task that drives it.
//!
//! Endpoints for control and for bulk bytes may be driven by different runtimes, so that a sign of life does not wait behind
//! the work that bulk bytes make.

use std::{future::Future, io, net::SocketAddr, net::UdpSocket, pin::Pin, sync::Arc, time::Instant};

use cairn_common::wire::kind::TrafficClass;
use quinn::{AsyncTimer, AsyncUdpSocket, Endpoint, Runtime, ServerConfig, TokioRuntime};
use tokio::runtime::Handle;

use super::{
    settings::{QuicSettings, endpoint_config},
    socket::{BindError, SegmentedSocket},
};

/// A bound endpoint.
pub(super) struct Bound {
    pub(super) endpoint: Endpoint,
    pub(super) class: TrafficClass,
    /// Bytes that the kernel lets wait at its socket.
    pub(super) buffer_bytes: usize,
    /// What drives it and its connections.
    pub(super) runtime: Handle,
}

/// Runs the library's tasks on the runtime of that handle.
#[derive(Debug)]
struct OnRuntime(Handle);

impl Bound {
    /// Binds to `address`; takes connections where there is a server's configuration. `key` is this endpoint's alone; a server's
    /// outlives the process. Runs within a tokio runtime, which drives it unless the settings name another for its class.
    pub(super) fn new(
        address: SocketAddr,
        class: TrafficClass,
        settings: &QuicSettings,
        server: Option<ServerConfig>,
        key: &[u8; 32],
    ) -> Result<Self, BindError> {
        let runtime = match (&settings.control_runtime, class) {
            (Some(control), TrafficClass::Control) => control.clone(),
            (None, TrafficClass::Control) | (_, TrafficClass::Bulk) => Handle::current(),
        };
        let driver = Arc::new(OnRuntime(runtime.clone()));
        let socket = SegmentedSocket::bind(address, settings.socket_buffer_bytes, driver.as_ref())?;
        let buffer_bytes = socket.buffer_bytes();
        let endpoint = Endpoint::new_with_abstract_socket(endpoint_config(key), server, socket, driver)?;
        Ok(Self {
            endpoint,
            class,
            buffer_bytes,
            runtime,
        })
    }
}

impl Runtime for OnRuntime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        let _within = self.0.enter();
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.0.spawn(future);
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let _within = self.0.enter();
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}
