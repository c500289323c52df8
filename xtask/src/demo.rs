//! `cargo xtask demo`: a real export compiled to WGSL, replayed through Vulkan, held against Hugging Face's numbers, and
//! asked about a picture.

use std::process::Command;

use crate::drivers::{Driver, expose};
use crate::process::{Outcome, cargo, heading, run as run_command};
use crate::setup;

/// The model that the demonstration compiles, and where its bundle goes.
const MODEL: &str = "models/tiny/genai015";
const BUNDLE: &str = "out/";

/// Golden files, each another way of feeding the decoder, with the largest difference of a logit that may be: one prefill
/// and five steps; the same with an image; the prefill cut in three; 150 tokens, which is more than two chunks of the delta rule.
const GOLDENS: [(&str, &str); 4] = [
    ("golden/tiny/text.safetensors", "2e-4"),
    ("golden/tiny/image.safetensors", "2e-4"),
    ("golden/tiny/split.safetensors", "2e-4"),
    ("golden/tiny/long.safetensors", "1e-3"),
];

/// A question about a picture.
const QUESTION: [&str; 6] =
    ["--prompt", "describe this image", "--image", "docs/picture.png", "--max-new-tokens", "24"];

/// Set-up, build, compile, inspect, verify, ask.
pub(crate) fn run() -> Outcome {
    setup::run_for_replay()?;

    heading("build the compiler");
    run_command(cargo().args(["build", "--release", "--package", "qwenc", "--bin", "qwenc"]))?;

    heading("compile the model");
    run_command(qwenc().args(["compile", MODEL, "-o", BUNDLE, "--emit", "ir,wgsl,schedule,report"]))?;

    heading("what is in the bundle");
    run_command(qwenc().args(["inspect", BUNDLE]))?;

    let mut found = Vec::new();
    for driver in Driver::ALL {
        let Some(manifest) = driver.find() else {
            println!(
                "\n{} is not installed, so it is left out here; `cargo xtask setup` installs it",
                driver.name()
            );
            continue;
        };
        heading(&format!("verify against Hugging Face transformers, on {}", driver.name()));
        // SwiftShader takes most of a minute to compile the shaders of a bundle: one golden there.
        let goldens = if driver == Driver::ALL[0] { &GOLDENS[..] } else { &GOLDENS[1..2] };
        for (golden, max_abs) in goldens {
            run_command(expose(
                qwenc().args(["verify", BUNDLE, "--golden", golden, "--max-abs", max_abs]),
                std::slice::from_ref(&manifest),
            ))?;
        }
        found.push(manifest);
    }

    heading(
        "ask about a picture (the weights are random: the answer is noise, and the same noise everywhere)",
    );
    if let [first, ..] = found.as_slice() {
        let mut ask = qwenc();
        run_command(expose(ask.args(["generate", BUNDLE]).args(QUESTION), std::slice::from_ref(first)))?;
    }
    println!(
        "\nThe bundle is in out/ (manifest.json, schedule.json, shaders/, weights/); what the compiler did, pass by"
    );
    println!("pass, is in out.emit/");
    Ok(())
}

/// The release build of qwenc, as one would run it from a checkout.
fn qwenc() -> Command {
    let mut command = cargo();
    command.args(["run", "--quiet", "--release", "--package", "qwenc", "--bin", "qwenc", "--"]);
    command
}
