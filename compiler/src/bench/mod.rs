//! Measuring a bundle on a device: what it costs by counting, how long it takes, and how near that is to what the device
//! can do at best.
//!
//! - [`count`] counts what a schedule does; it needs no device, and never changes by itself.
//! - [`Measurement`] is a row of times of the same thing.
//! - [`run()`] measures the paths that users wait for.
//! - [`kernels()`] times every dispatch of a replay by time stamps, [`time_entries()`] those of all entry points.

mod counts;
mod entries;
mod kernels;
mod measure;
mod run;

pub use counts::{Counts, EntryCounts, count};
pub use entries::{KernelTimes, TimedSizes, shorten, time_entries};
pub use kernels::{KernelTime, kernels};
pub use measure::{Measurement, Unit};
pub use run::{BenchError, BenchPlan, PATCH, run};
