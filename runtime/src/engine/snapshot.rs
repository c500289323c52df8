//! A copy of the states on the GPU, to go back to.
//!
//! Windows and matrices are overwritten by every step, so they are copied. A KV cache has a row for every position, and rows
//! from `past` on are not read: it is left alone, as the largest state by far.

use super::{Backend, BufferRole, Engine, EngineError, Recorder, create, index};
use crate::format::StateKind;

/// The copy of one state.
#[derive(Debug)]
pub(super) struct Saved<Buffer> {
    /// The index of the state's buffer.
    state: usize,
    /// The copy.
    copy: Buffer,
    /// Its size.
    pub(super) bytes: u64,
}

impl<B: Backend> Engine<B> {
    /// Copies the states that steps overwrite. The first call allocates the copies; [`Engine::memory`] counts them from
    /// then on. Does not wait for the GPU.
    ///
    /// # Errors
    /// [`EngineError::Gpu`], also when memory does not suffice.
    pub fn save_states(&mut self) -> Result<(), EngineError> {
        if self.saved.is_empty() {
            let states = self.manifest.states.iter().filter(|state| state.kind != StateKind::KvCache);
            let mut saved = Vec::new();
            for state in states {
                let at = index(state.buffer.0);
                let Some(facts) = self.schedule.buffers.get(at) else { continue };
                let name = format!("copy of {}", facts.name);
                let copy = create(&self.backend, &name, facts.bytes, BufferRole::Storage)?;
                saved.push(Saved { state: at, copy, bytes: facts.bytes });
            }
            self.saved = saved;
        }
        self.copy_states("saving the states", |recorder, state, saved| {
            recorder.copy(state, 0, &saved.copy, 0, saved.bytes);
        })
    }

    /// Sets the copied states to what they were at the last [`Engine::save_states`]; without one nothing happens. Does not
    /// wait for the GPU.
    ///
    /// # Errors
    /// [`EngineError::Gpu`].
    pub fn restore_states(&self) -> Result<(), EngineError> {
        self.copy_states("restoring the states", |recorder, state, saved| {
            recorder.copy(&saved.copy, 0, state, 0, saved.bytes);
        })
    }

    fn copy_states(
        &self,
        what: &str,
        copy: impl Fn(&mut B::Recorder, &B::Buffer, &Saved<B::Buffer>),
    ) -> Result<(), EngineError> {
        self.submit_batch()?;
        let result = self.backend.submit(what, |recorder| {
            for saved in &self.saved {
                if let Some(state) = self.buffers.get(saved.state) {
                    copy(recorder, state, saved);
                }
            }
        });
        result.map_err(|e| EngineError::gpu(what)(e.into()))
    }
}
