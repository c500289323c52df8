//! Small files as they arrive over a network: shaders together or one by one, each held to the manifest.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fixture;

use fixture::Toy;
use qwenc_runtime::bundle::{Bundle, BundleError, FileKind, Receiver, SHADERS_FILE};

const SCAN: &str = "shaders/scan.wgsl";

/// All shaders of a bundle in the order of its manifest.
fn together(toy: &Toy) -> Vec<u8> {
    toy.files
        .iter()
        .filter(|(path, _)| path.starts_with("shaders/"))
        .flat_map(|(_, text)| text.clone())
        .collect()
}

/// With a file of all shaders, which `change` has spoiled before the manifest was written.
fn toy(change: impl FnOnce(&mut Vec<u8>)) -> Toy {
    let mut toy = Toy::new();
    let mut shaders = together(&toy);
    change(&mut shaders);
    toy.files.insert(SHADERS_FILE.into(), shaders);
    toy.seal();
    toy
}

fn receiver(toy: &Toy) -> Receiver {
    Receiver::new(toy.manifest.to_json().unwrap().as_bytes()).unwrap()
}

/// Gives the receiver every small file but those that are `lost`.
fn receive(toy: &Toy, lost: &[&str]) -> Result<Bundle, BundleError> {
    let mut receiver = receiver(toy);
    let small = toy.files.keys().filter(|path| receiver.kind(path) == FileKind::Small);
    for path in small.filter(|path| !lost.contains(&path.as_str())).cloned().collect::<Vec<_>>() {
        receiver.put(&path, toy.files[&path].clone())?;
    }
    receiver.finish()
}

#[test]
fn shaders_come_together() {
    let toy = toy(|_| ());
    let receiver = receiver(&toy);
    let small: Vec<_> = toy.files.keys().filter(|path| receiver.kind(path) == FileKind::Small).collect();
    assert_eq!(small, ["schedule.json", SHADERS_FILE]);
    let bundle = receive(&toy, &[]).unwrap();
    for (path, text) in toy.files.iter().filter(|(path, _)| path.starts_with("shaders/")) {
        assert_eq!(bundle.shader(path).unwrap().as_bytes(), text);
    }
}

#[test]
fn shaders_come_one_by_one_where_there_is_no_such_file() {
    let toy = Toy::new();
    let bundle = receive(&toy, &[]).unwrap();
    assert!(bundle.shader(SCAN).unwrap().contains("fn main"));
    let missing = receive(&toy, &[SCAN]).unwrap_err();
    assert!(matches!(&missing, BundleError::Missing { file } if file == SCAN), "{missing}");
}

#[test]
fn what_is_not_what_the_manifest_says_is_refused() {
    let missing = receive(&toy(|_| ()), &[SHADERS_FILE]).unwrap_err();
    assert!(matches!(&missing, BundleError::Missing { .. }), "{missing}");
    for short in [toy(|shaders| shaders.truncate(9)), toy(|shaders| shaders.push(b'\n')), toy(Vec::clear)] {
        let error = receive(&short, &[]).unwrap_err();
        assert!(matches!(&error, BundleError::Size { file, .. } if file == SHADERS_FILE), "{error}");
    }
    // Another text of the same length, under the right hash of the whole.
    let error = receive(&toy(|shaders| *shaders.last_mut().unwrap() = b' '), &[]).unwrap_err();
    assert!(matches!(&error, BundleError::Hash { file, .. } if file == SCAN), "{error}");
}
