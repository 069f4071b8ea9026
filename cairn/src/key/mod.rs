//! `cairn key`: the access keys of S3 clients.
//!
//! Must never print a secret but the one that it has just made. Invariant: a key that an operator names has one user of the same
//! name in the metadata service, which is made and deleted with it.

mod accounts;
mod output;

use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use cairn_common::wire::{account::Rights, command::ErrorCode};

use self::{
    accounts::{Accounts, Found},
    output::KeyState,
};
use crate::{
    alone::alone,
    cli::{AllowArgs, BucketRights, CreateKeyArgs, DataArgs, DenyArgs, KeyArgs, KeyCommand, KeyListArgs, ShowKeyArgs},
    cluster::Refused,
    credentials,
};

pub(crate) fn run(command: KeyCommand) -> anyhow::Result<ExitCode> {
    match command {
        KeyCommand::Create(args) => create(&args)?,
        KeyCommand::List(args) => list(&args)?,
        KeyCommand::Show(args) => show(&args)?,
        KeyCommand::Allow(args) => allow(&args)?,
        KeyCommand::Deny(args) => deny(&args)?,
        KeyCommand::Delete(args) => delete(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn create(args: &CreateKeyArgs) -> anyhow::Result<()> {
    let (key_id, secret) = credentials::random_pair()?;
    let state = with_accounts(&args.data, async |accounts| {
        let rights = BucketRights::gathered(&args.allow);
        for bucket in rights.keys() {
            accounts.require_bucket(bucket).await?;
        }
        let made = accounts.create_user(&args.name, args.admin, args.create_buckets).await;
        made.map_err(|error| match code(&error) {
            Some(ErrorCode::AccountExists) => anyhow!(
                "a key {:?} exists already: choose another name, or delete it first",
                args.name
            ),
            _ => error,
        })?;
        let filled = async {
            accounts.create_key(&key_id, &args.name, &secret).await?;
            for (bucket, rights) in rights {
                accounts.grant(&key_id, bucket, rights).await?;
            }
            accounts.key(&key_id).await
        };
        match filled.await {
            Ok(answer) => Ok(KeyState::of(answer)),
            Err(error) => {
                // Half a key would stand in the way of another attempt.
                accounts.delete_user(&args.name).await.with_context(|| {
                    format!("taking back the key {:?} that was not finished ({error:#})", args.name)
                })?;
                Err(error)
            }
        }
    })?;
    output::created(&state, &secret, args.json)
}

fn list(args: &KeyListArgs) -> anyhow::Result<()> {
    let keys = with_accounts(&args.data, async |accounts| accounts.all().await)?;
    output::list(&keys, args.json)
}

fn show(args: &ShowKeyArgs) -> anyhow::Result<()> {
    let answer = with_accounts(&args.key.data, async |accounts| {
        let key_id = find(accounts, &args.key.name).await?.key_id()?;
        accounts.key(&key_id).await
    })?;
    output::show(&KeyState::of(answer), args.json)
}

fn allow(args: &AllowArgs) -> anyhow::Result<()> {
    change(&args.key, &args.rights, |before, named| Rights {
        read: before.read || named.read,
        write: before.write || named.write,
        owner: before.owner || named.owner,
    })
}

fn deny(args: &DenyArgs) -> anyhow::Result<()> {
    change(&args.key, &args.rights, |before, named| Rights {
        read: before.read && !named.read,
        write: before.write && !named.write,
        owner: before.owner && !named.owner,
    })
}

/// Gives a key in each bucket that is named the rights that `after` makes of those that it has and those that are named.
fn change(args: &KeyArgs, named: &[BucketRights], after: fn(Rights, Rights) -> Rights) -> anyhow::Result<()> {
    let answer = with_accounts(&args.data, async |accounts| {
        let named = BucketRights::gathered(named);
        for bucket in named.keys() {
            accounts.require_bucket(bucket).await?;
        }
        let key_id = find(accounts, &args.name).await?.key_id()?;
        let before = accounts.key(&key_id).await?;
        for (bucket, named) in named {
            let held = before.rights.iter().find(|right| right.bucket == bucket);
            let held = held.and_then(|right| right.rights).unwrap_or_default();
            let rights = after(held, named);
            if rights.is_empty() {
                accounts.revoke(&key_id, bucket).await?;
            } else {
                accounts.grant(&key_id, bucket, rights).await?;
            }
        }
        accounts.key(&key_id).await
    })?;
    output::show(&KeyState::of(answer), false)
}

fn delete(args: &KeyArgs) -> anyhow::Result<()> {
    with_accounts(&args.data, async |accounts| {
        let found = find(accounts, &args.name).await?;
        match found.keys.as_slice() {
            // The user goes with its only key, or with none where its making was cut short.
            [] | [_] => accounts.delete_user(&found.user).await,
            _ => accounts.delete_key(&found.key_id()?).await,
        }
    })?;
    output::deleted(&args.name)
}

/// The key of a name or of an id.
async fn find(accounts: &mut Accounts, name: &str) -> anyhow::Result<Found> {
    if let Some(found) = accounts.find(name).await? {
        return Ok(found);
    }
    bail!("there is no key {name:?}: `cairn key list` shows those that there are")
}

fn code(error: &anyhow::Error) -> Option<ErrorCode> {
    error.downcast_ref::<Refused>().map(|refused| refused.code)
}

/// Does `work` on the accounts of the store or cluster of a directory.
fn with_accounts<T>(args: &DataArgs, work: impl AsyncFnOnce(&mut Accounts) -> anyhow::Result<T>) -> anyhow::Result<T> {
    alone(async {
        let mut accounts = Accounts::reach(&args.data).await?;
        let done = work(&mut accounts).await;
        accounts.close().await;
        done
    })
}
