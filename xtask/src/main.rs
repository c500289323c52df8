//! `cargo xtask …`: every command a contributor needs, from a bare machine to a checked tree.
//!
//! Each subcommand lives in its own file. The crate depends on nothing but an argument parser, since it is the first
//! thing that a newcomer compiles.

mod demo;
mod drivers;
mod process;
mod setup;
mod tally;
mod test;
mod tint;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Set-up, demonstration and checks of the qwenc workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what the other commands need (Vulkan drivers that run without a GPU, node, Tint); idempotent
    Setup,
    /// Compile the tiny Qwen3.5 model, inspect it, and verify it against Hugging Face's numbers
    Demo,
    /// Formatting, clippy, all tests on both drivers, documentation, and Tint; stops at the first failure
    Test,
    /// Compile WGSL with Tint, the stricter shader compiler of Chromium
    Tint {
        /// WGSL files or folders; by default the shaders of the tiny models, and of the folder that QWENC_DUMP_WGSL names
        paths: Vec<PathBuf>,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Setup => setup::run(),
        Command::Demo => demo::run(),
        Command::Test => test::run(),
        Command::Tint { paths } => tint::run(&paths),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\nxtask: {failure}");
            ExitCode::FAILURE
        }
    }
}
