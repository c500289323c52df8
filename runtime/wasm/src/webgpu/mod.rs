//! WebGPU as browsers and node have it.

mod commands;
mod errors;
mod sys;
mod timer;

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;

use js_sys::{Array, Promise};
use qwenc_runtime::engine::{BufferRole, DeviceLimits};
use qwenc_runtime::format::{BindingKind, Pipeline as PipelineFacts};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

use crate::device::DeviceError;
use crate::object::{array, get, includes, number, object, size, words};
pub(crate) use commands::Commands;
use errors::Errors;
use sys::{GpuBuffer, GpuDevice, GpuQueue};
use timer::Timer;

/// `GPUBufferUsage`.
mod usage {
    pub(super) const MAP_READ: u32 = 0x1;
    pub(super) const COPY_SRC: u32 = 0x4;
    pub(super) const COPY_DST: u32 = 0x8;
    pub(super) const UNIFORM: u32 = 0x40;
    pub(super) const QUERY_RESOLVE: u32 = 0x200;
    pub(super) const STORAGE: u32 = 0x80;
}
/// `GPUMapMode.READ`.
const MAP_READ: u32 = 1;
/// `GPUShaderStage.COMPUTE`.
const COMPUTE: u32 = 4;

/// A `GPUDevice`, which stays the caller's.
#[derive(Debug)]
pub(crate) struct WebGpu {
    device: GpuDevice,
    queue: GpuQueue,
    errors: Errors,
    compiled: Rc<Cell<usize>>,
    on_compiled: Closure<dyn FnMut(JsValue)>,
    subgroups: bool,
    timer: RefCell<Option<Rc<Timer>>>,
}

/// A `GPUBuffer`; its memory is given back when it goes.
#[derive(Debug)]
pub(crate) struct Buffer(GpuBuffer);

impl Drop for Buffer {
    fn drop(&mut self) {
        self.0.destroy();
    }
}

/// A `GPUComputePipeline` and the `GPUBindGroupLayout` of its only group.
#[derive(Debug)]
pub(crate) struct Pipeline {
    pipeline: JsValue,
    layout: JsValue,
}

/// A `GPUBindGroup`.
#[derive(Debug)]
pub(crate) struct BindGroup(JsValue);

impl WebGpu {
    pub(crate) fn new(device: JsValue) -> Self {
        let device: GpuDevice = device.unchecked_into();
        let (queue, errors) = (device.queue(), Errors::listen(&device));
        let subgroups = device.features().has("subgroups");
        let compiled = Rc::new(Cell::new(0));
        let count = compiled.clone();
        let on_compiled = Closure::new(move |_| count.set(count.get() + 1));
        Self { device, queue, errors, compiled, on_compiled, subgroups, timer: RefCell::new(None) }
    }

    pub(crate) fn name(&self) -> String {
        let info = get(self.device.as_ref(), "adapterInfo");
        let fields = ["description", "device", "architecture", "vendor"];
        let field = |name: &&str| get(&info, name).as_string().filter(|text| !text.is_empty());
        fields.iter().find_map(field).unwrap_or_else(|| "WebGPU".to_owned())
    }

    /// Browsers say so of an adapter, or call it by its name.
    pub(crate) fn is_software(&self) -> bool {
        let info = get(self.device.as_ref(), "adapterInfo");
        get(&info, "isFallbackAdapter").is_truthy() || includes(&self.name(), "SwiftShader")
    }

    pub(crate) fn has_feature(&self, name: &str) -> bool {
        self.device.features().has(name)
    }

    pub(crate) fn limits(&self) -> DeviceLimits {
        let limits = self.device.limits();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
        let limit = |name: &str| number(&limits, name) as u64;
        let small = |name: &str| u32::try_from(limit(name)).unwrap_or(u32::MAX);
        DeviceLimits {
            max_storage_buffers_per_stage: small("maxStorageBuffersPerShaderStage"),
            max_storage_binding_bytes: limit("maxStorageBufferBindingSize"),
            max_buffer_bytes: limit("maxBufferSize"),
            max_workgroup_bytes: small("maxComputeWorkgroupStorageSize"),
            max_invocations: small("maxComputeInvocationsPerWorkgroup"),
            max_workgroup_size: [
                small("maxComputeWorkgroupSizeX"),
                small("maxComputeWorkgroupSizeY"),
                small("maxComputeWorkgroupSizeZ"),
            ],
        }
    }

    pub(crate) fn compiled(&self) -> usize {
        self.compiled.get()
    }

    pub(crate) fn create_buffer(
        &self,
        name: &str,
        bytes: u64,
        role: BufferRole,
    ) -> Result<Buffer, DeviceError> {
        use usage::{COPY_DST, COPY_SRC, STORAGE, UNIFORM};
        let usage = match role {
            BufferRole::Storage => STORAGE | COPY_SRC | COPY_DST,
            BufferRole::Uniform => UNIFORM | COPY_DST,
            BufferRole::Staging => usage::MAP_READ | COPY_DST,
        };
        self.create_raw_buffer(name, bytes, usage)
    }

    fn create_raw_buffer(&self, name: &str, bytes: u64, usage: u32) -> Result<Buffer, DeviceError> {
        let descriptor =
            object([("label", name.into()), ("size", size(bytes).into()), ("usage", usage.into())]);
        let what = || format!("buffer `{name}` of {bytes} bytes");
        self.errors.scoped(&self.device, &what(), || self.device.create_buffer(&descriptor)).map(Buffer)
    }

    /// Starts to compile; the browser goes on by itself.
    pub(crate) fn create_pipeline(
        &self,
        wgsl: &str,
        facts: &PipelineFacts,
    ) -> impl Future<Output = Result<Pipeline, DeviceError>> + use<> {
        let started = self.start_pipeline(wgsl, facts);
        let errors = self.errors.clone();
        async move {
            let Started { pipeline, layout, refused } = started?;
            let pipeline = JsFuture::from(pipeline).await;
            let refused = JsFuture::from(refused).await.ok().filter(|error| !error.is_null());
            match (pipeline, refused) {
                (Ok(pipeline), None) => Ok(Pipeline { pipeline, layout }),
                // What Tint says of the module tells more than that the pipeline has none.
                (_, Some(error)) | (Err(error), None) => {
                    Err(errors.or_lost(DeviceError::Shader(words(&error))))
                }
            }
        }
    }

    fn start_pipeline(&self, wgsl: &str, facts: &PipelineFacts) -> Result<Started, DeviceError> {
        let refused = |error: JsValue| self.errors.or_lost(DeviceError::Shader(words(&error)));
        let label = || JsValue::from(&facts.shader);
        let entries = facts.bindings.iter().zip(0_u32..).map(|(kind, binding)| {
            let kind = match kind {
                BindingKind::Uniform => "uniform",
                BindingKind::Read => "read-only-storage",
                BindingKind::ReadWrite => "storage",
            };
            let buffer = object([("type", kind.into())]);
            let visibility = COMPUTE.into();
            object([("binding", binding.into()), ("visibility", visibility), ("buffer", buffer.into())])
        });
        let device = &self.device;
        device.push_error_scope("validation").map_err(refused)?;
        let start = || {
            let code = self.with_prelude(wgsl);
            let module = device
                .create_shader_module(&object([("label", label()), ("code", JsValue::from(&*code))]))?;
            let layout = object([("label", label()), ("entries", array(entries).into())]);
            let layout = device.create_bind_group_layout(&layout)?;
            let layouts = array([layout.clone()]);
            let layouts = object([("label", label()), ("bindGroupLayouts", layouts.into())]);
            let pipeline_layout = device.create_pipeline_layout(&layouts)?;
            let compute = object([("module", module), ("entryPoint", facts.entry.as_str().into())]);
            let pipeline = device.create_compute_pipeline(&object([
                ("label", label()),
                ("layout", pipeline_layout),
                ("compute", compute.into()),
            ]))?;
            Ok((pipeline, layout))
        };
        let started = start();
        let complaint = device.pop_error_scope().map_err(refused)?;
        let (pipeline, layout) = started.map_err(refused)?;
        // Also marks a rejection as seen, long before anyone awaits it.
        let _ = pipeline.then2(&self.on_compiled, &self.on_compiled);
        Ok(Started { pipeline, layout, refused: complaint })
    }

    /// Tint wants extensions named that naga, which the shaders were made with, takes for granted.
    fn with_prelude<'a>(&self, wgsl: &'a str) -> Cow<'a, str> {
        if self.subgroups && includes(wgsl, "subgroup") && !includes(wgsl, "enable subgroups") {
            return Cow::Owned(format!("enable subgroups;\n{wgsl}"));
        }
        Cow::Borrowed(wgsl)
    }

    pub(crate) fn create_bind_group<'a>(
        &self,
        name: &str,
        pipeline: &Pipeline,
        ranges: impl Iterator<Item = (&'a Buffer, u64, u64)>,
    ) -> Result<BindGroup, DeviceError> {
        let entries = ranges.zip(0_u32..).map(|((buffer, offset, bytes), binding)| {
            let resource = object([
                ("buffer", JsValue::from(&*buffer.0)),
                ("offset", size(offset).into()),
                ("size", size(bytes).into()),
            ]);
            object([("binding", binding.into()), ("resource", resource.into())])
        });
        let descriptor = object([
            ("label", name.into()),
            ("layout", pipeline.layout.clone()),
            ("entries", array(entries).into()),
        ]);
        self.device.create_bind_group(&descriptor).map(BindGroup).map_err(|error| self.refused(&error))
    }

    pub(crate) fn write(&self, buffer: &Buffer, offset: u64, data: &[u8]) -> Result<(), DeviceError> {
        self.errors.check()?;
        self.queue.write_buffer(&buffer.0, size(offset), data).map_err(|error| self.refused(&error))
    }

    pub(crate) async fn flush(&self) -> Result<(), DeviceError> {
        self.errors.settle().await?;
        let done = self.queue.on_submitted_work_done().map_err(|error| self.refused(&error))?;
        JsFuture::from(done).await.map_err(|error| self.refused(&error))?;
        self.errors.check()
    }

    pub(crate) fn record(&self) -> Result<Commands, DeviceError> {
        self.errors.check()?;
        let timer = self.timer.borrow().clone();
        let encoder = self.device.create_command_encoder().map_err(|error| self.refused(&error))?;
        Ok(Commands::new(encoder, timer))
    }

    pub(crate) fn submit(&self, commands: Commands) -> Result<(), DeviceError> {
        let submitted = commands.finish().and_then(|buffer| self.queue.submit(&Array::of1(&buffer)));
        submitted.map_err(|error| self.refused(&error))
    }

    pub(crate) async fn read(&self, staging: &Buffer, bytes: u64) -> Result<Vec<u8>, DeviceError> {
        if bytes == 0 {
            return Ok(Vec::new());
        }
        let refused = |error: JsValue| self.refused(&error);
        let mapped = staging.0.map_async(MAP_READ, 0.0, size(bytes)).map_err(refused)?;
        JsFuture::from(mapped).await.map_err(refused)?;
        self.errors.check()?;
        let range = staging.0.mapped_range(0.0, size(bytes)).map_err(refused)?;
        let copied = sys::bytes_of(&range);
        staging.0.unmap();
        Ok(copied)
    }

    fn refused(&self, error: &JsValue) -> DeviceError {
        self.errors.or_lost(DeviceError::Refused(words(error)))
    }
}

/// A pipeline that the browser compiles.
struct Started {
    pipeline: Promise,
    layout: JsValue,
    /// What was wrong with its module, or null.
    refused: Promise,
}
