//! Opening bundles whose files are damaged, missing, changed or hostile.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fixture;

use std::fs;
use std::path::Path;

use fixture::{Toy, shard};
use qwenc_runtime::bundle::{Bundle, BundleError, Folder, Memory, sha256_hex};
use qwenc_runtime::format::{FormatError, MANIFEST_FILE, Problem, SCHEDULE_FILE};

/// Writes a bundle into a folder.
fn write(memory: &Memory, folder: &Path) {
    for (path, content) in &memory.files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// The error of a bundle in memory that `change` has spoiled after sealing.
fn error_of(change: impl FnOnce(&mut Memory)) -> BundleError {
    let mut memory = Toy::new().memory();
    change(&mut memory);
    Bundle::open(memory).unwrap_err()
}

/// The error of a bundle whose files `change` has spoiled before its manifest was written.
fn sealed_error_of(change: impl FnOnce(&mut Toy)) -> BundleError {
    let mut toy = Toy::new();
    change(&mut toy);
    toy.seal();
    Bundle::open(toy.memory()).unwrap_err()
}

macro_rules! assert_error {
    ($error:expr, $pattern:pat $(if $guard:expr)?) => {
        let error = $error;
        assert!(matches!(&error, $pattern $(if $guard)?), "{error} ({error:?})");
    };
}

#[test]
fn a_good_bundle_opens_from_memory_and_from_a_folder() {
    let memory = Toy::new().memory();
    let bundle = Bundle::open(memory.clone()).unwrap();
    assert_eq!(bundle.manifest().model.name, "toy");
    let folder = tempfile::tempdir().unwrap();
    write(&memory, folder.path());
    let bundle = Bundle::open(Folder::new(folder.path()).unwrap()).unwrap();
    assert!(bundle.shader("shaders/scan.wgsl").unwrap().contains("fn main"));
    let mut table = vec![0; 112];
    let mut take = |_, at: u64, bytes: &[u8]| {
        let at = usize::try_from(at).unwrap();
        table[at..at + bytes.len()].copy_from_slice(bytes);
        Ok::<(), BundleError>(())
    };
    assert_eq!(Vec::from_iter(bundle.shards()), ["weights/a.safetensors", "weights/b.safetensors"]);
    bundle.read_shard("weights/a.safetensors", &mut take).unwrap();
    bundle.read_shard("weights/b.safetensors", &mut take).unwrap();
    assert_eq!(table, bytemuck::cast_slice::<f32, u8>(&fixture::embedding()));
}

#[test]
fn progress_ends_at_the_total() {
    let mut last = None;
    Bundle::open_with(Toy::new().memory(), &mut |p| last = Some(p)).unwrap();
    let last = last.unwrap();
    assert_eq!(last.done, last.total);
    assert!(last.total > 0);
}

#[test]
fn any_changed_byte_of_any_file_is_noticed() {
    let good = Toy::new().memory();
    for path in good.files.keys().filter(|path| *path != MANIFEST_FILE) {
        let spoil = |memory: &mut Memory| *memory.files.get_mut(path).unwrap().last_mut().unwrap() ^= 1;
        assert_error!(error_of(spoil), BundleError::Hash { file, .. } if file == path);
        let cut = |memory: &mut Memory| {
            memory.files.get_mut(path).unwrap().pop();
        };
        assert_error!(error_of(cut), BundleError::Size { file, .. } if file == path);
        let grow = |memory: &mut Memory| memory.files.get_mut(path).unwrap().push(0);
        assert_error!(error_of(grow), BundleError::Size { file, .. } if file == path);
        let remove = |memory: &mut Memory| drop(memory.files.remove(path));
        assert_error!(error_of(remove), BundleError::Missing { file } if file == path);
    }
}

#[test]
fn a_broken_manifest() {
    assert_error!(error_of(|m| drop(m.files.remove(MANIFEST_FILE))), BundleError::Missing { .. });
    let set = |text: &str| {
        let text = text.as_bytes().to_vec();
        error_of(|m| drop(m.files.insert(MANIFEST_FILE.into(), text)))
    };
    for text in ["", "{}", "null", "\u{FFFD}"] {
        assert_error!(set(text), BundleError::Format(FormatError { problem: Problem::Json(_), .. }));
    }
    assert_error!(
        set(r#"{"format":2}"#),
        BundleError::Format(FormatError { problem: Problem::Version { .. }, .. })
    );
}

#[test]
fn a_broken_schedule_under_a_right_hash() {
    let change = |memory: &mut Memory, text: &[u8]| {
        let mut toy = Toy::new();
        for file in toy.manifest.files.iter_mut().filter(|file| file.path == SCHEDULE_FILE) {
            file.bytes = text.len() as u64;
            file.sha256 = sha256_hex(text);
        }
        *memory = toy.memory();
        memory.files.insert(SCHEDULE_FILE.into(), text.to_vec());
    };
    assert_error!(
        error_of(|m| change(m, b"{\"version\":1}")),
        BundleError::Format(FormatError { problem: Problem::Json(_), .. })
    );
    assert_error!(
        error_of(|m| change(m, b"{\"version\":9}")),
        BundleError::Format(FormatError { problem: Problem::Version { found: 9, .. }, .. })
    );
}

#[test]
fn listed_paths_cannot_leave() {
    for path in ["../secret", "/etc/hostname", "a/../../b"] {
        let mut toy = Toy::new();
        toy.manifest.files[0].path = path.into();
        assert_error!(
            Bundle::open(toy.memory()).unwrap_err(),
            BundleError::Format(FormatError { problem: Problem::Path { .. }, .. })
        );
    }
}

#[test]
fn shards_must_hold_the_tensors() {
    let replace = |content: Vec<u8>| {
        sealed_error_of(|toy| drop(toy.files.insert("weights/a.safetensors".into(), content)))
    };
    assert_error!(replace(shard("other", &[0; 48])), BundleError::NoTensor { tensor, .. } if tensor == "low");
    assert_error!(replace(shard("low", &[0; 44])), BundleError::TensorSize { expected: 48, found: 44, .. });
    assert_error!(replace(b"GGUF, perhaps".to_vec()), BundleError::Shard { .. });
    assert_error!(replace(Vec::new()), BundleError::Shard { .. });
    // A table that claims more than the file has.
    let mut lying = shard("low", &[0; 48]);
    lying.truncate(lying.len() - 8);
    assert_error!(replace(lying), BundleError::Shard { .. });
    let mut huge = shard("low", &[0; 48]);
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_error!(replace(huge), BundleError::Shard { .. });
}

#[test]
fn oversize_files_are_not_read() {
    let large = vec![0; (64 << 20) + (1 << 20) + 1];
    assert_error!(
        sealed_error_of(|toy| drop(toy.files.insert("weights/a.safetensors".into(), large))),
        BundleError::TooLarge { file, .. } if file == "weights/a.safetensors"
    );
    let manifest = vec![b' '; (16 << 20) + 1];
    assert_error!(
        error_of(|m| drop(m.files.insert(MANIFEST_FILE.into(), manifest))),
        BundleError::TooLarge { .. }
    );
    let mut toy = Toy::new();
    toy.files.insert("shaders/head.wgsl".into(), vec![b' '; (4 << 20) + 1]);
    toy.seal();
    let bundle = Bundle::open(toy.memory()).unwrap();
    assert_error!(bundle.shader("shaders/head.wgsl").unwrap_err(), BundleError::TooLarge { .. });
}

#[test]
fn shaders_are_text_and_files_are_listed() {
    let mut toy = Toy::new();
    toy.files.insert("shaders/head.wgsl".into(), vec![0xFF, 0xFE]);
    toy.seal();
    let bundle = Bundle::open(toy.memory()).unwrap();
    assert_error!(bundle.shader("shaders/head.wgsl").unwrap_err(), BundleError::NotText { .. });
    assert_error!(bundle.file("manifest.json", 1 << 20).unwrap_err(), BundleError::Unlisted { .. });
    assert_error!(bundle.file("../x", 1 << 20).unwrap_err(), BundleError::Unlisted { .. });
}

#[test]
fn folders_that_are_none() {
    let folder = tempfile::tempdir().unwrap();
    assert_error!(Folder::new(&folder.path().join("absent")).unwrap_err(), BundleError::Folder { .. });
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert_error!(Folder::new(&file).unwrap_err(), BundleError::Folder { .. });
    let empty = Folder::new(folder.path()).unwrap();
    assert_error!(Bundle::open(empty).unwrap_err(), BundleError::Missing { file } if file == MANIFEST_FILE);
}

#[cfg(unix)]
#[test]
fn links_may_point_inside_but_not_outside() {
    use std::os::unix::fs::symlink;
    let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let toy = Toy::new();
    write(&toy.memory(), inside.path());
    let shader = inside.path().join("shaders/head.wgsl");

    fs::rename(&shader, inside.path().join("moved")).unwrap();
    symlink("../moved", &shader).unwrap();
    let open = || Bundle::open(Folder::new(inside.path()).unwrap());
    open().unwrap();

    // The right content, but elsewhere.
    let target = outside.path().join("head.wgsl");
    fs::write(&target, &toy.files["shaders/head.wgsl"]).unwrap();
    fs::remove_file(&shader).unwrap();
    symlink(&target, &shader).unwrap();
    assert_error!(open().unwrap_err(), BundleError::Outside { file } if file == "shaders/head.wgsl");

    fs::remove_file(&shader).unwrap();
    symlink("absent", &shader).unwrap();
    assert_error!(open().unwrap_err(), BundleError::Missing { .. });
    fs::remove_file(&shader).unwrap();
    symlink("head.wgsl", &shader).unwrap();
    assert_error!(open().unwrap_err(), BundleError::Io { .. });
    fs::remove_file(&shader).unwrap();
    fs::create_dir(&shader).unwrap();
    assert_error!(open().unwrap_err(), BundleError::NotAFile { .. });

    // A whole folder that leads out.
    fs::remove_dir_all(inside.path().join("weights")).unwrap();
    fs::remove_dir(&shader).unwrap();
    fs::write(&shader, &toy.files["shaders/head.wgsl"]).unwrap();
    for name in ["a", "b"] {
        let name = format!("weights/{name}.safetensors");
        fs::write(outside.path().join(Path::new(&name).file_name().unwrap()), &toy.files[&name]).unwrap();
    }
    symlink(outside.path(), inside.path().join("weights")).unwrap();
    assert_error!(open().unwrap_err(), BundleError::Outside { .. });
}

#[cfg(unix)]
#[test]
fn a_pipe_does_not_block() {
    let folder = tempfile::tempdir().unwrap();
    write(&Toy::new().memory(), folder.path());
    let shader = folder.path().join("shaders/head.wgsl");
    fs::remove_file(&shader).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&shader).status().unwrap();
    assert!(made.success());
    let error = Bundle::open(Folder::new(folder.path()).unwrap()).unwrap_err();
    assert_error!(error, BundleError::NotAFile { .. });
}
