//! What is asked, how often, and what a gateway goes by.

use std::sync::atomic::{AtomicUsize, Ordering};

use cairn_common::wire::account::Rights;
use tokio::sync::Semaphore;

use super::*;
use crate::rights::{Need, tests::answer};

const ID: &str = "CAIRNKEY";

/// Holds every question until it is let go, and counts them.
struct Service {
    asked: AtomicUsize,
    let_go: Semaphore,
    known: Mutex<Option<Rights>>,
    fails: bool,
}

impl Service {
    fn new(known: Option<Rights>, fails: bool) -> Arc<Self> {
        Arc::new(Self {
            asked: AtomicUsize::new(0),
            let_go: Semaphore::new(Semaphore::MAX_PERMITS),
            known: Mutex::new(known),
            fails,
        })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl KeySource for Service {
    async fn key(&self, id: &str) -> Result<KeyAnswer, ClientError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let known = *self.known.lock();
        self.let_go.acquire().await.expect("never closed").forget();
        if self.fails {
            return Err(ClientError::Unavailable("no leader".to_owned()));
        }
        known
            .map(|rights| answer(id, "bucket", rights))
            .ok_or(ClientError::NoSuchAccessKey)
    }
}

fn reads() -> Rights {
    Rights {
        read: true,
        ..Rights::default()
    }
}

fn keys(service: &Arc<Service>) -> Keys {
    let own = Credentials {
        access_key: "root".to_owned(),
        secret_key: "root-secret".to_owned(),
    };
    Keys::new(&[own], Arc::clone(service) as _)
}

#[tokio::test]
async fn those_who_need_one_key_share_a_question() {
    let service = Service::new(Some(reads()), false);
    service.let_go.forget_permits(Semaphore::MAX_PERMITS);
    let keys = keys(&service);
    let find = || keys.find(ID, Freshness::Bounded);
    let all = futures::future::join_all([find(), find(), find()]);
    let letting_go = async {
        while service.asked() == 0 {
            tokio::task::yield_now().await;
        }
        service.let_go.add_permits(1);
    };
    let (found, ()) = tokio::join!(all, letting_go);
    assert!(
        found
            .into_iter()
            .all(|key| key.unwrap().has(Need::Read, Some("bucket")))
    );
    find().await.unwrap();
    assert_eq!(service.asked(), 1);
    keys.find("root", Freshness::Now).await.unwrap();
    assert_eq!(service.asked(), 1, "the root key is known without asking");
}

#[tokio::test]
async fn a_fresh_answer_is_one_that_was_asked_for_later() {
    let service = Service::new(Some(reads()), false);
    let keys = keys(&service);
    keys.find(ID, Freshness::Bounded).await.unwrap();
    *service.known.lock() = None;
    assert!(
        keys.find(ID, Freshness::Bounded).await.is_ok(),
        "it is gone by for a while"
    );
    let gone = keys.find(ID, Freshness::Now).await.unwrap_err();
    assert_eq!(gone.code(), &S3ErrorCode::InvalidAccessKeyId);
    assert!(
        keys.find(ID, Freshness::Bounded).await.is_err(),
        "the later answer holds"
    );
    assert_eq!(service.asked(), 2);
}

#[test]
fn an_answer_ages_from_when_it_was_asked_for() {
    let asked_at = Instant::now();
    let key = Some(Arc::new(AccessKey::root("a", "b")));
    for (key, lifetime) in [(key, KNOWN_FOR), (None, UNKNOWN_FOR)] {
        let told = Told { key, asked_at };
        let before = asked_at + lifetime - Duration::from_millis(1);
        assert!(told.is_good(Freshness::Bounded, before));
        assert!(!told.is_good(Freshness::Bounded, asked_at + lifetime));
        assert!(told.is_good(Freshness::Now, asked_at) && !told.is_good(Freshness::Now, before));
    }
}

#[tokio::test]
async fn no_answer_is_not_taken_for_no_key() {
    let service = Service::new(None, true);
    let keys = keys(&service);
    for _ in 0..2 {
        let error = keys.find(ID, Freshness::Bounded).await.unwrap_err();
        assert_eq!(error.code(), &S3ErrorCode::ServiceUnavailable);
    }
    assert_eq!(service.asked(), 2, "what failed is asked again");
}

#[tokio::test]
async fn what_can_be_no_id_is_not_asked_for() {
    let service = Service::new(Some(reads()), false);
    let keys = keys(&service);
    for id in ["", "ab", "a/b/c", "käy", &"a".repeat(129)] {
        assert!(keys.find(id, Freshness::Bounded).await.is_err(), "{id}");
    }
    assert_eq!(service.asked(), 0);
}

#[test]
fn the_room_for_answers_is_bounded() {
    let mut state = State::default();
    let asked_at = Instant::now();
    let key = Some(Arc::new(AccessKey::root("a", "b")));
    state.keep("good", &Told { key, asked_at });
    for number in 0..limits::KEYS_KNOWN_MAX + 10 {
        state.keep(&format!("invented{number}"), &Told { key: None, asked_at });
    }
    assert!(state.told.len() <= limits::KEYS_KNOWN_MAX);
    assert!(state.told.contains_key("good"), "invented keys push out no other");
}
