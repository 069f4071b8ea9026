//! Tests of frames: what goes in comes out, and whatever else comes in is refused.

use cairn_common::wire::failure::FailureCode;
use proptest::prelude::*;

use super::*;

const TRACE: TraceContext = TraceContext {
    trace_id_high: 1,
    trace_id_low: u64::MAX,
    span_id: 3,
};

/// The head behind the length, which is checked to be its own.
fn head_of(frame: &Bytes) -> Bytes {
    let (prefix, _) = frame.split_first_chunk().expect("a length");
    let head = frame.slice(HEAD_LENGTH_BYTES..);
    assert_eq!(checked_length(*prefix), Ok(head.len()));
    head
}

fn failed() -> Failure {
    Failure {
        code: FailureCode::Busy.into(),
        detail: "later".to_owned(),
        ..Failure::default()
    }
}

#[test]
fn requests_survive_their_frame() {
    let large = vec![7; HEADER_BYTES_MAX];
    let messages: [&[u8]; 4] = [b"", b"m", &[0; 200], &large];
    for message in messages {
        for trace in [None, Some(TRACE), Some(TraceContext::default())] {
            let message = Bytes::copy_from_slice(message);
            let timeout = Duration::from_millis(1500);
            let frame = encode_request_head(RequestKind::PutShard, timeout, &message, trace);
            let expected = IncomingHead {
                kind: IncomingKind::Known(RequestKind::PutShard),
                timeout,
                message,
                trace,
            };
            assert_eq!(decode_request_head(head_of(&frame)), Ok(expected));
        }
    }
}

#[test]
fn responses_survive_their_frame() {
    let outcomes = [
        Ok(Bytes::new()),
        Ok(Bytes::from_static(b"reply")),
        Ok(Bytes::from(vec![7; HEADER_BYTES_MAX])),
        Err(failed()),
        Err(Failure::default()),
    ];
    for outcome in outcomes {
        let frame = encode_response_head(&outcome);
        assert_eq!(decode_response_head(head_of(&frame)), Ok(outcome));
    }
}

#[test]
fn frames_are_the_bytes_of_the_head_messages_in_one_exact_allocation() {
    let message = Bytes::from(vec![5; 300]);
    for message in [Bytes::new(), message] {
        for trace in [None, Some(TRACE)] {
            let head = RequestHead {
                kind: RequestKind::GetShard.number().into(),
                timeout_ms: 20,
                message: message.clone(),
                trace,
            };
            let frame = request_frame(RequestKind::GetShard, Duration::from_millis(20), &message, trace);
            assert_eq!(frame[HEAD_LENGTH_BYTES..], head.encode_to_vec());
            assert_eq!(frame.capacity(), frame.len());
        }
        let outcome = Some(Outcome::Reply(message.clone()));
        let frame = response_frame(&Ok(message));
        assert_eq!(frame[HEAD_LENGTH_BYTES..], ResponseHead { outcome }.encode_to_vec());
        assert_eq!(frame.capacity(), frame.len());
    }
    let frame = response_frame(&Err(failed()));
    let outcome = Some(Outcome::Failed(failed()));
    assert_eq!(frame[HEAD_LENGTH_BYTES..], ResponseHead { outcome }.encode_to_vec());
    assert_eq!(frame.capacity(), frame.len());
}

#[test]
fn messages_are_slices_of_what_was_read() {
    let message = Bytes::from(vec![9; 1000]);
    let head = head_of(&encode_request_head(RequestKind::Hello, Duration::ZERO, &message, None));
    let within = head.as_ptr_range();
    let decoded = decode_request_head(head).expect("a whole head");
    assert!(within.contains(&decoded.message.as_ptr()));
    let head = head_of(&encode_response_head(&Ok(message)));
    let within = head.as_ptr_range();
    let decoded = decode_response_head(head).expect("a whole head").expect("a reply");
    assert!(within.contains(&decoded.as_ptr()));
}

/// What is cut off may be whole fields; then the rest is a head without them, but never one with other values.
#[test]
fn a_truncated_head_is_refused_or_lacks_fields() {
    let message = Bytes::from_static(b"message");
    let frame = encode_request_head(RequestKind::Hello, Duration::from_millis(300), &message, Some(TRACE));
    let head = head_of(&frame);
    for length in 0..head.len() {
        match decode_request_head(head.slice(..length)) {
            Ok(decoded) => {
                assert!(decoded.trace.is_none(), "{length} bytes");
                assert!(
                    decoded.message.is_empty() || decoded.message == message,
                    "{length} bytes"
                );
                let known = [IncomingKind::Unknown(0), IncomingKind::Known(RequestKind::Hello)];
                assert!(known.contains(&decoded.kind), "{length} bytes");
            }
            Err(error) => assert!(matches!(error, HeadError::Empty | HeadError::Undecodable(_)), "{error}"),
        }
    }
    for outcome in [Ok(message), Err(failed())] {
        let head = head_of(&encode_response_head(&outcome));
        for length in 0..head.len() {
            assert!(decode_response_head(head.slice(..length)).is_err(), "{length} bytes");
        }
    }
}

#[test]
fn lengths_that_no_head_has_are_refused() {
    let limit = HEAD_BYTES_MAX;
    let of = |length: u32| checked_length(length.to_be_bytes());
    assert_eq!(of(0), Err(HeadError::Empty));
    assert_eq!(of(1), Ok(1));
    for (length, taken) in [(limit, true), (limit + 1, false), (u32::MAX as usize, false)] {
        let expected = if taken {
            Ok(length)
        } else {
            Err(HeadError::TooLong { length, limit })
        };
        assert_eq!(of(u32::try_from(length).expect("32 bits")), expected);
    }
    let long = Bytes::from(vec![0; limit + 1]);
    let refused = HeadError::TooLong {
        length: limit + 1,
        limit,
    };
    assert_eq!(decode_request_head(long.clone()), Err(refused.clone()));
    assert_eq!(decode_response_head(long), Err(refused));
}

#[test]
fn timeouts_are_rounded_up_and_bounded() {
    let cases = [
        (Duration::ZERO, Duration::ZERO),
        (Duration::from_nanos(1), Duration::from_millis(1)),
        (Duration::from_millis(1), Duration::from_millis(1)),
        (Duration::from_micros(1001), Duration::from_millis(2)),
        (Duration::MAX, REQUEST_TIMEOUT_MAX),
    ];
    for (timeout, expected) in cases {
        let frame = encode_request_head(RequestKind::Hello, timeout, &Bytes::new(), None);
        let decoded = decode_request_head(head_of(&frame)).expect("a whole head");
        assert_eq!(decoded.timeout, expected);
    }
    let head = RequestHead {
        timeout_ms: u64::MAX,
        ..RequestHead::default()
    };
    let decoded = decode_request_head(Bytes::from(head.encode_to_vec())).expect("a whole head");
    assert_eq!(decoded.timeout, REQUEST_TIMEOUT_MAX);
}

#[test]
fn a_kind_of_a_newer_sender_is_told_apart() {
    let head = RequestHead {
        kind: 999,
        ..RequestHead::default()
    };
    let decoded = decode_request_head(Bytes::from(head.encode_to_vec())).expect("a whole head");
    assert_eq!(decoded.kind, IncomingKind::Unknown(999));
}

#[test]
fn a_response_without_an_outcome_is_refused() {
    // Tag 15, a varint: a field that this program does not know, and nothing else.
    let bytes = Bytes::from_static(&[15 << 3, 1]);
    assert_eq!(decode_response_head(bytes), Err(HeadError::MissingOutcome));
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let bytes = Bytes::from(bytes);
        if let Ok(head) = decode_request_head(bytes.clone()) {
            prop_assert!(head.timeout <= REQUEST_TIMEOUT_MAX);
            prop_assert!(head.message.len() <= bytes.len());
        }
        if let Ok(Ok(message)) = decode_response_head(bytes.clone()) {
            prop_assert!(message.len() <= bytes.len());
        }
    }

    #[test]
    fn any_request_survives(
        kind in 0..RequestKind::ALL.len(),
        timeout_ms in 0..=300_000_u64,
        message in proptest::collection::vec(any::<u8>(), 0..300),
        span_id in proptest::option::of(any::<u64>()),
    ) {
        let (kind, timeout) = (RequestKind::ALL[kind], Duration::from_millis(timeout_ms));
        let message = Bytes::from(message);
        let trace = span_id.map(|span_id| TraceContext { span_id, ..TRACE });
        let frame = encode_request_head(kind, timeout, &message, trace);
        let decoded = decode_request_head(head_of(&frame));
        let expected = IncomingHead { kind: IncomingKind::Known(kind), timeout, message, trace };
        prop_assert_eq!(decoded, Ok(expected));
    }
}
