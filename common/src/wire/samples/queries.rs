//! Values of the messages of [`crate::wire::query`].

use bytes::Bytes;

use super::{
    Sample,
    commands::refusal,
    files::{file_answer, file_query},
    objects::{attributes, checksum, extent, info, map},
    sample,
};
use crate::wire::group::GroupTableQuery;
use crate::wire::query::{
    Answer, BucketInfo, BucketQuery, BucketsPage, BucketsQuery, ListEntry, ListPage, ListQuery, MapQuery, ObjectAnswer,
    ObjectQuery, PartInfo, PartsPage, PartsQuery, Plan, PlanQuery, Query, ReadReply, ReadRequest, Summary,
    SummaryQuery, UploadInfo, UploadsPage, UploadsQuery,
};

pub(super) fn samples() -> Vec<Sample> {
    let ask = |query| ReadRequest {
        query: Some(query),
        ..ReadRequest::default()
    };
    let in_group = ReadRequest {
        group: 3,
        ..ask(Query::Map(MapQuery::default()))
    };
    vec![
        sample("MapQuery", MapQuery { known_epoch: 3 }),
        sample("BucketQuery", bucket_query()),
        sample("BucketsQuery", BucketsQuery {}),
        sample("ObjectQuery", object_query()),
        sample("PlanQuery", plan_query()),
        sample(
            "PlanQuery/changed",
            PlanQuery {
                data_version: 5,
                ..plan_query()
            },
        ),
        sample("ListQuery", list_query()),
        sample("PartsQuery", parts_query()),
        sample("UploadsQuery", uploads_query()),
        sample("SummaryQuery", SummaryQuery {}),
        sample("ReadRequest/group", in_group),
        sample("ReadRequest/Groups", ask(Query::Groups(GroupTableQuery {}))),
        sample("ReadRequest/Map", ask(Query::Map(MapQuery::default()))),
        sample("ReadRequest/Bucket", ask(Query::Bucket(bucket_query()))),
        sample("ReadRequest/Buckets", ask(Query::Buckets(BucketsQuery {}))),
        sample("ReadRequest/Object", ask(Query::Object(object_query()))),
        sample("ReadRequest/Plan", ask(Query::Plan(plan_query()))),
        sample("ReadRequest/List", ask(Query::List(list_query()))),
        sample("ReadRequest/Parts", ask(Query::Parts(parts_query()))),
        sample("ReadRequest/Uploads", ask(Query::Uploads(uploads_query()))),
        sample("ReadRequest/Summary", ask(Query::Summary(SummaryQuery {}))),
        sample("ReadRequest/File", ask(Query::File(file_query()))),
    ]
}

pub(super) fn answers() -> Vec<Sample> {
    let answer = |answer| ReadReply {
        log_index: 70_000,
        answer: Some(answer),
        ..ReadReply::default()
    };
    vec![
        sample("ReadReply/Groups", answer(Answer::Groups(super::groups::table()))),
        sample("ReadReply/Refused", answer(Answer::Refused(refusal()))),
        sample("ReadReply/Map", answer(Answer::Map(map()))),
        sample("ReadReply/Bucket", answer(Answer::Bucket(bucket_info()))),
        sample("ReadReply/Buckets", answer(Answer::Buckets(buckets_page()))),
        sample("ReadReply/Object", answer(Answer::Object(object_answer()))),
        sample("ReadReply/Plan", answer(Answer::Plan(plan()))),
        sample("ReadReply/List", answer(Answer::List(list_page()))),
        sample("ReadReply/Parts", answer(Answer::Parts(parts_page()))),
        sample("ReadReply/Uploads", answer(Answer::Uploads(uploads_page()))),
        sample("ReadReply/Summary", answer(Answer::Summary(summary()))),
        sample("ReadReply/File", answer(Answer::File(file_answer()))),
    ]
}

pub(super) fn pages() -> Vec<Sample> {
    vec![
        sample("BucketInfo", bucket_info()),
        sample("BucketsPage", buckets_page()),
        sample("ObjectAnswer", object_answer()),
        sample("Plan", plan()),
        sample("Plan/changed", changed_plan()),
        sample("ListPage", list_page()),
        sample("ListEntry", list_entry()),
        sample("PartsPage", parts_page()),
        sample("PartInfo", part_info()),
        sample("UploadsPage", uploads_page()),
        sample("UploadInfo", upload_info()),
        sample("Summary", summary()),
    ]
}

fn bucket_query() -> BucketQuery {
    BucketQuery {
        name: "bucket".to_owned(),
    }
}

fn object_query() -> ObjectQuery {
    ObjectQuery {
        bucket: "bucket".to_owned(),
        key: Bytes::from_static(b"a/b"),
        with_plan: true,
        plan_from: 300,
    }
}

fn plan_query() -> PlanQuery {
    PlanQuery {
        bucket_id: 1,
        inode: 2,
        from: 300,
        data_version: 0,
    }
}

fn list_query() -> ListQuery {
    ListQuery {
        bucket: "bucket".to_owned(),
        prefix: Bytes::from_static(b"a/"),
        delimiter: Bytes::from_static(b"/"),
        from: Bytes::from_static(b"a/b"),
        limit: 1000,
    }
}

fn parts_query() -> PartsQuery {
    PartsQuery {
        bucket: "bucket".to_owned(),
        key: Bytes::from_static(b"a/b"),
        upload: 3,
        after: 4,
        limit: 1000,
    }
}

fn uploads_query() -> UploadsQuery {
    UploadsQuery {
        bucket: "bucket".to_owned(),
        prefix: Bytes::from_static(b"a/"),
        after_key: Bytes::from_static(b"a/b"),
        after_upload: u64::MAX,
        limit: 1000,
    }
}

fn bucket_info() -> BucketInfo {
    BucketInfo {
        id: 1,
        name: "bucket".to_owned(),
        created_ms: 1_700_000_000_000,
        data_shards: 4,
        parity_shards: 2,
        chunk_size_bytes: 8 << 20,
        ..BucketInfo::default()
    }
}

fn buckets_page() -> BucketsPage {
    BucketsPage {
        buckets: vec![bucket_info()],
    }
}

fn object_answer() -> ObjectAnswer {
    ObjectAnswer {
        info: Some(info()),
        plan: Some(plan()),
        bucket_id: 1,
    }
}

fn plan() -> Plan {
    Plan {
        inline: Bytes::from_static(b"in"),
        extents: vec![extent()],
        ..Plan::default()
    }
}

/// A page of a file that was changed in place.
pub(super) fn changed_plan() -> Plan {
    Plan {
        next_from: 300,
        data_version: 5,
        ..plan()
    }
}

fn list_page() -> ListPage {
    ListPage {
        entries: vec![list_entry()],
        next_from: Bytes::from_static(b"a/c"),
    }
}

fn list_entry() -> ListEntry {
    ListEntry {
        key: Bytes::from_static(b"a/b"),
        is_prefix: true,
        size: 1,
        modified_ms: 1_700_000_000_000,
        etag: "abc".to_owned(),
        checksums: vec![checksum()],
    }
}

fn parts_page() -> PartsPage {
    PartsPage {
        revision: 2,
        attributes: Some(attributes()),
        started_ms: 1_700_000_000_000,
        parts: vec![part_info()],
        more: true,
    }
}

fn part_info() -> PartInfo {
    PartInfo {
        number: 7,
        size: 5 << 20,
        etag: "abc".to_owned(),
        modified_ms: 1_700_000_000_000,
        checksums: vec![checksum()],
    }
}

fn uploads_page() -> UploadsPage {
    UploadsPage {
        uploads: vec![upload_info()],
        more: true,
    }
}

fn upload_info() -> UploadInfo {
    UploadInfo {
        key: Bytes::from_static(b"a/b"),
        upload: 3,
        started_ms: 1_700_000_000_000,
        checksums: vec![checksum()],
    }
}

fn summary() -> Summary {
    Summary {
        buckets: 1,
        objects: 2,
        object_bytes: 1 << 40,
        release_pending: 4,
        sessions: 5,
        epoch: 6,
        feature_level: 7,
        ..Summary::default()
    }
}
