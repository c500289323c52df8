//! `cargo xtask fuzz TARGET [SECONDS]`: builds a fuzz target with coverage and the address sanitizer, and runs it for a
//! while from the seeds and what earlier runs have found.

use std::path::{Path, PathBuf};

use crate::process::{Failure, Outcome, cargo, root, run as run_command, scratch};

/// A fuzz target.
struct Target {
    name: &'static str,
    /// Folders whose files are its seeds, below the workspace's root.
    seeds: &'static [&'static str],
    /// Longest input, in bytes.
    max_len: u32,
}

const MODELS: &[&str] = &["compiler/fuzz/seeds/import", "compiler/tests/onnx_cases"];

const TARGETS: [Target; 6] = [
    Target { name: "protobuf", seeds: MODELS, max_len: 1 << 16 },
    Target { name: "import", seeds: MODELS, max_len: 1 << 15 },
    Target {
        name: "ir_text",
        seeds: &["compiler/fuzz/seeds/ir_text", "compiler/tests/passes", "compiler/tests/replay"],
        max_len: 1 << 13,
    },
    Target { name: "bundle", seeds: &["compiler/fuzz/seeds/bundle"], max_len: 1 << 16 },
    Target { name: "tokenizer", seeds: &["compiler/fuzz/seeds/tokenizer"], max_len: 1 << 14 },
    Target { name: "compile", seeds: MODELS, max_len: 1 << 14 },
];

/// Seconds of a run for which none are given.
const DEFAULT_SECONDS: u32 = 60;
/// One input may take this long, in seconds, on a slow machine with sanitizers.
const TIMEOUT: u32 = 60;
/// Memory of the whole process, in MiB: the bound that `docs/security.md` states, and what the sanitizer takes.
const MEMORY: u32 = 4096;

/// Names of all targets, for the usage.
pub(crate) fn names() -> String {
    TARGETS.map(|target| target.name).join(", ")
}

/// Runs one target, or each in turn for `all`.
pub(crate) fn run(name: &str, seconds: Option<&str>) -> Outcome {
    let seconds: u32 = match seconds {
        None => DEFAULT_SECONDS,
        Some(text) => text.parse().map_err(|_| Failure::new(format!("`{text}` is no number of seconds")))?,
    };
    let chosen: Vec<&Target> = TARGETS.iter().filter(|target| name == "all" || target.name == name).collect();
    if chosen.is_empty() {
        return Err(Failure::new(format!("no fuzz target `{name}`; there are {}, and `all`", names())));
    }
    let installed = cargo().args(["fuzz", "--version"]).output().is_ok_and(|output| output.status.success());
    if !installed {
        return Err(Failure::new("cargo-fuzz is missing; install it with `cargo install cargo-fuzz`"));
    }
    chosen.into_iter().try_for_each(|target| target.run(seconds))
}

impl Target {
    fn run(&self, seconds: u32) -> Outcome {
        // New inputs go to the first folder.
        let corpus = scratch("fuzz").join(self.name);
        std::fs::create_dir_all(&corpus)
            .map_err(|error| Failure::new(format!("{}: {error}", corpus.display())))?;
        let seeds = self.seeds.iter().map(|seed| root().join(seed));
        let folders: Vec<PathBuf> = std::iter::once(corpus).chain(seeds).collect();
        if let Some(missing) = folders.iter().find(|folder| !folder.is_dir()) {
            return Err(Failure::new(format!("no folder of seeds {}", missing.display())));
        }
        let mut command = cargo();
        command
            // The sanitizer's flags are unstable; the stable compiler takes them from us.
            .env("RUSTC_BOOTSTRAP", "1")
            .args(["fuzz", "run", "--fuzz-dir", "compiler/fuzz", "--codegen-units", "16", self.name])
            .args(folders.iter().map(|folder| Path::new(folder).as_os_str()))
            .arg("--")
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-max_len={}", self.max_len))
            .arg(format!("-timeout={TIMEOUT}"))
            .arg(format!("-rss_limit_mb={MEMORY}"))
            .arg("-print_final_stats=1");
        run_command(&mut command)
    }
}

#[cfg(test)]
mod tests {
    use super::{TARGETS, run};
    use crate::process::root;

    #[test]
    fn targets_have_seeds_and_a_program() {
        for target in &TARGETS {
            let seeds = target.seeds.iter().map(|seed| root().join(seed));
            assert!(seeds.into_iter().all(|folder| folder.is_dir()), "{}", target.name);
            assert!(root().join(format!("compiler/fuzz/fuzz_targets/{}.rs", target.name)).is_file());
        }
    }

    #[test]
    fn what_is_no_target_is_named() {
        let failure = run("telepathy", None).unwrap_err().to_string();
        assert!(failure.contains("telepathy") && failure.contains("protobuf"), "{failure}");
        assert!(run("protobuf", Some("soon")).unwrap_err().to_string().contains("`soon`"));
    }
}
