//! The figures of a connection's network path.

use cairn_common::{ids::NodeId, wire::kind::TrafficClass};
use quinn::Connection;

use crate::metrics::{PathFigures, Side};

/// What the library knows of the path of `connection` now.
pub(super) fn connection_figures(
    connection: &Connection,
    peer: NodeId,
    class: TrafficClass,
    side: Side,
) -> PathFigures {
    let path = connection.stats().path;
    PathFigures {
        peer,
        class,
        side,
        mtu_bytes: path.current_mtu.into(),
        round_trip: path.rtt,
        sent_packets: path.sent_packets,
        lost_packets: path.lost_packets,
        congestion_events: path.congestion_events,
    }
}
