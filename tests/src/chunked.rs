//! The `aws-chunked` framing: bodies in signed or unsigned chunks, with a checksum in a trailer. From Amazon's
//! description "Signature Calculations for the Authorization Header: Transferring Payload in Multiple Chunks".

use crate::sigv4::ChunkSigner;

#[derive(Clone, Debug, Default)]
pub struct Chunked {
    pub pieces: Vec<Vec<u8>>,
    /// Whether each chunk carries a signature.
    pub is_signed: bool,
    /// (name, value) of a header that follows the last chunk.
    pub trailer: Option<(String, String)>,
    /// The index of a chunk whose first byte is changed after it was signed.
    pub tampered: Option<usize>,
}

impl Chunked {
    /// The value of `x-amz-content-sha256`.
    #[must_use]
    pub fn payload_hash(&self) -> &'static str {
        match (self.is_signed, &self.trailer) {
            (true, None) => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
            (true, Some(_)) => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
            (false, _) => "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        }
    }

    #[must_use]
    pub fn decoded_length(&self) -> usize {
        self.pieces.iter().map(Vec::len).sum()
    }

    /// The framed body.
    #[must_use]
    pub fn encoded(&self, mut signer: ChunkSigner) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.decoded_length() + 200 * (self.pieces.len() + 1));
        for (index, piece) in self.pieces.iter().enumerate() {
            body.extend(self.chunk_head(&mut signer, piece));
            let start = body.len();
            body.extend_from_slice(piece);
            if self.tampered == Some(index) {
                body[start] ^= 1;
            }
            body.extend_from_slice(b"\r\n");
        }
        body.extend(self.chunk_head(&mut signer, b""));
        if let Some((name, value)) = &self.trailer {
            body.extend(format!("{name}:{value}\r\n").bytes());
            if self.is_signed {
                let signature = signer.trailer(&format!("{name}:{value}\n"));
                body.extend(format!("x-amz-trailer-signature:{signature}\r\n").bytes());
            }
        }
        body.extend_from_slice(b"\r\n");
        body
    }

    fn chunk_head(&self, signer: &mut ChunkSigner, piece: &[u8]) -> Vec<u8> {
        let length = piece.len();
        if self.is_signed {
            format!("{length:x};chunk-signature={}\r\n", signer.chunk(piece)).into_bytes()
        } else {
            format!("{length:x}\r\n").into_bytes()
        }
    }
}
