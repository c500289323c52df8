//! The tokenizer, ahead of time: from `tokenizer.json`, or `vocab.json` with `merges.txt`, to the table that the
//! runtime reads (`docs/tokenizer.md`).
//!
//! What the runtime does not do is refused here, with the field that asks for it. What is accepted is tried: the table and the
//! `tokenizers` crate encode and decode the same probes (`probe.rs`), so that a field that was misread is an error of
//! this program and no wrong text.

mod document;
mod draft;
mod files;
mod probe;

use std::path::Path;

use qwenc_runtime::printable::printable;
use qwenc_runtime::tokenizer::{TOKENIZER_FILE, Tokenizer};

use crate::model::assets::{self, Asset, AssetError};
use document::Document;

/// Characters of a model's own words that an error repeats.
const MAX_SHOWN: usize = 80;

/// A tokenizer that cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{file}`: {message}")]
pub struct TokenizerError {
    /// The file.
    pub file: String,
    /// What is wrong, with the field.
    pub message: String,
}

/// What a model's folder says about its tokenizer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing.
    None,
    /// The table, for the bundle.
    Table(Asset),
    /// It has one that cannot be compiled: the bundle goes without.
    Unsupported(TokenizerError),
}

/// Compiles the tokenizer of the model in `root`.
///
/// # Errors
/// [`AssetError`] when a file may not be read at all. What is in a file is no reason to refuse the model.
pub fn compile(root: &Path) -> Result<Outcome, AssetError> {
    let source = match assets::read_beside(root, document::FILE)? {
        Some(bytes) => Ok(Some((document::FILE, bytes))),
        None => files::document(root)?,
    };
    let table = source.and_then(|source| {
        source.map(|(file, bytes)| table(&bytes).map_err(|message| error(file, message))).transpose()
    });
    Ok(match table {
        Ok(None) => Outcome::None,
        Ok(Some(bytes)) => Outcome::Table(Asset { path: TOKENIZER_FILE.to_string(), bytes }),
        Err(error) => Outcome::Unsupported(error),
    })
}

/// The table of a `tokenizer.json`.
///
/// # Errors
/// [`TokenizerError`], naming the field.
pub fn compile_json(bytes: &[u8]) -> Result<Vec<u8>, TokenizerError> {
    table(bytes).map_err(|message| error(document::FILE, message))
}

fn table(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let document = Document::parse(bytes)?;
    let reference = tokenizers::Tokenizer::from_bytes(bytes)
        .map_err(|problem| format!("the tokenizers library refuses it: {}", shown(&problem.to_string())))?;
    let table = draft::draft(&document, &reference)?.to_bytes().map_err(|problem| problem.to_string())?;
    let compiled = Tokenizer::from_bytes(&table).map_err(|problem| problem.to_string())?;
    probe::compare(&compiled, &reference)?;
    Ok(table)
}

fn error(file: &str, message: String) -> TokenizerError {
    TokenizerError { file: file.to_string(), message }
}

/// A model's words, fit to be printed.
fn shown(text: &str) -> String {
    printable(text, MAX_SHOWN)
}
