//! `qwenc inspect`: what is in a model or a bundle, what was fused, what was not and why.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use miette::{IntoDiagnostic, WrapErr, miette};
use qwenc_ir::Graph;
use qwenc_runtime::format::{Command, MANIFEST_FILE, Manifest, SCHEDULE_FILE, Schedule};
use qwenc_runtime::printable::printable;
use qwenc_runtime::tokenizer::{TOKENIZER_FILE, Tokenizer, TokenizerFacts};
use serde::Serialize;
use serde_json::{Value, json};

use super::ModelArgs;
use super::device::{DeviceArgs, load_timed, open_bundle};
use super::kernel_table::KernelTable;
use super::out::{self, say};
use crate::bench::{KernelTimes, TimedSizes, shorten, time_entries};
use crate::model::assets::read_beside;
use crate::model::files::ModelFiles;
use crate::passes::{PassRecord, histogram};
use crate::pipeline::{Observer, analyze};

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Say why this pass left candidates alone
    #[arg(long, value_name = "PASS")]
    why: Option<String>,
    /// Time every kernel of a bundle on this machine's GPU, by time stamps, and name the slowest N of each entry point: of a
    /// token with 512 tokens in front, of a prompt's piece, of choosing a token, of pictures
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "10", conflicts_with = "why")]
    slowest: Option<usize>,
    /// With --slowest, a part of the adapter's name; without it the best one (also: environment variable QWENC_ADAPTER)
    #[arg(long, value_name = "NAME", requires = "slowest")]
    adapter: Option<String>,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// Prints what is known about a model or a bundle.
pub(super) fn execute(args: &InspectArgs) -> miette::Result<ExitCode> {
    if args.model.input.join(MANIFEST_FILE).is_file() {
        inspect_bundle(&args.model.input, args)?;
    } else if args.slowest.is_some() {
        return Err(miette!(
            help = "compile it first, then: qwenc inspect out/ --slowest",
            "kernels are timed in a bundle, and {} is none",
            args.model.input.display()
        ));
    } else {
        inspect_model(args)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn inspect_bundle(folder: &Path, args: &InspectArgs) -> miette::Result<()> {
    if args.why.is_some() {
        return Err(miette!(
            help = "give the model instead of the bundle",
            "a bundle does not remember its passes"
        ));
    }
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read(&path).into_diagnostic().wrap_err_with(|| format!("reading {}", path.display()))
    };
    let manifest = Manifest::from_json(&read(MANIFEST_FILE)?).into_diagnostic()?;
    let schedule = Schedule::from_json(&read(SCHEDULE_FILE)?).into_diagnostic()?;
    let mut facts = BundleFacts::new(&manifest, &schedule);
    if let Some(table) = read_beside(folder, TOKENIZER_FILE).into_diagnostic()? {
        facts.tokenizer = Some(Tokenizer::from_bytes(&table).into_diagnostic()?.facts());
    }
    let slowest = args.slowest.map(|most| time_kernels(folder, args, most)).transpose()?;
    if args.json {
        let mut value = facts.value();
        if let (Some(times), Some(object)) = (&slowest, value.as_object_mut()) {
            object.insert("slowest".into(), serde_json::to_value(times).into_diagnostic()?);
        }
        say!("{}", serde_json::to_string_pretty(&value).into_diagnostic()?);
    } else {
        out::print(format_args!("{facts}"));
        if let Some(Slowest { device, entries }) = &slowest {
            say!("\nslowest kernels on {}", printable(device, 80));
            out::print(format_args!("{}", KernelTable(entries)));
        }
    }
    Ok(())
}

/// What takes longest on a device.
#[derive(Serialize)]
struct Slowest {
    device: String,
    entries: KernelTimes,
}

/// Replays a bundle's entry points, each dispatch between two time stamps.
fn time_kernels(folder: &Path, args: &InspectArgs, most: usize) -> miette::Result<Slowest> {
    let bundle = open_bundle(folder)?;
    let mut engine = load_timed(&bundle, &DeviceArgs::named(args.adapter.clone()))?;
    let device = engine.backend().adapter().name.clone();
    let mut entries = time_entries(&mut engine, &TimedSizes::default())
        .into_diagnostic()
        .wrap_err_with(|| format!("timing the kernels on {device}"))?;
    entries.values_mut().for_each(|kernels| shorten(kernels, most));
    Ok(Slowest { device, entries })
}

/// Collects what the passes did.
#[derive(Default)]
struct PassLog {
    /// What each file of the model is, and its path.
    files: Vec<(&'static str, String)>,
    imported: BTreeMap<&'static str, usize>,
    rows: Vec<PassRow>,
}

struct PassRow {
    pass: &'static str,
    about: &'static str,
    before: BTreeMap<&'static str, usize>,
    after: BTreeMap<&'static str, usize>,
    changes: BTreeMap<&'static str, usize>,
    notes: Vec<(String, String)>,
    milliseconds: f64,
}

impl Observer for PassLog {
    fn located(&mut self, files: &ModelFiles) {
        let named = files.parts().into_iter().map(|(part, path)| (part, path.display().to_string()));
        self.files = named.collect();
    }

    fn imported(&mut self, graph: &Graph) {
        // The vision encoder comes after the decoder, with passes of its own.
        if self.imported.is_empty() {
            self.imported = histogram(graph);
        }
    }

    fn pass(&mut self, record: &PassRecord, _graph: &Graph) {
        self.rows.push(PassRow {
            pass: record.pass,
            about: record.about,
            before: record.before.clone(),
            after: record.after.clone(),
            changes: record.report.changes().clone(),
            notes: record
                .report
                .notes()
                .iter()
                .map(|note| (note.node.clone(), note.reason.clone()))
                .collect(),
            milliseconds: record.elapsed.as_secs_f64() * 1e3,
        });
    }
}

fn inspect_model(args: &InspectArgs) -> miette::Result<()> {
    let mut log = PassLog::default();
    let outcome = analyze(&args.model.input, &args.model.options(), &mut log);
    if let Some(pass) = &args.why {
        return why(&log, pass);
    }
    if args.json {
        let compiled = outcome?;
        let facts = BundleFacts::new(&compiled.manifest, &compiled.assembled.schedule);
        let passes: Vec<Value> = log.rows.iter().map(PassRow::value).collect();
        let files: BTreeMap<_, _> = log.files.into_iter().collect();
        let value =
            json!({ "files": files, "imported": log.imported, "passes": passes, "bundle": facts.value() });
        say!("{}", serde_json::to_string_pretty(&value).into_diagnostic()?);
        return Ok(());
    }
    for (part, path) in &log.files {
        say!("{part}: {path}");
    }
    say!("operators as imported: {}", counts(&log.imported));
    say!("\npasses");
    for row in &log.rows {
        out::print(format_args!("{row}"));
    }
    // What the passes did is worth seeing also when a later stage fails.
    let compiled = outcome?;
    for note in &compiled.notes {
        say!("note: {note}");
    }
    say!("");
    out::print(format_args!("{}", BundleFacts::new(&compiled.manifest, &compiled.assembled.schedule)));
    Ok(())
}

fn why(log: &PassLog, pass: &str) -> miette::Result<()> {
    let mut found = false;
    for row in log.rows.iter().filter(|row| row.pass == pass) {
        found = true;
        say!("{}: {}", row.pass, row.about);
        say!("  fired: {}", if row.changes.is_empty() { "never".to_string() } else { counts(&row.changes) });
        for (node, reason) in &row.notes {
            say!("  left alone: `{node}`: {reason}");
        }
    }
    if found {
        return Ok(());
    }
    let mut names: Vec<&str> = log.rows.iter().map(|row| row.pass).collect();
    names.dedup();
    Err(miette!(help = format!("the passes are: {}", names.join(", ")), "there is no pass `{pass}`"))
}

fn counts(map: &BTreeMap<&'static str, usize>) -> String {
    if map.is_empty() {
        return "none".to_string();
    }
    map.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}

impl PassRow {
    fn value(&self) -> Value {
        json!({
            "pass": self.pass, "about": self.about, "milliseconds": self.milliseconds,
            "before": self.before, "after": self.after, "changes": self.changes,
            "not_fired": self.notes.iter().map(|(node, reason)| json!({ "node": node, "reason": reason })).collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for PassRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = |map: &BTreeMap<&'static str, usize>| map.values().sum::<usize>();
        writeln!(
            f,
            "  {:<18} {:>5} -> {:<5} {:>7.1} ms  {}",
            self.pass,
            total(&self.before),
            total(&self.after),
            self.milliseconds,
            self.about
        )?;
        if !self.changes.is_empty() {
            writeln!(f, "      rewrote: {}", counts(&self.changes))?;
        }
        let mut names: Vec<&'static str> = self.before.keys().chain(self.after.keys()).copied().collect();
        names.sort_unstable();
        names.dedup();
        let count =
            |map: &BTreeMap<&'static str, usize>, name: &'static str| map.get(name).copied().unwrap_or(0);
        let moved: Vec<String> = names
            .into_iter()
            .filter(|name| count(&self.before, name) != count(&self.after, name))
            .map(|name| format!("{name} {} -> {}", count(&self.before, name), count(&self.after, name)))
            .collect();
        if !moved.is_empty() {
            writeln!(f, "      {}", moved.join(", "))?;
        }
        if !self.notes.is_empty() {
            writeln!(f, "      {} candidates left alone (--why {})", self.notes.len(), self.pass)?;
        }
        Ok(())
    }
}

/// The facts of a bundle that people ask for.
pub(super) struct BundleFacts<'a> {
    manifest: &'a Manifest,
    schedule: &'a Schedule,
    /// What is in its tokenizer's table, where that has been read.
    tokenizer: Option<TokenizerFacts>,
}

impl<'a> BundleFacts<'a> {
    /// Facts of a manifest and its schedule.
    pub(super) fn new(manifest: &'a Manifest, schedule: &'a Schedule) -> Self {
        Self { manifest, schedule, tokenizer: None }
    }

    /// Dispatches of an entry point by kernel family.
    fn families(&self, entry: &str) -> BTreeMap<String, usize> {
        let mut out = BTreeMap::new();
        for command in self.schedule.entries.get(entry).into_iter().flat_map(|entry| &entry.commands) {
            if let Command::Dispatch(dispatch) = command {
                let family = dispatch.label.split(" · ").next().unwrap_or_default();
                *out.entry(family.to_string()).or_insert(0) += 1;
            }
        }
        out
    }

    /// The facts as a JSON value.
    pub(super) fn value(&self) -> Value {
        let entries: BTreeMap<&String, Value> = self
            .schedule
            .entries
            .keys()
            .map(|name| {
                let families = self.families(name);
                let dispatches: usize = families.values().sum();
                (name, json!({ "dispatches": dispatches, "families": families }))
            })
            .collect();
        let tokenizer = self.tokenizer.map(|facts| {
            json!({
                "tokens": facts.tokens, "merges": facts.merges, "added": facts.added,
                "pattern": facts.pattern.name(), "nfc": facts.nfc,
            })
        });
        let mut value = json!({
            "model": self.manifest.model,
            "entries": entries,
            "pipelines": self.schedule.pipelines.len(),
            "memory": self.manifest.memory,
            "requirements": self.manifest.requirements,
            "quantization": self.manifest.quantization,
        });
        if let (Some(tokenizer), Some(object)) = (tokenizer, value.as_object_mut()) {
            object.insert("tokenizer".into(), tokenizer);
        }
        value
    }
}

impl fmt::Display for BundleFacts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let model = &self.manifest.model;
        write!(f, "{}", model.name)?;
        if let Some(decoder) = &model.decoder {
            write!(
                f,
                ": {} layers, width {}, {} tokens in the vocabulary, context {}, prefill in chunks of {}",
                decoder.layers,
                decoder.hidden_size,
                decoder.vocab_size,
                decoder.max_context,
                decoder.prefill_chunk
            )?;
        }
        if let Some(tokenizer) = &self.tokenizer {
            write!(f, "\ntokenizer: {tokenizer}")?;
        }
        writeln!(f, "\n\nentry points")?;
        for name in self.schedule.entries.keys() {
            let families = self.families(name);
            let total: usize = families.values().sum();
            write!(f, "  {name:<8} {total:>4} dispatches")?;
            let layers = model.decoder.as_ref().map_or(0, |decoder| decoder.layers);
            if name == "decode" && layers > 0 {
                let layers = f64::from(layers);
                #[expect(clippy::cast_precision_loss, reason = "a count of dispatches")]
                write!(f, " per token ({:.1} a layer)", total as f64 / layers)?;
            }
            writeln!(f)?;
            let parts: Vec<String> =
                families.iter().map(|(family, count)| format!("{family} {count}")).collect();
            writeln!(f, "           {}", parts.join(", "))?;
        }
        let memory = &self.manifest.memory;
        writeln!(f, "\n{} pipelines", self.schedule.pipelines.len())?;
        let mut formats: BTreeMap<&str, usize> = BTreeMap::new();
        for weight in &self.manifest.quantization.weights {
            *formats.entry(&weight.format).or_insert(0) += 1;
        }
        let formats: Vec<String> =
            formats.iter().map(|(format, count)| format!("{count} {format}")).collect();
        writeln!(f, "matrices: {}", if formats.is_empty() { "none".into() } else { formats.join(", ") })?;
        let rows = [
            ("weights", memory.weight_bytes),
            ("arena", memory.arena_bytes),
            ("states", memory.state_bytes),
            ("inputs and outputs", memory.io_bytes),
            ("peak", memory.peak_bytes),
        ];
        for (name, bytes) in rows {
            writeln!(f, "  {name:<20} {:>14} bytes", group(bytes))?;
        }
        let needs = &self.manifest.requirements;
        writeln!(
            f,
            "needs bindings of {} bytes, buffers of {} bytes, {} storage buffers, {} bytes of workgroup memory, {} invocations",
            group(needs.max_storage_binding_bytes),
            group(needs.max_buffer_bytes),
            needs.max_storage_buffers_per_stage,
            group(needs.max_workgroup_bytes.into()),
            needs.max_invocations
        )?;
        if self.manifest.weights_omitted {
            writeln!(f, "a plan: it has no weights, and cannot be loaded")?;
        }
        Ok(())
    }
}

/// A number with thousands separated.
fn group(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
