//! Time stamps around dispatches, where the device has `timestamp-query`.

use std::rc::Rc;

use wasm_bindgen::JsValue;

use super::sys::GpuQuerySet;
use super::{Buffer, WebGpu, usage};
use crate::device::DeviceError;
use crate::object::{object, size};

/// Most queries of a set that WebGPU allows.
const MAX_QUERIES: u32 = 4096;

/// A set of queries, and where their values go.
#[derive(Debug)]
pub(super) struct Timer {
    set: GpuQuerySet,
    count: u32,
    resolved: Buffer,
    staging: Buffer,
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.set.destroy_queries();
    }
}

impl Timer {
    /// The descriptor of a pass between two time stamps.
    pub(super) fn pass(&self, index: u32) -> JsValue {
        let first = index.saturating_mul(2);
        if first + 1 >= self.count {
            return JsValue::UNDEFINED;
        }
        let writes = object([
            ("querySet", JsValue::from(&*self.set)),
            ("beginningOfPassWriteIndex", first.into()),
            ("endOfPassWriteIndex", (first + 1).into()),
        ]);
        object([("timestampWrites", writes.into())]).into()
    }
}

impl WebGpu {
    /// From here on commands may be timed: as many as `dispatches`.
    pub(crate) fn start_timer(&self, dispatches: usize) -> Result<(), DeviceError> {
        let count = u32::try_from(dispatches).unwrap_or(u32::MAX).saturating_mul(2).clamp(2, MAX_QUERIES);
        let descriptor = object([("type", "timestamp".into()), ("count", count.into())]);
        let set = self.device.create_query_set(&descriptor).map_err(|error| self.refused(&error))?;
        let bytes = u64::from(count) * 8;
        let resolved =
            self.create_raw_buffer("time stamps", bytes, usage::QUERY_RESOLVE | usage::COPY_SRC)?;
        let staging = self.create_raw_buffer("read time stamps", bytes, usage::MAP_READ | usage::COPY_DST)?;
        *self.timer.borrow_mut() = Some(Rc::new(Timer { set, count, resolved, staging }));
        Ok(())
    }

    /// Microseconds between the two time stamps of every dispatch of the last submission.
    pub(crate) async fn timings(&self) -> Result<Vec<f64>, DeviceError> {
        let Some(timer) = self.timer.borrow().clone() else { return Ok(Vec::new()) };
        let bytes = u64::from(timer.count) * 8;
        let commands = self.record()?;
        commands.encoder.resolve_query_set(&timer.set, 0, timer.count, &timer.resolved.0, 0.0);
        commands.encoder.copy(&timer.resolved.0, 0.0, &timer.staging.0, 0.0, size(bytes));
        self.submit(commands)?;
        let bytes = self.read(&timer.staging, bytes).await?;
        let (stamps, _) = bytes.as_chunks::<8>();
        let pair = |pair: &[[u8; 8]]| match pair {
            [start, end] => {
                let nanoseconds = u64::from_le_bytes(*end).saturating_sub(u64::from_le_bytes(*start));
                size(nanoseconds) / 1000.0
            }
            _ => 0.0,
        };
        Ok(stamps.chunks(2).map(pair).collect())
    }

    pub(crate) fn stop_timer(&self) {
        *self.timer.borrow_mut() = None;
    }
}
