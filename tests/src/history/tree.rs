//! A small directory tree: created, linked out, renamed, exchanged and looked at, as POSIX says.
//!
//! *Invariant*: one tree is one partition, since a rename changes two directories at once; so histories of it are kept short.

use std::collections::BTreeMap;

use super::specification::Specification;

/// What stands under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Node {
    /// A file, by a number that no other file has.
    File(u64),
    Directory,
}

/// An operation on the tree. Paths are names joined by `/`; the root is empty and always there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeCall {
    Create { path: String, file: u64 },
    MakeDirectory { path: String },
    Unlink { path: String },
    RemoveDirectory { path: String },
    Rename { from: String, to: String, mode: RenameMode },
    Lookup { path: String },
    List { path: String },
}

/// What a rename does with what stands at its goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenameMode {
    Replace,
    NoReplace,
    Exchange,
}

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeReply {
    Done,
    Found(Node),
    Names(Vec<String>),
    Refused(Refusal),
}

/// Why an operation changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    NotFound,
    Exists,
    NotDirectory,
    IsDirectory,
    NotEmpty,
    /// The root, or a directory into itself.
    Invalid,
}

/// A tree, empty at first.
#[derive(Clone, Copy, Debug, Default)]
pub struct DirectoryTree;

type Nodes = BTreeMap<String, Node>;

impl Specification for DirectoryTree {
    type Partition = ();
    type Call = TreeCall;
    type Reply = TreeReply;
    type State = Nodes;

    fn partition(&self, _: &TreeCall) {}

    fn initial(&self) -> Nodes {
        Nodes::new()
    }

    fn step(&self, state: &Nodes, call: &TreeCall, reply: Option<&TreeReply>) -> Option<Nodes> {
        let mut next = state.clone();
        let own = call.apply(&mut next);
        reply.is_none_or(|reply| *reply == own).then_some(next)
    }

    fn is_look(&self, _: &TreeCall, reply: &TreeReply) -> bool {
        match reply {
            TreeReply::Done => false,
            TreeReply::Found(_) | TreeReply::Names(_) | TreeReply::Refused(_) => true,
        }
    }
}

impl TreeCall {
    /// Does it to a tree.
    pub(super) fn apply(&self, nodes: &mut Nodes) -> TreeReply {
        let changed = match self {
            Self::Create { path, file } => make(nodes, path, Node::File(*file)),
            Self::MakeDirectory { path } => make(nodes, path, Node::Directory),
            Self::Unlink { path } => unlink(nodes, path),
            Self::RemoveDirectory { path } => remove_directory(nodes, path),
            Self::Rename { from, to, mode } => rename(nodes, from, to, *mode),
            Self::Lookup { path } => return lookup(nodes, path).map_or_else(TreeReply::Refused, TreeReply::Found),
            Self::List { path } => return list(nodes, path).map_or_else(TreeReply::Refused, TreeReply::Names),
        };
        changed.map_or_else(TreeReply::Refused, |()| TreeReply::Done)
    }
}

fn lookup(nodes: &Nodes, path: &str) -> Result<Node, Refusal> {
    if path.is_empty() {
        return Ok(Node::Directory);
    }
    check_parent(nodes, path)?;
    nodes.get(path).copied().ok_or(Refusal::NotFound)
}

/// The directory that a path's last name stands in.
fn check_parent(nodes: &Nodes, path: &str) -> Result<(), Refusal> {
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    match lookup(nodes, parent)? {
        Node::Directory => Ok(()),
        Node::File(_) => Err(Refusal::NotDirectory),
    }
}

fn list(nodes: &Nodes, path: &str) -> Result<Vec<String>, Refusal> {
    match lookup(nodes, path)? {
        Node::Directory => Ok(below(nodes, path)
            .filter(|name| !name.contains('/'))
            .map(str::to_owned)
            .collect()),
        Node::File(_) => Err(Refusal::NotDirectory),
    }
}

/// All paths below a directory, relative to it.
fn below<'a>(nodes: &'a Nodes, path: &'a str) -> impl Iterator<Item = &'a str> {
    nodes.keys().filter_map(move |key| {
        if path.is_empty() {
            return Some(key.as_str());
        }
        key.strip_prefix(path)?.strip_prefix('/')
    })
}

fn make(nodes: &mut Nodes, path: &str, node: Node) -> Result<(), Refusal> {
    match lookup(nodes, path) {
        Ok(_) => Err(Refusal::Exists),
        Err(Refusal::NotFound) => {
            check_parent(nodes, path)?;
            nodes.insert(path.to_owned(), node);
            Ok(())
        }
        Err(other) => Err(other),
    }
}

fn unlink(nodes: &mut Nodes, path: &str) -> Result<(), Refusal> {
    match lookup(nodes, path)? {
        Node::Directory => Err(Refusal::IsDirectory),
        Node::File(_) => {
            nodes.remove(path);
            Ok(())
        }
    }
}

fn remove_directory(nodes: &mut Nodes, path: &str) -> Result<(), Refusal> {
    if path.is_empty() {
        return Err(Refusal::Invalid);
    }
    match lookup(nodes, path)? {
        Node::File(_) => return Err(Refusal::NotDirectory),
        Node::Directory if below(nodes, path).next().is_some() => return Err(Refusal::NotEmpty),
        Node::Directory => nodes.remove(path),
    };
    Ok(())
}

fn rename(nodes: &mut Nodes, from: &str, to: &str, mode: RenameMode) -> Result<(), Refusal> {
    if from.is_empty() || to.is_empty() {
        return Err(Refusal::Invalid);
    }
    let moved = lookup(nodes, from)?;
    let replaced = match lookup(nodes, to) {
        Ok(node) => Some(node),
        Err(Refusal::NotFound) => {
            check_parent(nodes, to)?;
            None
        }
        Err(other) => return Err(other),
    };
    let is_into_itself = is_below(to, from) || mode == RenameMode::Exchange && is_below(from, to);
    match (mode, replaced) {
        _ if is_into_itself => return Err(Refusal::Invalid),
        (RenameMode::NoReplace, Some(_)) => return Err(Refusal::Exists),
        (RenameMode::Exchange, None) => return Err(Refusal::NotFound),
        (RenameMode::Replace | RenameMode::Exchange, Some(_)) if from == to => return Ok(()),
        (RenameMode::Replace, Some(replaced)) => check_replace(nodes, moved, replaced, to)?,
        (RenameMode::Exchange, Some(_)) | (RenameMode::Replace | RenameMode::NoReplace, None) => {}
    }
    let first = take(nodes, from);
    let second = take(nodes, to);
    put(nodes, to, first);
    if mode == RenameMode::Exchange {
        put(nodes, from, second);
    }
    Ok(())
}

fn check_replace(nodes: &Nodes, moved: Node, replaced: Node, to: &str) -> Result<(), Refusal> {
    match (moved, replaced) {
        (Node::File(_), Node::File(_)) => Ok(()),
        (Node::File(_), Node::Directory) => Err(Refusal::IsDirectory),
        (Node::Directory, Node::File(_)) => Err(Refusal::NotDirectory),
        (Node::Directory, Node::Directory) if below(nodes, to).next().is_some() => Err(Refusal::NotEmpty),
        (Node::Directory, Node::Directory) => Ok(()),
    }
}

fn is_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

/// Takes a node and all below it out, by what follows its path.
fn take(nodes: &mut Nodes, path: &str) -> Vec<(String, Node)> {
    let is_inside = |key: &str| key == path || is_below(key, path);
    let taken: Vec<_> = nodes
        .iter()
        .filter(|(key, _)| is_inside(key))
        .map(|(key, node)| (key[path.len()..].to_owned(), *node))
        .collect();
    nodes.retain(|key, _| !is_inside(key));
    taken
}

fn put(nodes: &mut Nodes, path: &str, taken: Vec<(String, Node)>) {
    nodes.extend(taken.into_iter().map(|(rest, node)| (format!("{path}{rest}"), node)));
}
