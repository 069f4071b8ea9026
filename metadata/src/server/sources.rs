//! What a chunkserver is told of a chunk that it is to read: where its shards lie, and where those servers are called.

use std::collections::BTreeMap;

use cairn_common::{
    cluster_map::ClusterMap,
    ids::DeviceId,
    wire::{
        chunk::ChunkInfo,
        map::{DeviceMessage, MapMessage},
        object::Chunk,
        server::{ServerAddress, ServerInfo},
    },
};

use super::servers::Servers;

/// A chunk to be read.
pub(super) struct Sources {
    /// The chunk with the devices that hold its shards; those that are known to be down hold none: nobody waits for them.
    pub(super) chunk: Chunk,
    /// The devices that are named, as far as the map knows them.
    pub(super) devices: Vec<DeviceMessage>,
    /// Where their servers are called.
    pub(super) servers: Vec<ServerAddress>,
}

/// Where a chunk's shards lie, in order.
pub(super) fn location(info: &ChunkInfo) -> Option<Vec<DeviceId>> {
    let row = || info.row.iter().map(|device| DeviceId::new(*device)).collect();
    Some(info.chunk.as_ref()?.explicit_row().unwrap_or_else(row))
}

impl Sources {
    /// Those of a chunk; `others` are named beside its own devices.
    pub(super) fn of(
        info: &ChunkInfo,
        others: &[DeviceId],
        map: &ClusterMap,
        known: &[ServerInfo],
        health: &Servers,
    ) -> Option<Self> {
        let (chunk, location) = (info.chunk.as_ref()?, location(info)?);
        let is_silent = |device: &DeviceId| health.serving(map, *device).is_none();
        let silent = location.iter().enumerate().filter(|(_, device)| is_silent(device));
        let missing = silent.fold(chunk.missing, |missing, (index, _)| missing | 1 << index);
        let named: BTreeMap<DeviceId, _> = (location.iter().chain(others))
            .filter_map(|device| Some((*device, map.devices.get(device)?.clone())))
            .collect();
        let is_asked = |server: &&ServerInfo| named.values().any(|device| device.server.value() == server.node);
        let address = |server: &ServerInfo| ServerAddress {
            node: server.node,
            address: server.address.clone(),
        };
        let servers = known.iter().filter(is_asked).map(address).collect();
        let devices = ClusterMap {
            devices: named,
            ..ClusterMap::default()
        };
        Some(Self {
            chunk: Chunk {
                explicit_devices: location.iter().map(|device| device.value()).collect(),
                missing,
                ..chunk.clone()
            },
            devices: MapMessage::from(&devices).devices,
            servers,
        })
    }
}
