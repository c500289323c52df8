//! `--emit`: the intermediate forms of a compilation, beside the bundle. They hold times and names, so they are not part
//! of the bundle, whose bytes depend on the model alone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use miette::{IntoDiagnostic, WrapErr};
use qwenc_ir::Graph;
use qwenc_runtime::format::{Command, Expr, Schedule};
use serde_json::{Value, json};

use super::compile::Emit;
use super::quant_report::QuantReport;
use crate::passes::PassRecord;
use crate::pipeline::{Compiled, Observer};
use crate::schedule::EntryPlan;

/// Collects what is to be emitted.
pub(super) struct Emitter {
    wanted: Vec<Emit>,
    files: Vec<(String, String)>,
    stages: Vec<Value>,
    passes: Vec<Value>,
    index: usize,
}

impl Emitter {
    /// An emitter of these forms.
    pub(super) fn new(wanted: &[Emit]) -> Self {
        Self { wanted: wanted.to_vec(), files: Vec::new(), stages: Vec::new(), passes: Vec::new(), index: 0 }
    }

    fn wants(&self, emit: Emit) -> bool {
        self.wanted.contains(&emit)
    }

    fn graph(&mut self, step: &str, graph: &Graph) {
        if self.wants(Emit::Ir) {
            let part = if graph.name() == "vision" { "vision-" } else { "" };
            let path = format!("ir/{part}{:02}-{step}.ir", self.index);
            self.files.push((path, qwenc_ir::text::print_brief(graph)));
        }
        self.index += 1;
    }

    /// Writes everything to `<output>.emit/`.
    pub(super) fn write(
        mut self,
        output: &Path,
        compiled: &Compiled,
        quantized: Option<&QuantReport<'_>>,
    ) -> miette::Result<()> {
        if self.wanted.is_empty() {
            return Ok(());
        }
        if self.wants(Emit::Schedule) {
            self.files.push(("schedule.txt".into(), readable(&compiled.assembled.schedule)));
        }
        if self.wants(Emit::Report) {
            let facts = super::inspect::BundleFacts::new(&compiled.manifest, &compiled.assembled.schedule);
            let report = json!({ "stages": self.stages, "passes": self.passes, "bundle": facts.value(), "quantized": quantized.map(QuantReport::value) });
            let text = serde_json::to_string_pretty(&report).into_diagnostic()?;
            self.files.push(("report.json".into(), text));
        }
        let folder = emit_folder(output);
        if folder.is_symlink() {
            miette::bail!("`{}` is a symbolic link, which is not written through", folder.display());
        }
        // What an earlier run left, and nothing else.
        for old in ["ir", "wgsl"].map(|name| folder.join(name)) {
            if old.is_dir() && !old.is_symlink() {
                std::fs::remove_dir_all(&old).into_diagnostic()?;
            }
        }
        for (path, text) in &self.files {
            let full = folder.join(path);
            if let Some(parent) = full.parent() {
                std::fs::create_dir_all(parent).into_diagnostic()?;
            }
            std::fs::write(&full, text)
                .into_diagnostic()
                .wrap_err_with(|| format!("writing {}", full.display()))?;
        }
        Ok(())
    }
}

fn emit_folder(output: &Path) -> PathBuf {
    let name = output.file_name().map_or_else(|| "out".into(), std::ffi::OsStr::to_os_string);
    let mut name = name;
    name.push(".emit");
    output.with_file_name(name)
}

impl Observer for Emitter {
    fn stage_done(&mut self, name: &'static str, elapsed: Duration) {
        self.stages.push(json!({ "stage": name, "seconds": elapsed.as_secs_f64() }));
    }

    fn imported(&mut self, graph: &Graph) {
        self.index = 0;
        self.graph("import", graph);
    }

    fn pass(&mut self, record: &PassRecord, graph: &Graph) {
        self.graph(record.pass, graph);
        let notes: Vec<Value> = record
            .report
            .notes()
            .iter()
            .map(|note| json!({ "node": note.node, "reason": note.reason }))
            .collect();
        self.passes.push(json!({
            "pass": record.pass,
            "about": record.about,
            "seconds": record.elapsed.as_secs_f64(),
            "operators": record.after,
            "changes": record.report.changes(),
            "not_fired": notes,
        }));
    }

    fn lowered(&mut self, entry: &EntryPlan) {
        if !self.wants(Emit::Wgsl) {
            return;
        }
        for (index, launch) in entry.lowered.launches.iter().enumerate() {
            let path = format!("wgsl/{}/{index:04}-{}.wgsl", entry.lowered.entry, launch.kernel.family);
            self.files.push((path, launch.kernel.source.clone()));
        }
    }
}

/// The schedule as a listing, one dispatch a line.
fn readable(schedule: &Schedule) -> String {
    let mut out = String::new();
    for (name, entry) in &schedule.entries {
        out += &format!("entry {name} ({})\n", entry.symbols.join(", "));
        for (index, command) in entry.commands.iter().enumerate() {
            let Command::Dispatch(dispatch) = command else {
                out += &format!("  {index:4}  {command:?}\n");
                continue;
            };
            let groups: Vec<String> = dispatch.workgroups.iter().map(show).collect();
            let bindings: Vec<String> = dispatch
                .bindings
                .iter()
                .map(|binding| {
                    let name =
                        schedule.buffers.get(binding.buffer.0 as usize).map_or("?", |buffer| &buffer.name);
                    format!("{name}+{}", binding.offset)
                })
                .collect();
            let shape = groups.join(" x ");
            out += &format!("  {index:4}  {}  [{shape}]  {}\n", dispatch.label, bindings.join(" "));
        }
        out.push('\n');
    }
    out
}

fn show(expr: &Expr) -> String {
    let join = |items: &[Expr], sign: &str| items.iter().map(show).collect::<Vec<_>>().join(sign);
    match expr {
        Expr::Const(value) => value.to_string(),
        Expr::Symbol(name) => name.clone(),
        Expr::Add(items) => format!("({})", join(items, " + ")),
        Expr::Mul(items) => join(items, "*"),
        Expr::Min(items) => format!("min({})", join(items, ", ")),
        Expr::Max(items) => format!("max({})", join(items, ", ")),
        Expr::FloorDiv(pair) => format!("{}/{}", show(&pair[0]), show(&pair[1])),
        Expr::CeilDiv(pair) => format!("ceil({}/{})", show(&pair[0]), show(&pair[1])),
        Expr::Mod(pair) => format!("{}%{}", show(&pair[0]), show(&pair[1])),
    }
}
