//! Turning the GPU API's errors, which arrive out of band, into `Result`s.

use super::{Gpu, GpuError};
use std::sync::{Arc, Mutex, PoisonError};

/// Errors that no scope caught, kept for the next call that can report them. Without it wgpu would panic.
#[derive(Clone, Debug, Default)]
pub struct UncapturedErrors(Arc<Mutex<Option<String>>>);

impl UncapturedErrors {
    pub(super) fn install(device: &wgpu::Device) -> Self {
        let errors = Self::default();
        let sink = errors.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| sink.keep_first(&error.to_string())));
        errors
    }

    fn keep_first(&self, message: &str) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slot.get_or_insert_with(|| message.to_owned());
    }

    fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Gpu {
    /// Runs `work` and reports any error that the GPU API raises meanwhile on this thread, naming `what` was done.
    ///
    /// # Errors
    /// [`GpuError::Validation`], [`GpuError::OutOfMemory`] or [`GpuError::Internal`].
    pub fn scoped<T>(&self, what: &str, work: impl FnOnce() -> T) -> Result<T, GpuError> {
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let value = work();
        let internal = pollster::block_on(internal.pop());
        let memory = pollster::block_on(memory.pop());
        let validation = pollster::block_on(validation.pop());
        // Running out of memory leaves an invalid object behind, whose use is then a validation error: the cause first.
        match memory.or(internal).or(validation) {
            Some(error) => Err(typed(what, &error)),
            None => Ok(value),
        }
    }

    /// Reports an error that was raised outside of every scope since the last call.
    ///
    /// # Errors
    /// [`GpuError::Validation`] with the first such error.
    pub fn check_uncaptured(&self, what: &str) -> Result<(), GpuError> {
        match self.uncaptured.take() {
            Some(message) => Err(GpuError::Validation { what: what.to_owned(), message }),
            None => Ok(()),
        }
    }
}

fn typed(what: &str, error: &wgpu::Error) -> GpuError {
    let what = what.to_owned();
    match error {
        wgpu::Error::OutOfMemory { .. } => GpuError::OutOfMemory { what },
        wgpu::Error::Validation { description, .. } => {
            GpuError::Validation { what, message: description.clone() }
        }
        wgpu::Error::Internal { description, .. } => {
            GpuError::Internal { what, message: description.clone() }
        }
    }
}
