//! The keys that requests are signed with: the root key, and those of the metadata service, which is asked for them.
//!
//! Must never print a secret, nor take "no answer" for "no such key". Invariant: what was told of a key counts from the moment
//! it was asked for, and a request that begins later than [`KNOWN_FOR`] after that asks anew; so a key or right that was taken
//! away is honoured by no gateway beyond it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use cairn_client::{Client, ClientError};
use cairn_common::{limits, wire::account::KeyAnswer};
use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use parking_lot::Mutex;
use s3s::{
    S3ErrorCode, S3Result,
    auth::{S3Auth, SecretKey},
};
use tokio::time::{Instant, timeout};

use crate::{
    config::Credentials,
    error::{self, from_client},
    rights::AccessKey,
};

/// How long a key is gone by.
const KNOWN_FOR: Duration = Duration::from_millis(limits::KEY_KNOWN_MS);

/// How long a key that does not exist is refused without asking again.
const UNKNOWN_FOR: Duration = Duration::from_millis(limits::KEY_UNKNOWN_MS);

/// How long the metadata service has to answer: it elects another leader within it.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// Questions about different keys under way at once.
const ASKED_MAX: usize = 256;

/// Lengths of the ids that the metadata service knows.
const ID_LENGTHS: std::ops::RangeInclusive<usize> = 3..=128;

/// How fresh an answer has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// As fresh as the promise says.
    Bounded,
    /// Asked for after the request had begun.
    Now,
}

/// Who knows the keys.
#[async_trait]
pub(crate) trait KeySource: Send + Sync + 'static {
    async fn key(&self, id: &str) -> Result<KeyAnswer, ClientError>;
}

#[async_trait]
impl KeySource for Client {
    async fn key(&self, id: &str) -> Result<KeyAnswer, ClientError> {
        self.access_key(id).await
    }
}

/// The keys of a gateway. Clones share them.
#[derive(Clone)]
pub(crate) struct Keys(Arc<Ring>);

struct Ring {
    /// Those that the gateway was started with.
    own: HashMap<String, Arc<AccessKey>>,
    source: Arc<dyn KeySource>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    told: HashMap<String, Told>,
    asked: HashMap<String, Question>,
}

/// What was told of a key, or that there is none.
#[derive(Clone, Debug)]
struct Told {
    key: Option<Arc<AccessKey>>,
    asked_at: Instant,
}

/// A question under way, for all who wait for its answer.
type Question = Shared<BoxFuture<'static, Result<Told, ClientError>>>;

impl Keys {
    pub(crate) fn new(own: &[Credentials], source: Arc<dyn KeySource>) -> Self {
        let key = |own: &Credentials| {
            let key = AccessKey::root(&own.access_key, &own.secret_key);
            (own.access_key.clone(), Arc::new(key))
        };
        Self(Arc::new(Ring {
            own: own.iter().map(key).collect(),
            source,
            state: Mutex::default(),
        }))
    }

    /// The key of this id.
    pub(crate) async fn find(&self, id: &str, freshness: Freshness) -> S3Result<Arc<AccessKey>> {
        if let Some(own) = self.0.own.get(id) {
            return Ok(Arc::clone(own));
        }
        if !may_be_id(id) {
            return Err(error::unknown_key());
        }
        let began = Instant::now();
        loop {
            let question = {
                let mut state = self.0.state.lock();
                match state.told.get(id) {
                    Some(told) if told.is_good(freshness, began) => {
                        return told.key.clone().ok_or_else(error::unknown_key);
                    }
                    _ => self.ask(&mut state, id)?,
                }
            };
            let told = question.await.map_err(from_client)?;
            // One that was asked before this request came may be too old for it.
            if told.is_good(freshness, began) {
                return told.key.ok_or_else(error::unknown_key);
            }
        }
    }

    /// Joins the question that is under way, or asks one. It is carried to its end whoever gives up waiting.
    fn ask(&self, state: &mut State, id: &str) -> S3Result<Question> {
        if let Some(question) = state.asked.get(id) {
            return Ok(question.clone());
        }
        if state.asked.len() >= ASKED_MAX {
            return Err(error::answer(
                S3ErrorCode::SlowDown,
                "Too many access keys are being looked up: try again.",
            ));
        }
        let asking = ask(Arc::clone(&self.0), id.to_owned());
        let question = tokio::spawn(asking).map(|joined| {
            joined.unwrap_or_else(|error| Err(ClientError::Internal(format!("looking up a key has died: {error}"))))
        });
        let question = question.boxed().shared();
        state.asked.insert(id.to_owned(), question.clone());
        Ok(question)
    }
}

#[async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let key = self.find(access_key, Freshness::Bounded).await?;
        Ok(key.secret().clone())
    }
}

impl Told {
    /// Whether a request that began at `began` may go by it.
    fn is_good(&self, freshness: Freshness, began: Instant) -> bool {
        match freshness {
            Freshness::Now => self.asked_at >= began,
            Freshness::Bounded => self.asked_at + self.lifetime() > began,
        }
    }

    fn lifetime(&self) -> Duration {
        if self.key.is_some() { KNOWN_FOR } else { UNKNOWN_FOR }
    }
}

impl State {
    fn keep(&mut self, id: &str, told: &Told) {
        if self.told.len() >= limits::KEYS_KNOWN_MAX && !self.told.contains_key(id) {
            let now = Instant::now();
            self.told.retain(|_, told| told.is_good(Freshness::Bounded, now));
            if self.told.len() >= limits::KEYS_KNOWN_MAX {
                self.told.retain(|_, told| told.key.is_some());
            }
            if self.told.len() >= limits::KEYS_KNOWN_MAX {
                self.told.clear();
            }
        }
        self.told.insert(id.to_owned(), told.clone());
    }
}

/// Asks one question.
async fn ask(ring: Arc<Ring>, id: String) -> Result<Told, ClientError> {
    let asking = Asking { ring, id };
    let (ring, id) = (&asking.ring, &asking.id);
    let asked_at = Instant::now();
    let answer = timeout(ANSWER_DEADLINE, ring.source.key(id)).await;
    let key = match answer {
        Ok(Ok(answer)) => AccessKey::told(answer).map(Arc::new),
        Ok(Err(ClientError::NoSuchAccessKey)) => None,
        Ok(Err(error)) => return Err(error),
        Err(_) => {
            return Err(ClientError::Unavailable(
                "The metadata service does not answer, so the access key cannot be checked: try again.".to_owned(),
            ));
        }
    };
    let told = Told { key, asked_at };
    ring.state.lock().keep(id, &told);
    Ok(told)
}

/// A question that is being asked. However that ends, the next who needs the key can ask again.
struct Asking {
    ring: Arc<Ring>,
    id: String,
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.ring.state.lock().asked.remove(&self.id);
    }
}

fn may_be_id(id: &str) -> bool {
    ID_LENGTHS.contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
