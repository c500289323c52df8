//! Bringing bytes back from the GPU.

use super::{Gpu, GpuError};
use std::sync::mpsc;
use std::time::Duration;

/// Longest wait for submitted work. Software adapters are slow; a device that takes longer is taken for dead.
const WAIT: Duration = Duration::from_secs(600);

impl Gpu {
    /// Blocks until all work submitted so far is done.
    ///
    /// # Errors
    /// [`GpuError::Timeout`] when it takes longer than ten minutes.
    pub fn wait(&self, what: &str) -> Result<(), GpuError> {
        let wait = wgpu::PollType::Wait { submission_index: None, timeout: Some(WAIT) };
        match self.device.poll(wait) {
            Ok(_) => Ok(()),
            Err(wgpu::PollError::Timeout) => {
                Err(GpuError::Timeout { what: what.to_owned(), seconds: WAIT.as_secs() })
            }
            Err(error) => Err(GpuError::Internal { what: what.to_owned(), message: error.to_string() }),
        }
    }

    /// Waits for submitted work, then copies the first `bytes` of `staging` (usage `MAP_READ`) out of the GPU.
    ///
    /// # Errors
    /// [`GpuError::Timeout`], or [`GpuError::Internal`] when the buffer cannot be mapped.
    pub fn read_staging(&self, staging: &wgpu::Buffer, bytes: u64, what: &str) -> Result<Vec<u8>, GpuError> {
        if bytes == 0 {
            return Ok(Vec::new());
        }
        let fail = |message: String| GpuError::Internal { what: what.to_owned(), message };
        if bytes > staging.size() {
            return Err(fail(format!("{bytes} bytes asked of a staging buffer of {}", staging.size())));
        }
        let (sender, receiver) = mpsc::channel();
        self.scoped(what, || {
            staging.map_async(wgpu::MapMode::Read, ..bytes, move |result| {
                // The receiver lives until this function returns; if it is gone, nobody wants the answer.
                let _ = sender.send(result);
            });
        })?;
        self.wait(what)?;
        receiver.try_recv().map_err(|e| fail(e.to_string()))?.map_err(|e| fail(e.to_string()))?;
        let copied = staging.get_mapped_range(..bytes).map(|view| view.to_vec());
        staging.unmap();
        copied.map_err(|e| fail(e.to_string()))
    }
}
