//! `cargo xtask test`: every check of the project, in order, up to the first that fails.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::drivers::{Driver, expose};
use crate::process::{Failure, Outcome, cargo, fresh_scratch, heading, run as run_command};
use crate::tally::Tally;
use crate::{setup, suites, tint, wasm_tests, web, web_tests};

/// Names and durations of the stages that passed.
#[derive(Default)]
struct Stages {
    passed: Vec<(&'static str, Duration)>,
}

impl Stages {
    /// Runs one stage; its failure names it.
    fn stage<T>(&mut self, name: &'static str, run: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
        heading(name);
        let start = Instant::now();
        let outcome = run().map_err(|failure| Failure::new(format!("stage '{name}' failed: {failure}")))?;
        self.passed.push((name, start.elapsed()));
        Ok(outcome)
    }
}

/// Set-up, formatting, the web runtime (which qwenc carries), lints, documentation, the web package, tests, Tint, the browser.
pub(crate) fn run() -> Outcome {
    let mut stages = Stages::default();
    stages.stage("set-up", setup::run)?;
    let drivers = both_drivers()?;
    stages.stage("formatting", || run_command(cargo().args(["fmt", "--all", "--check"])))?;
    // Before anything that has qwenc in it, or that would be compiled twice.
    stages.stage("web runtime", web::run)?;
    stages.stage("clippy", || {
        run_command(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    })?;
    stages.stage("documentation", || {
        run_command(cargo().args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
    })?;
    stages.stage("web package", web_tests::run)?;
    let dump = fresh_scratch("wgsl")?;
    let tally = stages.stage("tests", || tests(&drivers, &dump))?;
    stages.stage("Tint", || tint::check(std::slice::from_ref(&dump)))?;
    stages.stage("WebAssembly", wasm_tests::check)?;
    stages.stage("browser", || web_tests::run_in_browser(&drivers))?;

    heading("all stages passed");
    for (name, time) in &stages.passed {
        println!("{:>7.1} s  {name}", time.as_secs_f64());
    }
    println!("tests: {tally}");
    Ok(())
}

/// All tests, with both drivers in view of those that use a GPU, and every shader they emit written to `dump`.
fn tests(drivers: &[PathBuf], dump: &Path) -> Outcome<Tally> {
    let suites = suites::build()?;
    let tally = suites::run(suites, &|command| {
        expose(command, drivers).env(tint::DUMP_VARIABLE, dump);
    })?;
    run_command(cargo().args(["test", "--workspace", "--doc", "--quiet"]))?;
    Ok(tally)
}

/// The tests that need a browser, and what they need.
pub(crate) fn run_in_browser() -> Outcome {
    setup::run()?;
    web::run()?;
    web_tests::run_in_browser(&both_drivers()?)
}

/// Measurements of the web runtime and of others in one browser.
pub(crate) fn compare_with_peers() -> Outcome {
    setup::run()?;
    web::run()?;
    web_tests::compare_with_peers()
}

/// Measurements of qwenc and of others without a GPU.
pub(crate) fn compare_on_cpu() -> Outcome {
    setup::run()?;
    web::run()?;
    web_tests::compare_on_cpu(&both_drivers()?)
}

fn both_drivers() -> Outcome<Vec<PathBuf>> {
    let find = |driver: Driver| {
        driver.find().ok_or_else(|| Failure::new(format!("{} is gone since the set-up", driver.name())))
    };
    Driver::ALL.into_iter().map(find).collect()
}
