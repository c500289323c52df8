//! The device that the engine runs on: WebGPU, or kernels on the CPU. One type for both, so that the engine is in the module
//! only once.

use std::future::Future;
use std::pin::Pin;

use qwenc_runtime::engine::{Backend, BufferRole, DeviceLimits, Recorder};
use qwenc_runtime::format::{Feature, Pipeline, PipelineId, Variant};
use wasm_bindgen::JsValue;

use crate::cpu::{self, Cpu};
use crate::object::get;
use crate::webgpu::{self, WebGpu};

/// What a device cannot do, in its own words.
#[derive(Clone, Debug)]
pub(crate) enum DeviceError {
    /// It is gone.
    Lost(String),
    /// Memory does not suffice.
    OutOfMemory(String),
    /// A shader is refused.
    Shader(String),
    /// Something else is refused.
    Refused(String),
}

impl std::fmt::Display for DeviceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (what, words) = match self {
            Self::Lost(words) => ("the device was lost", words),
            Self::OutOfMemory(words) => ("out of memory", words),
            Self::Shader(words) => ("the shader is refused", words),
            Self::Refused(words) => ("the device refused", words),
        };
        write!(f, "{what}: {words}")
    }
}

impl std::error::Error for DeviceError {}

/// A device.
#[derive(Debug)]
pub(crate) enum Device {
    Gpu(WebGpu),
    Cpu(Cpu),
}

impl Device {
    /// The device that JavaScript gave: a `GPUDevice`, or a `CpuDevice`.
    pub(crate) fn new(device: JsValue) -> Self {
        if get(&device, "kind").as_string().as_deref() == Some("cpu") {
            Self::Cpu(Cpu::new(device))
        } else {
            Self::Gpu(WebGpu::new(device))
        }
    }

    /// Pipelines that are compiled.
    pub(crate) fn compiled(&self) -> usize {
        match self {
            Self::Gpu(gpu) => gpu.compiled(),
            Self::Cpu(cpu) => cpu.compiled(),
        }
    }

    /// The GPU, when it is one.
    pub(crate) fn gpu(&self) -> Option<&WebGpu> {
        match self {
            Self::Gpu(gpu) => Some(gpu),
            Self::Cpu(_) => None,
        }
    }
}

/// A buffer of either kind.
#[derive(Debug)]
pub(crate) enum Buffer {
    Gpu(webgpu::Buffer),
    Cpu(cpu::Buffer),
}

/// A pipeline of either kind.
#[derive(Debug)]
pub(crate) enum AnyPipeline {
    Gpu(webgpu::Pipeline),
    Cpu(cpu::Pipeline),
}

/// A bind group of either kind.
#[derive(Debug)]
pub(crate) enum BindGroup {
    Gpu(webgpu::BindGroup),
    Cpu(cpu::BindGroup),
}

/// A recorder of either kind.
#[derive(Debug)]
pub(crate) enum AnyRecorder {
    Gpu(webgpu::Commands),
    Cpu(cpu::Commands),
}

/// What one kind of device made does not come to the other: a model has one device.
fn mixed() -> DeviceError {
    DeviceError::Refused("objects of two devices are mixed".to_owned())
}

impl Backend for Device {
    type Error = DeviceError;
    type Buffer = Buffer;
    type Pipeline = AnyPipeline;
    type Compiling = Pin<Box<dyn Future<Output = Result<AnyPipeline, DeviceError>>>>;
    type BindGroup = BindGroup;
    type Recorder = AnyRecorder;

    fn name(&self) -> String {
        match self {
            Self::Gpu(gpu) => gpu.name(),
            Self::Cpu(cpu) => cpu.name(),
        }
    }

    fn limits(&self) -> DeviceLimits {
        match self {
            Self::Gpu(gpu) => gpu.limits(),
            Self::Cpu(cpu) => cpu.limits(),
        }
    }

    fn takes(&self, variant: &Variant) -> bool {
        // The kernels for the CPU were compiled from the baseline, with the bundle.
        self.gpu().is_some_and(|gpu| {
            variant.needs.iter().all(|feature| match feature {
                Feature::Subgroups => gpu.has_feature("subgroups"),
                Feature::Software => gpu.is_software(),
                Feature::CooperativeMatrix => false,
            })
        })
    }

    fn is_software(&self) -> bool {
        self.gpu().is_none_or(WebGpu::is_software)
    }

    fn seconds(&self) -> f64 {
        crate::model::performance_now() / 1000.0
    }

    fn create_buffer(&self, name: &str, bytes: u64, role: BufferRole) -> Result<Buffer, DeviceError> {
        match self {
            Self::Gpu(gpu) => gpu.create_buffer(name, bytes, role).map(Buffer::Gpu),
            Self::Cpu(cpu) => cpu.create_buffer(name, bytes).map(Buffer::Cpu),
        }
    }

    fn create_pipeline(&self, id: PipelineId, wgsl: &str, pipeline: &Pipeline) -> Self::Compiling {
        match self {
            Self::Gpu(gpu) => {
                let compiling = gpu.create_pipeline(wgsl, pipeline);
                Box::pin(async move { compiling.await.map(AnyPipeline::Gpu) })
            }
            Self::Cpu(cpu) => {
                let pipeline = cpu.create_pipeline(id, pipeline).map(AnyPipeline::Cpu);
                Box::pin(std::future::ready(pipeline))
            }
        }
    }

    fn create_bind_group(
        &self,
        name: &str,
        pipeline: &AnyPipeline,
        ranges: &[(&Buffer, u64, u64)],
    ) -> Result<BindGroup, DeviceError> {
        match (self, pipeline) {
            (Self::Gpu(gpu), AnyPipeline::Gpu(pipeline)) => {
                let ranges = ranges.iter().filter_map(|(buffer, offset, bytes)| match buffer {
                    Buffer::Gpu(buffer) => Some((buffer, *offset, *bytes)),
                    Buffer::Cpu(_) => None,
                });
                gpu.create_bind_group(name, pipeline, ranges).map(BindGroup::Gpu)
            }
            (Self::Cpu(_), AnyPipeline::Cpu(_)) => {
                let ranges = ranges.iter().filter_map(|(buffer, offset, bytes)| match buffer {
                    Buffer::Cpu(buffer) => Some((buffer, *offset, *bytes)),
                    Buffer::Gpu(_) => None,
                });
                Ok(BindGroup::Cpu(cpu::BindGroup::new(ranges)))
            }
            _ => Err(mixed()),
        }
    }

    fn write(&self, buffer: &Buffer, offset: u64, data: &[u8]) -> Result<(), DeviceError> {
        match (self, buffer) {
            (Self::Gpu(gpu), Buffer::Gpu(buffer)) => gpu.write(buffer, offset, data),
            (Self::Cpu(cpu), Buffer::Cpu(buffer)) => cpu.write(buffer, offset, data),
            _ => Err(mixed()),
        }
    }

    async fn flush(&self) -> Result<(), DeviceError> {
        match self {
            Self::Gpu(gpu) => gpu.flush().await,
            Self::Cpu(_) => Ok(()),
        }
    }

    fn submit(&self, _: &str, record: impl FnOnce(&mut AnyRecorder)) -> Result<(), DeviceError> {
        match self {
            Self::Gpu(gpu) => {
                let mut recorder = AnyRecorder::Gpu(gpu.record()?);
                record(&mut recorder);
                let AnyRecorder::Gpu(commands) = recorder else { return Err(mixed()) };
                gpu.submit(commands)
            }
            Self::Cpu(cpu) => {
                let mut recorder = AnyRecorder::Cpu(cpu.record());
                record(&mut recorder);
                let AnyRecorder::Cpu(commands) = recorder else { return Err(mixed()) };
                commands.end()
            }
        }
    }

    async fn read(&self, staging: &Buffer, bytes: u64) -> Result<Vec<u8>, DeviceError> {
        match (self, staging) {
            (Self::Gpu(gpu), Buffer::Gpu(staging)) => gpu.read(staging, bytes).await,
            (Self::Cpu(cpu), Buffer::Cpu(staging)) => cpu.read(staging, bytes).await,
            _ => Err(mixed()),
        }
    }
}

impl Recorder<Device> for AnyRecorder {
    fn dispatch(&mut self, pipeline: &AnyPipeline, bind_group: &BindGroup, workgroups: [u32; 3]) {
        match (self, pipeline, bind_group) {
            (Self::Gpu(commands), AnyPipeline::Gpu(pipeline), BindGroup::Gpu(group)) => {
                commands.dispatch(pipeline, group, workgroups);
            }
            (Self::Cpu(commands), AnyPipeline::Cpu(pipeline), BindGroup::Cpu(group)) => {
                commands.dispatch(*pipeline, group, workgroups);
            }
            _ => {}
        }
    }

    fn copy(&mut self, src: &Buffer, src_offset: u64, dst: &Buffer, dst_offset: u64, bytes: u64) {
        match (self, src, dst) {
            (Self::Gpu(commands), Buffer::Gpu(src), Buffer::Gpu(dst)) => {
                commands.copy(src, src_offset, dst, dst_offset, bytes);
            }
            (Self::Cpu(commands), Buffer::Cpu(src), Buffer::Cpu(dst)) => {
                commands.copy(src, src_offset, dst, dst_offset, bytes);
            }
            _ => {}
        }
    }

    fn time_next(&mut self, index: u32) {
        if let Self::Gpu(commands) = self {
            commands.time_next(index);
        }
    }

    fn clear(&mut self, buffer: &Buffer, offset: u64, bytes: u64) {
        match (self, buffer) {
            (Self::Gpu(commands), Buffer::Gpu(buffer)) => commands.clear(buffer, offset, bytes),
            (Self::Cpu(commands), Buffer::Cpu(buffer)) => commands.clear(buffer, offset, bytes),
            _ => {}
        }
    }
}
