//! Several replays in one submission.
//!
//! A submission has a price of its own, on the host and on the GPU, which a decoded token's worth of work feels. So a batch
//! gathers replays and submits them together. What the host writes between two of them cannot go through the queue, whose
//! writes come before the whole submission: it is put into a ring once, and copied from there at its place in the order.

use super::replay::Ready;
use super::{Backend, Engine, EngineError, Recorder};

/// Bytes that the host writes in one submission; more begin the next.
pub(super) const RING_BYTES: u64 = 1 << 16;

/// What has been gathered.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// What goes into the ring.
    data: Vec<u8>,
    steps: Vec<Step>,
}

/// A part of a batch.
#[derive(Debug)]
enum Step {
    /// From the ring to a buffer.
    Write { buffer: usize, from: u64, bytes: u64 },
    /// A replay's commands.
    Run(Vec<Ready>),
    /// The first word of a buffer to a place of the staging buffer.
    Keep { buffer: usize, offset: u64 },
}

impl<B: Backend> Engine<B> {
    /// From here on replays, inputs and kept words are gathered, until [`Engine::submit_batch`]. They have the effects that
    /// they would have had one by one.
    pub fn begin_batch(&self) {
        self.batch.borrow_mut().get_or_insert_default();
    }

    /// Submits what was gathered, and ends the batch. Does not wait for the GPU.
    ///
    /// # Errors
    /// [`EngineError::Gpu`].
    pub fn submit_batch(&self) -> Result<(), EngineError> {
        let gathered = self.batch.borrow_mut().take();
        gathered.map_or(Ok(()), |batch| self.submit_steps(&batch))
    }

    fn submit_steps(&self, batch: &Batch) -> Result<(), EngineError> {
        let fail = |e: B::Error| EngineError::gpu("a batch of replays")(e.into());
        if !batch.data.is_empty() {
            self.backend.write(&self.ring, 0, &batch.data).map_err(fail)?;
        }
        if batch.steps.is_empty() {
            return Ok(());
        }
        let record = |recorder: &mut B::Recorder| {
            for step in &batch.steps {
                match step {
                    Step::Write { buffer, from, bytes } => {
                        if let Some(buffer) = self.buffers.get(*buffer) {
                            recorder.copy(&self.ring, *from, buffer, 0, *bytes);
                        }
                    }
                    Step::Run(commands) => commands.iter().for_each(|command| self.record(recorder, command)),
                    Step::Keep { buffer, offset } => {
                        if let Some(buffer) = self.buffers.get(*buffer) {
                            recorder.copy(buffer, 0, &self.staging, *offset, 4);
                        }
                    }
                }
            }
        };
        self.backend.submit("a batch", record).map_err(fail)
    }

    /// Writes the first bytes of a buffer, in the order of a batch if there is one.
    pub(super) fn write(&self, buffer: usize, data: &[u8], what: &str) -> Result<(), EngineError> {
        let bytes = u64::try_from(data.len()).unwrap_or(u64::MAX);
        let Some(to) = self.buffers.get(buffer).filter(|_| bytes > 0) else { return Ok(()) };
        let mut gathered = self.batch.borrow_mut();
        if let Some(batch) = gathered.as_mut() {
            if !batch.fits(bytes) {
                self.submit_steps(&std::mem::take(batch))?;
            }
            if batch.fits(bytes) {
                batch.push_write(buffer, data, bytes);
                return Ok(());
            }
        }
        self.backend.write(to, 0, data).map_err(|e| EngineError::gpu(what)(e.into()))
    }

    /// Submits commands, or puts them into the batch.
    pub(super) fn run(&self, entry: &str, commands: Vec<Ready>) -> Result<(), EngineError> {
        if let Some(batch) = self.batch.borrow_mut().as_mut() {
            batch.steps.push(Step::Run(commands));
            return Ok(());
        }
        let record =
            |recorder: &mut B::Recorder| commands.iter().for_each(|command| self.record(recorder, command));
        let submitted = self.backend.submit(entry, record);
        submitted.map_err(|e| EngineError::gpu(format!("entry point `{entry}`"))(e.into()))
    }

    /// Copies the first word of a buffer to the staging buffer.
    pub(super) fn keep(&self, buffer: usize, offset: u64, what: &str) -> Result<(), EngineError> {
        if let Some(batch) = self.batch.borrow_mut().as_mut() {
            batch.steps.push(Step::Keep { buffer, offset });
            return Ok(());
        }
        let Some(from) = self.buffers.get(buffer) else { return Ok(()) };
        let submitted = self.backend.submit("keeping a word", |recorder| {
            recorder.copy(from, 0, &self.staging, offset, 4);
        });
        submitted.map_err(|e| EngineError::gpu(what)(e.into()))
    }
}

impl Batch {
    fn fits(&self, bytes: u64) -> bool {
        let used = u64::try_from(self.data.len()).unwrap_or(u64::MAX);
        used.checked_add(bytes).is_some_and(|end| end <= RING_BYTES)
    }

    /// Data that fits, a multiple of 4 bytes.
    fn push_write(&mut self, buffer: usize, data: &[u8], bytes: u64) {
        let from = u64::try_from(self.data.len()).unwrap_or(u64::MAX);
        self.data.extend_from_slice(data);
        self.steps.push(Step::Write { buffer, from, bytes });
    }
}
