//! A folder with a model, a folder outside with a secret, and a place for the bundle.

use std::path::{Path, PathBuf};

use prost::Message;
use qwenc::onnx::proto::tensor_proto::DataLocation;
use qwenc::onnx::proto::{ModelProto, StringStringEntryProto, TensorProto};
use qwenc::onnx::{ImportOptions, Model, import};
use qwenc::pipeline::{CompileOptions, Silent, compile};

use crate::onnx_builder::{Builder, FLOAT, tensor};

/// What lies outside. As floats, the text is no weight that a test has.
pub(crate) const SECRET: &[u8; 16] = b"canary: secret!!";

pub(crate) struct Scene {
    dir: tempfile::TempDir,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("model")).unwrap();
        std::fs::create_dir(dir.path().join("outside")).unwrap();
        std::fs::write(dir.path().join("outside/secret.bin"), SECRET).unwrap();
        Self { dir }
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn secret(&self) -> PathBuf {
        self.root().join("outside/secret.bin")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.root().join("model").join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn model(&self, model: &ModelProto) -> PathBuf {
        self.write("model.onnx", model.encode_to_vec())
    }

    /// Compiles the model, which must be refused with all of `parts` in the message, leaving nothing behind. Gives the
    /// message.
    #[track_caller]
    pub(crate) fn refuses(&self, parts: &[&str]) -> String {
        self.refuses_path(&self.file("model.onnx"), parts)
    }

    #[track_caller]
    pub(crate) fn refuses_path(&self, path: &Path, parts: &[&str]) -> String {
        let before = listing(self.root());
        let out = self.root().join("bundle");
        let error = match compile(path, &out, &CompileOptions::default(), &mut Silent) {
            Ok(_) => panic!("{} was compiled", path.display()),
            Err(error) => error.to_string(),
        };
        for part in parts {
            assert!(error.contains(part), "`{part}` is not in: {error}");
        }
        assert!(!error.contains("canary"), "the message shows what lies outside: {error}");
        assert!(!error.chars().any(char::is_control), "the message has control characters: {error:?}");
        assert!(error.len() < 8000, "a message of {} bytes", error.len());
        assert_eq!(listing(self.root()), before, "something was left on the disk");
        error
    }

    /// Compiles the model, and gives every byte of the bundle.
    #[track_caller]
    pub(crate) fn compiles(&self, path: &Path) -> Vec<u8> {
        let out = self.root().join("bundle");
        compile(path, &out, &CompileOptions::default(), &mut Silent).unwrap();
        let content = listing(&out)
            .iter()
            .filter(|path| path.is_file())
            .flat_map(|path| std::fs::read(path).unwrap())
            .collect();
        std::fs::remove_dir_all(out).unwrap();
        content
    }
}

fn listing(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path.clone());
            }
            found.push(path);
        }
    }
    found.sort();
    found
}

/// True when `bytes` hold the secret.
pub(crate) fn holds_secret(bytes: &[u8]) -> bool {
    bytes.windows(SECRET.len()).any(|window| window == SECRET)
}

/// A tensor of four floats whose values lie in another file.
pub(crate) fn external(entries: &[(&str, &str)]) -> TensorProto {
    let entry = |(key, value): &(&str, &str)| StringStringEntryProto {
        key: Some((*key).to_owned()),
        value: Some((*value).to_owned()),
    };
    TensorProto {
        data_location: Some(DataLocation::External.into()),
        external_data: entries.iter().map(entry).collect(),
        ..tensor("w", FLOAT, &[4])
    }
}

/// `y = x + w`.
pub(crate) fn sum(weight: TensorProto) -> ModelProto {
    let model = Builder::new().input("x", FLOAT, &["4"]).initializer(weight).op("Add", &["x", "w"], &["y"]);
    model.output("y", FLOAT).proto
}

/// Imports a model that is not in a file, and gives the message of its error.
#[track_caller]
pub(crate) fn refused(model: ModelProto, parts: &[&str]) -> String {
    let model = Model::from_bytes("test.onnx", model.encode_to_vec().into());
    let error = match model {
        Err(error) => error.to_string(),
        Ok(model) => match import(&model, &ImportOptions::default()) {
            Ok(_) => panic!("the model was imported"),
            Err(error) => error.to_string(),
        },
    };
    assert!(error.contains("test.onnx"), "the file is not named: {error}");
    for part in parts {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
    assert!(!error.chars().any(char::is_control) && error.len() < 8000, "{error:?}");
    error
}
