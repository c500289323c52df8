//! The engine: loads a bundle onto a GPU and replays its entry points.
//!
//! The engine knows buffers, pipelines and commands, nothing of models. It speaks to the GPU through the small trait
//! [`Backend`]. All buffers, pipelines and bind groups are created at load ([`Loading`]); a replay creates nothing but the
//! command encoder that WebGPU demands for every submission (and what the driver keeps below `write_buffer`).

mod backend;
mod batch;
mod error;
mod load;
#[cfg(feature = "native")]
mod native;
mod replay;
mod snapshot;
mod tune;

pub use backend::{Backend, BufferRole, DeviceLimits, Recorder};
pub use error::EngineError;
pub use load::{LoadOptions, Loading};
#[cfg(feature = "native")]
pub(crate) use native::NativePipeline;
pub use tune::Trial;

use std::cell::RefCell;

use load::create;

use crate::format::{Entry, Expr, Manifest, MemoryFacts, Schedule, TensorSlot};
use crate::names::ByName;

/// A bundle on a GPU, ready to be replayed.
#[derive(Debug)]
pub struct Engine<B: Backend> {
    backend: B,
    manifest: Manifest,
    schedule: Schedule,
    buffers: Vec<B::Buffer>,
    pipelines: Vec<B::Pipeline>,
    bind_groups: Vec<B::BindGroup>,
    /// Those of the schedule, by name.
    entries: Vec<(String, LoadedEntry)>,
    step: usize,
    staging: B::Buffer,
    staging_bytes: u64,
    saved: Vec<snapshot::Saved<B::Buffer>>,
    /// What the host writes between the replays of a batch.
    ring: B::Buffer,
    /// Replays that wait to be submitted together. In a cell, because inputs are written through a shared reference.
    batch: RefCell<Option<batch::Batch>>,
}

/// An entry point's commands with ids resolved, and the symbols of its last replay.
#[derive(Debug)]
struct LoadedEntry {
    commands: Vec<LoadedCommand>,
    last: Option<Vec<(String, u32)>>,
}

/// A command whose indices are known to be in range.
#[derive(Debug)]
enum LoadedCommand {
    Dispatch { pipeline: usize, bind_group: usize, workgroups: [Expr; 3] },
    Copy { src: usize, src_offset: Expr, dst: usize, dst_offset: Expr, bytes: Expr },
    Clear { buffer: usize, offset: u64, bytes: u64 },
}

impl<B: Backend> Engine<B> {
    /// The bundle's manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The bundle's schedule.
    #[must_use]
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// The GPU.
    #[must_use]
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// Bytes of GPU memory in use, by purpose. All of it is allocated at load, but for a copy of the states, which counts as
    /// state from the first [`Engine::save_states`] on; so the peak is the sum. The staging buffer for reading outputs and
    /// the ring of batches are counted as input and output.
    #[must_use]
    pub fn memory(&self) -> MemoryFacts {
        let mut facts = self.manifest.memory;
        let saved = self.saved.iter().map(|saved| saved.bytes).fold(0, u64::saturating_add);
        let own = self.staging_bytes.saturating_add(batch::RING_BYTES);
        facts.io_bytes = facts.io_bytes.saturating_add(own);
        facts.state_bytes = facts.state_bytes.saturating_add(saved);
        facts.peak_bytes = facts.peak_bytes.saturating_add(own).saturating_add(saved);
        facts
    }

    /// An entry point of the schedule.
    ///
    /// # Errors
    /// [`EngineError::NoSuchEntry`], naming those there are.
    pub fn entry(&self, name: &str) -> Result<&Entry, EngineError> {
        self.schedule.entries.get(name).ok_or_else(|| EngineError::NoSuchEntry {
            entry: name.to_owned(),
            available: self.schedule.entries.keys().cloned().collect(),
        })
    }

    /// An input of an entry point.
    ///
    /// # Errors
    /// [`EngineError::NoSuchEntry`] or [`EngineError::NoSuchTensor`].
    pub fn input(&self, entry: &str, name: &str) -> Result<&TensorSlot, EngineError> {
        find_slot(entry, "input", name, &self.entry(entry)?.inputs)
    }

    /// An output of an entry point.
    ///
    /// # Errors
    /// [`EngineError::NoSuchEntry`] or [`EngineError::NoSuchTensor`].
    pub fn output(&self, entry: &str, name: &str) -> Result<&TensorSlot, EngineError> {
        find_slot(entry, "output", name, &self.entry(entry)?.outputs)
    }
}

fn find_slot<'a>(
    entry: &str,
    what: &'static str,
    name: &str,
    slots: &'a ByName<TensorSlot>,
) -> Result<&'a TensorSlot, EngineError> {
    slots.get(name).ok_or_else(|| EngineError::NoSuchTensor {
        entry: entry.to_owned(),
        what,
        name: name.to_owned(),
        available: slots.keys().cloned().collect(),
    })
}

/// The index behind an id. Ids are 32 bits and `validate` has bounded them, so this always fits.
fn index(id: u32) -> usize {
    usize::try_from(id).unwrap_or(usize::MAX)
}
