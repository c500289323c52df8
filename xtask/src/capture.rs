//! `cargo xtask capture`: draws `docs/demo.svg`, a terminal in which the demonstration has just run.
//!
//! The commands run here, and the picture holds what they printed. Only two things are changed: rows in the middle of a
//! long table are left out, which a line in their place says, and lines wider than the window are wrapped.

mod svg;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::drivers::{Driver, expose};
use crate::process::{Failure, Outcome, cargo, heading, program, root, run as run_command};
use crate::setup;
use svg::{Line, Style};

/// Where the picture goes, from the root.
const PICTURE: &str = "docs/demo.svg";

/// What runs: arguments of qwenc. Model, goldens and limits are those of `cargo xtask demo`.
const COMMANDS: [&[&str]; 4] = [
    &["compile", "models/nano", "-o", "out/", "--golden", "golden/nano/picture.safetensors"],
    &["verify", "out/", "--max-abs", "1e-3"],
    &["generate", "out/", "--prompt", "Describe the picture.", "--image", "models/nano/examples/shapes.png"],
    &["generate", "out/", "--prompt", "Tom has a parrot. The key is in the garage. Where is the key?"],
];

/// Rows of a table that are shown at its head and at its end; longer tables lose what is between.
const HEAD: usize = 3;
const TAIL: usize = 1;

/// Runs the commands with the release build, or with the program given, and draws what they print.
pub(crate) fn run(given: Option<&Path>) -> Outcome {
    let drivers = [lavapipe()?];
    if given.is_none() {
        setup::run_for_replay()?;
        heading("build the compiler");
        run_command(cargo().args(["build", "--release", "--package", "qwenc", "--bin", "qwenc"]))?;
    }
    let qwenc = |arguments: &[&str]| -> Outcome<String> {
        let mut command = match given {
            Some(path) => program(std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())),
            None => release_build(),
        };
        printed(expose(command.args(arguments), &drivers))
    };

    heading("run what the picture shows");
    let title = qwenc(&["--version"])?;
    let mut lines = Vec::new();
    for arguments in COMMANDS {
        println!("$ qwenc {}", arguments.join(" "));
        if !lines.is_empty() {
            lines.push(Line::default());
        }
        lines.push(prompt(arguments));
        lines.extend(abbreviate(&qwenc(arguments)?));
    }
    let path = root().join(PICTURE);
    std::fs::write(&path, svg::window(title.trim(), &lines))
        .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
    println!("drew {PICTURE}");
    Ok(())
}

fn lavapipe() -> Outcome<PathBuf> {
    let driver = Driver::ALL[0];
    let missing = || Failure::new(format!("{} is missing: run `cargo xtask setup`", driver.name()));
    driver.find().ok_or_else(missing)
}

fn release_build() -> Command {
    let mut command = cargo();
    command.args(["run", "--quiet", "--release", "--package", "qwenc", "--bin", "qwenc", "--"]);
    command
}

/// What a command prints; it must succeed.
fn printed(command: &mut Command) -> Outcome<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| Failure::new(format!("`{name}` cannot be run: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let arguments: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
    Err(Failure::new(format!("`{name} {}` failed ({})", arguments.join(" "), output.status)))
}

/// The command as one would type it.
fn prompt(arguments: &[&str]) -> Line {
    let quoted = |word: &&str| if word.contains(' ') { format!("\"{word}\"") } else { (*word).to_owned() };
    let typed: Vec<String> = arguments.iter().map(quoted).collect();
    Line::default().with("$ ", Style::Prompt).with(&format!("qwenc {}", typed.join(" ")), Style::Command)
}

/// The output line by line; of a table, which is a run of lines that start with a number, only both ends.
fn abbreviate(output: &str) -> Vec<Line> {
    let all: Vec<&str> = output.trim_end().lines().collect();
    let mut lines = Vec::new();
    for run in all.chunk_by(|a, b| is_row(a) == is_row(b)) {
        let is_long = run.first().is_some_and(|line| is_row(line)) && run.len() > HEAD + TAIL + 1;
        if !is_long {
            lines.extend(run.iter().copied().map(styled));
            continue;
        }
        let (head, rest) = run.split_at(HEAD);
        let (hidden, tail) = rest.split_at(rest.len() - TAIL);
        lines.extend(head.iter().copied().map(styled));
        lines.push(Line::default().with(&format!("       … {} more rows", hidden.len()), Style::Aside));
        lines.extend(tail.iter().copied().map(styled));
    }
    lines
}

fn is_row(line: &str) -> bool {
    line.trim_start().starts_with(|first: char| first.is_ascii_digit())
}

/// A line of output: verdicts stand out, details that are indented far recede.
fn styled(line: &str) -> Line {
    for (word, style) in [("PASS", Style::Good), ("FAIL", Style::Bad)] {
        if let Some(at) = line.find(word) {
            let (before, verdict) = line.split_at(at);
            return Line::default().with(before, Style::Output).with(verdict, style);
        }
    }
    let is_detail = line.starts_with("        ") && !is_row(line);
    Line::default().with(line, if is_detail { Style::Aside } else { Style::Output })
}

#[cfg(test)]
mod tests {
    use super::svg::Style;
    use super::{abbreviate, styled};

    fn texts(output: &str) -> Vec<String> {
        abbreviate(output).iter().map(super::Line::text).collect()
    }

    #[test]
    fn a_long_table_says_what_it_leaves_out() {
        let rows: String = (0..9).map(|row| format!("   {row}  1.0\n")).collect();
        let shown = texts(&format!("position\n{rows}\nworst 1.0\n"));
        let wanted = [
            "position",
            "   0  1.0",
            "   1  1.0",
            "   2  1.0",
            "       … 5 more rows",
            "   8  1.0",
            "",
            "worst 1.0",
        ];
        assert_eq!(shown, wanted);
    }

    #[test]
    fn a_table_that_would_lose_a_single_row_is_whole() {
        let rows: String = (0..5).map(|row| format!("{row}\n")).collect();
        assert_eq!(texts(&rows), ["0", "1", "2", "3", "4"]);
    }

    #[test]
    fn verdicts_stand_out() {
        let line = styled("verdict        PASS: 22 positions");
        assert_eq!(line.text(), "verdict        PASS: 22 positions");
        assert_eq!(line.spans().last(), Some(&("PASS: 22 positions".to_owned(), Style::Good)));
        assert_eq!(styled("  17   0.9   FAIL").spans().last(), Some(&("FAIL".to_owned(), Style::Bad)));
    }
}
