//! How times grow with what they should grow with: compiling with layers, vocabulary and file size; a step with its context;
//! recording a step with layers; encoding with text.
//!
//! `cargo xtask growth`, or `cargo bench -p qwenc --bench growth -- [--runs 5] [--out docs/images]`. Prints a table, and draws
//! `growth-compile.svg` and `growth-run.svg` into the folder of `--out`. Needs a Vulkan device for a step and its recording:
//! QWENC_ADAPTER names one, else it is lavapipe, so that runs on different machines show the same kind of device.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a measurement")]

#[path = "../../tests/onnx_builder/mod.rs"]
mod onnx_builder;

mod compiling;
mod models;
mod plot;
mod running;
mod series;

use std::path::PathBuf;

use clap::Parser;

use series::Panel;

/// Measures growth and draws it.
#[derive(Parser)]
struct Args {
    /// Runs of each point, after one that does not count
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Folder to draw into; without it, only the table is printed
    #[arg(long)]
    out: Option<PathBuf>,
    /// Only panels whose title has this part
    #[arg(long, default_value = "")]
    only: String,
    /// What cargo calls benches with
    #[arg(long, hide = true)]
    bench: bool,
}

/// A panel's title, and what measures it.
type Measure = (&'static str, fn(u32) -> Panel);

const COMPILING: [Measure; 3] = [
    ("Compiling, by layers", compiling::layers),
    ("Compiling, by vocabulary", compiling::vocabulary),
    ("Compiling, by size of the files", compiling::file_size),
];
const RUNNING: [Measure; 3] = [
    ("A token, by context", running::context),
    ("Recording a token, by layers", running::recording),
    ("Reading a text, by its length", running::text),
];

fn main() {
    let args = Args::parse();
    println!("| what | by | smallest | largest | grows as |\n|---|---|---|---|---|");
    for (file, measures) in [("growth-compile.svg", COMPILING), ("growth-run.svg", RUNNING)] {
        let mut panels = Vec::new();
        for (title, measure) in measures.into_iter().filter(|(title, _)| title.contains(&args.only)) {
            eprintln!("{title} …");
            let panel = measure(args.runs);
            print!("{}", panel.rows(title));
            panels.push((title, panel));
        }
        if let Some(folder) = args.out.as_deref().filter(|_| panels.len() == measures.len()) {
            plot::draw(&folder.join(file), &panels);
        }
    }
}
