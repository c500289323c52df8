//! A graph of its own: which of its sizes are fixed, and how far the others may go.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use qwenc_codegen_wgsl::Symbols;
use qwenc_ir::Dim;

use super::config::ModelConfig;
use super::load::{GivenSizes, LoadOptions, Loaded};
use crate::error::CompileError;
use crate::onnx::{ImportOptions, Model, PortDim, import, symbol_name};

/// Largest value of a size that the user says nothing about.
const DEFAULT_BOUND: i64 = 512;

/// Reads and imports a graph as the entry point `main`.
pub(super) fn load(path: &Path, load: &LoadOptions) -> Result<Loaded, CompileError> {
    let model = load.adjust(Model::open(path)?);
    let options = options(path, &sizes(&model)?, &load.given)?;
    let graph = import(&model, &options).map_err(Box::new)?.graph;
    let mut used = BTreeSet::new();
    for value in graph.values() {
        graph.value(value).ty.shape.iter().for_each(|dim| dim.collect_symbols(&mut used));
    }
    let symbols = Symbols::new(used.into_iter().map(|name| {
        let range = options.ranges.get(&name).copied().unwrap_or((0, DEFAULT_BOUND));
        (name, range)
    }));
    let name =
        path.file_stem().map_or_else(|| "graph".to_string(), |stem| stem.to_string_lossy().into_owned());
    Ok(Loaded {
        graph,
        config: ModelConfig::default(),
        is_decoder: false,
        vision: None,
        symbols,
        name,
        assets: Vec::new(),
        notes: Vec::new(),
    })
}

/// Names of all sizes that the inputs leave open. One without a name is called by its input and axis, `x_0`.
fn sizes(model: &Model) -> Result<BTreeSet<String>, CompileError> {
    let mut names = BTreeSet::new();
    for port in model.inputs()? {
        for (axis, dim) in port.dims.iter().enumerate() {
            match dim {
                PortDim::Symbol(name) => names.insert(name.clone()),
                PortDim::Unknown => names.insert(format!("{}_{axis}", port.name)),
                PortDim::Size(_) => false,
            };
        }
    }
    Ok(names)
}

/// How the sizes are bound. A name that the graph does not have is refused: it is misspelt.
fn options(path: &Path, sizes: &BTreeSet<String>, given: &GivenSizes) -> Result<ImportOptions, CompileError> {
    // Messages and bundles show names with harmless characters only; both spellings are accepted.
    let known = |name: &str| sizes.iter().any(|size| size == name || symbol_name(size) == name);
    if let Some((name, _)) = given.fixed.iter().chain(&given.bounds).find(|(name, _)| !known(name)) {
        let sizes: Vec<String> =
            sizes.iter().take(32).map(|size| format!("`{}`", symbol_name(size))).collect();
        let there = if sizes.is_empty() {
            "all sizes of its inputs are fixed".to_string()
        } else {
            format!("its inputs have {}", sizes.join(", "))
        };
        let (file, name) = (path.to_path_buf(), symbol_name(name));
        return Err(CompileError::Size { file, name, there });
    }
    let value = |list: &[(String, i64)], size: &str| {
        let fits = |name: &str| name == size || name == symbol_name(size);
        list.iter().rfind(|(name, _)| fits(name)).map(|(_, value)| *value)
    };
    let (mut dims, mut ranges) = (BTreeMap::new(), BTreeMap::new());
    for size in sizes {
        let bound = value(&given.bounds, size);
        // One sequence unless the user says otherwise: kernels for attention and recurrences want a fixed batch.
        let is_batch = bound.is_none() && size.to_ascii_lowercase().contains("batch");
        match value(&given.fixed, size).or(is_batch.then_some(1)) {
            Some(value) => {
                dims.insert(size.clone(), Dim::constant(value));
            }
            None => {
                ranges.insert(symbol_name(size), (0, bound.unwrap_or(DEFAULT_BOUND)));
            }
        }
    }
    Ok(ImportOptions { dims, ranges, ..ImportOptions::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(fixed: &[(&str, i64)], bounds: &[(&str, i64)]) -> Result<ImportOptions, String> {
        let own = |list: &[(&str, i64)]| list.iter().map(|(name, n)| ((*name).to_string(), *n)).collect();
        let sizes = ["batch", "n:0", "x_1"].map(String::from).into();
        let given = GivenSizes { fixed: own(fixed), bounds: own(bounds) };
        options(Path::new("m.onnx"), &sizes, &given).map_err(|error| error.to_string())
    }

    #[test]
    fn the_batch_is_one_and_the_rest_is_open() {
        let plain = bound(&[], &[]).unwrap();
        assert_eq!(plain.dims["batch"], Dim::constant(1));
        assert_eq!(plain.ranges["n_0"], (0, DEFAULT_BOUND));
        assert_eq!(bound(&[], &[("batch", 4)]).unwrap().ranges["batch"], (0, 4));
    }

    #[test]
    fn sizes_are_called_as_in_the_file_or_as_they_are_shown() {
        for name in ["n:0", "n_0"] {
            assert_eq!(bound(&[(name, 7)], &[]).unwrap().dims["n:0"], Dim::constant(7));
        }
        assert_eq!(bound(&[], &[("x_1", 9)]).unwrap().ranges["x_1"], (0, 9));
    }

    #[test]
    fn a_misspelt_size_is_refused() {
        let error = bound(&[("btach", 2)], &[]).unwrap_err();
        assert!(error.contains("`btach`") && error.contains("`batch`, `n_0`, `x_1`"), "{error}");
    }
}
