//! Loading: creating every GPU object, and filling the weights.

use std::cell::RefCell;
use std::pin::Pin;

use super::batch::RING_BYTES;
use super::{Backend, BufferRole, Engine, EngineError, LoadedCommand, LoadedEntry, index};
use crate::bundle::{Bundle, Progress};
use crate::format::{Binding, BufferId, BufferKind, Command, Manifest, Pipeline, PipelineId, Schedule};
use crate::tuning::Tuning;

/// Bytes written at a time when a buffer is poisoned.
const POISON_BLOCK: u64 = 1 << 20;

/// How to load.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Refuse a bundle that needs more bytes of GPU memory than this. The default is 64 GiB.
    pub max_gpu_bytes: u64,
    /// Fill temporaries and outputs with NaN after loading, so that a kernel that reads what nobody wrote shows.
    pub poison: bool,
    /// The variants that were the fastest on this device.
    pub tuning: Tuning,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { max_gpu_bytes: 64 << 30, poison: false, tuning: Tuning::default() }
    }
}

/// A bundle on its way onto a GPU: its buffers are there, its pipelines compile, and weights come in any order.
#[derive(Debug)]
pub struct Loading<B: Backend> {
    backend: B,
    manifest: Manifest,
    schedule: Schedule,
    buffers: Vec<B::Buffer>,
    staging: B::Buffer,
    staging_bytes: u64,
    ring: B::Buffer,
    pipelines: Vec<Pending<B>>,
    poison: bool,
}

/// A pipeline.
enum Pending<B: Backend> {
    Compiling(Pin<Box<B::Compiling>>),
    Ready(B::Pipeline),
}

impl<B: Backend> std::fmt::Debug for Pending<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Compiling(_) => "compiling",
            Self::Ready(_) => "ready",
        })
    }
}

impl<B: Backend> Loading<B> {
    /// Checks that the device suffices, starts to compile every pipeline, and creates every buffer. What the device finds
    /// wrong with a buffer may show only at [`Loading::flush`].
    ///
    /// # Errors
    /// [`EngineError`] when the device's limits or memory do not suffice, or a shader cannot be read.
    pub fn start(bundle: &Bundle, backend: B, options: &LoadOptions) -> Result<Self, EngineError> {
        let schedule = bundle.schedule();
        if bundle.manifest().weights_omitted {
            return Err(EngineError::NoWeights);
        }
        check_limits(bundle, &backend)?;
        let needed = bundle.manifest().memory.peak_bytes;
        if needed > options.max_gpu_bytes {
            return Err(EngineError::Memory { needed, allowed: options.max_gpu_bytes });
        }
        let pipelines = start_pipelines(bundle, &backend, &options.tuning)?;
        let buffers = create_buffers(schedule, &backend)?;
        let staging_bytes = schedule
            .entries
            .values()
            .flat_map(|entry| entry.outputs.values())
            .filter_map(|slot| schedule.buffers.get(index(slot.buffer.0)))
            .map(|buffer| buffer.bytes)
            .fold(4, u64::max);
        let staging = create(&backend, "staging", staging_bytes, BufferRole::Staging)?;
        let ring = create(&backend, "ring", RING_BYTES, BufferRole::Storage)?;
        let (manifest, schedule) = (bundle.manifest().clone(), schedule.clone());
        Ok(Self {
            backend,
            manifest,
            schedule,
            buffers,
            staging,
            staging_bytes,
            ring,
            pipelines,
            poison: options.poison,
        })
    }

    /// The GPU.
    #[must_use]
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// Waits for every pipeline.
    ///
    /// # Errors
    /// [`EngineError::Gpu`], naming the shader, when one is rejected.
    pub async fn compile(&mut self) -> Result<(), EngineError> {
        for (pending, facts) in self.pipelines.iter_mut().zip(&self.schedule.pipelines) {
            if let Pending::Compiling(compiling) = pending {
                let shader = || format!("shader {}", facts.shader);
                *pending = Pending::Ready(compiling.await.map_err(|e| EngineError::gpu(shader())(e.into()))?);
            }
        }
        Ok(())
    }

    /// Writes bytes of a weight (offset and length multiples of 4, within the buffer).
    ///
    /// # Errors
    /// [`EngineError::Gpu`].
    pub fn write(&self, id: BufferId, at: u64, bytes: &[u8]) -> Result<(), EngineError> {
        let Some(buffer) = self.buffers.get(index(id.0)) else { return Ok(()) };
        let written = self.backend.write(buffer, at, bytes);
        written.map_err(|e| EngineError::gpu(format!("weights of buffer {}", id.0))(e.into()))
    }

    /// Waits for the writes so far, and for what the device has to say about what was created.
    ///
    /// # Errors
    /// [`EngineError::Gpu`].
    pub async fn flush(&self) -> Result<(), EngineError> {
        self.backend.flush().await.map_err(|e| EngineError::gpu("creating and filling buffers")(e.into()))
    }

    /// Waits for the pipelines, and makes the engine. All weights have been written.
    ///
    /// # Errors
    /// [`EngineError::Gpu`], naming the shader, when one is rejected.
    pub async fn finish(mut self) -> Result<Engine<B>, EngineError> {
        self.compile().await?;
        let Self { backend, manifest, schedule, buffers, staging, staging_bytes, ring, pipelines, poison } =
            self;
        let ready = |pending| if let Pending::Ready(pipeline) = pending { Some(pipeline) } else { None };
        let pipelines: Vec<_> = pipelines.into_iter().filter_map(ready).collect();
        let (bind_groups, groups) = create_bind_groups(&schedule, &backend, &pipelines, &buffers)?;
        let step = schedule.buffers.iter().position(|b| b.kind == BufferKind::Step).unwrap_or_default();
        let entries = load_entries(&schedule, &groups);
        let saved = Vec::new();
        let engine = Engine {
            backend,
            manifest,
            schedule,
            buffers,
            pipelines,
            bind_groups,
            entries,
            step,
            staging,
            staging_bytes,
            saved,
            ring,
            batch: RefCell::default(),
        };
        if poison {
            engine.poison().await?;
        }
        engine.reset_states()?;
        engine.backend.flush().await.map_err(|e| EngineError::gpu("loading")(e.into()))?;
        Ok(engine)
    }
}

impl<B: Backend> Engine<B> {
    /// Loads a bundle onto a GPU, telling `progress` how many bytes of weights are there.
    ///
    /// # Errors
    /// [`EngineError`] when the device's limits or memory do not suffice, or a shader is rejected.
    pub async fn load_async(
        bundle: &Bundle,
        backend: B,
        options: &LoadOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, EngineError> {
        let mut loading = Loading::start(bundle, backend, options)?;
        // Before weights: pipelines fail sooner, and cost nothing to throw away.
        loading.compile().await?;
        loading.flush().await?;
        let total = bundle.manifest().memory.weight_bytes;
        let mut done = 0_u64;
        for shard in bundle.shards() {
            bundle.read_shard(shard, |id, at, bytes| {
                loading.write(id, at, bytes)?;
                done = done.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
                progress(Progress { done, total });
                Ok::<(), EngineError>(())
            })?;
            loading.flush().await?;
        }
        loading.finish().await
    }

    /// Sets every state to its initial content.
    ///
    /// # Errors
    /// [`EngineError::Gpu`].
    pub fn reset_states(&self) -> Result<(), EngineError> {
        self.submit_batch()?;
        let states = self.schedule.buffers.iter().zip(&self.buffers);
        let result = self.backend.submit("reset", |recorder| {
            use super::Recorder;
            for (facts, buffer) in states.filter(|(facts, _)| facts.kind == BufferKind::State) {
                recorder.clear(buffer, 0, facts.bytes);
            }
        });
        result.map_err(|e| EngineError::gpu("resetting states")(e.into()))
    }

    async fn poison(&self) -> Result<(), EngineError> {
        let block = vec![0xFF_u8; usize::try_from(POISON_BLOCK).unwrap_or(0)];
        for (facts, buffer) in self.schedule.buffers.iter().zip(&self.buffers) {
            if !matches!(facts.kind, BufferKind::Arena | BufferKind::Output) {
                continue;
            }
            let mut offset = 0;
            while offset < facts.bytes {
                let bytes = POISON_BLOCK.min(facts.bytes - offset);
                let data = usize::try_from(bytes).ok().and_then(|bytes| block.get(..bytes)).unwrap_or(&block);
                let written = self.backend.write(buffer, offset, data);
                written.map_err(|e| EngineError::gpu(format!("poisoning `{}`", facts.name))(e.into()))?;
                offset += bytes;
            }
            self.backend.flush().await.map_err(|e| EngineError::gpu("poisoning")(e.into()))?;
        }
        Ok(())
    }
}

fn check_limits<B: Backend>(bundle: &Bundle, backend: &B) -> Result<(), EngineError> {
    let (needs, has) = (&bundle.manifest().requirements, backend.limits());
    let limits = [
        (
            "storage buffers per shader stage",
            u64::from(needs.max_storage_buffers_per_stage),
            u64::from(has.max_storage_buffers_per_stage),
        ),
        ("a storage binding", needs.max_storage_binding_bytes, has.max_storage_binding_bytes),
        ("a buffer size", needs.max_buffer_bytes, has.max_buffer_bytes),
        ("workgroup memory", needs.max_workgroup_bytes.into(), has.max_workgroup_bytes.into()),
        ("invocations per workgroup", needs.max_invocations.into(), has.max_invocations.into()),
    ];
    let axes = bundle.schedule().pipelines.iter().flat_map(|pipeline| {
        let variants = pipeline.variants.iter().map(|variant| variant.workgroup_size);
        let sizes = variants.chain([pipeline.workgroup_size]);
        let sizes = sizes.flat_map(|size| size.into_iter().zip(has.max_workgroup_size));
        sizes.map(|(needed, available)| ("a workgroup size", u64::from(needed), u64::from(available)))
    });
    match limits.into_iter().chain(axes).find(|(_, needed, available)| needed > available) {
        None => Ok(()),
        Some((what, needed, available)) => {
            Err(EngineError::Limit { what, needed, available, adapter: backend.name() })
        }
    }
}

pub(super) fn create<B: Backend>(
    backend: &B,
    name: &str,
    bytes: u64,
    role: BufferRole,
) -> Result<B::Buffer, EngineError> {
    backend
        .create_buffer(name, bytes, role)
        .map_err(|e| EngineError::gpu(format!("buffer `{name}` of {bytes} bytes"))(e.into()))
}

fn create_buffers<B: Backend>(schedule: &Schedule, backend: &B) -> Result<Vec<B::Buffer>, EngineError> {
    let role = |kind| if kind == BufferKind::Step { BufferRole::Uniform } else { BufferRole::Storage };
    schedule.buffers.iter().map(|b| create(backend, &b.name, b.bytes, role(b.kind))).collect()
}

fn start_pipelines<B: Backend>(
    bundle: &Bundle,
    backend: &B,
    tuning: &Tuning,
) -> Result<Vec<Pending<B>>, EngineError> {
    let start = |(pipeline, id): (&Pipeline, u32)| {
        let variant = tuning.variant(pipeline, backend);
        let chosen = variant.map(|variant| pipeline.with(variant));
        let chosen = chosen.as_ref().unwrap_or(pipeline);
        let wgsl = bundle.shader(&chosen.shader)?;
        Ok(Pending::Compiling(Box::pin(backend.create_pipeline(PipelineId(id), &wgsl, chosen))))
    };
    bundle.schedule().pipelines.iter().zip(0..).map(start).collect()
}

/// Where in the list of bind groups that of a dispatch is: sorted by pipeline and bindings.
type GroupIndex<'a> = Vec<((PipelineId, &'a [Binding]), usize)>;

/// One bind group for every different set of ranges of a pipeline: layers that share buffers share them.
fn create_bind_groups<'a, B: Backend>(
    schedule: &'a Schedule,
    backend: &B,
    pipelines: &[B::Pipeline],
    buffers: &[B::Buffer],
) -> Result<(Vec<B::BindGroup>, GroupIndex<'a>), EngineError> {
    let mut groups = Vec::new();
    let mut at = GroupIndex::new();
    let commands = schedule.entries.values().flat_map(|entry| &entry.commands);
    for dispatch in commands.filter_map(|c| if let Command::Dispatch(d) = c { Some(d) } else { None }) {
        let key = (dispatch.pipeline, dispatch.bindings.as_slice());
        let Some(pipeline) = pipelines.get(index(dispatch.pipeline.0)) else { continue };
        let Err(place) = at.binary_search_by(|(known, _)| known.cmp(&key)) else { continue };
        let ranges: Vec<_> = dispatch
            .bindings
            .iter()
            .filter_map(|b| buffers.get(index(b.buffer.0)).map(|buffer| (buffer, b.offset, b.bytes)))
            .collect();
        let group = backend
            .create_bind_group(&dispatch.label, pipeline, &ranges)
            .map_err(|e| EngineError::gpu(format!("bindings of `{}`", dispatch.label))(e.into()))?;
        at.insert(place, (key, groups.len()));
        groups.push(group);
    }
    Ok((groups, at))
}

fn load_entries(schedule: &Schedule, groups: &GroupIndex<'_>) -> Vec<(String, LoadedEntry)> {
    let load = |command: &Command| match command {
        Command::Dispatch(d) => LoadedCommand::Dispatch {
            pipeline: index(d.pipeline.0),
            bind_group: groups
                .binary_search_by(|(known, _)| known.cmp(&(d.pipeline, d.bindings.as_slice())))
                .ok()
                .and_then(|at| groups.get(at))
                .map_or(usize::MAX, |(_, group)| *group),
            workgroups: d.workgroups.clone(),
        },
        Command::Copy(c) => LoadedCommand::Copy {
            src: index(c.src.0),
            src_offset: c.src_offset.clone(),
            dst: index(c.dst.0),
            dst_offset: c.dst_offset.clone(),
            bytes: c.bytes.clone(),
        },
        Command::Clear(c) => {
            LoadedCommand::Clear { buffer: index(c.buffer.0), offset: c.offset, bytes: c.bytes }
        }
    };
    let entries = schedule.entries.iter();
    entries
        .map(|(name, entry)| {
            (name.clone(), LoadedEntry { commands: entry.commands.iter().map(load).collect(), last: None })
        })
        .collect()
}
