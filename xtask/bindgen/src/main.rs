//! `qwenc-bindgen INPUT.wasm OUT_DIR NAME`: what the command `wasm-bindgen --target web` does, by its library, so that
//! nothing needs to be installed.

use std::process::ExitCode;

use wasm_bindgen_cli_support::Bindgen;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, out, name] = arguments.as_slice() else {
        eprintln!("usage: qwenc-bindgen INPUT.wasm OUT_DIR NAME");
        return ExitCode::from(2);
    };
    match run(input, out, name) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("qwenc-bindgen: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(input: &str, out: &str, name: &str) -> Result<(), String> {
    let mut bindgen = Bindgen::new();
    bindgen.input_path(input).out_name(name).typescript(false).omit_default_module_path(true);
    let bindgen = bindgen.web(true).map_err(|error| format!("{error:#}"))?;
    bindgen.generate(out).map_err(|error| format!("{error:#}"))
}
