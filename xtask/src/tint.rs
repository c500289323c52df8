//! `cargo xtask tint`: every shader through Tint, which is stricter than naga on uniform control flow.

use std::path::{Path, PathBuf};

use crate::process::{Failure, Outcome, cargo, fresh_scratch, heading, program, root, run as run_command};
use crate::setup;

/// Folder into which the tests of the code generator write every shader they emit.
pub(crate) const DUMP_VARIABLE: &str = "QWENC_DUMP_WGSL";

/// The models in `models/tiny`, one for each dialect of exporter.
const TINY_MODELS: [&str; 3] = ["genai015", "genai", "mobius"];

/// Checks the paths given, or else the shaders of the tiny models and those of a dump of the tests.
pub(crate) fn run(paths: &[PathBuf]) -> Outcome {
    setup::run_for_tint()?;
    if !paths.is_empty() {
        let here =
            std::env::current_dir().map_err(|error| Failure::new(format!("working folder: {error}")))?;
        return check(&paths.iter().map(|path| here.join(path)).collect::<Vec<_>>());
    }
    let mut folders = compile_tiny_models()?;
    folders.extend(std::env::var_os(DUMP_VARIABLE).map(PathBuf::from));
    check(&folders)
}

/// The check proves itself on its fixtures, then reads the shaders at or below the paths.
pub(crate) fn check(paths: &[PathBuf]) -> Outcome {
    let tint = root().join("xtask/tint");
    heading("Tint: the checker's own test");
    let self_test = ["--test", "--test-reporter=spec", "check.test.mjs"];
    run_command(program("node").args(self_test).current_dir(&tint))?;
    heading("Tint: shaders");
    run_command(program("node").arg(tint.join("check.mjs")).args(paths))
}

/// Compiles every tiny model into a scratch folder; returns the bundles' shader folders.
fn compile_tiny_models() -> Outcome<Vec<PathBuf>> {
    heading("bundles of the tiny models");
    let bundles = fresh_scratch("bundles")?;
    TINY_MODELS.iter().map(|model| Ok(compile(model, &bundles)?.join("shaders"))).collect()
}

fn compile(model: &str, bundles: &Path) -> Outcome<PathBuf> {
    let bundle = bundles.join(model);
    let compile = ["run", "--quiet", "--package", "qwenc", "--bin", "qwenc", "--", "compile"];
    run_command(cargo().args(compile).arg(format!("models/tiny/{model}")).arg("-o").arg(&bundle))?;
    Ok(bundle)
}
