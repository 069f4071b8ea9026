//! The S3 driver: plain blocking sockets, one connection for each slot, so that it costs little beside the server that it
//! measures. `store` is the way in; `client` is one request, `connection` one socket with deadlines. Tries nothing twice but what
//! met the end of an idle connection.

mod client;
mod config;
mod connection;
mod endpoint;
mod listing;
mod request;
mod sigv4;
mod store;
mod tls;
mod transfer;
mod uploads;

pub(crate) use store::S3Store;
