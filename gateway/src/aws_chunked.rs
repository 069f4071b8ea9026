//! The `aws-chunked` coding: chunks with a size line and an optional signature, an empty chunk, then trailers.
//!
//! A pure decoder: pieces in, events out, no I/O. Data is passed on as slices of what came in, never gathered, so a chunk may
//! be of any size (some SDKs send a whole object as one). Invariant: only bytes inside a chunk come out as data, and the end
//! of the input is accepted only behind the empty chunk.

use bytes::{Buf, Bytes};

/// Longest size line or trailer. A signed size line has under 110 bytes.
const LINE_BYTES_MAX: usize = 4096;

/// Most trailers; S3 defines three.
const TRAILERS_MAX: usize = 16;

/// What was found next in the input.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A chunk begins; its signature in hexadecimal, where it has one.
    ChunkStart(Option<String>),
    /// Bytes of the chunk.
    Data(Bytes),
    /// The chunk is complete.
    ChunkEnd,
    /// A trailer: name in lower case, value without space around.
    Trailer(String, String),
}

/// Why the input cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChunkedError {
    /// It breaks the coding.
    #[error("the aws-chunked coding is broken")]
    Malformed,
    /// It ends early.
    #[error("the aws-chunked body ends early")]
    Truncated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    Data(u64),
    DataEnd,
    EmptyEnd,
    Trailers,
}

/// Decodes one body.
#[derive(Debug)]
pub(crate) struct Decoder {
    state: State,
    input: Bytes,
    line: Vec<u8>,
    trailers: usize,
}

impl Decoder {
    pub(crate) const fn new() -> Self {
        Self {
            state: State::Size,
            input: Bytes::new(),
            line: Vec::new(),
            trailers: 0,
        }
    }

    /// Gives the next piece of input; call it only after `next` had nothing more.
    pub(crate) fn push(&mut self, input: Bytes) {
        debug_assert!(self.input.is_empty(), "the input before was used up");
        self.input = input;
    }

    /// The next event, or `None` where more input is needed.
    pub(crate) fn next(&mut self) -> Result<Option<Event>, ChunkedError> {
        match self.state {
            State::Size => self.read_size(),
            State::Data(left) => Ok(self.read_data(left)),
            State::DataEnd => self.read_data_end(),
            State::EmptyEnd => {
                self.state = State::Trailers;
                Ok(Some(Event::ChunkEnd))
            }
            State::Trailers => self.read_trailer(),
        }
    }

    /// Tells that no more input follows; gives the last trailer where its line had no end.
    pub(crate) fn finish(&mut self) -> Result<Option<Event>, ChunkedError> {
        if self.state != State::Trailers {
            return Err(ChunkedError::Truncated);
        }
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            Ok(None)
        } else {
            self.parse_trailer(&line).map(Some)
        }
    }

    fn read_size(&mut self) -> Result<Option<Event>, ChunkedError> {
        let Some(line) = self.read_line()? else { return Ok(None) };
        let text = std::str::from_utf8(&line).map_err(|_| ChunkedError::Malformed)?;
        let (size, signature) = match text.split_once(';') {
            None => (text, None),
            Some((size, extension)) => {
                let signature = extension
                    .strip_prefix("chunk-signature=")
                    .ok_or(ChunkedError::Malformed)?;
                (size, Some(signature.to_owned()))
            }
        };
        let digits = (1..=16).contains(&size.len()) && size.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = if digits {
            u64::from_str_radix(size, 16).ok()
        } else {
            None
        };
        self.state = match size.ok_or(ChunkedError::Malformed)? {
            0 => State::EmptyEnd,
            size => State::Data(size),
        };
        Ok(Some(Event::ChunkStart(signature)))
    }

    fn read_data(&mut self, left: u64) -> Option<Event> {
        if self.input.is_empty() {
            return None;
        }
        let take = usize::try_from(left).unwrap_or(usize::MAX).min(self.input.len());
        let data = self.input.split_to(take);
        let left = left - take as u64;
        self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
        Some(Event::Data(data))
    }

    fn read_data_end(&mut self) -> Result<Option<Event>, ChunkedError> {
        match self.read_line()? {
            None => Ok(None),
            Some(line) if line.is_empty() => {
                self.state = State::Size;
                Ok(Some(Event::ChunkEnd))
            }
            Some(_) => Err(ChunkedError::Malformed),
        }
    }

    /// Empty lines between trailers are skipped: AWS's own example has one before the trailer signature.
    fn read_trailer(&mut self) -> Result<Option<Event>, ChunkedError> {
        while let Some(line) = self.read_line()? {
            if !line.is_empty() {
                return self.parse_trailer(&line).map(Some);
            }
        }
        Ok(None)
    }

    fn parse_trailer(&mut self, line: &[u8]) -> Result<Event, ChunkedError> {
        self.trailers += 1;
        let text = std::str::from_utf8(line).map_err(|_| ChunkedError::Malformed)?;
        let (name, value) = text.split_once(':').ok_or(ChunkedError::Malformed)?;
        if self.trailers > TRAILERS_MAX || name.is_empty() {
            return Err(ChunkedError::Malformed);
        }
        Ok(Event::Trailer(
            name.trim().to_ascii_lowercase(),
            value.trim().to_owned(),
        ))
    }

    /// A whole line without its end, or `None` where the input holds no line's end.
    fn read_line(&mut self) -> Result<Option<Vec<u8>>, ChunkedError> {
        let end = self.input.iter().position(|byte| *byte == b'\n');
        let take = end.unwrap_or(self.input.len());
        if self.line.len() + take > LINE_BYTES_MAX {
            return Err(ChunkedError::Malformed);
        }
        self.line.extend_from_slice(&self.input[..take]);
        self.input.advance(take + usize::from(end.is_some()));
        if end.is_none() {
            return Ok(None);
        }
        let mut line = std::mem::take(&mut self.line);
        line.pop_if(|last| *last == b'\r');
        Ok(Some(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes `input` in pieces of `step` bytes, data joined.
    fn decode(input: &[u8], step: usize) -> Result<(Vec<u8>, Vec<Event>), ChunkedError> {
        let mut decoder = Decoder::new();
        let (mut data, mut events) = (Vec::new(), Vec::new());
        for piece in input.chunks(step) {
            decoder.push(Bytes::copy_from_slice(piece));
            while let Some(event) = decoder.next()? {
                match event {
                    Event::Data(bytes) => data.extend_from_slice(&bytes),
                    other => events.push(other),
                }
            }
        }
        events.extend(decoder.finish()?);
        Ok((data, events))
    }

    #[test]
    fn pieces_of_any_size_decode_the_same() {
        let input = b"5;chunk-signature=ab\r\nhello\r\n6\r\n world\r\n0;chunk-signature=cd\r\nx-amz-checksum-crc32: AA==\r\n\r\n";
        for step in 1..=input.len() {
            let (data, events) = decode(input, step).unwrap();
            assert_eq!(data, b"hello world", "step {step}");
            let expected = [
                Event::ChunkStart(Some("ab".to_owned())),
                Event::ChunkEnd,
                Event::ChunkStart(None),
                Event::ChunkEnd,
                Event::ChunkStart(Some("cd".to_owned())),
                Event::ChunkEnd,
                Event::Trailer("x-amz-checksum-crc32".to_owned(), "AA==".to_owned()),
            ];
            assert_eq!(events, expected, "step {step}");
        }
    }

    #[test]
    fn sloppy_trailers_are_understood() {
        for end in ["0\r\na:b", "0\r\na:b\n", "0\r\na:b\n\r\nc:d\r\n\r\n"] {
            let (_, events) = decode(end.as_bytes(), 3).unwrap();
            assert!(
                events.contains(&Event::Trailer("a".to_owned(), "b".to_owned())),
                "{end:?}"
            );
        }
    }

    #[test]
    fn an_end_at_any_byte_before_the_empty_chunk_is_noticed() {
        let input = b"5\r\nhello\r\n3\r\nabc\r\n0\r\n";
        for end in 0..input.len() {
            assert_eq!(decode(&input[..end], 4), Err(ChunkedError::Truncated), "{end}");
        }
        assert!(decode(input, 4).is_ok());
    }

    #[test]
    fn broken_codings_are_refused() {
        let long = format!("{}\r\n", "0".repeat(5000));
        let cases = [
            "x\r\n",
            "-1\r\n",
            "\r\n",
            "+1\r\na\r\n",
            "1;foo=bar\r\na\r\n",
            "1\r\nab\r\n",
            "0\r\nnocolon\r\n",
            &long,
        ];
        for case in cases {
            assert_eq!(decode(case.as_bytes(), 7), Err(ChunkedError::Malformed), "{case:.20}");
        }
    }
}
