//! The WebAssembly runtime under node, on the CPU and on Dawn and SwiftShader: what a browser does, without the browser.

use crate::drivers::{Driver, expose};
use crate::process::{
    Failure, Outcome, capture, cargo, fresh_scratch, heading, program, root, run as run_command,
};
use crate::{setup, web};

/// The model, and what it is asked.
const MODEL: &str = "models/tiny/genai015";
const GOLDEN: &str = "golden/tiny/text.safetensors";
const PROMPT: &str = "Hello";
const TOKENS: &str = "24";

/// Builds the module and holds it against the native runtime.
pub(crate) fn run() -> Outcome {
    setup::run()?;
    web::run()?;
    check()
}

/// Compiles a tiny model, and holds the module that is built against the native runtime.
pub(crate) fn check() -> Outcome {
    heading("the module under node");
    let driver =
        Driver::SwiftShader.find().ok_or_else(|| Failure::new("SwiftShader is gone since the set-up"))?;
    let folder = fresh_scratch("wasm-tests")?;
    let bundle = folder.join("bundle");
    let qwenc = || {
        let mut command = cargo();
        command.args(["run", "--quiet", "--package", "qwenc", "--bin", "qwenc", "--"]);
        command
    };
    let mut compile = qwenc();
    compile.arg("compile").arg(MODEL).arg("-o").arg(&bundle).args(["--golden", GOLDEN]);
    run_command(&mut compile)?;
    let mut native = qwenc();
    native.arg("generate").arg(&bundle).args(["--prompt", PROMPT, "--max-new-tokens", TOKENS, "--json"]);
    native.args(["--temperature", "0", "--adapter", "SwiftShader"]);
    let answer = capture(expose(&mut native, std::slice::from_ref(&driver)))?;
    let expected = folder.join("native.json");
    std::fs::write(&expected, answer)
        .map_err(|error| Failure::new(format!("{}: {error}", expected.display())))?;
    let mut node = program("node");
    node.args(["--test", "--test-concurrency=1", "--test-reporter=spec"]);
    node.args(["cpu", "engine"].map(|name| root().join(format!("runtime/web/test/wasm/{name}.test.mjs"))));
    node.env("QWENC_BUNDLE", &bundle).env("QWENC_EXPECTED", &expected);
    node.env("QWENC_PROMPT", PROMPT).env("QWENC_TOKENS", TOKENS);
    run_command(expose(&mut node, std::slice::from_ref(&driver)))
}
