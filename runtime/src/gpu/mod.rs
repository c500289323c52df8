//! The native GPU: choosing an adapter, opening a device, and turning everything that can go wrong there into a
//! typed [`GpuError`].
//!
//! Only WebGPU's *default* limits are ever asked for, so that a bundle that runs here also runs in a browser tab.
//! The two buffer sizes are the exception: a bundle may state that it needs more, and then exactly that is asked for. And
//! modules for matrix cores, which no browser takes, may use more workgroup memory.

mod adapter;
mod cooperative;
mod error;
mod floor;
mod pipelines;
pub mod probe;
mod scope;
mod timer;
mod transfer;

pub use adapter::{ADAPTER_ENV, AdapterSummary, list_adapters};
pub use error::GpuError;
pub use floor::Floor;
pub use scope::UncapturedErrors;
pub use timer::MAX_TIMED;
pub(crate) use timer::Timer;

use adapter::select_adapter;
use pipelines::PipelineStore;
use timer::TimerSlot;

/// Storage buffers WebGPU guarantees to one shader stage.
pub const DEFAULT_STORAGE_BUFFERS: u32 = 8;
/// Bytes WebGPU guarantees to one storage binding (128 MiB).
pub const DEFAULT_STORAGE_BINDING_BYTES: u64 = 128 << 20;
/// Bytes WebGPU guarantees to one buffer (256 MiB).
pub const DEFAULT_BUFFER_BYTES: u64 = 256 << 20;

/// What to ask of the GPU. The default takes the best adapter and WebGPU's default limits.
#[derive(Clone, Debug, Default)]
pub struct GpuOptions {
    /// Part of the wanted adapter's name, in any case. `None` reads the environment variable [`ADAPTER_ENV`], and
    /// without that prefers hardware over software.
    pub adapter: Option<String>,
    /// Largest buffer that will be created, in bytes; at most [`DEFAULT_BUFFER_BYTES`] costs nothing to ask for.
    pub max_buffer_bytes: u64,
    /// Largest range bound as storage, in bytes; at most [`DEFAULT_STORAGE_BINDING_BYTES`] costs nothing to ask for.
    pub max_storage_binding_bytes: u64,
    /// Ask for time stamps where the adapter has them, for [`Gpu::start_timer`].
    pub time_stamps: bool,
    /// Ask for cooperative matrices where the adapter has those that bundles use.
    pub cooperative_matrices: bool,
}

impl GpuOptions {
    /// The options for the adapter whose name contains `name`.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self { adapter: Some(name.to_owned()), ..Self::default() }
    }

    /// Of the features that an adapter has, those that are used.
    fn features(&self, adapter: &wgpu::Adapter) -> wgpu::Features {
        let mut wanted = wgpu::Features::SUBGROUP;
        if self.time_stamps {
            wanted |= wgpu::Features::TIMESTAMP_QUERY;
        }
        if self.cooperative_matrices && cooperative::is_supported(adapter) {
            wanted |= cooperative::FEATURES;
        }
        wanted & adapter.features()
    }

    /// What a device that has these features is opened with.
    fn limits(&self, features: wgpu::Features) -> wgpu::Limits {
        let defaults = wgpu::Limits::defaults();
        let workgroup_bytes =
            if features.contains(cooperative::FEATURES) { cooperative::WORKGROUP_BYTES } else { 0 };
        wgpu::Limits {
            max_buffer_size: defaults.max_buffer_size.max(self.max_buffer_bytes),
            max_storage_buffer_binding_size: defaults
                .max_storage_buffer_binding_size
                .max(self.max_storage_binding_bytes),
            max_compute_workgroup_storage_size: defaults
                .max_compute_workgroup_storage_size
                .max(workgroup_bytes),
            ..defaults
        }
    }
}

/// An open device with its queue. Cheap to clone: clones share the device.
#[derive(Clone, Debug)]
pub struct Gpu {
    device: wgpu::Device,
    queue: wgpu::Queue,
    adapter: AdapterSummary,
    uncaptured: UncapturedErrors,
    pipelines: Option<PipelineStore>,
    timer: TimerSlot,
}

impl Gpu {
    /// Opens a device on the adapter that `options` select.
    ///
    /// # Errors
    /// [`GpuError::NoAdapter`] and [`GpuError::NoSuchAdapter`] say what to install or to choose;
    /// [`GpuError::Device`] when the adapter refuses the limits.
    pub fn open(options: &GpuOptions) -> Result<Self, GpuError> {
        let adapter = select_adapter(options.adapter.as_deref())?;
        let summary = AdapterSummary::of(&adapter);
        let features = options.features(&adapter);
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("qwenc"),
            required_features: features,
            experimental_features: cooperative::experimental(features),
            required_limits: options.limits(features),
            ..wgpu::DeviceDescriptor::default()
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))
            .map_err(|e| GpuError::Device { adapter: summary.name.clone(), message: e.to_string() })?;
        let uncaptured = UncapturedErrors::install(&device);
        Ok(Self { device, queue, adapter: summary, uncaptured, pipelines: None, timer: TimerSlot::default() })
    }

    /// The same device, which from here on keeps the pipelines that are compiled through this value and its clones, and
    /// gives them to every engine that asks for the same again. They are kept as long as one of these is: for a process
    /// that loads many bundles of one model, such as a test, not for one that goes from model to model.
    #[must_use]
    pub fn keeping_pipelines(self) -> Self {
        Self { pipelines: Some(PipelineStore::default()), ..self }
    }

    /// The adapter this device was opened on.
    #[must_use]
    pub fn adapter(&self) -> &AdapterSummary {
        &self.adapter
    }

    /// The limits that hold on this device: WebGPU's defaults but for the buffer sizes asked for.
    #[must_use]
    pub fn limits(&self) -> wgpu::Limits {
        self.device.limits()
    }

    /// Whether the device was opened with cooperative matrices.
    #[must_use]
    pub fn has_cooperative_matrices(&self) -> bool {
        self.device.features().contains(cooperative::FEATURES)
    }

    /// The wgpu device.
    #[must_use]
    pub fn device(&self) -> &wgpu::Device {
        &self.device
    }

    /// The wgpu queue.
    #[must_use]
    pub fn queue(&self) -> &wgpu::Queue {
        &self.queue
    }
}
