//! Values of the messages of [`crate::wire::server`].

use super::{Sample, groups, sample, shards};
use crate::wire::{
    command::{Command, WriteRequest},
    query::{Answer, Query, ReadReply, ReadRequest},
    server::{
        HeldDevice, RefusedDevice, RegisterServer, ServerAddress, ServerInfo, ServerReport, ServerReportReply,
        ServerState, ServersPage, ServersQuery,
    },
};

pub(super) fn samples() -> Vec<Sample> {
    let register = RegisterServer { server: Some(info()) };
    let page = ServersPage { servers: vec![state()] };
    vec![
        sample(
            "ServerReport",
            ServerReport {
                server: Some(info()),
                devices: vec![shards::device_status()],
                run: 0x5eed,
                is_leaving: true,
            },
        ),
        sample(
            "ServerReportReply",
            ServerReportReply {
                group: Some(groups::group_members()),
                refused: vec![refused()],
                is_registered: true,
            },
        ),
        sample("RefusedDevice", refused()),
        sample("ServerInfo", info()),
        sample("HeldDevice", held()),
        sample("ServerAddress", address()),
        sample("RegisterServer", register.clone()),
        sample(
            "WriteRequest/RegisterServer",
            WriteRequest {
                command: Some(Command::RegisterServer(register)),
                ..WriteRequest::default()
            },
        ),
        sample("ServersQuery", ServersQuery {}),
        sample(
            "ReadRequest/Servers",
            ReadRequest {
                query: Some(Query::Servers(ServersQuery {})),
                ..ReadRequest::default()
            },
        ),
        sample("ServersPage", page.clone()),
        sample(
            "ReadReply/Servers",
            ReadReply {
                log_index: 7,
                answer: Some(Answer::Servers(page)),
                ..ReadReply::default()
            },
        ),
        sample("ServerState", state()),
    ]
}

fn info() -> ServerInfo {
    ServerInfo {
        node: 3,
        address: "10.0.0.3:9002".to_owned(),
        zone: "west".to_owned(),
        rack: "r7".to_owned(),
        host: "store-3".to_owned(),
        devices: vec![held()],
    }
}

pub(super) fn address() -> ServerAddress {
    ServerAddress {
        node: 3,
        address: "10.0.0.3:9002".to_owned(),
    }
}

fn held() -> HeldDevice {
    HeldDevice {
        id: 769,
        incarnation: 1,
        capacity_bytes: 4 << 40,
        disk: "259:1".to_owned(),
        opening: 4,
        opening_before: 3,
    }
}

fn refused() -> RefusedDevice {
    RefusedDevice {
        device: 770,
        reason: "an old copy".to_owned(),
    }
}

fn state() -> ServerState {
    ServerState {
        info: Some(info()),
        is_up: true,
        devices: vec![shards::device_status()],
        silent_ms: 120,
    }
}
