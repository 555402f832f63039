//! What is at a path of an image, with links followed as they would be inside it.

use std::collections::{HashMap, VecDeque};

use super::{
    Limits, Refusal,
    archive::{Kind, Member},
    elf::Machine,
};

/// How many links are followed on the way to a file, as in the kernel.
const LINKS_MAX: usize = 40;
/// How deep a folder may be: deeper ones have no path the kernel takes.
const DEPTH_MAX: usize = 2048;

/// What is kept of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// A symbolic link.
    Link(String),
    /// A file someone may execute; for which machine, if it is an ELF file.
    Program(Option<Machine>),
    /// An os-release file.
    Text(String),
    /// Another file that matters by being there.
    File,
}

/// The members that matter, by path.
#[derive(Debug)]
pub(crate) struct Tree {
    nodes: HashMap<String, Node>,
    kept: usize,
    limit: usize,
}

impl Tree {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { nodes: HashMap::new(), kept: 0, limit: limits.names }
    }

    /// Takes in a member. A later one of the same name replaces it, as in unpacking.
    pub(crate) fn add(&mut self, member: Member) -> Result<(), Refusal> {
        let Member { path, kind, head } = member;
        if self.goes_through_a_link_out(&path) {
            let name = path.escape_debug().take(200).collect();
            return Err(Refusal::Hostile {
                name,
                why: "goes through a link that may lead out of it",
            });
        }
        let node = match kind {
            Kind::Link { to } => Some(Node::Link(to)),
            Kind::HardLink { to } => self.nodes.get(&to).cloned(),
            Kind::File { .. }
                if path.ends_with("etc/os-release") || path.ends_with("lib/os-release") =>
            {
                Some(Node::Text(String::from_utf8_lossy(&head).into_owned()))
            }
            Kind::File { executable: true } => Some(Node::Program(Machine::of(&head))),
            Kind::File { executable: false } => {
                let matters = path.contains("etc/pam.d/") || path.ends_with("etc/X11/Xsession");
                matters.then_some(Node::File)
            }
            Kind::Folder | Kind::Other => None,
        };
        let Some(node) = node else {
            self.nodes.remove(&path);
            return Ok(());
        };
        self.kept += path.len();
        if let Node::Link(text) | Node::Text(text) = &node {
            self.kept += text.len();
        }
        if self.kept > self.limit {
            return Err(Refusal::TooMuch { limit: self.limit as u64, what: "bytes of names" });
        }
        self.nodes.insert(path, node);
        Ok(())
    }

    /// Whether a folder on the way to a path is a link that tar does not follow: one that is absolute
    /// or goes upwards.
    fn goes_through_a_link_out(&self, path: &str) -> bool {
        let slashes = path.match_indices('/').map(|(at, _)| at);
        slashes.filter_map(|at| path.get(..at)).any(|folder| {
            matches!(self.nodes.get(folder), Some(Node::Link(to))
                if to.starts_with('/') || to.split('/').any(|part| part == ".."))
        })
    }

    /// Whether there is something with this name, or below it.
    pub(crate) fn has(&self, name: &str) -> bool {
        let below = format!("{name}/");
        self.nodes.contains_key(name) || self.nodes.keys().any(|path| path.starts_with(&below))
    }

    /// What is at a path, links followed, and the path it really is at; or, in a
    /// sentence, what is not there.
    pub(crate) fn resolve(&self, path: &str) -> Result<(String, &Node), String> {
        let mut pending: VecDeque<&str> = path.split('/').collect();
        let mut at: Vec<&str> = Vec::new();
        let mut found = None;
        let mut links = 0;
        while let Some(part) = pending.pop_front() {
            match part {
                "" | "." => continue,
                ".." => {
                    at.pop();
                    continue;
                }
                part => at.push(part),
            }
            if at.len() > DEPTH_MAX {
                return Err(format!("/{path} leads deeper than any path goes"));
            }
            found = self.nodes.get(&at.join("/"));
            if let Some(Node::Link(to)) = found {
                links += 1;
                if links > LINKS_MAX {
                    return Err(format!("/{path} leads through links in a circle"));
                }
                if to.starts_with('/') {
                    at.clear();
                } else {
                    at.pop();
                }
                for part in to.split('/').rev() {
                    pending.push_front(part);
                }
                found = None;
            }
        }
        let real = at.join("/");
        match found {
            Some(node) => Ok((real, node)),
            None if links > 0 => Err(format!("/{path} leads to /{real}, which is not in it")),
            None => Err(format!("there is no /{path} in it")),
        }
    }
}
