//! Small messages to one node, gathered: those that wait together travel in one request and are answered in one.
//!
//! Each message has a deadline of its own and an answer of its own. Whatever comes while a request is under way waits for the
//! next, so that the busier the node, the more share one; where none is under way, none waits. Invariant: a message that is
//! given up before it was sent is never sent; one that was sent is not called back, so its caller must know what that means.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use cairn_common::{
    ids::NodeId,
    limits::{GATHERED_BYTES_MAX, GATHERED_MAX, GATHERING_MAX},
    wire::{
        failure::{Failure, FailureCode},
        gathered::{AnswerOutcome, Gathered, GatheredAnswer, GatheredAnswers},
        head::TraceContext,
        kind::RequestKind,
    },
};
use futures::future::join_all;
use parking_lot::Mutex;
use prost::Message;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use crate::{Body, CallError, Request, Response, Transport, call::reply, failure, trace};

/// Gathers messages of one kind.
pub struct Gatherer {
    inner: Arc<Inner>,
}

struct Inner {
    transport: Arc<dyn Transport>,
    /// The kind of a message that travels alone, and of several.
    kinds: (RequestKind, RequestKind),
    nodes: Mutex<HashMap<NodeId, Queue>>,
}

/// Messages for one node.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// Whether a request is under way, which takes care of those that wait.
    is_sending: bool,
}

struct Waiting {
    message: Bytes,
    deadline: Instant,
    trace: Option<TraceContext>,
    sent: Arc<AtomicBool>,
    answer: oneshot::Sender<Result<Bytes, CallError>>,
}

impl Gatherer {
    /// Sends messages of kind `one` over `transport`: several together as a request of kind `many`.
    pub fn new(transport: Arc<dyn Transport>, one: RequestKind, many: RequestKind) -> Self {
        let inner = Inner {
            transport,
            kinds: (one, many),
            nodes: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Sends a message, alone or with others, and decodes its answer.
    pub async fn call<Reply: Message + Default>(
        &self,
        node: NodeId,
        message: &impl Message,
        timeout: Duration,
    ) -> Result<Reply, CallError> {
        let (answer, answered) = oneshot::channel();
        let sent = Arc::new(AtomicBool::new(false));
        let deadline = Instant::now() + timeout;
        let waiting = Waiting {
            message: Bytes::from(message.encode_to_vec()),
            deadline,
            trace: trace::current(),
            sent: Arc::clone(&sent),
            answer,
        };
        self.inner.enqueue(node, waiting)?;
        let outcome = match timeout_at(deadline, answered).await {
            Ok(answered) => answered.unwrap_or_else(|_| Err(lost(node))),
            Err(_) if sent.load(Ordering::Acquire) => Err(CallError::DeadlineExceeded),
            Err(_) => Err(CallError::Unreachable {
                node,
                reason: "it does not answer what was sent to it before".to_owned(),
            }),
        };
        Reply::decode(outcome?).map_err(|error| CallError::Malformed(error.to_string()))
    }
}

impl Inner {
    fn enqueue(self: &Arc<Self>, node: NodeId, waiting: Waiting) -> Result<(), CallError> {
        let mut nodes = self.nodes.lock();
        let queue = nodes.entry(node).or_default();
        if queue.waiting.len() >= GATHERING_MAX {
            let text = "too many messages wait to be sent: try again later";
            return Err(CallError::Failed(failure(FailureCode::Busy, text)));
        }
        queue.waiting.push_back(waiting);
        if !std::mem::replace(&mut queue.is_sending, true) {
            tokio::spawn(Arc::clone(self).send_all(node));
        }
        Ok(())
    }

    /// Sends what waits for `node` until nothing does.
    async fn send_all(self: Arc<Self>, node: NodeId) {
        // Whoever is about to speak, as several are whose answers have just come together, is let have a word first.
        tokio::task::yield_now().await;
        while let Some(gathered) = self.gather(node) {
            self.send(node, gathered).await;
        }
    }

    /// The next messages to send; none ends the sending.
    fn gather(&self, node: NodeId) -> Option<Vec<Waiting>> {
        let mut nodes = self.nodes.lock();
        let queue = nodes.entry(node).or_default();
        let (mut gathered, mut bytes) = (Vec::new(), 0);
        while let Some(next) = queue.waiting.front()
            && gathered.len() < GATHERED_MAX
            && (gathered.is_empty() || bytes + next.message.len() <= GATHERED_BYTES_MAX)
        {
            bytes += next.message.len();
            let next = queue.waiting.pop_front()?;
            if !next.answer.is_closed() {
                next.sent.store(true, Ordering::Release);
                gathered.push(next);
            }
        }
        if gathered.is_empty() {
            nodes.remove(&node);
            return None;
        }
        Some(gathered)
    }

    async fn send(&self, node: NodeId, gathered: Vec<Waiting>) {
        let (one, many) = self.kinds;
        let alone = gathered.len() == 1;
        let messages = gathered.iter().map(|waiting| waiting.message.clone());
        let header = if alone {
            messages.into_iter().collect::<Vec<_>>().concat().into()
        } else {
            let messages = messages.collect();
            Bytes::from(Gathered { messages }.encode_to_vec())
        };
        let request = Request {
            kind: if alone { one } else { many },
            header,
            body: Body::empty(),
            deadline: gathered
                .iter()
                .map(|waiting| waiting.deadline)
                .max()
                .unwrap_or_else(Instant::now),
            trace: gathered.iter().find_map(|waiting| waiting.trace),
        };
        let answered = self.transport.send(node, request).await;
        let answers = match answered {
            Ok(response) if alone => vec![Ok(response.header)],
            Ok(response) => answers(response.header, gathered.len()),
            Err(error) => vec![Err(error); gathered.len()],
        };
        for (waiting, answer) in gathered.into_iter().zip(answers) {
            // Who has gone meanwhile will ask again, or not at all.
            let _ = waiting.answer.send(answer);
        }
    }
}

/// Answers a request of gathered messages: `answer` gives each its own.
///
/// # Errors
/// It cannot be decoded, or holds too many.
pub async fn answer_gathered<Answering>(header: Bytes, answer: impl Fn(Bytes) -> Answering) -> Result<Response, Failure>
where
    Answering: Future<Output = Result<Bytes, Failure>>,
{
    let malformed = |reason: String| failure(FailureCode::Malformed, reason);
    let gathered = Gathered::decode(header).map_err(|error| malformed(error.to_string()))?;
    if gathered.messages.len() > GATHERED_MAX {
        return Err(malformed(format!(
            "more than {GATHERED_MAX} messages were sent together"
        )));
    }
    let answered = join_all(gathered.messages.into_iter().map(answer)).await;
    let answer = |answered| GatheredAnswer {
        outcome: Some(match answered {
            Ok(reply) => AnswerOutcome::Reply(reply),
            Err(failure) => AnswerOutcome::Failure(failure),
        }),
    };
    let answers = answered.into_iter().map(answer).collect();
    Ok(reply(&GatheredAnswers { answers }, Body::empty()))
}

/// The answers of a request that held `count` messages.
fn answers(header: Bytes, count: usize) -> Vec<Result<Bytes, CallError>> {
    let answers = match GatheredAnswers::decode(header) {
        Ok(decoded) if decoded.answers.len() == count => decoded.answers,
        Ok(decoded) => {
            let text = format!("{} answers came to {count} messages", decoded.answers.len());
            return vec![Err(CallError::Malformed(text)); count];
        }
        Err(error) => return vec![Err(CallError::Malformed(error.to_string())); count],
    };
    let outcome = |answer: GatheredAnswer| match answer.outcome {
        Some(AnswerOutcome::Reply(reply)) => Ok(reply),
        Some(AnswerOutcome::Failure(failure)) => Err(failure.into()),
        None => Err(CallError::Malformed("an answer says nothing".to_owned())),
    };
    answers.into_iter().map(outcome).collect()
}

fn lost(node: NodeId) -> CallError {
    CallError::ConnectionLost {
        node,
        reason: "its sender has ended".to_owned(),
    }
}

#[cfg(test)]
mod tests;
