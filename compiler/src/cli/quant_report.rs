//! What quantizing did: the error of every weight, and the change of the logits on a golden run.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use miette::{IntoDiagnostic, WrapErr};
use qwenc_golden::{GoldenFile, VerifyOptions, verify};
use qwenc_runtime::image::Preprocessor;
use qwenc_runtime::session::Session;
use serde_json::{Value, json};

use super::device::{DeviceArgs, OpenError, load, open_bundle};
use crate::quantize::WeightRecord;

/// How many weights are shown, those with the largest error first.
const SHOWN: usize = 8;

/// The report of one compilation.
pub(super) struct QuantReport<'a> {
    records: &'a [WeightRecord],
    logits: Logits,
}

/// The change of logits.
enum Logits {
    /// No golden run was given.
    NotAsked,
    /// There is no device to replay on.
    NoDevice(String),
    /// Compared with the golden run.
    Measured(Box<qwenc_golden::Report>),
}

impl<'a> QuantReport<'a> {
    /// Replays the golden run, when there is one, on the bundle that was just written.
    pub(super) fn new(
        records: &'a [WeightRecord],
        bundle: &Path,
        golden: Option<&Path>,
        device: &DeviceArgs,
    ) -> miette::Result<Self> {
        let Some(golden) = golden else { return Ok(Self { records, logits: Logits::NotAsked }) };
        let bundle = open_bundle(bundle)?;
        let engine = match load(&bundle, device, true) {
            Ok(engine) => engine,
            Err(OpenError::Gpu(error)) => {
                return Ok(Self { records, logits: Logits::NoDevice(error.to_string()) });
            }
            Err(error) => return Err(error.into()),
        };
        let golden = GoldenFile::read(golden).into_diagnostic()?;
        let preprocessor = match golden.has_pixels() {
            true => Some(Preprocessor::of_bundle(&bundle).into_diagnostic()?),
            false => None,
        };
        let mut session = Session::new(engine).into_diagnostic()?;
        let options = VerifyOptions { ignore_argmax: true, preprocessor, ..VerifyOptions::default() };
        let report = verify(&mut session, &golden, &options)
            .into_diagnostic()
            .wrap_err("measuring the change of the logits")?;
        Ok(Self { records, logits: Logits::Measured(Box::new(report)) })
    }

    /// Everything as JSON: every weight, and the logits at every position.
    pub(super) fn value(&self) -> Value {
        let weights: Vec<Value> = self
            .records
            .iter()
            .map(|record| {
                json!({
                    "name": record.name,
                    "used_by": record.used_by,
                    "shape": record.shape,
                    "stored": record.stored.to_string(),
                    "kept_by": record.kept_by,
                    "relative_error": record.error.map(|error| error.relative),
                    "relative_error_of_max_abs_rounding": record.error.and_then(|error| error.max_abs_rounding),
                    "largest_error": record.error.map(|error| error.largest),
                })
            })
            .collect();
        let logits = match &self.logits {
            Logits::NotAsked => Value::Null,
            Logits::NoDevice(reason) => json!({ "not_measured": reason }),
            Logits::Measured(report) => serde_json::to_value(report).unwrap_or(Value::Null),
        };
        json!({ "weights": weights, "logits": logits })
    }

    /// Root of the mean squared relative error over all weights that were rounded, by elements; and that of plain rounding.
    fn overall(&self) -> Option<(f64, Option<f64>)> {
        let mut sums = (0.0, 0.0, 0.0);
        let mut plain_everywhere = true;
        for record in self.records {
            let Some(error) = record.error else { continue };
            #[expect(clippy::cast_precision_loss, reason = "a weight of the mean")]
            let elements = (record.shape[0] * record.shape[1]) as f64;
            sums.0 += elements;
            sums.1 += elements * error.relative * error.relative;
            match error.max_abs_rounding {
                Some(plain) => sums.2 += elements * plain * plain,
                None => plain_everywhere = false,
            }
        }
        let mean = |sum: f64| (sum / sums.0).sqrt();
        (sums.0 > 0.0).then(|| (mean(sums.1), plain_everywhere.then(|| mean(sums.2))))
    }
}

impl fmt::Display for QuantReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for record in self.records {
            *counts.entry(record.stored.to_string()).or_insert(0) += 1;
        }
        let counts: Vec<String> = counts.iter().map(|(format, count)| format!("{count} {format}")).collect();
        writeln!(f, "\nquantized: {} weights ({})", self.records.len(), counts.join(", "))?;
        if let Some((relative, plain)) = self.overall() {
            write!(f, "  error {relative:.5} of the weights' size (root mean square)")?;
            match plain {
                Some(plain) => writeln!(f, "; by the largest weight of each block it would be {plain:.5}")?,
                None => writeln!(f)?,
            }
        }
        let mut worst: Vec<&WeightRecord> =
            self.records.iter().filter(|record| record.error.is_some()).collect();
        let relative = |record: &WeightRecord| record.error.map_or(0.0, |error| error.relative);
        worst.sort_by(|a, b| relative(b).total_cmp(&relative(a)));
        if !worst.is_empty() {
            writeln!(f, "  {:>9} {:>9} {:>10}  stored  weight", "error", "plain", "largest")?;
        }
        for record in worst.iter().take(SHOWN) {
            let Some(error) = record.error else { continue };
            let plain = error.max_abs_rounding.map_or_else(|| "-".into(), |plain| format!("{plain:.5}"));
            let (relative, largest) = (error.relative, error.largest);
            writeln!(
                f,
                "  {relative:>9.5} {plain:>9} {largest:>10.2e}  {:<6}  {}",
                record.stored, record.name
            )?;
        }
        if worst.len() > SHOWN {
            writeln!(f, "  and {} more with smaller errors (--emit report has all)", worst.len() - SHOWN)?;
        }
        match &self.logits {
            Logits::NotAsked => {
                writeln!(f, "  change of the logits: not measured, give a golden run with --golden")
            }
            Logits::NoDevice(reason) => writeln!(f, "  change of the logits: not measured, {reason}"),
            Logits::Measured(report) => writeln!(
                f,
                "  logits on {}: smallest cosine {:.6}, largest difference {:.4}, same token at {} of {} positions ({})",
                report.golden,
                report.worst_cosine,
                report.worst_max_abs,
                report.argmax_agreements,
                report.positions.len(),
                report.adapter
            ),
        }
    }
}
