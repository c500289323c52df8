//! What can go wrong between this program and the GPU.

use super::ADAPTER_ENV;

/// An error of the GPU or of the driver below it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum GpuError {
    /// The Vulkan loader offers nothing at all.
    #[error(
        "no Vulkan adapter was found; install a GPU driver, or the software renderer lavapipe \
         (Debian: apt-get install mesa-vulkan-drivers), and check VK_DRIVER_FILES if it is set"
    )]
    NoAdapter,
    /// Adapters exist, but none has the wanted name.
    #[error(
        "no Vulkan adapter is named like '{wanted}'; there are: {}; choose one of them (environment variable {ADAPTER_ENV})",
        available.join(", ")
    )]
    NoSuchAdapter {
        /// The part of a name that was asked for.
        wanted: String,
        /// The names of all adapters.
        available: Vec<String>,
    },
    /// The tests' two software adapters are not both there.
    #[error(
        "the GPU tests need both lavapipe and SwiftShader, and '{missing}' is missing (found: {}); \
         run them through `cargo xtask test`, which installs both and sets VK_DRIVER_FILES",
        if found.is_empty() { "none".to_owned() } else { found.join(", ") }
    )]
    TestAdapters {
        /// The part of a name that no adapter has.
        missing: String,
        /// The names of all adapters.
        found: Vec<String>,
    },
    /// The adapter does not give a device with the limits asked for.
    #[error("adapter '{adapter}' does not open a device: {message}; choose another adapter ({ADAPTER_ENV})")]
    Device {
        /// The adapter's name.
        adapter: String,
        /// The driver's words.
        message: String,
    },
    /// The GPU API rejects what it was given: a shader, a binding, a command.
    #[error("{what}: the GPU API rejects it: {message}")]
    Validation {
        /// What was being done.
        what: String,
        /// The API's words.
        message: String,
    },
    /// The GPU is out of memory.
    #[error("{what}: out of GPU memory; use a smaller model, a shorter --max-context, or another adapter")]
    OutOfMemory {
        /// What was being done.
        what: String,
    },
    /// The driver fails for reasons of its own.
    #[error("{what}: the GPU driver failed: {message}")]
    Internal {
        /// What was being done.
        what: String,
        /// The driver's words.
        message: String,
    },
    /// The device does not answer.
    #[error("{what}: the GPU did not finish within {seconds} s")]
    Timeout {
        /// What was being waited for.
        what: String,
        /// How long was waited.
        seconds: u64,
    },
    /// The device has not what is asked of it.
    #[error("the device has no {what}; choose another adapter ({ADAPTER_ENV})")]
    Feature {
        /// What it lacks.
        what: &'static str,
    },
    /// A probe was called with arguments that no kernel could have.
    #[error("kernel probe: {message}")]
    Probe {
        /// What is wrong with them.
        message: String,
    },
}
