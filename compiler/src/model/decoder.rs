//! A decoder's interface: which input is what, by name and rank, whatever exporter wrote the graph.
//!
//! A decoder is compiled for one sequence. Positions of the call are the symbol `tokens`, positions in the states
//! `past`; the attention mask is all ones, because a single sequence has no padding; it folds away.

use qwenc_ir::{Dim, Ranges, Scalar};

use super::config::ModelConfig;
use super::entries::{PAST, TOKENS};
use crate::onnx::{ImportOptions, Port, PortDim};

/// A decoder's inputs cannot be told apart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecoderError {
    /// An input that no decoder is known to have.
    #[error("input `{name}` of rank {rank} is none that a decoder is known to have")]
    UnknownInput {
        /// The input.
        name: String,
        /// Its rank.
        rank: usize,
    },
    /// A size that neither graph nor configuration states.
    #[error(
        "size `{size}` of input `{name}` is neither in the graph nor in the configuration: give it with `--dim {size}=N`"
    )]
    UnknownSize {
        /// The input.
        name: String,
        /// The size's name.
        size: String,
    },
    /// Graphs that do not fit each other.
    #[error("the embedding does not fit the decoder: {0}")]
    Join(String),
    /// The angles of rope cannot be put into a table.
    #[error("the angles of rope cannot be put into a table: {0}")]
    Angles(String),
}

/// What an input is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortBinding {
    /// It stays an input, of this shape.
    Shape(Vec<Dim>),
    /// It becomes a constant of this shape and value.
    Constant(Vec<Dim>, i64),
    /// It has no rows in this use of the model.
    Empty,
}

/// How to import a decoder or its embedding, as one sequence. `sizes` are those that the user gave by name.
pub fn import_options(
    ports: &[Port],
    config: &ModelConfig,
    sizes: &[(String, i64)],
    ranges: Ranges,
) -> Result<ImportOptions, DecoderError> {
    let mut options = ImportOptions { ranges, ..ImportOptions::default() };
    for port in ports {
        match bind_port(port, config, sizes)? {
            PortBinding::Shape(shape) => {
                options.shapes.insert(port.name.clone(), shape);
            }
            PortBinding::Constant(shape, value) => {
                options.shapes.insert(port.name.clone(), shape);
                options.constants.insert(port.name.clone(), Scalar::Int(value));
            }
            PortBinding::Empty => {
                options.empty.insert(port.name.clone());
            }
        }
    }
    Ok(options)
}

fn bind_port(
    port: &Port,
    config: &ModelConfig,
    sizes: &[(String, i64)],
) -> Result<PortBinding, DecoderError> {
    let (one, tokens) = (Dim::constant(1), Dim::sym(TOKENS));
    let total = Dim::sym(PAST) + tokens.clone();
    let size = |axis: usize| known_size(port, axis, None, sizes);
    let name = port.name.as_str();
    let binding = match (name, port.dims.len()) {
        ("input_ids", 2) => PortBinding::Shape(vec![one, tokens]),
        ("inputs_embeds", 3) => PortBinding::Shape(vec![one, tokens, size(2)?]),
        ("attention_mask", 2) => PortBinding::Constant(vec![one, total], 1),
        ("position_ids", 2) => PortBinding::Shape(vec![one, tokens]),
        ("position_ids", 3) => PortBinding::Shape(vec![size(0)?, one, tokens]),
        // All rows: the compiler cuts the head out itself, for one row.
        ("num_logits_to_keep", 0) => PortBinding::Constant(vec![], 0),
        // A text-only run has no image; the rows are merged by the vision entry point, when there is one.
        ("image_features", 2) => PortBinding::Empty,
        (name, 4) if is_state(name) && (is_kv(name)) => {
            let width = known_size(port, 3, config.head_dim, sizes)?;
            PortBinding::Shape(vec![one, size(1)?, Dim::sym(PAST), width])
        }
        (name, 3 | 4) if is_state(name) => {
            let mut shape = vec![one];
            for axis in 1..port.dims.len() {
                shape.push(size(axis)?);
            }
            PortBinding::Shape(shape)
        }
        (name, rank) => return Err(DecoderError::UnknownInput { name: name.to_string(), rank }),
    };
    Ok(binding)
}

/// True for names of recurrent states, in every exporter's spelling.
pub fn is_state(name: &str) -> bool {
    name.starts_with("past") || name.contains(".past")
}

/// True for names of key and value caches.
fn is_kv(name: &str) -> bool {
    ["key", "value", "keys", "values"].iter().any(|suffix| name.ends_with(suffix))
}

fn known_size(
    port: &Port,
    axis: usize,
    configured: Option<i64>,
    sizes: &[(String, i64)],
) -> Result<Dim, DecoderError> {
    let unknown = |size: String| DecoderError::UnknownSize { name: port.name.clone(), size };
    match port.dims.get(axis) {
        Some(PortDim::Size(value)) => Ok(Dim::from(*value)),
        Some(PortDim::Symbol(symbol)) => {
            let given = sizes.iter().find(|(name, _)| name == symbol).map(|(_, value)| *value);
            given.or(configured).map(Dim::constant).ok_or_else(|| unknown(symbol.clone()))
        }
        _ => configured.map(Dim::constant).ok_or_else(|| unknown(format!("{}[{axis}]", port.name))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qwenc_ir::DType;

    fn port(name: &str, dims: &[&str]) -> Port {
        let dim = |text: &&str| match text.parse() {
            Ok(size) => PortDim::Size(size),
            Err(_) => PortDim::Symbol((*text).to_string()),
        };
        Port { name: name.into(), dtype: DType::F32, dims: dims.iter().map(dim).collect() }
    }

    #[test]
    fn every_exporters_names_are_known() {
        let config = ModelConfig { head_dim: Some(32), ..ModelConfig::default() };
        let ports = [
            port("inputs_embeds", &["batch", "s", "64"]),
            port("attention_mask", &["batch", "past_seq_len + seq_len"]),
            port("position_ids", &["3", "batch", "s"]),
            port("past_key_values.3.key", &["batch", "2", "p", "kv_cache_dim"]),
            port("past.0.conv", &["batch", "192", "3"]),
            port("past_conv.1", &["batch", "192", "3"]),
            port("past_recurrent.1", &["batch", "4", "16", "16"]),
            port("input.past_key_values.layers.0.keys", &["1", "2", "p", "32"]),
            port("input.past_key_values.layers.1.conv_states.0", &["1", "192", "4"]),
            port("past_key_values.2.recurrent_state", &["batch", "4", "16", "16"]),
            port("num_logits_to_keep", &[]),
        ];
        let options = import_options(&ports, &config, &[], Ranges::new()).unwrap();
        let shown =
            |name: &str| options.shapes[name].iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(shown("inputs_embeds"), "1 tokens 64");
        assert_eq!(shown("attention_mask"), "1 tokens + past");
        assert_eq!(shown("past_key_values.3.key"), "1 2 past 32");
        assert_eq!(shown("input.past_key_values.layers.0.keys"), "1 2 past 32");
        assert_eq!(shown("past.0.conv"), "1 192 3");
        assert_eq!(shown("input.past_key_values.layers.1.conv_states.0"), "1 192 4");
        assert_eq!(shown("past_key_values.2.recurrent_state"), "1 4 16 16");
        assert_eq!(options.constants["num_logits_to_keep"], Scalar::Int(0));
    }

    #[test]
    fn what_is_not_known_is_an_error() {
        let config = ModelConfig::default();
        let error = import_options(&[port("mystery", &["2"])], &config, &[], Ranges::new()).unwrap_err();
        assert!(error.to_string().contains("mystery"));
        let conv = [port("past_conv.1", &["batch", "channels", "3"])];
        let error = import_options(&conv, &config, &[], Ranges::new()).unwrap_err();
        assert!(error.to_string().contains("--dim channels=N"), "{error}");
        let given = [("channels".to_string(), 192)];
        assert!(import_options(&conv, &config, &given, Ranges::new()).is_ok());
    }
}
