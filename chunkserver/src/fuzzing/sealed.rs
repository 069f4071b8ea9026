//! Bodies under a right envelope, whatever they hold.
//!
//! Invariant: the checksum fits, so that a decoder's answer depends on the body alone.

use bytes::{Buf, BufMut};
use cairn_common::envelope::{self, Record};
use prost::{
    DecodeError, Message,
    encoding::{DecodeContext, WireType, skip_field},
};

/// A body as it stands.
#[derive(Clone, Debug, Default)]
struct AnyBody(Vec<u8>);

/// `body` under an envelope of version 1.
pub(super) fn seal(body: &[u8]) -> Vec<u8> {
    envelope::seal(&AnyBody(body.to_vec()))
}

impl Record for AnyBody {
    const VERSION: u8 = 1;
}

impl Message for AnyBody {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        skip_field(wire_type, tag, buf, ctx)
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}
