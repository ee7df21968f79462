//! The text of trees and change sets: JSON lines, sorted by the bytes of the path, each one array.

use std::{fmt, io::Write as _};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, SeqAccess, Visitor},
};
use windlass_core::Digest;

use crate::{FileNode, Node};

/// Most lines of a tree or change set.
pub const MAX_ENTRIES: usize = 1_000_000;

/// Longest path, and longest target of a link, in bytes.
pub const MAX_PATH: usize = 4096;

/// Longest segment of a path, in bytes: what Linux file systems take.
const MAX_SEGMENT: usize = 255;

/// Why a text cannot be a path of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    #[error("the path is empty")]
    Empty,
    #[error("the path is longer than 4096 bytes, or a name in it than 255")]
    TooLong,
    #[error("the path is absolute")]
    Absolute,
    #[error("the path has an empty, `.` or `..` segment")]
    Segment,
    #[error("the path has a NUL byte")]
    Nul,
}

/// Checks that `path` is relative and stays beneath where it starts.
pub fn check_path(path: &str) -> Result<(), PathFault> {
    if path.is_empty() {
        return Err(PathFault::Empty);
    }
    if path.len() > MAX_PATH || path.split('/').any(|segment| segment.len() > MAX_SEGMENT) {
        return Err(PathFault::TooLong);
    }
    if path.starts_with('/') {
        return Err(PathFault::Absolute);
    }
    if path.contains('\0') {
        return Err(PathFault::Nul);
    }
    if path.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(PathFault::Segment);
    }
    Ok(())
}

/// A tree or change set that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("line {line} of a tree is wrong")]
pub struct ParseError {
    /// From 1.
    pub line: usize,
    #[source]
    pub fault: Fault,
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("not an array of kind, path and content")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Path(#[from] PathFault),
    #[error("the target of the link is empty, too long or has a NUL byte")]
    Target,
    #[error("the path does not come after the one before it")]
    Order,
    #[error("the path lies below another entry that is no directory")]
    BelowEntry,
    #[error("a tree deletes nothing")]
    Deletion,
    #[error("more than 1000000 entries")]
    TooMany,
}

/// A line: a path, and what is there; `None` where it was deleted.
pub(crate) struct Line {
    pub(crate) path: Box<str>,
    pub(crate) node: Option<Node>,
}

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(LineVisitor)
    }
}

struct LineVisitor;

impl<'de> Visitor<'de> for LineVisitor {
    type Value = Line;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of kind, path and content")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Line, A::Error> {
        let kind: String = item(&mut seq)?;
        let path: String = item(&mut seq)?;
        let node = match kind.as_str() {
            "f" | "x" => {
                let digest: String = item(&mut seq)?;
                let digest = digest.parse().map_err(A::Error::custom)?;
                let size: u64 = item(&mut seq)?;
                if i64::try_from(size).is_err() {
                    return Err(A::Error::custom("a size beyond 63 bits"));
                }
                Some(Node::File(FileNode { digest, size, executable: kind == "x" }))
            }
            "l" => Some(Node::Link { target: item::<String, A>(&mut seq)?.into() }),
            "d" => Some(Node::EmptyDir),
            "-" => None,
            _ => return Err(A::Error::custom("unknown kind")),
        };
        Ok(Line { path: path.into(), node })
    }
}

fn item<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(seq: &mut A) -> Result<T, A::Error> {
    seq.next_element()?.ok_or_else(|| A::Error::custom("too few items"))
}

/// Reads lines, checking what one line and its neighbour can show.
pub(crate) fn parse(text: &[u8]) -> impl Iterator<Item = Result<Line, ParseError>> {
    let mut last: Box<str> = "".into();
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let lines = (!text.is_empty()).then(|| text.split(|byte| *byte == b'\n'));
    lines.into_iter().flatten().enumerate().map(move |(index, line)| {
        let fail = |fault| ParseError { line: index + 1, fault };
        if index >= MAX_ENTRIES {
            return Err(fail(Fault::TooMany));
        }
        let line: Line = serde_json::from_slice(line).map_err(|e| fail(e.into()))?;
        check_path(&line.path).map_err(|fault| fail(fault.into()))?;
        if let Some(Node::Link { target }) = &line.node
            && !is_target(target)
        {
            return Err(fail(Fault::Target));
        }
        if line.path <= last {
            return Err(fail(Fault::Order));
        }
        last.clone_from(&line.path);
        Ok(line)
    })
}

/// True where `target` may be the target of a link.
pub(crate) fn is_target(target: &str) -> bool {
    !target.is_empty() && target.len() <= MAX_PATH && !target.contains('\0')
}

/// Appends the line of `path` to `out`.
pub(crate) fn encode(out: &mut Vec<u8>, path: &str, node: Option<&Node>) {
    let written = match node {
        Some(Node::File(file)) => {
            let kind = if file.executable { "x" } else { "f" };
            write_json(out, &(kind, path, Hex(file.digest), file.size))
        }
        Some(Node::Link { target }) => write_json(out, &("l", path, target)),
        Some(Node::EmptyDir) => write_json(out, &("d", path)),
        None => write_json(out, &("-", path)),
    };
    debug_assert!(written.is_ok(), "text goes into memory");
    out.push(b'\n');
}

fn write_json(out: &mut Vec<u8>, value: &impl serde::Serialize) -> serde_json::Result<()> {
    serde_json::to_writer(out, value)
}

struct Hex(Digest);

impl serde::Serialize for Hex {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut text = [0; 64];
        let mut rest = &mut text[..];
        write!(rest, "{}", self.0).map_err(serde::ser::Error::custom)?;
        to.serialize_str(std::str::from_utf8(&text).map_err(serde::ser::Error::custom)?)
    }
}
