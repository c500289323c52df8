//! Opening a bundle on a device, for the subcommands that replay.

use std::path::{Path, PathBuf};

use clap::Args;
use miette::Diagnostic;
use qwenc_runtime::bundle::{Bundle, BundleError, Folder};
use qwenc_runtime::engine::{Engine, EngineError, LoadOptions};
use qwenc_runtime::format::Feature;
use qwenc_runtime::gpu::{Gpu, GpuError, GpuOptions};
use qwenc_runtime::tuning::Tuning;

use super::tuning_store;

/// Which device to use.
#[derive(Debug, Args)]
pub(super) struct DeviceArgs {
    /// A part of the adapter's name; without it the best one (also: environment variable QWENC_ADAPTER)
    #[arg(long, value_name = "NAME")]
    adapter: Option<String>,
    /// Take no notice of what `qwenc tune` has found for the bundle on this device
    #[arg(long)]
    untuned: bool,
}

impl DeviceArgs {
    /// The adapter with this part in its name.
    pub(super) fn named(adapter: Option<String>) -> Self {
        Self { adapter, untuned: false }
    }
}

/// A bundle could not be opened on a device.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub(super) enum OpenError {
    /// The bundle is missing or damaged.
    #[error("{}: {cause}", .folder.display())]
    #[diagnostic(code(qwenc::bundle), help("compile the model again: qwenc compile <model> -o <folder>"))]
    Bundle {
        /// Its folder.
        folder: PathBuf,
        /// What is wrong with it.
        cause: BundleError,
    },
    /// There is no device to run on.
    #[error(transparent)]
    #[diagnostic(code(qwenc::gpu))]
    Gpu(#[from] GpuError),
    /// The device cannot take the bundle.
    #[error(transparent)]
    #[diagnostic(code(qwenc::load))]
    Engine(#[from] EngineError),
}

/// Checks the bundle.
pub(super) fn open_bundle(folder: &Path) -> Result<Bundle, OpenError> {
    let damaged = |cause| OpenError::Bundle { folder: folder.to_path_buf(), cause };
    Bundle::open(Folder::new(folder).map_err(damaged)?).map_err(damaged)
}

/// Loads a bundle on a device whose dispatches can be timed, if it has time stamps.
pub(super) fn load_timed(bundle: &Bundle, device: &DeviceArgs) -> Result<Engine<Gpu>, OpenError> {
    let gpu = Gpu::open(&GpuOptions { time_stamps: true, ..options(bundle, device) })?;
    let load = LoadOptions { tuning: tuning(bundle, device, &gpu), ..LoadOptions::default() };
    Ok(Engine::load_with(bundle, gpu, &load, &mut |_| ())?)
}

fn options(bundle: &Bundle, device: &DeviceArgs) -> GpuOptions {
    let requirements = &bundle.manifest().requirements;
    GpuOptions {
        adapter: device.adapter.clone(),
        max_buffer_bytes: requirements.max_buffer_bytes,
        max_storage_binding_bytes: requirements.max_storage_binding_bytes,
        cooperative_matrices: bundle.schedule().uses(Feature::CooperativeMatrix),
        ..GpuOptions::default()
    }
}

/// Loads a bundle on a device. `poison` fills temporaries with NaN, so that a wrong schedule shows.
pub(super) fn load(bundle: &Bundle, device: &DeviceArgs, poison: bool) -> Result<Engine<Gpu>, OpenError> {
    let gpu = Gpu::open(&options(bundle, device))?;
    let load = LoadOptions { poison, tuning: tuning(bundle, device, &gpu), ..LoadOptions::default() };
    Ok(Engine::load_with(bundle, gpu, &load, &mut |_| ())?)
}

/// Loads a bundle on a device as if it had never been tuned.
pub(super) fn load_untuned(bundle: &Bundle, device: &DeviceArgs) -> Result<Engine<Gpu>, OpenError> {
    let gpu = Gpu::open(&options(bundle, device))?;
    Ok(Engine::load_with(bundle, gpu, &LoadOptions::default(), &mut |_| ())?)
}

fn tuning(bundle: &Bundle, device: &DeviceArgs, gpu: &Gpu) -> Tuning {
    if device.untuned { Tuning::default() } else { tuning_store::recall(bundle, gpu.adapter()) }
}

/// Checks a bundle and loads it on a device.
pub(super) fn open(folder: &Path, device: &DeviceArgs, poison: bool) -> Result<Engine<Gpu>, OpenError> {
    load(&open_bundle(folder)?, device, poison)
}
