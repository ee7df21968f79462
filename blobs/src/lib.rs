//! Content-addressed files: the store, trees and change sets of digests, snapshots of a project
//! and their way back onto a disk. Synchronous, without a clock.

mod changes;
mod lines;
mod materialise;
pub mod snapshot;
mod stamp;
mod store;
#[cfg(test)]
mod tests;
mod tree;

pub use changes::{Change, ChangeSet};
pub use lines::{Fault, MAX_ENTRIES, MAX_PATH, ParseError, PathFault, check_path};
pub use materialise::{How, MaterialiseError, materialise};
pub use stamp::{Stamp, is_executable};
pub use store::{BlobWriter, Store, StoreError, digest_of, open_regular};
pub use tree::{FileNode, InsertError, Node, Tree};
