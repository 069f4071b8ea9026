//! The copy of the cluster's authority: with it, and the recovery key, another node can go on in the holder's place.
//!
//! Invariant: a copy takes the place of exactly the one that its sender knew, the CA never changes, and terms never go back: who
//! took the authority over in a later term holds it.

use cairn_common::{
    limits,
    wire::{
        authority::{AuthorityAnswer, AuthorityCopy, KeepAuthority},
        command::{ErrorCode, Outcome},
    },
};

use super::{
    apply::done,
    chunk::malformed,
    tx::{ApplyError, Tx, read_record, refuse},
    view::{Family, View, ViewError},
};
use crate::record::authority::KEY;

pub(crate) fn answer(view: &dyn View) -> Result<AuthorityAnswer, ViewError> {
    let copy = read_record(view, Family::System, KEY)?;
    Ok(AuthorityAnswer { copy })
}

pub(crate) fn keep(tx: &mut Tx<'_>, keep: &KeepAuthority) -> Result<Outcome, ApplyError> {
    let copy = keep.copy.as_ref().ok_or_else(|| malformed("no copy"))?;
    if copy.holder == 0 || copy.ca_certificate.is_empty() || copy.sealed_key.is_empty() {
        return Err(malformed("a copy without holder, certificate or key"));
    }
    let bytes = copy.ca_certificate.len() + copy.sealed_key.len() + copy.ledger.len();
    if bytes > limits::AUTHORITY_BYTES_MAX {
        let detail = format!(
            "the authority has {bytes} bytes: more than {}",
            limits::AUTHORITY_BYTES_MAX
        );
        return Err(refuse(ErrorCode::LimitExceeded, detail));
    }
    let before: Option<AuthorityCopy> = tx.record(Family::System, KEY)?;
    check(copy, before.as_ref())?;
    tx.put(Family::System, KEY.to_vec(), copy);
    Ok(done())
}

fn check(copy: &AuthorityCopy, before: Option<&AuthorityCopy>) -> Result<(), ApplyError> {
    let conflict = |detail: String| Err(refuse(ErrorCode::PreconditionFailed, detail));
    let version = before.map_or(0, |before| before.version);
    if copy.version != version + 1 {
        let next = copy.version;
        return conflict(format!(
            "copy {version} of the authority is kept: {next} does not follow it"
        ));
    }
    let Some(before) = before else {
        return Ok(());
    };
    if before.ca_certificate != copy.ca_certificate {
        return conflict("the authority of another CA is kept".to_owned());
    }
    let (before_is, copy_is) = ((before.term, before.holder), (copy.term, copy.holder));
    if copy.term <= before.term && copy_is != before_is {
        return conflict(format!("node {} holds the authority", before.holder));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn copy(version: u64, term: u64, holder: u64, ca: &'static [u8]) -> AuthorityCopy {
        AuthorityCopy {
            version,
            holder,
            ca_certificate: Bytes::from_static(ca),
            sealed_key: Bytes::from_static(b"sealed"),
            ledger: String::new(),
            term,
        }
    }

    #[test]
    fn copies_follow_each_other_and_the_holder_changes_with_the_term_only() {
        let kept = copy(3, 5, 1, b"ca");
        assert!(check(&copy(1, 0, 1, b"ca"), None).is_ok());
        assert!(check(&copy(2, 0, 1, b"ca"), None).is_err());
        assert!(check(&copy(4, 5, 1, b"ca"), Some(&kept)).is_ok());
        assert!(check(&copy(3, 5, 1, b"ca"), Some(&kept)).is_err());
        assert!(check(&copy(5, 6, 2, b"ca"), Some(&kept)).is_err());
        assert!(check(&copy(4, 5, 2, b"ca"), Some(&kept)).is_err());
        assert!(check(&copy(4, 4, 1, b"ca"), Some(&kept)).is_err());
        assert!(check(&copy(4, 6, 2, b"ca"), Some(&kept)).is_ok());
        assert!(check(&copy(4, 6, 2, b"other"), Some(&kept)).is_err());
    }
}
