//! Tests of the web package: its JavaScript under node, with the engine replaced by a small fake of its face; and the page and the
//! package in Chromium, with everything as it is shipped.

use std::path::{Path, PathBuf};

use crate::drivers::expose;
use crate::process::{
    Failure, Outcome, ask, cargo, fresh_scratch, program, root, run as run_command, scratch,
};
use crate::setup;

/// What `cargo xtask web` builds.
const ENGINE: [&str; 2] = ["dist/qwenc.js", "dist/qwenc_bg.wasm"];
/// Names that Chromium goes by.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Types and every test of `runtime/web/test`: no browser, no GPU.
pub(crate) fn run() -> Outcome {
    let package = root().join("runtime/web");
    setup::npm_packages("runtime/web")?;
    run_command(program("node").arg("scripts/check.mjs").current_dir(&package))?;
    let files = test_files(&package.join("test"))?;
    run_command(program("node").arg("--test").args(files))
}

/// The tests of `runtime/web/e2e`, in Chromium on SwiftShader and without a GPU: the page in nano's bundle, held against the native
/// program on `drivers`; and an app that Vite builds with the packed package. Screenshots go to the folder of scratch `shots`.
pub(crate) fn run_in_browser(drivers: &[PathBuf]) -> Outcome {
    let package = root().join("runtime/web");
    if let Some(missing) = ENGINE.iter().find(|file| !package.join(file).is_file()) {
        let path = package.join(missing);
        return Err(Failure::new(format!("{} is missing: run `cargo xtask web` first", path.display())));
    }
    let browser = browser()?;
    setup::npm_packages("runtime/web")?;
    // With the page in it: the engine is there now.
    run_command(cargo().args(["build", "--package", "qwenc", "--bin", "qwenc"]))?;
    let qwenc = scratch("../debug/qwenc");
    let shots = fresh_scratch("shots")?;
    let files = test_files(&package.join("e2e"))?;
    // One file after the other: each keeps the machine's cores busy by itself.
    let mut command = program("node");
    command.args(["--test", "--test-concurrency=1", "--test-reporter=spec"]).args(files);
    command.env("QWENC_BIN", qwenc).env("QWENC_CHROMIUM", browser).env("QWENC_SHOTS", &shots);
    command.env("QWENC_ADAPTER", "llvmpipe");
    run_command(expose(&mut command, drivers))?;
    println!("screenshots: {}", shots.display());
    Ok(())
}

/// The web runtime beside other ways to run nano in a browser: prints the table of docs/web.md.
pub(crate) fn compare_with_peers() -> Outcome {
    let browser = browser()?;
    setup::npm_packages("runtime/web")?;
    setup::npm_packages("runtime/web/peers")?;
    run_command(cargo().args(["build", "--package", "qwenc", "--bin", "qwenc"]))?;
    let mut command = program("node");
    command.arg("runtime/web/peers/peers.js");
    command.env("QWENC_BIN", scratch("../debug/qwenc")).env("QWENC_CHROMIUM", browser);
    run_command(&mut command)
}

/// Nano on the processor alone, by qwenc, ONNX Runtime and onnxruntime-web: prints the table of docs/performance.md. The program is
/// built as a release is.
pub(crate) fn compare_on_cpu(drivers: &[PathBuf]) -> Outcome {
    setup::npm_packages("runtime/web")?;
    setup::npm_packages("runtime/web/peers")?;
    run_command(cargo().args(["build", "--release", "--package", "qwenc", "--bin", "qwenc"]))?;
    let mut command = program("node");
    command.arg("runtime/web/peers/cpu.js").env("QWENC_BIN", scratch("../release/qwenc"));
    run_command(expose(&mut command, drivers))
}

fn browser() -> Outcome<PathBuf> {
    if let Some(named) = std::env::var_os("QWENC_CHROMIUM") {
        return Ok(named.into());
    }
    let found = BROWSERS.iter().find_map(|name| ask(program("which").arg(name)));
    found.map(PathBuf::from).ok_or_else(|| {
        Failure::new("there is no Chromium: install it, or name its program in QWENC_CHROMIUM (cargo xtask setup installs it on Debian)")
    })
}

/// The test files of a folder by name: versions of node disagree about what a folder after `--test` means.
fn test_files(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let failed = |error| Failure::new(format!("{}: {error}", folder.display()));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with(".test.js")) {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(Failure::new(format!("{} has no test", folder.display())));
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::test_files;
    use crate::process::fresh_scratch;

    #[test]
    fn a_folder_without_tests_is_an_error() {
        let folder = fresh_scratch("test-web-tests").unwrap();
        fs::write(folder.join("fakes.js"), "").unwrap();
        assert!(test_files(&folder).is_err());
        fs::write(folder.join("a.test.js"), "").unwrap();
        assert_eq!(test_files(&folder).unwrap(), [folder.join("a.test.js")]);
    }
}
