//! What a node shows to others, and how it judges them; shared, and replaceable while connections live.
//!
//! It must never read files or decide when to renew: it is told new credentials and lists, and tells who waits on
//! [`Identity::changes`]. Invariant: what it holds was checked when it came in; node, cluster and CA never change; the list
//! of revoked certificates only gets newer.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use cairn_common::{
    ids::{ClusterId, NodeId},
    wire::role::{Role, Roles},
};
use parking_lot::RwLock;
use rustls::{ClientConfig, ServerConfig, client::Resumption, server::NoServerSessionStorage, version::TLS13};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::sync::watch;

use super::{
    IdentityError, JoinToken, NodeCredentials, TokenKeys,
    certificate::Certificate,
    credentials::{Joiner, Member},
    name, provider,
    revocation::RevocationList,
    verify::{CallerVerifier, Tokens, server_verifier},
};
use crate::Peer;

/// Everything a node needs to prove who it is and to check others. Clones share it.
#[derive(Clone)]
pub struct Identity {
    shared: Arc<Shared>,
}

struct Shared {
    state: RwLock<Arc<State>>,
    tokens: Tokens,
    changes: watch::Sender<u64>,
}

enum State {
    Member(Member),
    Joiner(Joiner),
}

impl Identity {
    /// Who a joiner is to its server.
    const JOINER: Peer = Peer {
        node: NodeId::new(0),
        roles: Roles::of(&[Role::Joiner]),
    };

    /// A member of a cluster. Checks that the key fits the certificate, that the CA signed it and the list, and the names;
    /// not the time: an expired node finds out from those it calls.
    pub fn member(credentials: NodeCredentials) -> Result<Self, IdentityError> {
        Ok(Self::new(State::Member(Member::new(credentials)?)))
    }

    /// The holder of a token, who can do nothing but join.
    pub fn joiner(token: &JoinToken) -> Result<Self, IdentityError> {
        Ok(Self::new(State::Joiner(Joiner::new(token.clone())?)))
    }

    fn new(state: State) -> Self {
        let shared = Shared {
            state: RwLock::new(Arc::new(state)),
            tokens: Tokens::default(),
            changes: watch::Sender::new(0),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The cluster.
    pub fn cluster(&self) -> ClusterId {
        match &*self.state() {
            State::Member(member) => member.authority.cluster,
            State::Joiner(joiner) => joiner.token.cluster,
        }
    }

    /// The own node id and roles; of a joiner, node 0 and [`Role::Joiner`].
    pub fn peer(&self) -> Peer {
        match &*self.state() {
            State::Member(member) => member.peer,
            State::Joiner(_) => Self::JOINER,
        }
    }

    /// Puts renewed credentials in the place of these: for connections from now on. Of the two lists of revoked
    /// certificates the newer one stays.
    pub fn replace(&self, credentials: NodeCredentials) -> Result<(), IdentityError> {
        let mut next = Member::new(credentials)?;
        let mut state = self.shared.state.write();
        let now = state.member()?;
        now.check_successor(&next)?;
        if now.revocations.number() > next.revocations.number() {
            next.revocations = Arc::clone(&now.revocations);
        }
        *state = Arc::new(State::Member(next));
        drop(state);
        self.shared.changes.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Whether [`Self::replace`] would take these credentials.
    pub fn check_replacement(&self, credentials: &NodeCredentials) -> Result<(), IdentityError> {
        let next = Member::new(credentials.clone())?;
        self.state().member()?.check_successor(&next)
    }

    /// Takes a list of revoked certificates if it is newer than the one held, and says whether it was. The CA must have
    /// signed it.
    pub fn replace_revocations(&self, crl_der: &[u8]) -> Result<bool, IdentityError> {
        let mut state = self.shared.state.write();
        let now = state.member()?;
        let next = RevocationList::read(Bytes::copy_from_slice(crl_der), &now.authority)?;
        if next.number() <= now.revocations.number() {
            return Ok(false);
        }
        let next = now.with_revocations(next);
        *state = Arc::new(State::Member(next));
        drop(state);
        self.shared.changes.send_modify(|count| *count += 1);
        Ok(true)
    }

    /// The newest list of revoked certificates, DER; empty for a joiner.
    pub fn revocations(&self) -> Bytes {
        match &*self.state() {
            State::Member(member) => member.revocations.der().clone(),
            State::Joiner(_) => Bytes::new(),
        }
    }

    /// When the own certificate, or the token, ends.
    pub fn certificate_expires(&self) -> SystemTime {
        match &*self.state() {
            State::Member(member) => member.certificate.not_after,
            State::Joiner(joiner) => UNIX_EPOCH + Duration::from_millis(joiner.token.expires_ms),
        }
    }

    /// Whether two thirds of the own certificate's life are over. A joiner has nothing to renew.
    pub fn renewal_due(&self, now: SystemTime) -> bool {
        match &*self.state() {
            State::Member(member) => {
                let (start, end) = (member.certificate.not_before, member.certificate.not_after);
                let life = end.duration_since(start).unwrap_or_default();
                now >= start + life * 2 / 3
            }
            State::Joiner(_) => false,
        }
    }

    /// From now on, callers with a key of these tokens are let in as joiners: on connections of the server
    /// configurations made so far too.
    pub fn accept_tokens(&self, tokens: Arc<dyn TokenKeys>) {
        self.shared.tokens.set(tokens);
    }

    /// How to be called: with the credentials and the list of revoked certificates as they are now.
    pub fn server_config(&self, alpn: &[Vec<u8>]) -> Result<Arc<ServerConfig>, IdentityError> {
        let state = self.state();
        let member = state.member()?;
        let tokens = self.shared.tokens.clone();
        let verifier = CallerVerifier::new(&member.authority, &member.revocations, tokens, provider())?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(tls)?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_single_cert(member.chain(), member.credentials.key.private_key())
            .map_err(tls)?;
        config.alpn_protocols = alpn.to_vec();
        // A resumed session would pass over the check of the certificate, and early data can be played back.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(Arc::new(config))
    }

    /// How to call others: with the credentials and the list of revoked certificates as they are now.
    pub fn client_config(&self, alpn: &[Vec<u8>]) -> Result<Arc<ClientConfig>, IdentityError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(tls)?;
        let config = match &*self.state() {
            State::Member(member) => builder
                .with_webpki_verifier(server_verifier(&member.authority, &member.revocations, provider())?)
                .with_client_auth_cert(member.chain(), member.credentials.key.private_key()),
            State::Joiner(joiner) => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(joiner.verifier()))
                .with_client_auth_cert(vec![joiner.certificate.clone()], joiner.key.private_key()),
        };
        let mut config = config.map_err(tls)?;
        config.alpn_protocols = alpn.to_vec();
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        Ok(Arc::new(config))
    }

    /// The name by which TLS checks that the peer is this node.
    pub fn server_name(&self, node: NodeId) -> ServerName<'static> {
        name::server_name(self.cluster(), node)
    }

    /// Who the peer with this chain is. Only to be called after the handshake, which has shown that the peer has the key.
    pub fn identify(&self, chain: &[CertificateDer<'_>]) -> Result<Peer, IdentityError> {
        let certificate = first(chain)?;
        let by_authority = match &*self.state() {
            State::Member(member) => member
                .authority
                .has_signed(&certificate)
                .then_some(member.authority.cluster),
            State::Joiner(joiner) => joiner
                .authority(chain)?
                .has_signed(&certificate)
                .then_some(joiner.token.cluster),
        };
        match by_authority {
            Some(cluster) => name::member_of(cluster, &certificate.names),
            None if is_token_chain(chain, &certificate) => Ok(Self::JOINER),
            None => Err(IdentityError::ForeignCa {
                what: "the peer's certificate",
            }),
        }
    }

    /// Whether the peer of a live connection may stay: its certificate has not expired and was not revoked. Joiners may.
    pub fn check(&self, chain: &[CertificateDer<'_>], now: SystemTime) -> Result<(), IdentityError> {
        if self.identify(chain)? == Self::JOINER {
            return Ok(());
        }
        let certificate = first(chain)?;
        if let State::Member(member) = &*self.state()
            && member.revocations.has(&certificate.serial)?
        {
            return Err(IdentityError::Revoked);
        }
        if now > certificate.not_after {
            return Err(IdentityError::Expired);
        }
        Ok(())
    }

    /// The Ed25519 public key of a joiner's chain.
    pub fn token_key(chain: &[CertificateDer<'_>]) -> Option<[u8; 32]> {
        let certificate = first(chain).ok()?;
        is_token_chain(chain, &certificate).then_some(certificate.public_key)
    }

    /// A secret of this node that outlives the process, and changes with its key: by it a carrier tells peers after a restart
    /// that it knows nothing of their connections.
    pub fn reset_key(&self) -> [u8; 32] {
        const CONTEXT: &str = "cairn identity 2026-11 stateless reset";
        match &*self.state() {
            State::Member(member) => member.credentials.key.derived_secret(CONTEXT),
            State::Joiner(joiner) => joiner.key.derived_secret(CONTEXT),
        }
    }

    /// Counts [`Self::replace`] and [`Self::replace_revocations`].
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// How often it has changed.
    pub fn change_count(&self) -> u64 {
        *self.shared.changes.borrow()
    }

    fn state(&self) -> Arc<State> {
        Arc::clone(&self.shared.state.read())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({:?} of cluster {})", self.peer(), self.cluster())
    }
}

impl State {
    fn member(&self) -> Result<&Member, IdentityError> {
        match self {
            Self::Member(member) => Ok(member),
            Self::Joiner(_) => Err(IdentityError::JoinerOnly),
        }
    }
}

fn first(chain: &[CertificateDer<'_>]) -> Result<Certificate, IdentityError> {
    let first = chain
        .first()
        .ok_or_else(|| IdentityError::malformed("the peer's certificate", "there is none"))?;
    Certificate::read(first)
}

fn is_token_chain(chain: &[CertificateDer<'_>], certificate: &Certificate) -> bool {
    chain.len() == 1 && certificate.is_self_issued
}

fn tls(error: rustls::Error) -> IdentityError {
    IdentityError::Crypto(format!("TLS does not take the credentials: {error}"))
}
