//! Tests of the web package's JavaScript under node: no browser, no GPU, the engine replaced by a small fake of its face.

use std::path::{Path, PathBuf};

use crate::process::{Failure, Outcome, program, root, run as run_command};

/// Runs every test of `runtime/web/test`.
pub(crate) fn run() -> Outcome {
    let files = test_files(&root().join("runtime/web/test"))?;
    run_command(program("node").arg("--test").args(files))
}

/// The test files of a folder by name: versions of node disagree about what a folder after `--test` means.
fn test_files(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let failed = |error| Failure::new(format!("{}: {error}", folder.display()));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with(".test.js")) {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(Failure::new(format!("{} has no test", folder.display())));
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::test_files;
    use crate::process::fresh_scratch;

    #[test]
    fn a_folder_without_tests_is_an_error() {
        let folder = fresh_scratch("test-web-tests").unwrap();
        fs::write(folder.join("fakes.js"), "").unwrap();
        assert!(test_files(&folder).is_err());
        fs::write(folder.join("a.test.js"), "").unwrap();
        assert_eq!(test_files(&folder).unwrap(), [folder.join("a.test.js")]);
    }
}
