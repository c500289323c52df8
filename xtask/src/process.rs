//! Running other programs: every command is shown before it runs, and a failure says which one it was.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Why a command of xtask stopped: one message for a person, with the remedy in it.
#[derive(Debug)]
pub(crate) struct Failure(String);

/// Outcome of a step of xtask.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The workspace's root: the folder that holds `xtask/`.
pub(crate) fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_path_buf()
}

/// A folder under the target directory for what xtask itself makes.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let target = std::path::absolute(&target).unwrap_or(target);
    target.join("xtask").join(name)
}

/// An empty scratch folder: what an earlier run left there is removed.
pub(crate) fn fresh_scratch(name: &str) -> Outcome<PathBuf> {
    let folder = scratch(name);
    let failed = |error| Failure::new(format!("{}: {error}", folder.display()));
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(failed)?;
    }
    std::fs::create_dir_all(&folder).map_err(failed)?;
    Ok(folder)
}

/// A program with the workspace's root as its working folder.
pub(crate) fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    command.current_dir(root());
    command
}

/// The cargo that started xtask, or the one on the path.
pub(crate) fn cargo() -> Command {
    program(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
}

/// Shows the command line, runs it, and fails unless it exits with 0.
pub(crate) fn run(command: &mut Command) -> Outcome {
    show(command);
    let status = command.status().map_err(|error| cannot_start(command, &error))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::new(format!("`{}` failed ({status})", line(command))))
    }
}

/// Shows the command line, runs it, and gives its standard output; fails unless it exits with 0.
pub(crate) fn capture(command: &mut Command) -> Outcome<String> {
    show(command);
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| cannot_start(command, &error))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(Failure::new(format!("`{}` failed ({})", line(command), output.status)))
    }
}

/// Standard output of a command that is asked for a fact (a version, a status), or `None` where it cannot be had.
pub(crate) fn ask(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Prints a heading, so that the parts of a long log can be told apart.
pub(crate) fn heading(text: &str) {
    println!("\n== {text}");
}

fn show(command: &Command) {
    println!("$ {}", line(command));
}

fn cannot_start(command: &Command, error: &std::io::Error) -> Failure {
    Failure::new(format!("`{}` cannot be run: {error}", line(command)))
}

/// The command as one would type it, by its program's name alone. What cargo only builds and starts
/// (`cargo run … --bin qwenc -- verify …`) goes by its own name.
fn line(command: &Command) -> String {
    let name = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let mut words: Vec<_> =
        std::iter::once(name).chain(command.get_args()).map(OsStr::to_string_lossy).collect();
    let started = words.windows(3).position(|three| three[0] == "--bin" && three[2] == "--");
    if let Some(at) = started {
        words.remove(at + 2);
        words.drain(..=at);
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::{line, program};

    #[test]
    fn a_program_that_cargo_starts_is_shown_by_its_own_name() {
        let mut build = program("/usr/bin/cargo");
        build.args(["build", "--package", "qwenc", "--bin", "qwenc"]);
        assert_eq!(line(&build), "cargo build --package qwenc --bin qwenc");
        let mut start = program("cargo");
        start.args(["run", "--quiet", "--bin", "qwenc", "--", "verify", "out/"]);
        assert_eq!(line(&start), "qwenc verify out/");
    }
}
