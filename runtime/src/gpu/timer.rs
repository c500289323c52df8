//! The time of single dispatches, by time stamps that the GPU takes.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Gpu, GpuError};

/// Dispatches that one query set has room for: WebGPU allows 4,096 time stamps, two a dispatch.
pub const MAX_TIMED: u32 = 2048;

/// Where time stamps go: numbers `2 * index` and `2 * index + 1` for the dispatch number `index`.
#[derive(Debug)]
pub(crate) struct Timer {
    pub(crate) queries: wgpu::QuerySet,
    pub(crate) count: u32,
    resolved: wgpu::Buffer,
    staging: wgpu::Buffer,
}

/// The timer that is running, shared by all clones of a [`Gpu`].
#[derive(Clone, Debug, Default)]
pub(super) struct TimerSlot(Arc<Mutex<Option<Arc<Timer>>>>);

impl TimerSlot {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<Timer>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gpu {
    /// From here on, dispatches that ask for it ([`Recorder::time_next`](crate::engine::Recorder::time_next)) are timed, by
    /// numbers below `dispatches`. Each of them gets a compute pass of its own, which takes longer than one pass for all.
    ///
    /// # Errors
    /// [`GpuError::Feature`] for a device that was opened without [`GpuOptions::time_stamps`](super::GpuOptions::time_stamps).
    pub fn start_timer(&self, dispatches: u32) -> Result<(), GpuError> {
        if !self.device().features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return Err(GpuError::Feature { what: "time stamps" });
        }
        let count = dispatches.clamp(1, MAX_TIMED) * 2;
        let bytes = u64::from(count) * 8;
        let timer = self.scoped("creating a timer", || Timer {
            queries: self.device().create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timer"),
                ty: wgpu::QueryType::Timestamp,
                count,
            }),
            count,
            resolved: self.device().create_buffer(&wgpu::BufferDescriptor {
                label: Some("timer"),
                size: bytes,
                usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            }),
            staging: self.device().create_buffer(&wgpu::BufferDescriptor {
                label: Some("timer staging"),
                size: bytes,
                usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
                mapped_at_creation: false,
            }),
        })?;
        *self.timer.lock() = Some(Arc::new(timer));
        Ok(())
    }

    /// Dispatches are not timed any more.
    pub fn stop_timer(&self) {
        *self.timer.lock() = None;
    }

    /// The timer that is running.
    pub(crate) fn timer(&self) -> Option<Arc<Timer>> {
        self.timer.lock().clone()
    }

    /// Waits, and gives the microseconds of every dispatch that was timed last under its number; of numbers that were not
    /// used they say nothing.
    ///
    /// # Errors
    /// [`GpuError`] when the device fails. Without a timer there are none.
    pub fn timings(&self) -> Result<Vec<f64>, GpuError> {
        let Some(timer) = self.timer() else { return Ok(Vec::new()) };
        let bytes = u64::from(timer.count) * 8;
        self.scoped("reading time stamps", || {
            let mut encoder =
                self.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            encoder.resolve_query_set(&timer.queries, 0..timer.count, &timer.resolved, 0);
            encoder.copy_buffer_to_buffer(&timer.resolved, 0, &timer.staging, 0, bytes);
            self.queue().submit([encoder.finish()]);
        })?;
        let stamps: Vec<u64> =
            bytemuck::pod_collect_to_vec(&self.read_staging(&timer.staging, bytes, "reading time stamps")?);
        let period = f64::from(self.queue().get_timestamp_period());
        #[expect(clippy::cast_precision_loss, reason = "differences of stamps are far below 2^53")]
        let microseconds = |pair: &[u64]| match pair {
            [start, end] => end.saturating_sub(*start) as f64 * period / 1000.0,
            _ => 0.0,
        };
        Ok(stamps.chunks_exact(2).map(microseconds).collect())
    }
}

#[cfg(test)]
mod tests {
    use crate::gpu::probe::test_gpus;

    /// The tests' devices are opened without time stamps, and so are as one that has none.
    #[test]
    fn a_device_without_time_stamps_says_so_and_what_to_do() {
        for gpu in test_gpus().unwrap() {
            let error = gpu.start_timer(1).unwrap_err().to_string();
            assert!(error.contains("no time stamps") && error.contains("choose another adapter"), "{error}");
            assert!(gpu.timings().unwrap().is_empty());
        }
    }
}
