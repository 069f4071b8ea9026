//! Answering queries.

use cairn_common::wire::{
    group::GroupTable,
    query::{Answer, BucketsPage, DocumentNames, Query, ReadReply, Summary},
};

use super::{
    account, authority, bucket, feed, file, list, lock, map, plan, repair, server, session,
    tx::ApplyError,
    upload,
    view::{View, ViewError},
};

/// Answers a query from the state as it was after the entry at `log_index`.
pub fn answer(view: &dyn View, log_index: u64, query: &Query) -> Result<ReadReply, ViewError> {
    let answer = match answer_or_refuse(view, query) {
        Ok(answer) => answer,
        Err(ApplyError::Refused(refusal)) => Answer::Refused(refusal),
        Err(ApplyError::View(error)) => return Err(error),
    };
    Ok(ReadReply {
        log_index,
        answer: Some(answer),
        ..ReadReply::default()
    })
}

fn answer_or_refuse(view: &dyn View, query: &Query) -> Result<Answer, ApplyError> {
    match query {
        Query::Map(query) => Ok(Answer::Map(map::answer(view, query)?)),
        Query::Bucket(query) => Ok(Answer::Bucket(bucket::require(view, &query.name)?.info())),
        Query::Buckets(_) => {
            let buckets = bucket::all(view)?.iter().map(bucket::Bucket::info).collect();
            Ok(Answer::Buckets(BucketsPage { buckets }))
        }
        Query::Object(query) => plan::object(view, query).map(Answer::Object),
        Query::Plan(query) => plan::further(view, query).map(Answer::Plan),
        Query::List(query) => list::list(view, query).map(Answer::List),
        Query::Parts(query) => upload::parts(view, query).map(Answer::Parts),
        Query::Uploads(query) => upload::uploads(view, query).map(Answer::Uploads),
        Query::File(query) => file::answer(view, query).map(Answer::File),
        Query::Document(query) => bucket::document(view, query).map(Answer::Document),
        Query::Documents(query) => {
            let bucket = bucket::require(view, &query.bucket)?.id;
            let names = bucket::document_names(view, bucket)?;
            Ok(Answer::Documents(DocumentNames { names }))
        }
        Query::Lock(query) => lock::answer(view, query).map(Answer::Lock),
        Query::Account(query) => account::answer(view, query).map(Answer::Account),
        Query::Chunk(query) => repair::answer(view, query).map(Answer::Chunk),
        Query::Feed(query) => feed::answer(view, query).map(Answer::Feed),
        Query::Authority(_) => Ok(Answer::Authority(authority::answer(view)?)),
        Query::Servers(_) => Ok(Answer::Servers(server::answer(view)?)),
        Query::Summary(_) => Ok(Answer::Summary(summary(view)?)),
        // Every bucket lies in the one group; its members are for the server to name.
        Query::Groups(_) => Ok(Answer::Groups(GroupTable::default())),
    }
}

fn summary(view: &dyn View) -> Result<Summary, ViewError> {
    let store = session::store(view)?;
    let buckets = bucket::all(view)?;
    Ok(Summary {
        buckets: store.buckets,
        objects: buckets.iter().map(|bucket| bucket.record.objects).sum(),
        object_bytes: buckets.iter().map(|bucket| bucket.record.object_bytes).sum(),
        release_pending: store.release_pending,
        sessions: store.sessions,
        epoch: map::current(view)?.epoch,
        feature_level: store.feature_level,
        repair_pending: store.repair_pending,
        deletion_held: store.deletion_held,
        generation: store.generation,
        authority_holder: authority::answer(view)?.copy.map_or(0, |copy| copy.holder),
    })
}
