//! Replaying an entry point: symbols in, commands out, tensors in and out.

use super::{Backend, Engine, EngineError, LoadedCommand, Recorder, find_slot};
use crate::format::{DType, ExprError, MAX_SYMBOLS, MAX_WORKGROUPS, TensorSlot};
use crate::order::sorted;

/// A command with all expressions evaluated.
#[derive(Debug)]
pub(super) enum Ready {
    Dispatch { pipeline: usize, bind_group: usize, workgroups: [u32; 3] },
    Copy { src: usize, src_offset: u64, dst: usize, dst_offset: u64, bytes: u64 },
    Clear { buffer: usize, offset: u64, bytes: u64 },
}

impl<B: Backend> Engine<B> {
    /// Writes an input, from its start. `data` may be shorter than the input's buffer.
    ///
    /// # Errors
    /// [`EngineError::InputSize`] when it is longer or not a multiple of 4 bytes.
    pub fn write_input(&self, entry: &str, name: &str, data: &[u8]) -> Result<(), EngineError> {
        let id = self.input(entry, name)?.buffer;
        let max = self.schedule.buffers.get(super::index(id.0)).map_or(0, |buffer| buffer.bytes);
        let fits = data.len().is_multiple_of(4) && u64::try_from(data.len()).is_ok_and(|bytes| bytes <= max);
        if !fits {
            let (entry, name) = (entry.to_owned(), name.to_owned());
            return Err(EngineError::InputSize { entry, name, bytes: data.len(), max });
        }
        self.write(super::index(id.0), data, &format!("writing input `{name}`"))
    }

    /// Records and submits the commands of an entry point; does not wait for them. `symbols` are exactly those that the
    /// entry point lists, in any order.
    ///
    /// # Errors
    /// [`EngineError::Symbols`] and [`EngineError::SymbolValue`] for symbols that do not fit, before anything is submitted.
    pub fn replay(&mut self, entry: &str, symbols: &[(&str, u32)]) -> Result<(), EngineError> {
        self.replay_with(entry, symbols, false)
    }

    /// [`Engine::replay`] with every dispatch between two time stamps of its own ([`Recorder::time_next`]): the first
    /// dispatch of the entry point has number 0.
    ///
    /// # Errors
    /// As there.
    pub fn replay_timed(&mut self, entry: &str, symbols: &[(&str, u32)]) -> Result<(), EngineError> {
        self.replay_with(entry, symbols, true)
    }

    fn replay_with(&mut self, entry: &str, symbols: &[(&str, u32)], timed: bool) -> Result<(), EngineError> {
        self.check_symbols(entry, symbols)?;
        let value = |name: &str| symbols.iter().find(|(s, _)| *s == name).map(|(_, v)| i64::from(*v));
        for constraint in &self.entry(entry)?.constraints {
            let fail =
                |source| EngineError::Shape { entry: entry.to_owned(), name: "constraint".into(), source };
            let found = constraint.expr.eval(&value).map_err(fail)?;
            if found > i64::from(constraint.max) {
                let what = constraint.expr.to_string();
                let max = i64::from(constraint.max);
                return Err(EngineError::SymbolValue {
                    entry: entry.to_owned(),
                    what,
                    value: found,
                    min: 0,
                    max,
                });
            }
        }
        let ready = self.evaluate(entry, &value)?;
        self.write_step(symbols)?;
        if timed {
            self.submit_timed(entry, &ready)?;
        } else {
            self.run(entry, ready)?;
        }
        if let Some(loaded) =
            self.entries.iter_mut().find(|(name, _)| name == entry).map(|(_, loaded)| loaded)
        {
            loaded.last = Some(symbols.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect());
        }
        Ok(())
    }

    /// Every dispatch between two time stamps; behind what a batch has gathered.
    fn submit_timed(&self, entry: &str, commands: &[Ready]) -> Result<(), EngineError> {
        self.submit_batch()?;
        let record = |recorder: &mut B::Recorder| {
            let mut dispatches = 0..;
            for command in commands {
                if let Ready::Dispatch { .. } = command {
                    recorder.time_next(dispatches.next().unwrap_or_default());
                }
                self.record(recorder, command);
            }
        };
        let submitted = self.backend.submit(entry, record);
        submitted.map_err(|e| EngineError::gpu(format!("entry point `{entry}`"))(e.into()))
    }

    fn check_symbols(&self, entry: &str, symbols: &[(&str, u32)]) -> Result<(), EngineError> {
        let expected = sorted(&self.entry(entry)?.symbols, |a, b| a < b);
        let found: Vec<String> = symbols.iter().map(|(name, _)| (*name).to_owned()).collect();
        let found = sorted(&found, |a, b| a < b);
        if expected != found {
            return Err(EngineError::Symbols { entry: entry.to_owned(), expected, found });
        }
        for (name, value) in symbols {
            let declared = self.schedule.symbols.iter().find(|s| s.name == *name);
            if let Some(s) = declared.filter(|s| *value < s.min || *value > s.max) {
                return Err(EngineError::SymbolValue {
                    entry: entry.to_owned(),
                    what: format!("`{name}`"),
                    value: (*value).into(),
                    min: s.min.into(),
                    max: s.max.into(),
                });
            }
        }
        Ok(())
    }

    pub(super) fn evaluate(
        &self,
        entry: &str,
        value: &dyn Fn(&str) -> Option<i64>,
    ) -> Result<Vec<Ready>, EngineError> {
        let Some(loaded) = self.entries.iter().find(|(name, _)| name == entry).map(|(_, loaded)| loaded)
        else {
            return Ok(Vec::new());
        };
        let mut ready = Vec::with_capacity(loaded.commands.len());
        for (command, loaded) in loaded.commands.iter().enumerate() {
            let fail = |message: String| EngineError::Command { entry: entry.to_owned(), command, message };
            let no_value = |e: ExprError| fail(e.to_string());
            let bytes_of = |expr: &crate::format::Expr| {
                let found = expr.eval(&value).map_err(no_value)?;
                let bytes = u64::try_from(found).ok().filter(|bytes| bytes.is_multiple_of(4));
                bytes
                    .ok_or_else(|| fail(format!("a byte count is {found}: not a multiple of 4, or negative")))
            };
            ready.push(match loaded {
                LoadedCommand::Dispatch { pipeline, bind_group, workgroups } => {
                    let mut counts = [0_u32; 3];
                    for (count, expr) in counts.iter_mut().zip(workgroups) {
                        let found = expr.eval(&value).map_err(no_value)?;
                        *count = u32::try_from(found)
                            .ok()
                            .filter(|_| found <= MAX_WORKGROUPS)
                            .ok_or_else(|| fail(format!("a workgroup count is {found}")))?;
                    }
                    Ready::Dispatch { pipeline: *pipeline, bind_group: *bind_group, workgroups: counts }
                }
                LoadedCommand::Copy { src, src_offset, dst, dst_offset, bytes } => Ready::Copy {
                    src: *src,
                    src_offset: bytes_of(src_offset)?,
                    dst: *dst,
                    dst_offset: bytes_of(dst_offset)?,
                    bytes: bytes_of(bytes)?,
                },
                LoadedCommand::Clear { buffer, offset, bytes } => {
                    Ready::Clear { buffer: *buffer, offset: *offset, bytes: *bytes }
                }
            });
        }
        Ok(ready)
    }

    /// Writes the step uniform, for an entry point that looks at it.
    fn write_step(&self, symbols: &[(&str, u32)]) -> Result<(), EngineError> {
        if symbols.is_empty() {
            return Ok(());
        }
        let mut words = [0_u32; MAX_SYMBOLS];
        for (word, symbol) in words.iter_mut().zip(&self.schedule.symbols) {
            *word = symbols.iter().find(|(name, _)| *name == symbol.name).map_or(0, |(_, value)| *value);
        }
        self.write(self.step, bytemuck::cast_slice(&words), "writing the step")
    }

    pub(super) fn record(&self, recorder: &mut B::Recorder, command: &Ready) {
        match command {
            Ready::Dispatch { workgroups, .. } if workgroups.contains(&0) => {}
            Ready::Dispatch { pipeline, bind_group, workgroups } => {
                if let (Some(pipeline), Some(group)) =
                    (self.pipelines.get(*pipeline), self.bind_groups.get(*bind_group))
                {
                    recorder.dispatch(pipeline, group, *workgroups);
                }
            }
            Ready::Copy { bytes: 0, .. } => {}
            Ready::Copy { src, src_offset, dst, dst_offset, bytes } => {
                if let (Some(src), Some(dst)) = (self.buffers.get(*src), self.buffers.get(*dst)) {
                    recorder.copy(src, *src_offset, dst, *dst_offset, *bytes);
                }
            }
            Ready::Clear { buffer, offset, bytes } => {
                if let Some(buffer) = self.buffers.get(*buffer) {
                    recorder.clear(buffer, *offset, *bytes);
                }
            }
        }
    }

    /// The shape of an output after the entry point's last replay, in elements.
    ///
    /// # Errors
    /// [`EngineError::NotReplayed`] before the first replay.
    pub fn output_shape(&self, entry: &str, name: &str) -> Result<Vec<u64>, EngineError> {
        let slot = self.output(entry, name)?;
        let last = self
            .entries
            .iter()
            .find(|(name, _)| name == entry)
            .map(|(_, loaded)| loaded)
            .and_then(|loaded| loaded.last.as_ref());
        let last = last.ok_or_else(|| EngineError::NotReplayed { entry: entry.to_owned() })?;
        let value = |name: &str| last.iter().find(|(s, _)| s == name).map(|(_, v)| i64::from(*v));
        shape_of(entry, name, slot, &value)
    }

    /// Waits for the entry point's last replay and brings back the bytes of an output, of the shape that the output has
    /// for that replay's symbols.
    ///
    /// # Errors
    /// [`EngineError::NotReplayed`] before the first replay, [`EngineError::Gpu`] when the device fails.
    pub async fn read_output_async(&self, entry: &str, name: &str) -> Result<Vec<u8>, EngineError> {
        let slot = find_slot(entry, "output", name, &self.entry(entry)?.outputs)?;
        let elements = self.output_shape(entry, name)?.iter().try_fold(1_u64, |n, dim| n.checked_mul(*dim));
        let overflow = || EngineError::Shape {
            entry: entry.to_owned(),
            name: name.to_owned(),
            source: ExprError::Overflow,
        };
        let bytes = elements.and_then(|n| n.checked_mul(slot.dtype.bytes())).ok_or_else(overflow)?;
        self.submit_batch()?;
        let what = format!("reading output `{name}`");
        if let Some(buffer) = self.buffers.get(super::index(slot.buffer.0)).filter(|_| bytes > 0) {
            self.backend
                .submit(&what, |recorder| recorder.copy(buffer, 0, &self.staging, 0, bytes))
                .map_err(|e| EngineError::gpu(what.clone())(e.into()))?;
        }
        self.backend.read(&self.staging, bytes).await.map_err(|e| EngineError::gpu(what)(e.into()))
    }

    /// Keeps the first 4 bytes of an output for [`Engine::read_kept_async`], as word `place`. Does not wait for the GPU.
    ///
    /// # Errors
    /// [`EngineError::Gpu`]; [`EngineError::Shape`] when there are no words for so many.
    pub fn keep_word(&self, entry: &str, name: &str, place: usize) -> Result<(), EngineError> {
        let slot = self.output(entry, name)?;
        let offset = u64::try_from(place).ok().and_then(|place| place.checked_mul(4));
        let offset = offset.filter(|offset| *offset <= self.staging_bytes.saturating_sub(4));
        let offset = offset.ok_or_else(|| EngineError::Shape {
            entry: entry.to_owned(),
            name: name.to_owned(),
            source: ExprError::Overflow,
        })?;
        self.keep(super::index(slot.buffer.0), offset, &format!("keeping output `{name}`"))
    }

    /// Waits, and brings back the first `count` words that were kept since outputs were last read.
    ///
    /// # Errors
    /// [`EngineError::Gpu`].
    pub async fn read_kept_async(&self, count: usize) -> Result<Vec<u32>, EngineError> {
        let bytes = u64::try_from(count).unwrap_or(u64::MAX).saturating_mul(4);
        self.submit_batch()?;
        let read = self.backend.read(&self.staging, bytes).await;
        let bytes = read.map_err(|e| EngineError::gpu("reading what was kept")(e.into()))?;
        Ok(bytemuck::pod_collect_to_vec(&bytes))
    }

    /// [`Engine::read_output_async`] for an output of type f32.
    ///
    /// # Errors
    /// [`EngineError::DType`] when it has another type; else as there.
    pub async fn read_f32_async(&self, entry: &str, name: &str) -> Result<Vec<f32>, EngineError> {
        let dtype = self.output(entry, name)?.dtype;
        if dtype != DType::F32 {
            let (entry, name) = (entry.to_owned(), name.to_owned());
            return Err(EngineError::DType { entry, name, found: format!("{dtype:?}"), wanted: "F32" });
        }
        Ok(bytemuck::pod_collect_to_vec(&self.read_output_async(entry, name).await?))
    }
}

fn shape_of(
    entry: &str,
    name: &str,
    slot: &TensorSlot,
    value: &impl Fn(&str) -> Option<i64>,
) -> Result<Vec<u64>, EngineError> {
    let fail = |source| EngineError::Shape { entry: entry.to_owned(), name: name.to_owned(), source };
    let dim = |dim: &crate::format::Expr| {
        u64::try_from(dim.eval(value).map_err(fail)?).map_err(|_| fail(ExprError::Overflow))
    };
    slot.shape.iter().map(dim).collect()
}
