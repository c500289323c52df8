//! `cargo xtask …`: every command a contributor needs, from a bare machine to a checked tree.
//!
//! Each subcommand lives in its own file. The crate has no dependencies, since it is the first thing that a newcomer
//! compiles.

mod capture;
mod demo;
mod drivers;
mod fuzz;
mod growth;
mod process;
mod setup;
mod suites;
mod tally;
mod test;
mod tint;
mod wasm_std;
mod wasm_tests;
mod web;
mod web_tests;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use process::{Failure, Outcome};

const HELP: &str = "\
Set-up, demonstration and checks of the qwenc workspace

Usage: cargo xtask <command>

  setup          install what the other commands need (Vulkan drivers that run without a GPU, node, Tint); touches
                 nothing that is there already
  demo           compile nano with the page that shows it, inspect it, verify it against Hugging Face's numbers, ask it
  test           formatting, clippy, documentation, all tests on both drivers, Tint, and the page in Chromium; stops at the
                 first failure
  tint [PATH]... hold WGSL files or folders against Tint, Chromium's shader compiler; without a path, the shaders of the
                 tiny models and of the folder that QWENC_DUMP_WGSL names
  web [--test]   build the runtime for browsers into runtime/web/dist, and say how large it is; with --test, also run it
                 under node (Dawn) on SwiftShader, and compare its tokens with those of the native runtime
  browser        the page and the npm package in Chromium, on SwiftShader and without a GPU
  peers          the web runtime beside onnxruntime-web and transformers.js, in one Chromium: half an hour, and half a gigabyte
                 of packages. With --cpu, nano on the processor alone, beside ONNX Runtime (in the python that QWENC_PYTHON names)
                 and onnxruntime-web, under node
  growth         measure how compiling and running grow with layers, vocabulary, files, context and text, and draw the pictures
                 of docs/performance.md
  fuzz TARGET [SECONDS]
                 run a fuzz target (protobuf, import, ir_text, bundle, tokenizer, compile, or all) for a minute or longer; needs
                 cargo-fuzz
  capture        draw docs/demo.svg, the README's picture, from a fresh run; --bin PATH takes a qwenc that is built
  help           this text
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\nxtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// A few commands and one list of paths: too little to make everyone wait for an argument parser to compile.
fn dispatch(arguments: &[String]) -> Outcome {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["setup"] => setup::run(),
        ["demo"] => demo::run(),
        ["test"] => test::run(),
        ["browser"] => test::run_in_browser(),
        ["peers"] => test::compare_with_peers(),
        ["peers", "--cpu"] => test::compare_on_cpu(),
        ["growth"] => growth::run(),
        ["fuzz", target] => fuzz::run(target, None),
        ["fuzz", target, seconds] => fuzz::run(target, Some(seconds)),
        ["web"] => web::run(),
        ["web", "--test"] => wasm_tests::run(),
        ["capture"] => capture::run(None),
        ["capture", "--bin", path] => capture::run(Some(Path::new(path))),
        ["tint", paths @ ..] if !paths.iter().any(|path| path.starts_with('-')) => {
            tint::run(&paths.iter().map(PathBuf::from).collect::<Vec<_>>())
        }
        ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        [] => Err(Failure::new(format!("no command given\n\n{HELP}"))),
        _ => Err(Failure::new(format!("not a command: '{}'\n\n{HELP}", words.join(" ")))),
    }
}

#[cfg(test)]
mod tests {
    use super::dispatch;

    #[test]
    fn what_is_no_command_is_refused_with_the_usage() {
        for words in
            [vec![], vec!["tset"], vec!["test", "--fast"], vec!["tint", "--fast"], vec!["setup", "more"]]
        {
            let arguments: Vec<String> = words.into_iter().map(str::to_owned).collect();
            let failure = dispatch(&arguments).unwrap_err().to_string();
            assert!(failure.contains("Usage: cargo xtask <command>"), "{failure}");
        }
    }

    #[test]
    fn help_is_no_failure() {
        assert!(dispatch(&["--help".to_owned()]).is_ok());
    }
}
