//! The chain of signatures over the chunks and trailers of a signed `aws-chunked` body.
//!
//! Must never keep or delay data: a chunk is hashed as it passes, and its signature decides at its end, before anything is
//! committed. Invariant: the chain starts at the signature of the request, which s3s has verified. Source of the algorithm:
//! AWS, "Signature calculations for the Authorization header: transferring payload in multiple chunks".

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

type HmacSha256 = Hmac<Sha256>;

/// SHA-256 of nothing.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Verifies the chunks of one body.
pub(crate) struct ChunkSigner {
    key: HmacSha256,
    date: String,
    scope: String,
    previous: String,
    chunk: Sha256,
    trailers: String,
}

impl ChunkSigner {
    /// `date` is `x-amz-date`, `scope` is `day/region/service/aws4_request`, `seed` the signature of the request.
    pub(crate) fn new(secret: &str, date: &str, scope: &str, seed: &str) -> Self {
        let first = format!("AWS4{secret}").into_bytes();
        let key = scope.split('/').fold(first, |key, part| {
            let mac = mac_of(&key).chain_update(part.as_bytes());
            mac.finalize().into_bytes().to_vec()
        });
        Self {
            key: mac_of(&key),
            date: date.to_owned(),
            scope: scope.to_owned(),
            previous: seed.to_owned(),
            chunk: Sha256::new(),
            trailers: String::new(),
        }
    }

    /// Takes bytes of the running chunk.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.chunk.update(bytes);
    }

    /// Ends the running chunk; tells whether `signature` is its own.
    pub(crate) fn end_chunk(&mut self, signature: &str) -> bool {
        let hash = hex::encode(std::mem::take(&mut self.chunk).finalize());
        let text = format!(
            "AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{}\n{EMPTY_SHA256}\n{hash}",
            self.date, self.scope, self.previous
        );
        self.accept(&text, signature)
    }

    /// Takes a trailer; they come in the order of the signature, by name.
    pub(crate) fn add_trailer(&mut self, name: &str, value: &str) {
        self.trailers.extend([name, ":", value, "\n"]);
    }

    /// Whether a trailer came that must be signed.
    pub(crate) const fn has_trailers(&self) -> bool {
        !self.trailers.is_empty()
    }

    /// Tells whether `signature` is that of the trailers.
    pub(crate) fn end_trailers(&mut self, signature: &str) -> bool {
        let hash = hex::encode(Sha256::digest(self.trailers.as_bytes()));
        let text = format!(
            "AWS4-HMAC-SHA256-TRAILER\n{}\n{}\n{}\n{hash}",
            self.date, self.scope, self.previous
        );
        self.accept(&text, signature)
    }

    fn accept(&mut self, text: &str, signature: &str) -> bool {
        let Ok(raw) = hex::decode(signature) else { return false };
        let mac = self.key.clone().chain_update(text.as_bytes());
        let valid = mac.verify_slice(&raw).is_ok();
        signature.clone_into(&mut self.previous);
        valid
    }
}

fn mac_of(key: &[u8]) -> HmacSha256 {
    HmacSha256::new_from_slice(key).expect("an HMAC takes a key of any length")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worked example of the AWS documentation: 66,560 bytes of `a` in chunks of 65,536.
    #[test]
    fn the_documented_example_verifies() {
        let seed = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
        let mut signer = ChunkSigner::new(
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "20130524T000000Z",
            "20130524/us-east-1/s3/aws4_request",
            seed,
        );
        let chunks = [
            (
                65_536,
                "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
            ),
            (1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
            (0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
        ];
        for (size, signature) in chunks {
            signer.update(&vec![b'a'; size]);
            assert!(signer.end_chunk(signature), "{size}");
        }
        assert!(!signer.end_chunk(seed));
    }
}
