//! Variants of a model in a hub folder: one graph in several element types, told apart by a suffix.
//!
//! `onnx/decoder_model_merged_q4.onnx` is the decoder in variant `q4`; without a suffix it is `fp32`. Names are those of
//! transformers.js, whose `q8` is the suffix `_quantized`. Every part of the model has its own variants, and seldom all.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::files::LocateError;

/// Suffixes from the most to the least precise. A part that is missing in the wanted variant is taken in the first one
/// that is there, then in any other, in alphabetical order.
const BY_PRECISION: [&str; 7] = ["", "fp16", "bf16", "quantized", "int8", "q4", "q4f16"];

/// A variant, by its suffix without the underscore.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Variant(String);

impl Variant {
    /// The variant that a file's suffix says.
    pub(super) fn from_suffix(suffix: &str) -> Self {
        Self(suffix.to_string())
    }

    /// The variant that a user's word means: a dtype of transformers.js, or a suffix.
    fn from_name(name: &str) -> Self {
        Self(match name {
            "fp32" | "none" => String::new(),
            "q8" => "quantized".to_string(),
            other => other.trim_start_matches('_').to_string(),
        })
    }

    fn file_name(&self, stem: &str) -> String {
        if self.0.is_empty() { format!("{stem}.onnx") } else { format!("{stem}_{}.onnx", self.0) }
    }

    fn precision(&self) -> usize {
        BY_PRECISION.iter().position(|suffix| *suffix == self.0).unwrap_or(BY_PRECISION.len())
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0.as_str() {
            "" => "fp32",
            "quantized" => "q8",
            other => other,
        })
    }
}

/// A part of a hub model that is a file of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The decoder.
    Decoder,
    /// The token embedding.
    Embedding,
    /// The vision encoder.
    Vision,
}

impl Part {
    /// Every part.
    pub const ALL: [Part; 3] = [Part::Decoder, Part::Embedding, Part::Vision];

    /// The name of its file, without variant and extension.
    pub const fn stem(self) -> &'static str {
        match self {
            Part::Decoder => "decoder_model_merged",
            Part::Embedding => "embed_tokens",
            Part::Vision => "vision_encoder",
        }
    }

    /// The name on the command line.
    const fn name(self) -> &'static str {
        match self {
            Part::Decoder => "decoder",
            Part::Embedding => "embed",
            Part::Vision => "vision",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What variants the user wants: one for all parts, or one for each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variants {
    all: Option<Variant>,
    parts: BTreeMap<Part, Variant>,
}

impl Variants {
    /// What is wanted beside a file that was given by name: its own variant, and for an embedding a decoder alike
    /// where nothing else is asked for.
    #[must_use]
    pub(super) fn for_file(mut self, part: Part, variant: Variant) -> Self {
        if part == Part::Embedding && !self.parts.contains_key(&Part::Decoder) && self.all.is_none() {
            self.all = Some(variant.clone());
        }
        self.parts.insert(part, variant);
        self
    }

    /// True when nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.all.is_none() && self.parts.is_empty()
    }
}

impl fmt::Display for Variants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.parts.iter().map(|(part, variant)| format!("{part}={variant}"));
        let all: Vec<String> = self.all.iter().map(ToString::to_string).chain(parts).collect();
        f.write_str(&all.join(","))
    }
}

impl FromStr for Variants {
    type Err = String;

    /// `q4`, `decoder=q4,embed=fp16` or `q4,embed=fp16`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut out = Self::default();
        for word in text.split(',').map(str::trim) {
            let (part, name) = match word.split_once('=') {
                Some((part, name)) => (Some(part.trim()), name.trim()),
                None => (None, word),
            };
            let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if name.is_empty() || !plain {
                return Err(format!("`{name}` is no variant: expected a word such as q4, fp16 or q8"));
            }
            let variant = Variant::from_name(name);
            let twice = match part {
                None => out.all.replace(variant).is_some(),
                Some(part) => {
                    let known = Part::ALL.into_iter().find(|have| have.name() == part || have.stem() == part);
                    let Some(known) = known else {
                        return Err(format!("`{part}` is no part: expected decoder, embed or vision"));
                    };
                    out.parts.insert(known, variant).is_some()
                }
            };
            if twice {
                return Err("a part's variant is given twice".to_string());
            }
        }
        Ok(out)
    }
}

/// The files to take of a hub folder.
#[derive(Debug)]
pub(super) struct Chosen {
    /// The decoder.
    pub(super) decoder: PathBuf,
    /// The embedding, when there is one.
    pub(super) embedding: Option<PathBuf>,
    /// The vision encoder, when there is one.
    pub(super) vision: Option<PathBuf>,
}

/// The files of a hub model's parts, by variant.
#[derive(Debug)]
pub(super) struct HubFolder {
    folder: PathBuf,
    found: BTreeMap<Part, Vec<Variant>>,
}

impl HubFolder {
    /// Looks at a model's folder; `None` when it has no decoder in `onnx/`.
    pub(super) fn open(root: &Path) -> Option<Self> {
        let folder = root.join("onnx");
        let mut found: BTreeMap<Part, Vec<Variant>> = BTreeMap::new();
        for entry in std::fs::read_dir(&folder).ok()?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some((part, variant)) = part_of(&name).filter(|_| entry.path().is_file()) {
                found.entry(part).or_default().push(variant);
            }
        }
        for variants in found.values_mut() {
            variants.sort_by_key(|variant| (variant.precision(), variant.clone()));
        }
        found.contains_key(&Part::Decoder).then_some(Self { folder, found })
    }

    /// The files to take: the decoder, and of the other parts those that there are.
    pub(super) fn choose(&self, wanted: &Variants) -> Result<Chosen, LocateError> {
        let decoders = self.variants(Part::Decoder);
        let decoder = match wanted.parts.get(&Part::Decoder).or(wanted.all.as_ref()) {
            Some(variant) => self.need(Part::Decoder, variant)?,
            None => match decoders {
                [only] => only,
                several => several.iter().find(|variant| variant.0.is_empty()).ok_or_else(|| {
                    LocateError::Variants { folder: self.folder.clone(), found: names(decoders) }
                })?,
            },
        };
        let path = |part: Part, variant: &Variant| self.folder.join(variant.file_name(part.stem()));
        let beside = |part: Part| -> Result<Option<PathBuf>, LocateError> {
            let variant = match wanted.parts.get(&part) {
                Some(variant) => Some(self.need(part, variant)?),
                None => {
                    let there = self.variants(part);
                    there.iter().find(|variant| *variant == decoder).or_else(|| there.first())
                }
            };
            Ok(variant.map(|variant| path(part, variant)))
        };
        Ok(Chosen {
            decoder: path(Part::Decoder, decoder),
            embedding: beside(Part::Embedding)?,
            vision: beside(Part::Vision)?,
        })
    }

    /// A part's variants, the most precise first.
    fn variants(&self, part: Part) -> &[Variant] {
        self.found.get(&part).map_or(&[], Vec::as_slice)
    }

    fn need(&self, part: Part, wanted: &Variant) -> Result<&Variant, LocateError> {
        let there = self.variants(part);
        there.iter().find(|variant| *variant == wanted).ok_or_else(|| LocateError::NoVariant {
            folder: self.folder.clone(),
            part: part.stem(),
            wanted: wanted.to_string(),
            found: names(there),
        })
    }
}

fn names(variants: &[Variant]) -> Vec<String> {
    variants.iter().map(ToString::to_string).collect()
}

/// The part and variant that a file's name says.
pub(super) fn part_of(name: &str) -> Option<(Part, Variant)> {
    let stem = name.strip_suffix(".onnx")?;
    Part::ALL.into_iter().find_map(|part| {
        let suffix = stem.strip_prefix(part.stem())?;
        match (suffix, suffix.strip_prefix('_')) {
            ("", _) => Some((part, Variant::from_suffix(""))),
            (_, Some(suffix)) if !suffix.is_empty() => Some((part, Variant::from_suffix(suffix))),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> (tempfile::TempDir, HubFolder) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("onnx")).unwrap();
        for file in files {
            std::fs::write(dir.path().join("onnx").join(file), b"").unwrap();
        }
        let hub = HubFolder::open(dir.path()).unwrap();
        (dir, hub)
    }

    /// The suffixes of the chosen files.
    fn chosen(hub: &HubFolder, wanted: &str) -> String {
        let wanted = if wanted.is_empty() { Variants::default() } else { wanted.parse().unwrap() };
        let name = |path: PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
        match hub.choose(&wanted) {
            Ok(Chosen { decoder, embedding, vision }) => {
                let decoder = name(decoder).replace("decoder_model_merged", "d");
                let vision = vision.map_or(String::new(), |path| name(path).replace("vision_encoder", " v"));
                format!(
                    "{decoder} {}{vision}",
                    embedding.map_or("-".into(), name).replace("embed_tokens", "e")
                )
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn words_mean_suffixes() {
        let suffix = |name: &str| Variant::from_name(name).0;
        assert_eq!([suffix("fp32"), suffix("none")], ["", ""]);
        assert_eq!([suffix("q8"), suffix("q4f16"), suffix("_q4")], ["quantized", "q4f16", "q4"]);
        for bad in ["", "q4,q8", "eye=q4", "decoder=", "../q4", "embed=q4,embed_tokens=q8"] {
            assert!(bad.parse::<Variants>().is_err(), "{bad}");
        }
        assert_eq!("q4, embed_tokens=q8".parse::<Variants>().unwrap().to_string(), "q4,embed=q8");
    }

    #[test]
    fn without_a_wish_it_is_the_plain_or_only_one() {
        let (_dir, hub) = folder(&["decoder_model_merged_q4.onnx", "embed_tokens_q4.onnx"]);
        assert_eq!(chosen(&hub, ""), "d_q4 e_q4");
        let (_dir, hub) = folder(&["decoder_model_merged.onnx", "decoder_model_merged_q4.onnx"]);
        assert_eq!(chosen(&hub, ""), "d -");
        let (_dir, hub) = folder(&["decoder_model_merged_q4f16.onnx", "decoder_model_merged_quantized.onnx"]);
        let error = chosen(&hub, "");
        assert!(error.contains("q8, q4f16") && error.contains("--variant"), "{error}");
    }

    #[test]
    fn a_missing_part_falls_back_to_the_most_precise() {
        let names = ["decoder_model_merged_q4.onnx", "embed_tokens_q4f16.onnx", "embed_tokens_fp16.onnx"];
        let (_dir, hub) = folder(&names);
        assert_eq!(chosen(&hub, "q4"), "d_q4 e_fp16");
        assert_eq!(chosen(&hub, "q4,embed=q4f16"), "d_q4 e_q4f16");
        assert_eq!(chosen(&hub, "embed=q4f16"), "d_q4 e_q4f16");
        let error = chosen(&hub, "decoder=q4,embed=q8");
        assert!(error.contains("embed_tokens") && error.contains("fp16, q4f16"), "{error}");
        let names = ["decoder_model_merged_q4.onnx", "vision_encoder_fp16.onnx", "vision_encoder_q8.onnx"];
        let (_eyes, with_eyes) = folder(&names);
        assert_eq!(chosen(&with_eyes, ""), "d_q4 - v_fp16");
        assert_eq!(chosen(&with_eyes, "vision=fp16"), "d_q4 - v_fp16");
        assert!(chosen(&with_eyes, "vision=q4").contains("vision_encoder"));
        let error = chosen(&hub, "bnb4");
        assert!(error.contains("decoder_model_merged") && error.contains("bnb4"), "{error}");
    }
}
