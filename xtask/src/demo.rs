//! `cargo xtask demo`: nano compiled to WGSL, replayed through Vulkan, held against Hugging Face's numbers, and asked about a
//! picture and a text. The bundle carries a page for browsers.

use std::process::Command;

use crate::drivers::{Driver, expose};
use crate::process::{Failure, Outcome, cargo, heading, run as run_command};
use crate::{setup, web};

/// The model that the demonstration compiles, and where its bundle goes.
const MODEL: &str = "models/nano";
const BUNDLE: &str = "out/";

/// What transformers computed for a question about a text and for one about a picture; logits may differ by so much.
const GOLDENS: [&str; 2] = ["golden/nano/text.safetensors", "golden/nano/picture.safetensors"];
const MAX_ABS: &str = "1e-3";

/// Questions to the model, the first one about a picture.
const QUESTIONS: [&[&str]; 2] = [
    &["--prompt", "Describe the picture.", "--image", "models/nano/examples/shapes.png"],
    &[
        "--prompt",
        "Anna lives in Oslo. Tom has a parrot as a pet. The key is in the garage. Which pet does Tom have?",
    ],
];

/// Set-up, build, compile, inspect, verify, ask.
pub(crate) fn run() -> Outcome {
    setup::run_for_replay()?;
    // First: qwenc carries what it puts into bundles.
    web::run()?;

    heading("build the compiler");
    run_command(cargo().args(["build", "--release", "--package", "qwenc", "--bin", "qwenc"]))?;

    heading("compile the model");
    run_command(qwenc().args(["compile", MODEL, "-o", BUNDLE, "--golden", GOLDENS[1]]))?;

    heading("what is in the bundle");
    run_command(qwenc().args(["inspect", BUNDLE]))?;

    let Some(driver) = Driver::ALL[0].find() else {
        return Err(Failure::new("Mesa's Vulkan driver is missing: run `cargo xtask setup`".to_owned()));
    };
    let on_driver =
        |arguments: &[&str]| run_command(expose(qwenc().args(arguments), std::slice::from_ref(&driver)));
    heading("verify against Hugging Face transformers");
    for golden in GOLDENS {
        on_driver(&["verify", BUNDLE, "--golden", golden, "--max-abs", MAX_ABS])?;
    }
    for question in QUESTIONS {
        heading(&format!("ask: {}", question.join(" ")));
        on_driver(&[&["generate", BUNDLE], question].concat())?;
    }
    println!(
        "\nThe bundle is in {BUNDLE}. In a browser: target/release/qwenc serve {BUNDLE}   Here: target/release/qwenc chat {BUNDLE}"
    );
    Ok(())
}

/// The release build of qwenc, as one would run it from a checkout.
fn qwenc() -> Command {
    let mut command = cargo();
    command.args(["run", "--quiet", "--release", "--package", "qwenc", "--bin", "qwenc", "--"]);
    command
}
