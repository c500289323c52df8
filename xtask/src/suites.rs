//! The workspace's test binaries, several at a time.
//!
//! `cargo test` runs one binary after another. SwiftShader compiles shaders under one lock for the whole process, so that a
//! binary that uses it keeps little more than one core busy, however many threads it has. Two binaries beside each other
//! keep two.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use crate::process::{Failure, Outcome, capture, cargo, program, root};
use crate::tally::Tally;

/// The binaries that take longest start first, so that none of them is left over at the end.
const LONGEST: [&str; 4] = ["devices", "onnx_nodes", "basic", "mixers"];

/// A test binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Suite {
    /// The folder of its package, which tests expect to be started in.
    package: PathBuf,
    executable: PathBuf,
}

/// What a suite said, and how it ended.
struct Ended {
    name: String,
    passed: bool,
    said: String,
    took: Duration,
}

/// Builds every test of the workspace.
pub(crate) fn build() -> Outcome<Vec<Suite>> {
    let arguments = ["test", "--workspace", "--no-run", "--message-format=json-render-diagnostics"];
    let messages = capture(cargo().args(arguments))?;
    let mut suites: Vec<Suite> = messages.lines().filter_map(suite).collect();
    if suites.is_empty() {
        return Err(Failure::new("`cargo test --no-run` built no test at all"));
    }
    suites.sort_by_key(|suite| {
        LONGEST.iter().position(|name| *name == suite.target()).unwrap_or(LONGEST.len())
    });
    Ok(suites)
}

/// Runs every suite, as many at a time as there are cores; all of them run, also after one has failed. What a suite says is
/// printed when it has ended. `prepare` gets every command before it starts.
pub(crate) fn run(suites: Vec<Suite>, prepare: &(dyn Fn(&mut Command) + Sync)) -> Outcome<Tally> {
    let workers = available_parallelism().map_or(1, usize::from).min(suites.len());
    let waiting = Mutex::new(VecDeque::from(suites));
    let tally = Mutex::new(Tally::default());
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(suite) = next(&waiting) {
                    let ended = suite.run(prepare);
                    // The lock keeps what two suites say apart.
                    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                    ended.print();
                    ended.said.lines().for_each(|line| tally.read(line));
                    if !ended.passed {
                        failed.lock().unwrap_or_else(PoisonError::into_inner).push(ended.name);
                    }
                }
            });
        }
    });
    let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if !failed.is_empty() {
        return Err(Failure::new(format!("{}; tests: {tally}", failed.join(", "))));
    }
    if tally.is_empty() {
        return Err(Failure::new("no test ran at all"));
    }
    Ok(tally)
}

fn next(waiting: &Mutex<VecDeque<Suite>>) -> Option<Suite> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
}

impl Suite {
    /// The name of the target: that of the executable without cargo's hash.
    fn target(&self) -> String {
        let stem = self.executable.file_stem().unwrap_or_default().to_string_lossy();
        stem.rsplit_once('-').map_or(stem.as_ref(), |(name, _)| name).to_owned()
    }

    fn run(&self, prepare: &(dyn Fn(&mut Command) + Sync)) -> Ended {
        let package = self.package.strip_prefix(root()).unwrap_or(&self.package);
        let name = format!("{} {}", package.display(), self.target());
        let start = Instant::now();
        let mut command = program(&self.executable);
        prepare(command.current_dir(&self.package).env("CARGO_MANIFEST_DIR", &self.package));
        let (passed, said) = match command.output() {
            Ok(output) => {
                let said = [output.stdout, output.stderr].concat();
                (output.status.success(), format!("{}({})\n", String::from_utf8_lossy(&said), output.status))
            }
            Err(error) => (false, format!("cannot be started: {error}\n")),
        };
        Ended { name, passed, said, took: start.elapsed() }
    }
}

impl Ended {
    /// Everything of a suite that failed; one line of one that passed.
    fn print(&self) {
        let summary = self.said.lines().find(|line| line.starts_with("test result: "));
        println!("{:>7.1} s  {}  {}", self.took.as_secs_f64(), self.name, summary.unwrap_or("(no summary)"));
        if !self.passed {
            print!("{}", self.said);
        }
    }
}

/// The suite that a message of cargo announces. Libraries, and programs that are built for the tests' sake, are none.
fn suite(message: &str) -> Option<Suite> {
    let profile = message.split_once(r#""profile":{"#)?.1;
    let (profile, _) = profile.split_once('}')?;
    if !profile.contains(r#""test":true"#) {
        return None;
    }
    let executable = PathBuf::from(string(message, "executable")?);
    let package = Path::new(&string(message, "manifest_path")?).parent()?.to_path_buf();
    Some(Suite { package, executable })
}

/// A string of a JSON object by its key. Enough for paths: of escapes there are only `\"` and `\\`.
fn string(message: &str, key: &str) -> Option<String> {
    let (_, rest) = message.split_once(&format!(r#""{key}":""#))?;
    let mut value = String::new();
    let mut letters = rest.chars();
    loop {
        match letters.next()? {
            '"' => return Some(value),
            '\\' => value.push(letters.next()?),
            letter => value.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{Suite, run, suite};

    const TEST: &str = r#"{"reason":"compiler-artifact","manifest_path":"/a \"b\"/ir/Cargo.toml","target":{"kind":["test"],"name":"graphs","test":true},"profile":{"opt_level":"1","test":true},"filenames":[],"executable":"/t/deps/graphs-0a1b","fresh":true}"#;

    #[test]
    fn suites_are_read_from_cargos_messages() {
        let wanted = Suite { package: "/a \"b\"/ir".into(), executable: "/t/deps/graphs-0a1b".into() };
        assert_eq!(suite(TEST), Some(wanted.clone()));
        assert_eq!(wanted.target(), "graphs");
        // A program, whose target could have tests; a library; another message.
        let program = TEST.replace(r#""opt_level":"1","test":true"#, r#""opt_level":"1","test":false"#);
        assert_eq!(suite(&program), None);
        assert_eq!(
            suite(&TEST.replace(r#""executable":"/t/deps/graphs-0a1b""#, r#""executable":null"#)),
            None
        );
        assert_eq!(suite(r#"{"reason":"build-finished","success":true}"#), None);
    }

    #[test]
    fn what_fails_or_does_nothing_is_a_failure() {
        let shell = Suite { package: PathBuf::from("/"), executable: PathBuf::from("/bin/sh") };
        let says = |script: &'static str| {
            run(vec![shell.clone()], &|command| {
                command.args(["-c", script]);
            })
        };
        let tally = says("echo 'test result: ok. 2 passed; 0 failed; 0 ignored'").unwrap();
        assert!(tally.to_string().starts_with("2 passed"), "{tally}");
        let failed = says("echo 'test result: ok. 2 passed; 0 failed; 0 ignored'; exit 101").unwrap_err();
        assert!(failed.to_string().contains("sh; tests: 2 passed"), "{failed}");
        assert!(says("true").is_err());
        let missing = Suite { executable: PathBuf::from("/nonexistent/a-0"), ..shell.clone() };
        assert!(run(vec![missing], &|_| ()).is_err());
    }
}
