//! What the crate promises, tried on a real file system.

mod materialise;
mod snapshot;
mod store;
mod timing;
mod tree;
