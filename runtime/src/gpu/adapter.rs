//! Listing and choosing Vulkan adapters.

use super::GpuError;

/// The environment variable that names the adapter to use: a part of its name, in any case.
pub const ADAPTER_ENV: &str = "QWENC_ADAPTER";

/// What is known of an adapter before a device is opened on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterSummary {
    /// The adapter's name, for example `NVIDIA H200` or `llvmpipe (LLVM 15.0.6, 256 bits)`.
    pub name: String,
    /// The driver and its version, possibly empty.
    pub driver: String,
    /// True for a renderer that runs on the CPU.
    pub software: bool,
    rank: u8,
}

impl AdapterSummary {
    pub(super) fn of(adapter: &wgpu::Adapter) -> Self {
        let info = adapter.get_info();
        let driver = format!("{} {}", info.driver, info.driver_info).trim().to_owned();
        let rank = match info.device_type {
            wgpu::DeviceType::DiscreteGpu => 0,
            wgpu::DeviceType::IntegratedGpu => 1,
            wgpu::DeviceType::VirtualGpu => 2,
            wgpu::DeviceType::Other => 3,
            wgpu::DeviceType::Cpu => 4,
        };
        Self { name: info.name, driver, software: info.device_type == wgpu::DeviceType::Cpu, rank }
    }

    /// Whether the adapter's name contains `part`, in any case.
    #[must_use]
    pub fn is_named(&self, part: &str) -> bool {
        self.name.to_lowercase().contains(&part.to_lowercase())
    }
}

/// All Vulkan adapters, hardware first, in the order in which they are preferred.
#[must_use]
pub fn list_adapters() -> Vec<AdapterSummary> {
    ranked_adapters().into_iter().map(|(summary, _)| summary).collect()
}

/// The adapter named `wanted` or by [`ADAPTER_ENV`], else the best one.
pub(super) fn select_adapter(wanted: Option<&str>) -> Result<wgpu::Adapter, GpuError> {
    let from_env = std::env::var(ADAPTER_ENV).ok().filter(|name| !name.is_empty());
    let wanted = wanted.map(str::to_owned).or(from_env);
    let adapters = ranked_adapters();
    let names: Vec<String> = adapters.iter().map(|(summary, _)| summary.name.clone()).collect();
    let matches = |summary: &AdapterSummary| wanted.as_deref().is_none_or(|part| summary.is_named(part));
    match (adapters.into_iter().find(|(summary, _)| matches(summary)), wanted) {
        (Some((_, adapter)), _) => Ok(adapter),
        (None, Some(wanted)) if !names.is_empty() => {
            Err(GpuError::NoSuchAdapter { wanted, available: names })
        }
        (None, _) => Err(GpuError::NoAdapter),
    }
}

fn ranked_adapters() -> Vec<(AdapterSummary, wgpu::Adapter)> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: wgpu::Backends::VULKAN,
        // wgpu's own validation is always on; these flags only add the Vulkan layers, which debug builds would
        // pick up from the machine and release builds would not.
        flags: wgpu::InstanceFlags::empty(),
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let mut adapters: Vec<_> = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::VULKAN))
        .into_iter()
        .map(|adapter| (AdapterSummary::of(&adapter), adapter))
        .collect();
    adapters.sort_by(|(a, _), (b, _)| a.rank.cmp(&b.rank).then_with(|| a.name.cmp(&b.name)));
    adapters
}
