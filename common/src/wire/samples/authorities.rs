//! Values of the messages of [`crate::wire::authority`].

use bytes::Bytes;

use super::{Sample, sample};
use crate::wire::{
    authority::{AuthorityAnswer, AuthorityCopy, AuthorityQuery, KeepAuthority},
    command::{Command, WriteRequest},
    query::{Answer, Query, ReadReply, ReadRequest, Summary},
};

pub(super) fn samples() -> Vec<Sample> {
    let keep = KeepAuthority { copy: Some(copy()) };
    let answer = AuthorityAnswer { copy: Some(copy()) };
    vec![
        sample("AuthorityCopy", copy()),
        sample("KeepAuthority", keep.clone()),
        sample(
            "WriteRequest/KeepAuthority",
            WriteRequest {
                command: Some(Command::KeepAuthority(keep)),
                ..WriteRequest::default()
            },
        ),
        sample(
            "Summary/authority",
            Summary {
                authority_holder: 2,
                ..Summary::default()
            },
        ),
        sample("AuthorityQuery", AuthorityQuery {}),
        sample(
            "ReadRequest/Authority",
            ReadRequest {
                query: Some(Query::Authority(AuthorityQuery {})),
                ..ReadRequest::default()
            },
        ),
        sample("AuthorityAnswer", answer.clone()),
        sample(
            "ReadReply/Authority",
            ReadReply {
                log_index: 7,
                answer: Some(Answer::Authority(answer)),
                ..ReadReply::default()
            },
        ),
    ]
}

fn copy() -> AuthorityCopy {
    AuthorityCopy {
        version: 3,
        holder: 1,
        ca_certificate: Bytes::from_static(&[0x30, 0x03, 0x02, 0x01, 0x05]),
        sealed_key: Bytes::from_static(&[1, 0xaa, 0xbb]),
        ledger: "version = 1\n".to_owned(),
        term: 1_800_000_000,
    }
}
