//! Finding the parts of a model: which ONNX files make up the model that a path means.
//!
//! Three layouts are known, by what lies on disk:
//! - *hub*: `onnx/decoder_model_merged<variant>.onnx`, `onnx/embed_tokens<variant>.onnx`,
//!   `onnx/vision_encoder<variant>.onnx`, configuration beside `onnx/`
//!   ([`super::variant`]);
//! - *mobius*: `decoder/model.onnx`, `embedding/model.onnx`, `vision_encoder/model.onnx`;
//! - *genai*: `model.onnx` with `genai_config.json`, the embedding inside.
//!
//! Anything else is a single graph.

use std::path::{Path, PathBuf};

use qwenc_runtime::printable::printable;

use super::variant::{Chosen, HubFolder, Variants, part_of};
use crate::contain;

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
        /// The vision encoder's graph, when the model takes images.
        vision: Option<PathBuf>,
    },
    /// One graph, whatever it computes.
    Single(PathBuf),
}

impl ModelFiles {
    /// The files with what each of them is.
    pub fn parts(&self) -> Vec<(&'static str, &Path)> {
        match self {
            Self::Single(path) => vec![("graph", path)],
            Self::Decoder { decoder, embedding, vision, .. } => {
                let embedding = embedding.as_deref().map(|path| ("embedding", path));
                let vision = vision.as_deref().map(|path| ("vision", path));
                [("decoder", decoder.as_path())].into_iter().chain(embedding).chain(vision).collect()
            }
        }
    }
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
    /// A part in several variants, none of them the plain one.
    #[error("`{folder}` holds the decoder in several variants: choose one of {} with --variant", .found.join(", "))]
    Variants {
        /// The folder.
        folder: PathBuf,
        /// The variants.
        found: Vec<String>,
    },
    /// A part is not there in the variant that was asked for.
    #[error("`{folder}` has no {part} in variant `{wanted}`{}", there(.found))]
    NoVariant {
        /// The folder.
        folder: PathBuf,
        /// The part.
        part: &'static str,
        /// What was asked for.
        wanted: String,
        /// What is there.
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

fn there(found: &[String]) -> String {
    if found.is_empty() { String::new() } else { format!(", only in {}", found.join(", ")) }
}

/// Finds the model that `path` means. `variants` says which files of a hub folder; `only` keeps to the one graph even
/// when it lies in a model's folder.
pub fn locate(path: &Path, variants: &Variants, only: bool) -> Result<ModelFiles, LocateError> {
    if !path.exists() {
        return Err(LocateError::Missing(path.to_path_buf()));
    }
    if path.is_dir() {
        return locate_folder(path, variants);
    }
    if only {
        return Ok(ModelFiles::Single(path.to_path_buf()));
    }
    Ok(enclosing_model(path, variants)?.unwrap_or_else(|| ModelFiles::Single(path.to_path_buf())))
}

fn existing(path: PathBuf) -> Option<PathBuf> {
    path.is_file().then_some(path)
}

/// `None` when the folder is no hub's.
fn hub(root: &Path, variants: &Variants) -> Result<Option<ModelFiles>, LocateError> {
    let Some(folder) = HubFolder::open(root) else { return Ok(None) };
    let Chosen { decoder, embedding, vision } = folder.choose(variants)?;
    Ok(Some(ModelFiles::Decoder { root: root.to_path_buf(), decoder, embedding, vision }))
}

fn mobius(root: &Path) -> Option<ModelFiles> {
    Some(ModelFiles::Decoder {
        root: root.to_path_buf(),
        decoder: existing(root.join("decoder/model.onnx"))?,
        embedding: existing(root.join("embedding/model.onnx")),
        vision: existing(root.join("vision_encoder/model.onnx")),
    })
}

fn genai(root: &Path) -> Option<ModelFiles> {
    existing(root.join("genai_config.json"))?;
    let decoder = existing(root.join("model.onnx"))?;
    Some(ModelFiles::Decoder { root: root.to_path_buf(), decoder, embedding: None, vision: None })
}

fn locate_folder(folder: &Path, variants: &Variants) -> Result<ModelFiles, LocateError> {
    if let Some(found) = hub(folder, variants)? {
        return Ok(found);
    }
    if variants.is_empty()
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
        [one] if variants.is_empty() => {
            // The user named the folder, not this file: it must not lead elsewhere.
            let name = one.file_name().unwrap_or_default().to_string_lossy();
            contain::open(folder, &name).map_err(|refusal| LocateError::Unreadable {
                folder: folder.to_path_buf(),
                message: refusal.to_string(),
            })?;
            Ok(ModelFiles::Single(one.clone()))
        }
        [] | [_] => Err(LocateError::NoModel {
            folder: folder.to_path_buf(),
            wanted: if variants.is_empty() { String::new() } else { format!(" in variant `{variants}`") },
        }),
        several => Err(LocateError::Ambiguous {
            folder: folder.to_path_buf(),
            found: several
                .iter()
                .filter_map(|path| Some(printable(&path.file_name()?.to_string_lossy(), 100)))
                .collect(),
        }),
    }
}

/// The model that a file of one of its parts belongs to. In a hub folder the file says its part's variant, and
/// an embedding's file the decoder's too, unless the user does.
fn enclosing_model(file: &Path, variants: &Variants) -> Result<Option<ModelFiles>, LocateError> {
    let Some(folder) = file.parent() else { return Ok(None) };
    let root = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let above = match root.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => root,
    };
    let name = file.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let hub = match part_of(&name) {
        Some((part, variant)) => hub(above, &variants.clone().for_file(part, variant))?,
        None => None,
    };
    let candidates = [hub, mobius(above), genai(root)];
    Ok(candidates.into_iter().flatten().find(|found| match found {
        ModelFiles::Decoder { decoder, embedding, vision, .. } => {
            let parts = [Some(decoder), embedding.as_ref(), vision.as_ref()];
            parts.into_iter().flatten().any(|part| same_file(part, file))
        }
        ModelFiles::Single(_) => false,
    }))
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
        let none = Variants::default();
        let Ok(ModelFiles::Decoder { decoder, embedding, .. }) = locate(root, &none, false) else { panic!() };
        assert!(decoder.ends_with("decoder_model_merged.onnx") && embedding.is_some());
        let q4 = "q4".parse().unwrap();
        let Ok(ModelFiles::Decoder { decoder, embedding, .. }) = locate(root, &q4, false) else { panic!() };
        assert!(decoder.ends_with("decoder_model_merged_q4.onnx"));
        assert!(embedding.unwrap().ends_with("embed_tokens.onnx"));
        let f16 = "fp16".parse().unwrap();
        assert!(matches!(locate(root, &f16, false), Err(LocateError::NoVariant { .. })));

        let dir = tempfile::tempdir().unwrap();
        touch(dir.path(), &["decoder/model.onnx", "embedding/model.onnx", "genai_config.json"]);
        let Ok(ModelFiles::Decoder { decoder, .. }) = locate(dir.path(), &none, false) else { panic!() };
        assert!(decoder.ends_with("decoder/model.onnx"));
        let error = locate(dir.path(), &q4, false).unwrap_err().to_string();
        assert!(error.contains("in variant `q4`"), "{error}");
    }

    #[test]
    fn a_file_brings_the_model_around_it() {
        let dir = tempfile::tempdir().unwrap();
        touch(dir.path(), &["decoder/model.onnx", "embedding/model.onnx"]);
        let file = dir.path().join("decoder/model.onnx");
        let none = Variants::default();
        assert!(matches!(locate(&file, &none, false), Ok(ModelFiles::Decoder { .. })));
        assert_eq!(locate(&file, &none, true), Ok(ModelFiles::Single(file)));
    }

    #[test]
    fn a_hub_file_says_its_variant() {
        let dir = tempfile::tempdir().unwrap();
        let names =
            ["decoder_model_merged_q4.onnx", "decoder_model_merged_fp16.onnx", "embed_tokens_q4.onnx"];
        touch(dir.path(), &names.map(|name| format!("onnx/{name}")).each_ref().map(String::as_str));
        for (file, decoder_file) in [(names[0], names[0]), (names[1], names[1]), (names[2], names[0])] {
            let file = dir.path().join("onnx").join(file);
            let Ok(ModelFiles::Decoder { decoder, embedding, .. }) =
                locate(&file, &Variants::default(), false)
            else {
                panic!("{}", file.display())
            };
            assert!(decoder.ends_with(decoder_file) && embedding.unwrap().ends_with(names[2]));
        }
    }

    #[test]
    fn folders_without_a_clear_graph_are_errors() {
        let none = Variants::default();
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(locate(&dir.path().join("nothing"), &none, false), Err(LocateError::Missing(_))));
        assert!(matches!(locate(dir.path(), &none, false), Err(LocateError::NoModel { .. })));
        touch(dir.path(), &["a.onnx"]);
        assert!(matches!(locate(dir.path(), &none, false), Ok(ModelFiles::Single(_))));
        touch(dir.path(), &["b.onnx"]);
        let error = locate(dir.path(), &none, false).unwrap_err().to_string();
        assert!(error.contains("a.onnx, b.onnx"), "{error}");
    }
}
