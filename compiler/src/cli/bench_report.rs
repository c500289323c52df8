//! What `qwenc bench` prints.

use std::fmt;

use qwenc_runtime::gpu::{AdapterSummary, Floor};
use qwenc_runtime::printable::printable;
use serde::{Deserialize, Serialize};

use super::kernel_table::KernelTable;
use crate::bench::{Counts, KernelTimes, Measurement, Unit};

/// A run of `qwenc bench`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) bundle: String,
    pub(super) model: String,
    pub(super) device: Device,
    pub(super) counts: Counts,
    pub(super) results: Vec<Measurement>,
    pub(super) kernels: KernelTimes,
}

/// The device, and what it can do at best.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Device {
    name: String,
    driver: String,
    dispatch_microseconds: f64,
    gigabytes_per_second: f64,
    /// Tokens a second that decoding cannot pass: its dispatches and weights at the device's best.
    decode_floor: Option<f64>,
}

impl Device {
    pub(super) fn new(adapter: AdapterSummary, floor: Floor) -> Self {
        Self {
            name: adapter.name,
            driver: adapter.driver,
            dispatch_microseconds: floor.dispatch_seconds * 1e6,
            gigabytes_per_second: floor.bytes_per_second / 1e9,
            decode_floor: None,
        }
    }
}

impl Report {
    /// What decoding a token takes at least: every dispatch of `decode` and `sample`, and every weight once.
    pub(super) fn note_floor(&mut self) {
        let token = self.counts.token();
        let floor = Floor {
            dispatch_seconds: self.device.dispatch_microseconds / 1e6,
            bytes_per_second: self.device.gigabytes_per_second * 1e9,
        };
        let seconds = floor.seconds(token.dispatches as u64, token.weight_bytes);
        self.device.decode_floor = (seconds > 0.0).then(|| 1.0 / seconds);
    }

    /// This run beside an earlier one.
    pub(super) fn compare<'a>(&'a self, earlier: &'a Self) -> Comparison<'a> {
        Comparison { now: self, earlier }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = &self.device;
        writeln!(f, "{} on {}", printable(&self.model, 80), printable(&device.name, 80))?;
        writeln!(
            f,
            "at best {:.2} µs a dependent dispatch, {:.0} GB/s read",
            device.dispatch_microseconds, device.gigabytes_per_second
        )?;
        let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
        let counts = &self.counts;
        writeln!(
            f,
            "{} pipelines; on the device {}: weights {}, states {}, temporaries {}",
            counts.pipelines,
            megabytes(counts.peak_bytes),
            megabytes(counts.weight_bytes),
            megabytes(counts.state_bytes),
            megabytes(counts.arena_bytes),
        )?;
        for (name, entry) in &counts.entries {
            let weights = megabytes(entry.weight_bytes);
            writeln!(
                f,
                "  {name}: {} dispatches, {} copies, {weights} of weights",
                entry.dispatches, entry.copies
            )?;
        }
        writeln!(f)?;
        for result in &self.results {
            write!(
                f,
                "{:<32} {:>10.2} {:<6} ({:.2} to {:.2}, {} runs)",
                result.name, result.median, result.unit, result.low, result.high, result.runs
            )?;
            match device.decode_floor {
                Some(floor) if result.name.starts_with("decode") && result.unit == Unit::TokensPerSecond => {
                    writeln!(f, "  {:.0} % of the floor of {floor:.0}", 100.0 * result.median / floor)?;
                }
                _ => writeln!(f)?,
            }
        }
        KernelTable(&self.kernels).fmt(f)
    }
}

/// Two runs side by side.
pub(super) struct Comparison<'a> {
    now: &'a Report,
    earlier: &'a Report,
}

impl fmt::Display for Comparison<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\nagainst {} on {}",
            printable(&self.earlier.bundle, 80),
            printable(&self.earlier.device.name, 80)
        )?;
        for now in &self.now.results {
            let Some(then) = self.earlier.results.iter().find(|then| then.name == now.name) else { continue };
            writeln!(
                f,
                "{:<32} {:>10.2} -> {:>10.2} {:<6} {:.2} times as fast",
                now.name,
                then.median,
                now.median,
                now.unit,
                now.faster_than(then)
            )?;
        }
        Ok(())
    }
}
