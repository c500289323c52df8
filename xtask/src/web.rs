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
const CEILING: u64 = 234_000;
/// Files of the result.
const FILES: [&str; 2] = ["qwenc.js", "qwenc_bg.wasm"];
/// The folder of the tool that writes the JavaScript, of wasm-opt, and of esbuild, which makes JavaScript short.
const TOOLS: &str = "xtask/bindgen";
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
/// them, and lie together.
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
    optimise.args(["-Oz", "--converge", "--strip-debug", "--strip-producers", "--strip-target-features"]);
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
    if !same(&made.join("src"), &dist.join("src")) {
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

/// What bundles serve has no comments and short names: `qwenc.js` in its place, and the package's own JavaScript, module by
/// module, in `src`. The package keeps its sources as they are.
fn minify(tools: &Path, made: &Path) -> Outcome {
    let esbuild = || {
        let mut command = program(tools.join("node_modules/.bin/esbuild"));
        command.args(["--minify", "--format=esm", "--target=es2022", "--log-level=warning"]);
        command
    };
    let small = made.join("small.js");
    run_command(esbuild().arg(made.join("qwenc.js")).arg(format!("--outfile={}", small.display())))?;
    move_file(&small, &made.join("qwenc.js"))?;
    let sources = root().join("runtime/web/src");
    let mut command = esbuild();
    command.args(modules(&sources)?).arg(format!("--outbase={}", sources.display()));
    run_command(command.arg(format!("--outdir={}", made.join("src").display())))
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

/// Prints the sizes of what is built and of the package's own JavaScript, and gives that of all of them under brotli.
fn sizes(dist: &Path) -> Outcome<u64> {
    let script = "const z = require('zlib'), fs = require('fs'), path = require('path'); let sum = 0; \
                  const size = (f) => { const b = fs.readFileSync(f); \
                  return [b.length, z.brotliCompressSync(b, { params: { [z.constants.BROTLI_PARAM_SIZE_HINT]: b.length } }).length]; }; \
                  const say = (name, [raw, small]) => { sum += small; console.log(name, raw, 'bytes,', small, 'under brotli'); }; \
                  const [source, ...built] = process.argv.slice(1); \
                  for (const f of built) say(path.basename(f), size(f)); \
                  const own = fs.readdirSync(source, { recursive: true }).filter((f) => f.endsWith('.js')); \
                  say('src/', own.map((f) => size(path.join(source, f))).reduce((a, b) => [a[0] + b[0], a[1] + b[1]])); \
                  console.log(sum);";
    let files = FILES.map(|file| dist.join(file));
    let said = capture(program("node").arg("-e").arg(script).arg(dist.join("src")).args(files))?;
    let (facts, sum) = said.trim().rsplit_once('\n').unwrap_or(("", &said));
    println!("{facts}");
    sum.trim().parse().map_err(|_| Failure::new("node did not say how large the files are"))
}

fn move_file(from: &Path, to: &Path) -> Outcome {
    std::fs::rename(from, to)
        .or_else(|_| std::fs::copy(from, to).map(drop))
        .map_err(|error| Failure::new(format!("{}: {error}", to.display())))
}
