//! Values of the messages of bucket settings, copies, locks, accounts, chunks and feeds.

use bytes::Bytes;
use prost::Message;

use super::{
    Sample,
    objects::{attributes, checksum, chunk},
    sample,
};
use crate::wire::{
    account::{
        AccountAnswer, AccountChange, AccountCommand, AccountQuery, AccountQuestion, AccountReply, BucketRight,
        BucketRightsQuery, CreateKey, CreateUser, DeleteKey, DeleteUser, Grant, KeyAnswer, KeyInfo, KeysPage, Revoke,
        Rights, RightsPage, UpdateKey, UpdateUser, UserInfo, UsersPage, UsersQuery,
    },
    chunk::{
        ChunkAnswer, ChunkChange, ChunkCommand, ChunkInfo, ChunkOutcome, ChunkQuery, ChunkQuestion, ChunkReply,
        GroupMove, MoveStep, MovesPage, PageQuery, Repair, RepairDone, RepairPage, ReportShards, ShardPlace,
    },
    command::{
        Command, Copied, CopyObject, CopyPart, CopySource, CreateBucket, ExpireUploads, HoldDeletion, Outcome,
        PutBucketDocument, RedundancyMessage, UpdateBucket, WriteCondition, WriteReply, WriteRequest,
    },
    feed::{Change, ChangeKind, FeedChange, FeedPage, FeedPosition, FeedQuery},
    lock::{
        HeldLock, LockAction, LockAnswer, LockCommand, LockKind, LockOutcome, LockPageQuery, LockQuery, LockQuestion,
        LockRange,
    },
    query::{
        Answer, BucketInfo, BucketSettings, BucketUsage, Document, DocumentNames, DocumentQuery, DocumentsQuery, Query,
        ReadReply, ReadRequest, Summary,
    },
};

/// A message and a request that holds it.
fn asked<M: Message + Default + PartialEq + 'static>(
    name: &'static str,
    message: M,
    request: &'static str,
    command: Command,
) -> [Sample; 2] {
    let request_value = WriteRequest {
        group: 0,
        session: 2,
        sequence: 300,
        answered_below: 299,
        resent: true,
        settles: false,
        command: Some(command),
    };
    [sample(name, message), sample(request, request_value)]
}

fn question(name: &'static str, query: Query) -> Sample {
    sample(
        name,
        ReadRequest {
            query: Some(query),
            ..ReadRequest::default()
        },
    )
}

fn answered(name: &'static str, answer: Answer) -> Sample {
    let answer = Some(answer);
    sample(
        name,
        ReadReply {
            log_index: 7,
            answer,
            ..ReadReply::default()
        },
    )
}

fn outcome(name: &'static str, outcome: Outcome) -> Sample {
    let outcome = Some(outcome);
    sample(
        name,
        WriteReply {
            log_index: 7,
            outcome,
            ..WriteReply::default()
        },
    )
}

fn text(text: &str) -> String {
    text.to_owned()
}

pub(super) fn buckets() -> Vec<Sample> {
    let redundancy = RedundancyMessage {
        data_shards: 4,
        parity_shards: 2,
    };
    let update = UpdateBucket {
        name: text("bucket"),
        quota_bytes: Some(1),
        quota_objects: Some(2),
        chunk_size_bytes: Some(3),
        redundancy: Some(redundancy),
        abandoned_uploads_days: Some(0),
        feed_entries_max: Some(5),
        missing_shards_max: Some(6),
    };
    let put = PutBucketDocument {
        bucket: text("bucket"),
        name: text("cors"),
        content: Some(Bytes::from_static(b"{}")),
    };
    let hold = HoldDeletion {
        held: true,
        generation: 3,
    };
    let mut samples: Vec<Sample> = [
        asked(
            "UpdateBucket",
            update.clone(),
            "WriteRequest/UpdateBucket",
            Command::UpdateBucket(update),
        ),
        asked(
            "PutBucketDocument",
            put.clone(),
            "WriteRequest/PutBucketDocument",
            Command::PutBucketDocument(put),
        ),
        asked(
            "HoldDeletion",
            hold.clone(),
            "WriteRequest/HoldDeletion",
            Command::HoldDeletion(hold),
        ),
    ]
    .into_iter()
    .flatten()
    .collect();
    samples.extend([sample("RedundancyMessage", redundancy)]);
    samples
}

pub(super) fn bucket_infos() -> Vec<Sample> {
    let settings = BucketSettings {
        quota_bytes: 1,
        quota_objects: 2,
        abandoned_uploads_days: 7,
        feed_entries_max: 4,
        missing_shards_max: 5,
    };
    let usage = BucketUsage {
        objects: 1,
        object_bytes: 2,
        uploads: 3,
        upload_bytes: 4,
    };
    let mut samples = vec![sample("BucketSettings", settings), sample("BucketUsage", usage)];
    samples.push(sample(
        "CreateBucket/owner",
        CreateBucket {
            owner_key: text("KEY1"),
            ..CreateBucket::default()
        },
    ));
    samples.push(sample(
        "BucketInfo/settings",
        BucketInfo {
            settings: Some(settings),
            usage: Some(usage),
            ..BucketInfo::default()
        },
    ));
    samples.push(sample(
        "Summary/repair",
        Summary {
            repair_pending: 8,
            deletion_held: true,
            generation: 9,
            ..Summary::default()
        },
    ));
    samples
}

pub(super) fn documents() -> Vec<Sample> {
    let document = Document {
        content: Bytes::from_static(b"{}"),
        modified_ms: 1,
    };
    let one = DocumentQuery {
        bucket: text("bucket"),
        name: text("cors"),
    };
    let all = DocumentsQuery { bucket: text("bucket") };
    let names = DocumentNames {
        names: vec![text("cors")],
    };
    vec![
        sample("Document", document.clone()),
        sample("DocumentNames", names.clone()),
        sample("DocumentQuery", one.clone()),
        sample("DocumentsQuery", all.clone()),
        question("ReadRequest/Document", Query::Document(one)),
        question("ReadRequest/Documents", Query::Documents(all)),
        answered("ReadReply/Document", Answer::Document(document)),
        answered("ReadReply/Documents", Answer::Documents(names)),
    ]
}

pub(super) fn copies() -> Vec<Sample> {
    let condition = WriteCondition {
        size: Some(0),
        modified_s: Some(1_700_000_000),
        ..WriteCondition::default()
    };
    let source = CopySource {
        key: Bytes::from_static(b"a"),
        inode: 2,
        condition: Some(condition.clone()),
    };
    let object = CopyObject {
        bucket: text("bucket"),
        source: Some(source.clone()),
        key: Bytes::from_static(b"b"),
        attributes: Some(attributes()),
        condition: Some(condition.clone()),
    };
    let part = CopyPart {
        bucket: text("bucket"),
        key: Bytes::from_static(b"b"),
        upload: 3,
        number: 4,
        etag: text("abc"),
        checksums: vec![checksum()],
        source: Some(source.clone()),
        offset: 5,
        length: 6,
    };
    let expire = ExpireUploads {
        bucket_id: 1,
        limit: 128,
    };
    let copied = Copied {
        committed_ms: 1,
        etag: text("abc"),
        size: 2,
    };
    let mut samples: Vec<Sample> = [
        asked(
            "CopyObject",
            object.clone(),
            "WriteRequest/CopyObject",
            Command::CopyObject(object),
        ),
        asked(
            "CopyPart",
            part.clone(),
            "WriteRequest/CopyPart",
            Command::CopyPart(part),
        ),
        asked(
            "ExpireUploads",
            expire.clone(),
            "WriteRequest/ExpireUploads",
            Command::ExpireUploads(expire),
        ),
    ]
    .into_iter()
    .flatten()
    .collect();
    samples.extend([
        sample("WriteCondition/size", condition),
        sample("CopySource", source),
        sample("Copied", copied.clone()),
        outcome("WriteReply/Copied", Outcome::Copied(copied)),
        outcome("WriteReply/UploadsExpired", Outcome::UploadsExpired(3)),
    ]);
    samples
}

pub(super) fn locks() -> Vec<Sample> {
    let range = LockRange {
        kind: LockKind::Range.into(),
        owner: 1,
        pid: 2,
        exclusive: true,
        first: 3,
        last: u64::MAX,
    };
    let held = HeldLock {
        session: 4,
        lock: Some(range.clone()),
    };
    let command = |action| LockCommand {
        bucket_id: 1,
        inode: 2,
        action: Some(action),
    };
    let set = command(LockAction::Set(range.clone()));
    let query = |question| LockQuery {
        bucket_id: 1,
        inode: 2,
        question: Some(question),
    };
    let page = LockPageQuery {
        after: Some(held.clone()),
        limit: 5,
    };
    let test = query(LockQuestion::Test(held.clone()));
    let done = LockOutcome {
        conflict: Some(held.clone()),
    };
    let answer = LockAnswer {
        locks: vec![held.clone()],
        more: true,
    };
    let mut samples: Vec<Sample> =
        asked("LockCommand/Set", set.clone(), "WriteRequest/Lock", Command::Lock(set)).into();
    samples.extend([
        sample("LockCommand/Release", command(LockAction::Release(range.clone()))),
        sample("LockRange", range),
        sample("HeldLock", held),
        sample("LockQuery/Test", test.clone()),
        sample("LockQuery/Page", query(LockQuestion::Page(page.clone()))),
        sample("LockPageQuery", page),
        sample("LockOutcome", done.clone()),
        sample("LockAnswer", answer.clone()),
        question("ReadRequest/Lock", Query::Lock(test)),
        answered("ReadReply/Lock", Answer::Lock(answer)),
        outcome("WriteReply/Lock", Outcome::Lock(done)),
    ]);
    samples
}

fn change(name: &'static str, change: AccountChange) -> Sample {
    sample(name, AccountCommand { change: Some(change) })
}

pub(super) fn accounts() -> Vec<Sample> {
    let create = CreateUser {
        name: text("u"),
        admin: true,
        may_create_buckets: true,
    };
    let update = UpdateUser {
        name: text("u"),
        admin: Some(false),
        may_create_buckets: Some(true),
    };
    let delete = DeleteUser { name: text("u") };
    let grant = Grant {
        key_id: text("k"),
        bucket: text("bucket"),
        rights: Some(rights()),
    };
    let revoke = Revoke {
        key_id: text("k"),
        bucket: text("bucket"),
    };
    let command = AccountCommand {
        change: Some(AccountChange::Revoke(revoke.clone())),
    };
    let mut samples: Vec<Sample> = asked(
        "AccountCommand/Revoke",
        command.clone(),
        "WriteRequest/Account",
        Command::Account(command),
    )
    .into();
    samples.extend([
        sample("CreateUser", create.clone()),
        change("AccountCommand/CreateUser", AccountChange::CreateUser(create)),
        sample("UpdateUser", update.clone()),
        change("AccountCommand/UpdateUser", AccountChange::UpdateUser(update)),
        sample("DeleteUser", delete.clone()),
        change("AccountCommand/DeleteUser", AccountChange::DeleteUser(delete)),
        sample("Grant", grant.clone()),
        change("AccountCommand/Grant", AccountChange::Grant(grant)),
        sample("Revoke", revoke),
        sample("Rights", rights()),
    ]);
    samples
}

pub(super) fn keys() -> Vec<Sample> {
    let create = CreateKey {
        key_id: text("k"),
        user: text("u"),
        secret: Bytes::from_static(b"s"),
        note: text("n"),
    };
    let update = UpdateKey {
        key_id: text("k"),
        enabled: Some(false),
        secret: Some(Bytes::from_static(b"s")),
        note: Some(text("n")),
    };
    let delete = DeleteKey { key_id: text("k") };
    vec![
        sample("CreateKey", create.clone()),
        change("AccountCommand/CreateKey", AccountChange::CreateKey(create)),
        sample("UpdateKey", update.clone()),
        change("AccountCommand/UpdateKey", AccountChange::UpdateKey(update)),
        sample("DeleteKey", delete.clone()),
        change("AccountCommand/DeleteKey", AccountChange::DeleteKey(delete)),
    ]
}

const fn rights() -> Rights {
    Rights {
        read: true,
        write: true,
        owner: true,
    }
}

pub(super) fn account_answers() -> Vec<Sample> {
    let ask = |question| AccountQuery {
        question: Some(question),
    };
    let tell = |reply| AccountAnswer { reply: Some(reply) };
    let user = UserInfo {
        name: text("u"),
        admin: true,
        may_create_buckets: true,
        created_ms: 1,
        keys: 2,
    };
    let key = KeyInfo {
        key_id: text("k"),
        user: text("u"),
        enabled: true,
        created_ms: 1,
        note: text("n"),
    };
    let right = BucketRight {
        bucket: text("bucket"),
        bucket_id: 1,
        key_id: text("k"),
        rights: Some(rights()),
    };
    let whole = KeyAnswer {
        key: Some(key.clone()),
        secret: Bytes::from_static(b"s"),
        user: Some(user.clone()),
        rights: vec![right.clone()],
    };
    let users = UsersPage {
        users: vec![user.clone()],
        more: true,
    };
    let keys = KeysPage {
        keys: vec![key.clone()],
    };
    let rights = RightsPage {
        rights: vec![right.clone()],
        more: true,
    };
    vec![
        sample("AccountAnswer/User", tell(AccountReply::User(user.clone()))),
        sample("AccountAnswer/Users", tell(AccountReply::Users(users.clone()))),
        sample("AccountAnswer/Key", tell(AccountReply::Key(whole.clone()))),
        sample("AccountAnswer/Keys", tell(AccountReply::Keys(keys.clone()))),
        sample("AccountAnswer/Rights", tell(AccountReply::Rights(rights.clone()))),
        sample("UserInfo", user.clone()),
        sample("UsersPage", users),
        sample("KeyInfo", key),
        sample("KeyAnswer", whole),
        sample("KeysPage", keys),
        sample("BucketRight", right),
        sample("RightsPage", rights),
        question(
            "ReadRequest/Account",
            Query::Account(ask(AccountQuestion::User(text("u")))),
        ),
        answered("ReadReply/Account", Answer::Account(tell(AccountReply::User(user)))),
    ]
}

pub(super) fn account_questions() -> Vec<Sample> {
    let ask = |question| AccountQuery {
        question: Some(question),
    };
    let users_query = UsersQuery {
        after: text("a"),
        limit: 5,
    };
    let rights_query = BucketRightsQuery {
        bucket: text("bucket"),
        after: text("a"),
        limit: 5,
    };
    vec![
        sample("AccountQuery/User", ask(AccountQuestion::User(text("u")))),
        sample("AccountQuery/Users", ask(AccountQuestion::Users(users_query.clone()))),
        sample("AccountQuery/Key", ask(AccountQuestion::Key(text("k")))),
        sample("AccountQuery/KeysOfUser", ask(AccountQuestion::KeysOfUser(text("u")))),
        sample(
            "AccountQuery/Rights",
            ask(AccountQuestion::RightsOfBucket(rights_query.clone())),
        ),
        sample("UsersQuery", users_query),
        sample("BucketRightsQuery", rights_query),
    ]
}

pub(super) fn chunks() -> Vec<Sample> {
    let place = ShardPlace {
        chunk_id: Bytes::from_static(b"0123456789abcdef"),
        shard_index: 1,
        device: 2,
    };
    let report = ReportShards {
        shards: vec![place.clone()],
    };
    let done = RepairDone {
        shards: vec![place.clone()],
        epoch: 9,
    };
    let step = MoveStep {
        width: 6,
        group: 7,
        steps: 8,
    };
    let command = |change| ChunkCommand { change: Some(change) };
    let reported = command(ChunkChange::Report(report.clone()));
    let result = ChunkOutcome {
        changed: 1,
        settled: true,
    };
    let mut samples: Vec<Sample> = asked(
        "ChunkCommand/Report",
        reported.clone(),
        "WriteRequest/Chunk",
        Command::Chunk(reported),
    )
    .into();
    samples.extend([
        sample("ChunkCommand/Repaired", command(ChunkChange::Repaired(done.clone()))),
        sample("ChunkCommand/MoveStep", command(ChunkChange::MoveStep(step.clone()))),
        sample("ShardPlace", place),
        sample("ReportShards", report),
        sample("RepairDone", done),
        sample("MoveStep", step),
        sample("ChunkOutcome", result.clone()),
        outcome("WriteReply/Chunk", Outcome::Chunk(result)),
    ]);
    samples
}

pub(super) fn chunk_answers() -> Vec<Sample> {
    let ask = |question| ChunkQuery {
        question: Some(question),
    };
    let tell = |reply| ChunkAnswer { reply: Some(reply) };
    let page = PageQuery {
        from: Bytes::from_static(b"k"),
        limit: 5,
    };
    let info = ChunkInfo {
        chunk: Some(chunk()),
        references: 1,
        row: vec![1, 300],
        misplaced: 2,
    };
    let repair = Repair {
        priority: 64,
        chunk: Some(info.clone()),
    };
    let repairs = RepairPage {
        repairs: vec![repair.clone()],
        next_from: Bytes::from_static(b"l"),
    };
    let group = GroupMove {
        width: 6,
        group: 7,
        last_epoch: 8,
        devices: vec![1, 300],
    };
    let moves = MovesPage {
        moves: vec![group.clone()],
        next_from: Bytes::from_static(b"l"),
    };
    let one = ask(ChunkQuestion::Chunk(Bytes::from_static(b"0123456789abcdef")));
    vec![
        sample("ChunkQuery/Repairs", ask(ChunkQuestion::Repairs(page.clone()))),
        sample("ChunkQuery/Moves", ask(ChunkQuestion::Moves(page.clone()))),
        sample("ChunkQuery/Chunk", one.clone()),
        sample("PageQuery", page),
        sample("ChunkAnswer/Repairs", tell(ChunkReply::Repairs(repairs.clone()))),
        sample("ChunkAnswer/Moves", tell(ChunkReply::Moves(moves.clone()))),
        sample("ChunkAnswer/Chunk", tell(ChunkReply::Chunk(info.clone()))),
        sample("ChunkInfo", info.clone()),
        sample("Repair", repair),
        sample("RepairPage", repairs),
        sample("GroupMove", group),
        sample("MovesPage", moves),
        question("ReadRequest/Chunk", Query::Chunk(one)),
        answered("ReadReply/Chunk", Answer::Chunk(tell(ChunkReply::Chunk(info)))),
    ]
}

pub(super) fn feeds() -> Vec<Sample> {
    let position = FeedPosition {
        log_index: 1,
        number: 2,
    };
    let query = FeedQuery {
        bucket_id: 1,
        after: Some(position),
        limit: 5,
    };
    let change = Change {
        kind: ChangeKind::Renamed.into(),
        inode: 1,
        parent: 2,
        component: Bytes::from_static(b"a"),
        to_parent: 3,
        to_component: Bytes::from_static(b"b"),
        replaced: 4,
        key: Bytes::from_static(b"d/b"),
    };
    let entry = FeedChange {
        position: Some(position),
        time_ms: 3,
        change: Some(change.clone()),
    };
    let page = FeedPage {
        changes: vec![entry.clone()],
        next: Some(position),
        more: true,
    };
    vec![
        sample("FeedPosition", position),
        sample("FeedQuery", query.clone()),
        sample("Change", change),
        sample("FeedChange", entry),
        sample("FeedPage", page.clone()),
        question("ReadRequest/Feed", Query::Feed(query)),
        answered("ReadReply/Feed", Answer::Feed(page)),
    ]
}
