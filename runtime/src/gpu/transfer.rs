//! Bringing bytes back from the GPU.

use super::{Gpu, GpuError};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Longest wait for submitted work. Software adapters are slow; a device that takes longer is taken for dead.
const WAIT: Duration = Duration::from_secs(600);
/// How long a callback that another thread has collected may take to arrive before this thread polls again.
const HANDOVER: Duration = Duration::from_millis(10);

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
        self.answer(&receiver, what)?.map_err(|e| fail(e.to_string()))?;
        let copied = staging.get_mapped_range(..bytes).map(|view| view.to_vec());
        staging.unmap();
        copied.map_err(|e| fail(e.to_string()))
    }

    /// Waits until a callback has sent its answer. Clones of a [`Gpu`] share the device, and any thread that polls it may
    /// be the one that collects this callback; it can still be about to run it when this thread's own poll is done.
    fn answer<T>(&self, receiver: &mpsc::Receiver<T>, what: &str) -> Result<T, GpuError> {
        let start = Instant::now();
        loop {
            self.wait(what)?;
            match receiver.recv_timeout(HANDOVER) {
                Ok(answer) => return Ok(answer),
                Err(mpsc::RecvTimeoutError::Timeout) if start.elapsed() < WAIT => {}
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    return Err(GpuError::Timeout { what: what.to_owned(), seconds: WAIT.as_secs() });
                }
                Err(gone @ mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(GpuError::Internal { what: what.to_owned(), message: gone.to_string() });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::super::probe::test_gpus;

    /// The device is idle, so this thread's poll returns at once; the callback runs later, on another thread.
    #[test]
    fn an_answer_that_another_thread_brings_is_waited_for() {
        for gpu in test_gpus().unwrap() {
            let (sender, receiver) = mpsc::channel();
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_millis(60));
                    sender.send(7).unwrap();
                });
                assert_eq!(gpu.answer(&receiver, "a test").unwrap(), 7);
            });
        }
    }

    #[test]
    fn an_answer_that_cannot_come_is_an_error() {
        for gpu in test_gpus().unwrap() {
            let (sender, receiver) = mpsc::channel::<()>();
            drop(sender);
            assert!(gpu.answer(&receiver, "a test").is_err());
        }
    }
}
