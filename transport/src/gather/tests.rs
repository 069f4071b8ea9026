//! Gathering over a carrier that answers when it is let, in virtual time.

use async_trait::async_trait;
use cairn_common::wire::raft::ReadIndexReply;
use tokio::sync::Semaphore;

use super::*;
use crate::call::Service;
use crate::{InProcess, Peer};

const NODE: NodeId = NodeId::new(7);
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers a message with itself, and 13 with a failure; a request only where it has a permit.
struct Echo {
    permits: Semaphore,
    sizes: Mutex<Vec<usize>>,
}

#[async_trait]
impl Service for Echo {
    async fn handle(&self, _from: Peer, request: Request) -> Result<Response, Failure> {
        let gathered = match request.kind {
            RequestKind::MetadataWrites => Gathered::decode(request.header.clone()).unwrap().messages.len(),
            _ => 1,
        };
        self.sizes.lock().push(gathered);
        self.permits.acquire().await.unwrap().forget();
        match request.kind {
            RequestKind::MetadataWrites => answer_gathered(request.header, echo).await,
            _ => Ok(Response {
                header: echo(request.header).await?,
                body: Body::empty(),
            }),
        }
    }
}

async fn echo(message: Bytes) -> Result<Bytes, Failure> {
    match ReadIndexReply::decode(message.clone()).unwrap().index {
        13 => Err(failure(FailureCode::NotFound, "thirteen")),
        _ => Ok(message),
    }
}

fn gatherer(permits: usize) -> (Arc<Gatherer>, Arc<Echo>) {
    let echo = Arc::new(Echo {
        permits: Semaphore::new(permits),
        sizes: Mutex::default(),
    });
    let kinds = [RequestKind::MetadataWrite, RequestKind::MetadataWrites];
    let transport = InProcess::new().with_service(NODE, &kinds, Arc::clone(&echo) as _, 8);
    (Arc::new(Gatherer::new(Arc::new(transport), kinds[0], kinds[1])), echo)
}

async fn ask(gatherer: &Gatherer, index: u64) -> Result<u64, CallError> {
    let reply: Result<ReadIndexReply, _> = gatherer.call(NODE, &ReadIndexReply { index }, PATIENCE).await;
    reply.map(|reply| reply.index)
}

fn spawn_all(
    gatherer: &Arc<Gatherer>,
    indexes: impl Iterator<Item = u64>,
) -> Vec<tokio::task::JoinHandle<Result<u64, CallError>>> {
    let ask = |index| {
        let gatherer = Arc::clone(gatherer);
        tokio::spawn(async move { ask(&gatherer, index).await })
    };
    indexes.map(ask).collect()
}

/// Lets everything run that can, and a second of virtual time go by.
async fn pass_a_second() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    tokio::time::advance(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_together_travels_together_and_each_has_its_own_answer() {
    let (gatherer, echo) = gatherer(0);
    let first = spawn_all(&gatherer, 1..2);
    while echo.sizes.lock().is_empty() {
        tokio::task::yield_now().await;
    }
    let rest = spawn_all(&gatherer, 2..500);
    pass_a_second().await;
    echo.permits.add_permits(10);
    for (index, asked) in (1..).zip(first.into_iter().chain(rest)) {
        let answer = asked.await.unwrap();
        if index == 13 {
            assert!(matches!(answer, Err(CallError::Failed(failure)) if failure.code() == FailureCode::NotFound));
        } else {
            assert_eq!(answer, Ok(index));
        }
    }
    assert_eq!(*echo.sizes.lock(), [1, GATHERED_MAX, 498 - GATHERED_MAX]);
    assert_eq!(ask(&gatherer, 9).await, Ok(9), "after a rest the next travels at once");
    assert!(gatherer.inner.nodes.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_was_given_up_before_it_was_sent_is_never_sent() {
    let (gatherer, echo) = gatherer(0);
    let first = spawn_all(&gatherer, 1..2);
    pass_a_second().await;
    let second = spawn_all(&gatherer, 2..3);
    let third = spawn_all(&gatherer, 3..4);
    pass_a_second().await;
    third.iter().for_each(tokio::task::JoinHandle::abort);
    for asked in first {
        assert_eq!(
            asked.await.unwrap(),
            Err(CallError::DeadlineExceeded),
            "it may have happened"
        );
    }
    echo.permits.add_permits(10);
    for asked in second {
        assert_eq!(asked.await.unwrap(), Ok(2));
    }
    assert_eq!(*echo.sizes.lock(), [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn behind_a_node_that_is_silent_nothing_counts_as_sent() {
    let (gatherer, _echo) = gatherer(0);
    let message = ReadIndexReply { index: 1 };
    let slow = {
        let gatherer = Arc::clone(&gatherer);
        tokio::spawn(async move { gatherer.call::<ReadIndexReply>(NODE, &message, PATIENCE * 2).await })
    };
    pass_a_second().await;
    assert!(matches!(ask(&gatherer, 2).await, Err(CallError::Unreachable { .. })));
    assert_eq!(slow.await.unwrap(), Err(CallError::DeadlineExceeded));
}

#[tokio::test(start_paused = true)]
async fn bounds_hold() {
    let (gatherer, _echo) = gatherer(0);
    let mut asked = spawn_all(&gatherer, 0..GATHERING_MAX as u64 + 2);
    pass_a_second().await;
    // The first ones are under way and wait no more, so only those beyond both bounds are refused.
    let refused = asked.iter().filter(|asked| asked.is_finished()).count();
    assert!(refused <= 2, "{refused}");
    let more = spawn_all(&gatherer, 0..GATHERED_MAX as u64 + 1);
    for asked in more.into_iter().skip(GATHERED_MAX) {
        assert!(matches!(asked.await.unwrap(), Err(CallError::Failed(failure)) if failure.code() == FailureCode::Busy));
    }
    asked.drain(..).for_each(|asked| asked.abort());
    let messages = vec![Bytes::new(); GATHERED_MAX + 1];
    let refused = answer_gathered(Gathered { messages }.encode_to_vec().into(), echo).await;
    assert!(refused.is_err_and(|failure| failure.code() == FailureCode::Malformed));
}

#[test]
fn answers_that_do_not_fit_are_no_answers() {
    for header in [Bytes::from_static(b"\xff"), Bytes::new()] {
        let answers = answers(header, 2);
        assert_eq!(answers.len(), 2);
        assert!(
            answers
                .iter()
                .all(|answer| matches!(answer, Err(CallError::Malformed(_))))
        );
    }
}
