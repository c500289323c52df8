//! Several replays in one submission.
//!
//! A submission has a price of its own, on the host and on the GPU, which a decoded token's worth of work feels. So a batch
//! gathers replays and submits them together. What the host writes between two of them cannot go through the queue, whose
//! writes come before the whole submission: it is put into a ring once, and copied from there at its place in the order.

use super::replay::Ready;
use super::{Backend, Engine, EngineError, Recorder};

/// Bytes that the host writes in one submission; more begin the next.
pub(super) const RING_BYTES: u64 = 1 << 16;

/// Dispatches that are submitted ahead of many others, so that the GPU is at work on them while the host records the next, twice
/// as many: recording takes about half the time that the GPU takes for the smallest dispatch.
const AHEAD: usize = 16;

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

    /// [`Engine::submit_batch`] for a GPU that waits: in parts, a small one first.
    ///
    /// # Errors
    /// As there.
    pub fn hasten_batch(&self) -> Result<(), EngineError> {
        let gathered = self.batch.borrow_mut().take();
        gathered
            .map_or(Ok(()), |batch| batch.into_parts().iter().try_for_each(|part| self.submit_steps(part)))
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
        let mut rest = commands.as_slice();
        for size in parts(commands.len()) {
            let (part, behind) = rest.split_at(size.min(rest.len()));
            rest = behind;
            let record =
                |recorder: &mut B::Recorder| part.iter().for_each(|command| self.record(recorder, command));
            let submitted = self.backend.submit(entry, record);
            submitted.map_err(|e| EngineError::gpu(format!("entry point `{entry}`"))(e.into()))?;
        }
        Ok(())
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

/// Sizes of the parts in which so many commands are submitted when the GPU waits for them: each twice as large as the one
/// before, but the last. One where there is little to record.
fn parts(commands: usize) -> Vec<usize> {
    let (mut sizes, mut rest, mut size) = (Vec::new(), commands, AHEAD);
    while commands > 4 * AHEAD && rest > size {
        sizes.push(size);
        rest -= size;
        size *= 2;
    }
    sizes.push(rest);
    sizes
}

impl Batch {
    /// In parts, the commands of its first long replay divided; data comes with the first part.
    fn into_parts(self) -> Vec<Self> {
        let (mut done, mut part) = (Vec::new(), Self { data: self.data, steps: Vec::new() });
        for step in self.steps {
            let mut commands = match step {
                Step::Run(commands) if done.is_empty() => commands,
                other => {
                    part.steps.push(other);
                    continue;
                }
            };
            let sizes = parts(commands.len());
            for size in sizes.iter().take(sizes.len().saturating_sub(1)) {
                let behind = commands.split_off((*size).min(commands.len()));
                part.steps.push(Step::Run(std::mem::replace(&mut commands, behind)));
                done.push(std::mem::take(&mut part));
            }
            part.steps.push(Step::Run(commands));
        }
        done.push(part);
        done
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    fn run(commands: u64) -> Step {
        let command = |offset| Ready::Clear { buffer: 0, offset, bytes: 4 };
        Step::Run((0..commands).map(command).collect())
    }

    /// Offsets of the clears, and what else there is, in order.
    fn flat(batch: &Batch) -> Vec<u64> {
        let of_step = |step: &Step| match step {
            Step::Write { from, .. } => vec![1000 + from],
            Step::Keep { offset, .. } => vec![2000 + offset],
            Step::Run(commands) => commands
                .iter()
                .map(|command| match command {
                    Ready::Clear { offset, .. } => *offset,
                    Ready::Dispatch { .. } | Ready::Copy { .. } => u64::MAX,
                })
                .collect(),
        };
        batch.steps.iter().flat_map(of_step).collect()
    }

    fn batch() -> Batch {
        let write = |from| Step::Write { buffer: 0, from, bytes: 4 };
        let keep = |offset| Step::Keep { buffer: 0, offset };
        let steps = vec![write(0), run(3), keep(0), write(4), run(100), keep(4), run(100)];
        Batch { data: vec![1; 8], steps }
    }

    #[test]
    fn parts_keep_the_order() {
        let (whole, parts) = (flat(&batch()), batch().into_parts());
        assert_eq!(parts.iter().flat_map(flat).collect::<Vec<_>>(), whole);
        let sizes: Vec<_> = parts.iter().map(|part| flat(part).len()).collect();
        assert_eq!(sizes, [6 + 16, 32, 52 + 101], "only the first long replay is divided");
        let data: Vec<_> = parts.iter().map(|part| part.data.len()).collect();
        assert_eq!(data, [8, 0, 0], "data goes into the ring before all of it");
    }

    #[test]
    fn little_is_not_divided() {
        assert_eq!(parts(4 * AHEAD), [4 * AHEAD]);
        assert_eq!(parts(137), [16, 32, 64, 25]);
        assert_eq!(parts(0), [0]);
    }
}
