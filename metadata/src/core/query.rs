//! Answering queries.

use cairn_common::wire::query::{Answer, BucketsPage, Query, ReadReply, Summary};

use super::{
    bucket, list, map, plan, session,
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
    })
}

fn answer_or_refuse(view: &dyn View, query: &Query) -> Result<Answer, ApplyError> {
    match query {
        Query::Map(_) => Ok(Answer::Map(map::current(view)?)),
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
        Query::Summary(_) => Ok(Answer::Summary(summary(view)?)),
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
        deletion_held: store.deletion_held,
        generation: store.generation,
    })
}
