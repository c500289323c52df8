//! The native back end: [`Gpu`] on wgpu.

use std::future::Ready;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::{Backend, BufferRole, DeviceLimits, Engine, EngineError, LoadOptions, Recorder, Trial};
use crate::bundle::{Bundle, Progress};
use crate::format::{BindingKind, Feature, Pipeline, PipelineId, Variant};
use crate::gpu::{Gpu, GpuError, Timer};
use crate::tuning::Tuning;

impl Backend for Gpu {
    type Error = GpuError;
    type Buffer = wgpu::Buffer;
    type Pipeline = NativePipeline;
    type Compiling = Ready<Result<NativePipeline, GpuError>>;
    type BindGroup = wgpu::BindGroup;
    type Recorder = NativeRecorder;

    fn name(&self) -> String {
        self.adapter().name.clone()
    }

    fn limits(&self) -> DeviceLimits {
        let limits = Gpu::limits(self);
        DeviceLimits {
            max_storage_buffers_per_stage: limits.max_storage_buffers_per_shader_stage,
            max_storage_binding_bytes: limits.max_storage_buffer_binding_size,
            max_buffer_bytes: limits.max_buffer_size,
            max_workgroup_bytes: limits.max_compute_workgroup_storage_size,
            max_invocations: limits.max_compute_invocations_per_workgroup,
            max_workgroup_size: [
                limits.max_compute_workgroup_size_x,
                limits.max_compute_workgroup_size_y,
                limits.max_compute_workgroup_size_z,
            ],
        }
    }

    fn takes(&self, variant: &Variant) -> bool {
        let features = self.device().features();
        variant.needs.iter().all(|feature| match feature {
            Feature::Subgroups => features.contains(wgpu::Features::SUBGROUP),
            Feature::Software => self.is_software(),
            Feature::CooperativeMatrix => self.has_cooperative_matrices(),
        })
    }

    fn is_software(&self) -> bool {
        self.adapter().software
    }

    fn seconds(&self) -> f64 {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_secs_f64()
    }

    fn create_buffer(&self, name: &str, bytes: u64, role: BufferRole) -> Result<wgpu::Buffer, GpuError> {
        use wgpu::BufferUsages as Usage;
        let usage = match role {
            BufferRole::Storage => Usage::STORAGE | Usage::COPY_SRC | Usage::COPY_DST,
            BufferRole::Uniform => Usage::UNIFORM | Usage::COPY_DST,
            BufferRole::Staging => Usage::MAP_READ | Usage::COPY_DST,
        };
        let descriptor =
            wgpu::BufferDescriptor { label: Some(name), size: bytes, usage, mapped_at_creation: false };
        self.scoped("creating a buffer", || self.device().create_buffer(&descriptor))
    }

    fn create_pipeline(&self, _: PipelineId, wgsl: &str, pipeline: &Pipeline) -> Self::Compiling {
        std::future::ready(self.pipeline_of_store(wgsl, pipeline, || compile(self, wgsl, pipeline)))
    }

    fn create_bind_group(
        &self,
        name: &str,
        pipeline: &NativePipeline,
        ranges: &[(&wgpu::Buffer, u64, u64)],
    ) -> Result<wgpu::BindGroup, GpuError> {
        let entries: Vec<_> = ranges
            .iter()
            .zip(0_u32..)
            .map(|(&(buffer, offset, bytes), binding)| wgpu::BindGroupEntry {
                binding,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer,
                    offset,
                    size: wgpu::BufferSize::new(bytes),
                }),
            })
            .collect();
        self.scoped("creating a bind group", || {
            self.device().create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(name),
                layout: &pipeline.layout,
                entries: &entries,
            })
        })
    }

    fn write(&self, buffer: &wgpu::Buffer, offset: u64, data: &[u8]) -> Result<(), GpuError> {
        self.scoped("writing a buffer", || self.queue().write_buffer(buffer, offset, data))
    }

    async fn flush(&self) -> Result<(), GpuError> {
        self.scoped("flushing", || self.queue().submit([]))?;
        self.wait("flushing")
    }

    fn submit(&self, what: &str, record: impl FnOnce(&mut NativeRecorder)) -> Result<(), GpuError> {
        self.scoped(what, || {
            let descriptor = wgpu::CommandEncoderDescriptor { label: Some(what) };
            let encoder = self.device().create_command_encoder(&descriptor);
            let mut recorder = NativeRecorder { encoder, pass: None, timer: self.timer(), timed: None };
            record(&mut recorder);
            recorder.pass = None;
            self.queue().submit([recorder.encoder.finish()]);
        })?;
        self.check_uncaptured(what)
    }

    async fn read(&self, staging: &wgpu::Buffer, bytes: u64) -> Result<Vec<u8>, GpuError> {
        self.read_staging(staging, bytes, "reading back")
    }
}

fn compile(gpu: &Gpu, wgsl: &str, pipeline: &Pipeline) -> Result<NativePipeline, GpuError> {
    let device = gpu.device();
    let entries: Vec<_> = pipeline.bindings.iter().zip(0_u32..).map(layout_entry).collect();
    gpu.scoped("creating a pipeline", || {
        let label = Some(pipeline.shader.as_str());
        let layout =
            device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: &entries });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label,
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let source = wgpu::ShaderSource::Wgsl(wgsl.into());
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label, source });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label,
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some(&pipeline.entry),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        NativePipeline { pipeline, layout }
    })
}

fn layout_entry((kind, binding): (&BindingKind, u32)) -> wgpu::BindGroupLayoutEntry {
    let ty = match kind {
        BindingKind::Uniform => wgpu::BufferBindingType::Uniform,
        BindingKind::Read => wgpu::BufferBindingType::Storage { read_only: true },
        BindingKind::ReadWrite => wgpu::BufferBindingType::Storage { read_only: false },
    };
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    }
}

/// A wgpu pipeline with its bind group layout.
#[derive(Clone, Debug)]
pub struct NativePipeline {
    pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
}

/// Records into one command encoder; consecutive dispatches share a compute pass.
#[derive(Debug)]
pub struct NativeRecorder {
    encoder: wgpu::CommandEncoder,
    pass: Option<wgpu::ComputePass<'static>>,
    timer: Option<Arc<Timer>>,
    /// The number of the next dispatch, when it is timed.
    timed: Option<u32>,
}

impl NativeRecorder {
    /// The encoder outside of any pass.
    fn between_passes(&mut self) -> &mut wgpu::CommandEncoder {
        self.pass = None;
        &mut self.encoder
    }
}

impl Recorder<Gpu> for NativeRecorder {
    fn dispatch(&mut self, pipeline: &NativePipeline, bind_group: &wgpu::BindGroup, workgroups: [u32; 3]) {
        let timed = self.timed.take().zip(self.timer.clone());
        if timed.is_some() {
            self.pass = None;
        }
        let Self { encoder, pass, .. } = self;
        let pass_of = |timestamp_writes| wgpu::ComputePassDescriptor { label: None, timestamp_writes };
        let begin = |encoder: &mut wgpu::CommandEncoder| match &timed {
            None => encoder.begin_compute_pass(&pass_of(None)).forget_lifetime(),
            Some((index, timer)) => {
                let stamps = wgpu::ComputePassTimestampWrites {
                    query_set: &timer.queries,
                    beginning_of_pass_write_index: Some(2 * index),
                    end_of_pass_write_index: Some(2 * index + 1),
                };
                encoder.begin_compute_pass(&pass_of(Some(stamps))).forget_lifetime()
            }
        };
        let pass = pass.get_or_insert_with(|| begin(encoder));
        pass.set_pipeline(&pipeline.pipeline);
        pass.set_bind_group(0, bind_group, &[]);
        pass.dispatch_workgroups(workgroups[0], workgroups[1], workgroups[2]);
        if timed.is_some() {
            self.pass = None;
        }
    }

    fn time_next(&mut self, index: u32) {
        self.timed = self.timer.as_ref().filter(|timer| index < timer.count / 2).map(|_| index);
    }

    fn copy(&mut self, src: &wgpu::Buffer, src_offset: u64, dst: &wgpu::Buffer, dst_offset: u64, bytes: u64) {
        self.between_passes().copy_buffer_to_buffer(src, src_offset, dst, dst_offset, bytes);
    }

    fn clear(&mut self, buffer: &wgpu::Buffer, offset: u64, bytes: u64) {
        self.between_passes().clear_buffer(buffer, offset, Some(bytes));
    }
}

impl<B: Backend> Engine<B> {
    /// Loads a bundle onto a GPU with default options.
    ///
    /// # Errors
    /// [`EngineError`] when the device's limits or memory do not suffice, or a shader is rejected.
    pub fn load(bundle: &Bundle, backend: B) -> Result<Self, EngineError> {
        Self::load_with(bundle, backend, &LoadOptions::default(), &mut |_| ())
    }

    /// [`Engine::load_async`], waiting on this thread.
    ///
    /// # Errors
    /// As there.
    pub fn load_with(
        bundle: &Bundle,
        backend: B,
        options: &LoadOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, EngineError> {
        pollster::block_on(Self::load_async(bundle, backend, options, progress))
    }

    /// [`Engine::tune_async`], waiting on this thread.
    ///
    /// # Errors
    /// As there.
    pub fn tune(
        &mut self,
        module: &dyn Fn(&str) -> Option<String>,
        budget: f64,
    ) -> Result<(Tuning, Vec<Trial>), EngineError> {
        pollster::block_on(self.tune_async(module, budget))
    }

    /// [`Engine::read_output_async`], waiting on this thread.
    ///
    /// # Errors
    /// As there.
    pub fn read_output(&self, entry: &str, name: &str) -> Result<Vec<u8>, EngineError> {
        pollster::block_on(self.read_output_async(entry, name))
    }

    /// [`Engine::read_f32_async`], waiting on this thread.
    ///
    /// # Errors
    /// As there.
    pub fn read_f32(&self, entry: &str, name: &str) -> Result<Vec<f32>, EngineError> {
        pollster::block_on(self.read_f32_async(entry, name))
    }
}
