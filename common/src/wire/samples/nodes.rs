//! Values of the messages of [`crate::wire::node`], [`crate::wire::head`], [`crate::wire::failure`] and
//! [`crate::wire::gathered`].

use bytes::Bytes;

use super::{Sample, sample};
use crate::wire::{
    failure::{Failure, FailureCode},
    gathered::{AnswerOutcome, Gathered, GatheredAnswer, GatheredAnswers},
    head::{Outcome, RequestHead, ResponseHead, TraceContext},
    kind::RequestKind,
    node::{Certificate, Hello, HelloReply, Join, RenewCertificate, Revocations, RevocationsReply},
};

pub(super) fn samples() -> Vec<Sample> {
    let der = || Bytes::from_static(&[0x30, 0x03, 0x02, 0x01, 0x05]);
    let version = || "0.0.1".to_owned();
    let hello_reply = HelloReply {
        version: version(),
        bulk_ports: vec![7001, 7002],
    };
    let certificate = Certificate {
        certificate: der(),
        ca_certificate: der(),
        revocations: der(),
    };
    let renew = RenewCertificate {
        certificate_request: der(),
    };
    let join = Join {
        certificate_request: der(),
        token_signature: Bytes::from_static(&[7; 64]),
        token_public_key: Bytes::from_static(&[9; 32]),
    };
    let done = ResponseHead {
        outcome: Some(Outcome::Reply(Bytes::from_static(b"message"))),
    };
    let failed = ResponseHead {
        outcome: Some(Outcome::Failed(failure())),
    };
    let gathered = Gathered {
        messages: vec![Bytes::from_static(b"one"), Bytes::from_static(b"other")],
    };
    let answered = |outcome| GatheredAnswer { outcome: Some(outcome) };
    let reply = || answered(AnswerOutcome::Reply(Bytes::from_static(b"message")));
    let answers = GatheredAnswers {
        answers: vec![reply(), answered(AnswerOutcome::Failure(failure()))],
    };
    vec![
        sample("Gathered", gathered),
        sample("GatheredAnswers", answers),
        sample("GatheredAnswer", reply()),
        sample("GatheredAnswer/failure", answered(AnswerOutcome::Failure(failure()))),
        sample("Failure/leader", not_leader()),
        sample("Hello", Hello { version: version() }),
        sample("HelloReply", hello_reply),
        sample("Join", join),
        sample("Certificate", certificate),
        sample("RenewCertificate", renew),
        sample("Revocations", Revocations {}),
        sample("RevocationsReply", RevocationsReply { revocations: der() }),
        sample("RequestHead", request_head()),
        sample("ResponseHead/Reply", done),
        sample("ResponseHead/Failed", failed),
        sample("TraceContext", trace()),
        sample("Failure", failure()),
    ]
}

fn request_head() -> RequestHead {
    RequestHead {
        kind: RequestKind::PutShard.number().into(),
        timeout_ms: 30_000,
        message: Bytes::from_static(b"message"),
        trace: Some(trace()),
    }
}

fn trace() -> TraceContext {
    TraceContext {
        trace_id_high: 1,
        trace_id_low: u64::MAX,
        span_id: 3,
    }
}

fn not_leader() -> Failure {
    Failure {
        code: FailureCode::NotLeader.into(),
        detail: "why".to_owned(),
        leader: 2,
        leader_address: "meta-2:7300".to_owned(),
        retry_after_ms: 20,
    }
}

fn failure() -> Failure {
    Failure {
        code: FailureCode::Unsupported.into(),
        detail: "why".to_owned(),
        ..Failure::default()
    }
}
