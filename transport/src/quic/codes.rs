//! Numbers by which one end of a connection or stream tells the other why it ended it. They are persistent.

use quinn::VarInt;

/// Why a stream was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamCode {
    /// Nobody waits for it any more.
    Cancelled,
    /// The source of its bulk bytes ended early.
    Cut,
    /// The request's time ran out.
    Late,
    /// What stood on it could not be decoded.
    Malformed,
    /// It was not looked at: there are too many, or the server is stopping.
    Busy,
}

/// Why a connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloseCode {
    /// The process stops.
    Shutdown,
    /// The peer's certificate no longer holds.
    Untrusted,
    /// There are too many connections.
    TooMany,
}

impl StreamCode {
    /// The number on the wire. Zero is what a stream that was merely dropped sends.
    pub(super) const fn number(self) -> VarInt {
        VarInt::from_u32(match self {
            Self::Cancelled => 1,
            Self::Cut => 2,
            Self::Late => 3,
            Self::Malformed => 4,
            Self::Busy => 5,
        })
    }

    /// The reason of that number; one that is not known is like a dropped stream.
    pub(super) fn of(number: VarInt) -> Self {
        [Self::Cut, Self::Late, Self::Malformed, Self::Busy]
            .into_iter()
            .find(|code| code.number() == number)
            .unwrap_or(Self::Cancelled)
    }
}

impl CloseCode {
    /// The number on the wire.
    pub(super) const fn number(self) -> VarInt {
        VarInt::from_u32(match self {
            Self::Shutdown => 1,
            Self::Untrusted => 2,
            Self::TooMany => 3,
        })
    }

    /// The reason of that number, for a person.
    pub(super) fn text(number: VarInt) -> Option<&'static str> {
        [
            (Self::Shutdown, "it is stopping"),
            (
                Self::Untrusted,
                "it no longer trusts our certificate: it was revoked, or has expired",
            ),
            (Self::TooMany, "it has too many connections"),
        ]
        .into_iter()
        .find_map(|(code, text)| (code.number() == number).then_some(text))
    }
}
