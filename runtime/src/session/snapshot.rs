//! Going back to an earlier position of a sequence, without feeding what came before it again.

use super::{Session, SessionError};
use crate::engine::Backend;

/// A remembered position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    past: u32,
    rope_delta: i32,
}

impl<B: Backend> Session<B> {
    /// Remembers this position, in place of the one before. The states that steps overwrite are copied on the GPU; the
    /// first call allocates the memory for that.
    ///
    /// # Errors
    /// [`SessionError::Engine`] when the GPU fails.
    pub fn snapshot(&mut self) -> Result<(), SessionError> {
        self.snapshot = None;
        self.engine.save_states()?;
        self.snapshot = Some(Snapshot { past: self.past, rope_delta: self.rope_delta });
        Ok(())
    }

    /// The position that [`Session::restore`] goes back to. [`Session::reset`] forgets it, as the KV caches then hold
    /// another sequence.
    #[must_use]
    pub fn snapshot_past(&self) -> Option<u32> {
        self.snapshot.map(|snapshot| snapshot.past)
    }

    /// Goes back to the remembered position, which stays remembered. Tokens that were fed since are forgotten; there are no
    /// logits before the next call.
    ///
    /// # Errors
    /// [`SessionError::NoSnapshot`] when no position is remembered; [`SessionError::Engine`] when the GPU fails.
    pub fn restore(&mut self) -> Result<(), SessionError> {
        let Snapshot { past, rope_delta } = self.snapshot.ok_or(SessionError::NoSnapshot)?;
        self.engine.restore_states()?;
        self.past = past;
        self.rope_delta = rope_delta;
        self.last = None;
        self.sampled = false;
        Ok(())
    }
}
