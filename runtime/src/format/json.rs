//! Reading and writing the two JSON files. Writing is deterministic, and made to be read: one line an item.

use serde::Serialize;

use super::{FORMAT_VERSION, FormatError, MANIFEST_FILE, Manifest, Place, Problem, SCHEDULE_FILE, Schedule};
use crate::json::{FromJson, Json, JsonError};

impl Manifest {
    /// Parses `manifest.json`. The result is not validated.
    ///
    /// # Errors
    /// [`Problem::Version`] for a file of another version, [`Problem::Json`] for one of another shape.
    pub fn from_json(text: &[u8]) -> Result<Self, FormatError> {
        parse(MANIFEST_FILE, "format", text)
    }

    /// The content of `manifest.json`: equal manifests give equal bytes.
    ///
    /// # Errors
    /// Only serde's own, which these types do not raise.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        Ok(text)
    }
}

impl Schedule {
    /// Parses `schedule.json`. The result is not validated.
    ///
    /// # Errors
    /// [`Problem::Version`] for a file of another version, [`Problem::Json`] for one of another shape.
    pub fn from_json(text: &[u8]) -> Result<Self, FormatError> {
        parse(SCHEDULE_FILE, "version", text)
    }

    /// The content of `schedule.json`: equal schedules give equal bytes. Every symbol, buffer, pipeline, input, output
    /// and command stands on a line of its own.
    ///
    /// # Errors
    /// Only serde's own, which these types do not raise.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        let mut entries = Vec::with_capacity(self.entries.len());
        for (name, entry) in &self.entries {
            let mut fields = vec![format!("\"symbols\": {}", serde_json::to_string(&entry.symbols)?)];
            if !entry.constraints.is_empty() {
                fields.push(format!("\"constraints\": {}", lines('[', &entry.constraints, ']', 6)?));
            }
            fields.push(format!("\"inputs\": {}", named_lines(&entry.inputs, 6)?));
            fields.push(format!("\"outputs\": {}", named_lines(&entry.outputs, 6)?));
            fields.push(format!("\"commands\": {}", lines('[', &entry.commands, ']', 6)?));
            entries.push(format!("{}: {}", serde_json::to_string(name)?, block('{', &fields, '}', 4)));
        }
        let fields = [
            format!("\"version\": {}", self.version),
            format!("\"symbols\": {}", lines('[', &self.symbols, ']', 2)?),
            format!("\"buffers\": {}", lines('[', &self.buffers, ']', 2)?),
            format!("\"pipelines\": {}", lines('[', &self.pipelines, ']', 2)?),
            format!("\"entries\": {}", block('{', &entries, '}', 2)),
        ];
        Ok(block('{', &fields, '}', 0) + "\n")
    }
}

/// The version comes first: a file of another version is not expected to parse.
fn parse<T: FromJson>(file: &str, version_key: &str, text: &[u8]) -> Result<T, FormatError> {
    let place = Place::file(file);
    let shape = |error: JsonError| place.error(Problem::Json(error.to_string()));
    let value = Json::from_strict_bytes(text).map_err(shape)?;
    T::from_json(&value).map_err(|error| {
        match value.get(version_key).and_then(Json::as_u64).and_then(|it| u32::try_from(it).ok()) {
            Some(found) if found != FORMAT_VERSION => {
                place.error(Problem::Version { found, supported: FORMAT_VERSION })
            }
            _ => shape(error),
        }
    })
}

fn lines<T: Serialize>(
    open: char,
    items: &[T],
    close: char,
    indent: usize,
) -> Result<String, serde_json::Error> {
    let items = items.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
    Ok(block(open, &items, close, indent))
}

fn named_lines<T: Serialize>(
    items: &crate::names::ByName<T>,
    indent: usize,
) -> Result<String, serde_json::Error> {
    let item = |(name, value): (&String, &T)| {
        Ok(format!("{}: {}", serde_json::to_string(name)?, serde_json::to_string(value)?))
    };
    let items = items.iter().map(item).collect::<Result<Vec<_>, serde_json::Error>>()?;
    Ok(block('{', &items, '}', indent))
}

/// `items` between brackets, one a line, indented by two more than the line that the block starts on.
fn block(open: char, items: &[String], close: char, indent: usize) -> String {
    if items.is_empty() {
        return format!("{open}{close}");
    }
    let inner = " ".repeat(indent + 2);
    let outer = " ".repeat(indent);
    format!("{open}\n{inner}{}\n{outer}{close}", items.join(&format!(",\n{inner}")))
}
