//! What is printed of keys, for people and for programs.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
};

use anyhow::Context as _;
use cairn_common::{
    limits,
    wire::account::{KeyAnswer, KeyInfo, Rights, UserInfo},
};
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A key as it is told, without its secret.
#[derive(Clone, Debug, Serialize)]
pub(super) struct KeyState {
    name: String,
    access_key: String,
    enabled: bool,
    admin: bool,
    create_buckets: bool,
    created: String,
    /// By bucket.
    rights: BTreeMap<String, Vec<&'static str>>,
}

/// A key that was just made.
#[derive(Serialize)]
struct Created<'a> {
    #[serde(flatten)]
    key: &'a KeyState,
    secret_key: &'a str,
}

/// A key in a list.
#[derive(Serialize)]
struct Listed<'a> {
    name: &'a str,
    access_key: Option<&'a str>,
    enabled: bool,
    admin: bool,
    create_buckets: bool,
    created: String,
}

impl KeyState {
    pub(super) fn of(answer: KeyAnswer) -> Self {
        let (key, user) = (answer.key.unwrap_or_default(), answer.user.unwrap_or_default());
        let rights = answer.rights.into_iter();
        Self {
            name: key.user,
            access_key: key.key_id,
            enabled: key.enabled,
            admin: user.admin,
            create_buckets: user.may_create_buckets,
            created: date(key.created_ms),
            rights: rights
                .map(|right| (right.bucket, names(right.rights.unwrap_or_default())))
                .collect(),
        }
    }
}

/// A new key with its secret, which nobody can ask for later.
pub(super) fn created(key: &KeyState, secret_key: &str, json: bool) -> anyhow::Result<()> {
    if json {
        return print_json(&Created { key, secret_key });
    }
    let mut out = io::stdout().lock();
    writeln!(out, "name        {}", key.name)?;
    writeln!(out, "access key  {}", key.access_key)?;
    writeln!(out, "secret key  {secret_key}")?;
    print_rights(&mut out, key)?;
    writeln!(out, "note        the secret is shown this once: keep it")?;
    Ok(())
}

pub(super) fn show(key: &KeyState, json: bool) -> anyhow::Result<()> {
    if json {
        return print_json(key);
    }
    let mut out = io::stdout().lock();
    writeln!(out, "name        {}", key.name)?;
    writeln!(out, "access key  {}", key.access_key)?;
    writeln!(out, "made        {}", key.created)?;
    if !key.enabled {
        writeln!(out, "note        it is switched off")?;
    }
    print_rights(&mut out, key)?;
    Ok(())
}

pub(super) fn list(all: &[(UserInfo, Vec<KeyInfo>)], json: bool) -> anyhow::Result<()> {
    let listed: Vec<Listed<'_>> = all.iter().flat_map(|(user, keys)| listed(user, keys)).collect();
    if json {
        return print_json(&listed);
    }
    let mut out = io::stdout().lock();
    writeln!(out, "{:<24} {:<24} {:<21} may", "name", "access key", "made")?;
    for key in &listed {
        let may = match (key.admin, key.create_buckets) {
            (true, _) => "do everything",
            (false, true) => "make buckets",
            (false, false) => "",
        };
        let id = key.access_key.unwrap_or("(none: cut short)");
        let line = format!("{:<24} {id:<24} {:<21} {may}", key.name, key.created);
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

pub(super) fn deleted(name: &str) -> anyhow::Result<()> {
    let seconds = limits::KEY_KNOWN_MS / 1000;
    let mut out = io::stdout().lock();
    writeln!(out, "deleted     {name}; gateways refuse it within {seconds} s").context("writing")
}

/// A line for each key; one too for a user whose key was never made, so that it can be deleted.
fn listed<'a>(user: &'a UserInfo, keys: &'a [KeyInfo]) -> Vec<Listed<'a>> {
    let line = |key: Option<&'a KeyInfo>| Listed {
        name: &user.name,
        access_key: key.map(|key| key.key_id.as_str()),
        enabled: key.is_some_and(|key| key.enabled),
        admin: user.admin,
        create_buckets: user.may_create_buckets,
        created: date(key.map_or(user.created_ms, |key| key.created_ms)),
    };
    if keys.is_empty() {
        return vec![line(None)];
    }
    keys.iter().map(|key| line(Some(key))).collect()
}

fn print_rights(out: &mut impl io::Write, key: &KeyState) -> io::Result<()> {
    if key.admin {
        return writeln!(out, "may         do everything, in every bucket");
    }
    if key.create_buckets {
        writeln!(out, "may         make buckets, and do everything in those")?;
    }
    for (bucket, rights) in &key.rights {
        writeln!(out, "in {bucket:<24} {}", rights.join(", "))?;
    }
    if key.rights.is_empty() && !key.create_buckets {
        writeln!(out, "may         nothing yet: `cairn key allow` gives it rights")?;
    }
    Ok(())
}

fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value).context("writing JSON")?;
    writeln!(io::stdout().lock(), "{text}").context("writing")
}

fn names(rights: Rights) -> Vec<&'static str> {
    let all = [(rights.read, "read"), (rights.write, "write"), (rights.owner, "owner")];
    all.into_iter().filter_map(|(has, name)| has.then_some(name)).collect()
}

/// Milliseconds since 1970 as a date, to the second.
fn date(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_told_without_its_secret() {
        let answer = KeyAnswer {
            key: Some(KeyInfo {
                key_id: "CAIRN1".to_owned(),
                user: "app".to_owned(),
                enabled: true,
                created_ms: 1_700_000_000_123,
                note: String::new(),
            }),
            secret: "very-secret".into(),
            ..KeyAnswer::default()
        };
        let state = KeyState::of(answer);
        let json = serde_json::to_string(&state).expect("JSON");
        assert!(
            json.contains("2023-11-14T22:13:20Z") && json.contains("\"app\""),
            "{json}"
        );
        assert!(!json.contains("very-secret"));
    }

    #[test]
    fn a_user_without_a_key_has_a_line() {
        let user = UserInfo {
            name: "app".to_owned(),
            ..UserInfo::default()
        };
        assert_eq!(listed(&user, &[]).len(), 1);
        assert_eq!(listed(&user, &[KeyInfo::default(), KeyInfo::default()]).len(), 2);
    }
}
