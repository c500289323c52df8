//! `cargo xtask web`: the runtime as a WebAssembly module with its JavaScript, into `runtime/web/dist/`.

use std::path::{Path, PathBuf};

use crate::process::{
    Failure, Outcome, capture, cargo, fresh_scratch, heading, program, root, run as run_command, scratch,
};
use crate::setup;
use crate::wasm_std;

/// What JavaScript and module should take together under brotli, in bytes.
const TARGET: u64 = 150_000;
/// What they may not exceed meanwhile. It only ever goes down.
const CEILING: u64 = 161_500;
/// Files of the result.
const FILES: [&str; 2] = ["qwenc.js", "qwenc_bg.wasm"];
/// The folder of the tool that writes the JavaScript, of wasm-opt, and of esbuild, which makes JavaScript short.
const TOOLS: &str = "xtask/bindgen";
/// The package's modules that a page and its worker begin with.
const ENTRIES: [&str; 2] = ["index.js", "worker.js"];
/// Adapters to other APIs, for those who ask for them.
const ON_REQUEST: [&str; 2] = ["language-model.js", "ai-sdk.js"];
/// What the module may use beyond the first version of WebAssembly: all browsers with WebGPU have it.
const FEATURES: [&str; 7] = [
    "--enable-bulk-memory",
    "--enable-bulk-memory-opt",
    "--enable-sign-ext",
    "--enable-mutable-globals",
    "--enable-nontrapping-float-to-int",
    "--enable-reference-types",
    "--enable-multivalue",
];

/// What makes the module larger by itself, and smaller under brotli: functions that are alike stay apart from those that call
/// them, and lie together. (So does `-O2 -s 1` in place of `-Oz`: 1 KB.)
const FOR_BROTLI: [&str; 2] = ["--one-caller-inline-max-function-size=0", "--reorder-functions-by-name"];

/// Builds, makes it small, and says how large it is.
pub(crate) fn run() -> Outcome {
    setup::run_for_web()?;
    heading("the module");
    let target = scratch("web");
    let mut build = cargo();
    wasm_std::prepare(&mut build)?;
    build.args(["build", "--package", "qwenc-wasm", "--profile", "web", "--locked"]);
    run_command(build.args(["--target", wasm_std::TARGET]).arg("--target-dir").arg(&target))?;
    let module = target.join(wasm_std::TARGET).join("web/qwenc_wasm.wasm");

    heading("its JavaScript");
    let tools = root().join(TOOLS);
    let mut tool = cargo();
    tool.args(["run", "--quiet", "--locked", "--manifest-path"]).arg(tools.join("Cargo.toml"));
    let made = fresh_scratch("web-made")?;
    tool.arg("--target-dir").arg(scratch("bindgen")).arg("--").arg(&module).arg(&made).arg("qwenc");
    run_command(&mut tool)?;

    if made.join("snippets").exists() {
        return Err(Failure::new(
            "a crate brings JavaScript of its own (`inline_js`), which would be a third file",
        ));
    }

    heading("sizes");
    let mut optimise = program(tools.join("node_modules/.bin/wasm-opt"));
    optimise.args([
        "-O2",
        "-s",
        "1",
        "--converge",
        "--strip-debug",
        "--strip-producers",
        "--strip-target-features",
    ]);
    optimise.args(FOR_BROTLI);
    optimise.args(FEATURES).arg(made.join("qwenc_bg.wasm")).arg("-o").arg(made.join("small.wasm"));
    run_command(&mut optimise)?;
    move_file(&made.join("small.wasm"), &made.join("qwenc_bg.wasm"))?;

    minify(&tools, &made)?;

    // Whole or not at all: what uses the folder never sees half of it.
    let dist = root().join("runtime/web/dist");
    let failed = |error| Failure::new(format!("{}: {error}", dist.display()));
    std::fs::create_dir_all(&dist).map_err(failed)?;
    for file in FILES {
        // What is the same stays: qwenc is compiled again when it is newer.
        if std::fs::read(made.join(file)).ok() != std::fs::read(dist.join(file)).ok() {
            move_file(&made.join(file), &dist.join(file))?;
        }
    }
    if !same(&made.join("src"), &dist.join("src"))
        || is_older(&dist.join("src"), &root().join("runtime/web/src"))?
    {
        if dist.join("src").exists() {
            std::fs::remove_dir_all(dist.join("src")).map_err(failed)?;
        }
        std::fs::rename(made.join("src"), dist.join("src")).map_err(failed)?;
    }
    let total = sizes(&dist)?;
    println!("together {total} bytes under brotli; the target is {TARGET}, the ceiling {CEILING}");
    if total > CEILING {
        return Err(Failure::new(format!("the runtime is {} bytes over the ceiling", total - CEILING)));
    }
    Ok(())
}

/// What bundles serve has no comments and short names, and lies together: `src` has the modules that a page begins with, and
/// chunks of what they share, the engine's JavaScript too. The package keeps its sources as they are.
fn minify(tools: &Path, made: &Path) -> Outcome {
    let esbuild = || {
        let mut command = program(tools.join("node_modules/.bin/esbuild"));
        command.args(["--minify", "--format=esm", "--target=es2022", "--log-level=warning"]);
        command
    };
    let sources = root().join("runtime/web/src");
    let whole = made.join("whole");
    copy_modules(&sources, &whole.join("src"))?;
    copy_file(&made.join("qwenc.js"), &whole.join("dist/qwenc.js"))?;
    let small = made.join("small.js");
    run_command(esbuild().arg(made.join("qwenc.js")).arg(format!("--outfile={}", small.display())))?;
    move_file(&small, &made.join("qwenc.js"))?;
    let entries = ENTRIES.iter().chain(&ON_REQUEST).map(|entry| whole.join("src").join(entry));
    let mut command = esbuild();
    command.args(["--bundle", "--splitting", "--chunk-names=[name]-[hash]"]).args(entries);
    run_command(command.arg(format!("--outdir={}", made.join("src").display())))?;
    std::fs::remove_dir_all(&whole).map_err(|error| Failure::new(format!("{}: {error}", whole.display())))
}

/// Copies all JavaScript below a folder.
fn copy_modules(from: &Path, to: &Path) -> Outcome {
    for module in modules(from)? {
        copy_file(&module, &to.join(module.strip_prefix(from).unwrap_or(&module)))?;
    }
    Ok(())
}

/// Whether two folders have the same modules; a folder that cannot be read has none like another's.
fn same(one: &Path, other: &Path) -> bool {
    let contents = |folder: &Path| -> Option<Vec<(PathBuf, Vec<u8>)>> {
        let read =
            |path: PathBuf| Some((path.strip_prefix(folder).ok()?.to_path_buf(), std::fs::read(&path).ok()?));
        modules(folder).ok()?.into_iter().map(read).collect()
    };
    contents(one).is_some_and(|modules| contents(other) == Some(modules))
}

/// Whether a module of the first folder was written before one of the second.
fn is_older(made: &Path, sources: &Path) -> Outcome<bool> {
    let written = |folder: &Path| -> Outcome<Vec<_>> {
        Ok(modules(folder)?.iter().filter_map(|module| module.metadata().ok()?.modified().ok()).collect())
    };
    Ok(written(made)?.iter().min() < written(sources)?.iter().max())
}

/// All JavaScript below a folder.
fn modules(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let failed = |error| Failure::new(format!("{}: {error}", folder.display()));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            found.extend(modules(&path)?);
        } else if path.extension().is_some_and(|it| it == "js") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Prints the sizes of what is built, and gives that of what a page loads to talk with a model, all of it under brotli. Adapters
/// to other APIs are loaded on request; they are said, and not counted.
fn sizes(dist: &Path) -> Outcome<u64> {
    let script = "const z = require('zlib'), fs = require('fs'), path = require('path'); let sum = 0; \
                  const size = (f) => { const b = fs.readFileSync(f); \
                  return [b.length, z.brotliCompressSync(b, { params: { [z.constants.BROTLI_PARAM_SIZE_HINT]: b.length } }).length]; }; \
                  for (const f of process.argv.slice(1)) { const [raw, small] = size(f); sum += small; \
                  console.log(path.basename(f), raw, 'bytes,', small, 'under brotli'); } \
                  console.log(sum);";
    let measure = |files: &[PathBuf]| -> Outcome<u64> {
        let said = capture(program("node").arg("-e").arg(script).args(files))?;
        let (facts, sum) = said.trim().rsplit_once('\n').unwrap_or(("", &said));
        println!("{facts}");
        sum.trim().parse().map_err(|_| Failure::new("node did not say how large the files are"))
    };
    let source = dist.join("src");
    let on_request = ON_REQUEST.map(|file| source.join(file));
    println!("on request:");
    measure(&on_request)?;
    let mut files = modules(&source)?;
    files.retain(|file| !on_request.contains(file));
    files.push(dist.join("qwenc_bg.wasm"));
    println!("to load and chat:");
    measure(&files)
}

fn copy_file(from: &Path, to: &Path) -> Outcome {
    to.parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::fs::copy(from, to).map(drop))
        .map_err(|error| Failure::new(format!("{}: {error}", to.display())))
}

fn move_file(from: &Path, to: &Path) -> Outcome {
    std::fs::rename(from, to)
        .or_else(|_| std::fs::copy(from, to).map(drop))
        .map_err(|error| Failure::new(format!("{}: {error}", to.display())))
}
