//! Finding the parts of a model: which ONNX files make up the model that a path means.
//!
//! Three layouts are known, by what lies on disk:
//! - *hub*: `onnx/decoder_model_merged<variant>.onnx`, `onnx/embed_tokens<variant>.onnx`, configuration beside `onnx/`;
//! - *mobius*: `decoder/model.onnx`, `embedding/model.onnx`, `vision_encoder/model.onnx`;
//! - *genai*: `model.onnx` with `genai_config.json`, the embedding inside.
//!
//! Anything else is a single graph.

use std::path::{Path, PathBuf};

/// The model's parts on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelFiles {
    /// A decoder, and what belongs to it.
    Decoder {
        /// Folder with configuration and tokenizer.
        root: PathBuf,
        /// The decoder's graph.
        decoder: PathBuf,
        /// The token embedding's graph, when it is a file of its own.
        embedding: Option<PathBuf>,
    },
    /// One graph, whatever it computes.
    Single(PathBuf),
}

/// A path means no model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocateError {
    /// Nothing is there.
    #[error("`{0}` does not exist: give an .onnx file or a model folder")]
    Missing(PathBuf),
    /// A folder without a graph.
    #[error(
        "`{folder}` holds no model that can be compiled{wanted}: expected onnx/decoder_model_merged.onnx, \
         decoder/model.onnx, model.onnx or a single .onnx file"
    )]
    NoModel {
        /// The folder.
        folder: PathBuf,
        /// What was asked for, for the message.
        wanted: String,
    },
    /// Several graphs and no way to choose.
    #[error("`{folder}` holds several graphs ({}): give the file to compile", .found.join(", "))]
    Ambiguous {
        /// The folder.
        folder: PathBuf,
        /// File names.
        found: Vec<String>,
    },
    /// The folder cannot be read.
    #[error("`{folder}` cannot be read: {message}")]
    Unreadable {
        /// The folder.
        folder: PathBuf,
        /// The system's message.
        message: String,
    },
}

/// Finds the model that `path` means. `variant` is the suffix of hub files (`q4`, `fp16`, ...); `only` keeps to the one
/// graph even when it lies in a model's folder.
pub fn locate(path: &Path, variant: Option<&str>, only: bool) -> Result<ModelFiles, LocateError> {
    if !path.exists() {
        return Err(LocateError::Missing(path.to_path_buf()));
    }
    if path.is_dir() {
        return locate_folder(path, variant);
    }
    if only {
        return Ok(ModelFiles::Single(path.to_path_buf()));
    }
    Ok(enclosing_model(path).unwrap_or_else(|| ModelFiles::Single(path.to_path_buf())))
}

fn existing(path: PathBuf) -> Option<PathBuf> {
    path.is_file().then_some(path)
}

fn hub(root: &Path, variant: Option<&str>) -> Option<ModelFiles> {
    let suffix = variant.map(|v| format!("_{v}")).unwrap_or_default();
    let file = |stem: &str| existing(root.join("onnx").join(format!("{stem}{suffix}.onnx")));
    Some(ModelFiles::Decoder {
        root: root.to_path_buf(),
        decoder: file("decoder_model_merged")?,
        embedding: file("embed_tokens"),
    })
}

fn mobius(root: &Path) -> Option<ModelFiles> {
    Some(ModelFiles::Decoder {
        root: root.to_path_buf(),
        decoder: existing(root.join("decoder/model.onnx"))?,
        embedding: existing(root.join("embedding/model.onnx")),
    })
}

fn genai(root: &Path) -> Option<ModelFiles> {
    existing(root.join("genai_config.json"))?;
    let decoder = existing(root.join("model.onnx"))?;
    Some(ModelFiles::Decoder { root: root.to_path_buf(), decoder, embedding: None })
}

fn locate_folder(folder: &Path, variant: Option<&str>) -> Result<ModelFiles, LocateError> {
    if let Some(found) = hub(folder, variant) {
        return Ok(found);
    }
    if variant.is_none()
        && let Some(found) = mobius(folder).or_else(|| genai(folder))
    {
        return Ok(found);
    }
    let unreadable = |error: std::io::Error| LocateError::Unreadable {
        folder: folder.to_path_buf(),
        message: error.to_string(),
    };
    let mut graphs = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "onnx") {
            graphs.push(path);
        }
    }
    graphs.sort();
    match graphs.as_slice() {
        [one] if variant.is_none() => Ok(ModelFiles::Single(one.clone())),
        [] | [_] => Err(LocateError::NoModel {
            folder: folder.to_path_buf(),
            wanted: variant.map(|v| format!(" in variant `{v}`")).unwrap_or_default(),
        }),
        several => Err(LocateError::Ambiguous {
            folder: folder.to_path_buf(),
            found: several
                .iter()
                .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
                .collect(),
        }),
    }
}

/// The model that a decoder's or embedding's file belongs to.
fn enclosing_model(file: &Path) -> Option<ModelFiles> {
    let folder = file.parent()?;
    let root = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let above = match root.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => root,
    };
    let stem = file.file_stem()?.to_string_lossy();
    let hub_variant = ["decoder_model_merged", "embed_tokens"]
        .into_iter()
        .find_map(|name| stem.strip_prefix(name))
        .map(|suffix| suffix.strip_prefix('_'));
    let candidates = [hub_variant.and_then(|variant| hub(above, variant)), mobius(above), genai(root)];
    candidates.into_iter().flatten().find(|found| match found {
        ModelFiles::Decoder { decoder, embedding, .. } => {
            same_file(decoder, file) || embedding.as_deref().is_some_and(|path| same_file(path, file))
        }
        ModelFiles::Single(_) => false,
    })
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(root: &Path, names: &[&str]) {
        for name in names {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
    }

    #[test]
    fn layouts_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        touch(
            root,
            &[
                "onnx/decoder_model_merged.onnx",
                "onnx/decoder_model_merged_q4.onnx",
                "onnx/embed_tokens.onnx",
            ],
        );
        let Ok(ModelFiles::Decoder { decoder, embedding, .. }) = locate(root, None, false) else { panic!() };
        assert!(decoder.ends_with("decoder_model_merged.onnx") && embedding.is_some());
        let Ok(ModelFiles::Decoder { decoder, embedding, .. }) = locate(root, Some("q4"), false) else {
            panic!()
        };
        assert!(decoder.ends_with("decoder_model_merged_q4.onnx") && embedding.is_none());
        assert!(matches!(locate(root, Some("fp16"), false), Err(LocateError::NoModel { .. })));

        let dir = tempfile::tempdir().unwrap();
        touch(dir.path(), &["decoder/model.onnx", "embedding/model.onnx", "genai_config.json"]);
        let Ok(ModelFiles::Decoder { decoder, .. }) = locate(dir.path(), None, false) else { panic!() };
        assert!(decoder.ends_with("decoder/model.onnx"));
    }

    #[test]
    fn a_file_brings_the_model_around_it() {
        let dir = tempfile::tempdir().unwrap();
        touch(dir.path(), &["decoder/model.onnx", "embedding/model.onnx"]);
        let file = dir.path().join("decoder/model.onnx");
        assert!(matches!(locate(&file, None, false), Ok(ModelFiles::Decoder { .. })));
        assert_eq!(locate(&file, None, true), Ok(ModelFiles::Single(file)));
    }

    #[test]
    fn folders_without_a_clear_graph_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(locate(&dir.path().join("nothing"), None, false), Err(LocateError::Missing(_))));
        assert!(matches!(locate(dir.path(), None, false), Err(LocateError::NoModel { .. })));
        touch(dir.path(), &["a.onnx"]);
        assert!(matches!(locate(dir.path(), None, false), Ok(ModelFiles::Single(_))));
        touch(dir.path(), &["b.onnx"]);
        let error = locate(dir.path(), None, false).unwrap_err().to_string();
        assert!(error.contains("a.onnx, b.onnx"), "{error}");
    }
}
