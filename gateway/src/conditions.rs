//! Preconditions: of reads and copy sources, decided here; of writes, handed on to the state machine.
//!
//! Invariant: of reads the order of RFC 7232 section 6 holds, so If-Match silences If-Unmodified-Since and If-None-Match
//! silences If-Modified-Since. A condition on a write is never decided here: only the state machine sees what is there now.

use cairn_common::wire::{command::WriteCondition, object::ObjectInfo};
use s3s::{
    S3Result,
    dto::{ETag, ETagCondition, Timestamp},
};
use time::OffsetDateTime;

use crate::error;

/// The conditions of a read.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReadConditions {
    pub(crate) if_match: Option<ETagCondition>,
    pub(crate) if_none_match: Option<ETagCondition>,
    pub(crate) if_modified_since: Option<Timestamp>,
    pub(crate) if_unmodified_since: Option<Timestamp>,
}

/// What a read is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The object.
    Proceed,
    /// 304: the client has it already.
    NotModified,
    /// 412.
    Failed,
}

impl ReadConditions {
    /// Decides for an object with this entity tag and time of modification.
    pub(crate) fn decide(&self, etag: &str, modified_ms: u64) -> Verdict {
        // HTTP dates count whole seconds.
        let modified = (modified_ms / 1000).cast_signed();
        let seconds = |timestamp: &Timestamp| OffsetDateTime::from(timestamp.clone()).unix_timestamp();
        let kept = match (&self.if_match, &self.if_unmodified_since) {
            (Some(condition), _) => matches(condition, etag, Comparison::Strong),
            (None, Some(since)) => modified <= seconds(since),
            (None, None) => true,
        };
        if !kept {
            return Verdict::Failed;
        }
        let changed = match (&self.if_none_match, &self.if_modified_since) {
            (Some(condition), _) => !matches(condition, etag, Comparison::Weak),
            (None, Some(since)) => modified > seconds(since),
            (None, None) => true,
        };
        if changed {
            Verdict::Proceed
        } else {
            Verdict::NotModified
        }
    }

    /// Holds a copy source against the conditions: any that fails is a failed precondition.
    pub(crate) fn check_copy_source(&self, info: &ObjectInfo) -> S3Result<()> {
        let etag = info
            .attributes
            .as_ref()
            .map_or("", |attributes| attributes.etag.as_str());
        match self.decide(etag, info.modified_ms) {
            Verdict::Proceed => Ok(()),
            Verdict::NotModified | Verdict::Failed => Err(error::precondition_failed()),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

fn matches(condition: &ETagCondition, etag: &str, comparison: Comparison) -> bool {
    match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(ETag::Strong(wanted)) => wanted == etag,
        ETagCondition::ETag(ETag::Weak(wanted)) => comparison == Comparison::Weak && wanted == etag,
    }
}

/// The condition of a write, as the state machine takes it.
pub(crate) fn write_condition(
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<WriteCondition> {
    let must_be_absent = match if_none_match {
        None => false,
        Some(ETagCondition::Any) => true,
        Some(ETagCondition::ETag(_)) => {
            return Err(error::not_implemented(
                "If-None-Match on a write takes only the value *.",
            ));
        }
    };
    let etag = match if_match {
        None => String::new(),
        Some(ETagCondition::Any) => "*".to_owned(),
        Some(ETagCondition::ETag(etag)) => etag.value().to_owned(),
    };
    if must_be_absent && !etag.is_empty() {
        return Err(error::not_implemented(
            "If-Match and If-None-Match cannot be given together on a write.",
        ));
    }
    Ok(WriteCondition {
        must_be_absent,
        etag,
        ..WriteCondition::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(value: &str) -> Option<ETagCondition> {
        Some(ETagCondition::ETag(ETag::Strong(value.to_owned())))
    }

    fn at(seconds: i64) -> Option<Timestamp> {
        Some(OffsetDateTime::from_unix_timestamp(seconds).unwrap().into())
    }

    #[test]
    fn precedence_is_that_of_the_rfc() {
        let any = || Some(ETagCondition::Any);
        let (proceed, not_modified, failed) = (Verdict::Proceed, Verdict::NotModified, Verdict::Failed);
        // (If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since) of an object "x" modified at second 100.
        let cases = [
            (None, None, None, None, proceed),
            (tag("x"), None, None, None, proceed),
            (tag("y"), None, None, None, failed),
            (any(), None, None, None, proceed),
            (tag("x"), None, None, at(50), proceed),
            (tag("y"), None, None, at(150), failed),
            (None, None, None, at(99), failed),
            (None, None, None, at(100), proceed),
            (None, tag("x"), None, None, not_modified),
            (None, tag("y"), None, None, proceed),
            (None, any(), None, None, not_modified),
            (None, tag("y"), at(150), None, proceed),
            (None, tag("x"), at(50), None, not_modified),
            (None, None, at(100), None, not_modified),
            (None, None, at(99), None, proceed),
            (tag("y"), tag("x"), None, None, failed),
            (tag("x"), tag("x"), None, None, not_modified),
            (None, None, at(150), at(50), failed),
        ];
        for (index, (if_match, if_none_match, if_modified_since, if_unmodified_since, verdict)) in
            cases.into_iter().enumerate()
        {
            let conditions = ReadConditions {
                if_match,
                if_none_match,
                if_modified_since,
                if_unmodified_since,
            };
            assert_eq!(conditions.decide("x", 100_900), verdict, "case {index}");
        }
    }

    #[test]
    fn weak_tags_match_only_where_weak_is_enough() {
        let weak = Some(ETagCondition::ETag(ETag::Weak("x".to_owned())));
        let strong = ReadConditions {
            if_match: weak.clone(),
            ..ReadConditions::default()
        };
        assert_eq!(strong.decide("x", 0), Verdict::Failed);
        let none = ReadConditions {
            if_none_match: weak,
            ..ReadConditions::default()
        };
        assert_eq!(none.decide("x", 0), Verdict::NotModified);
    }

    #[test]
    fn write_conditions_pass_through() {
        let any = ETagCondition::Any;
        let tag = tag("x").unwrap();
        let absent = write_condition(None, Some(&any)).unwrap();
        assert!(absent.must_be_absent && absent.etag.is_empty());
        assert_eq!(write_condition(Some(&tag), None).unwrap().etag, "x");
        assert_eq!(write_condition(Some(&any), None).unwrap().etag, "*");
        assert_eq!(
            write_condition(None, Some(&tag)).unwrap_err().code().as_str(),
            "NotImplemented"
        );
        assert_eq!(write_condition(None, None).unwrap(), WriteCondition::default());
    }
}
