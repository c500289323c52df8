//! Writing bundles: shards, shaders, schedule, manifest. The same input gives the same bytes.

pub mod cpu;
mod shards;
pub mod web;
mod write;

pub use shards::{SHARD_BYTES, Shard, ShardWriter};
pub use write::{BundleError, BundleWriter, FolderSink, Sink};
