//! Which operators are supported, and who imports them.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::call::Call;
use super::{
    activation, attention, channel_norm, constant, conv, einsum, elementwise, gather, linear_attention,
    matmul, norm, pool, quantized, recurrent, reduce, resize, rope, scatter, select, shape, slice, tile,
    window,
};
use crate::onnx::values::{Builder, Result, V};

/// Builds the outputs of one node. Outputs that an importer cannot give are `None`, or left out at the end.
pub(in crate::onnx) type Importer = fn(&mut Builder, &Call<'_>) -> Result<Vec<Option<V>>>;

/// A supported operator.
#[derive(Clone, Copy, Debug)]
pub struct OpEntry {
    /// Its domain; "" is the standard one.
    pub domain: &'static str,
    /// Its name.
    pub name: &'static str,
    pub(in crate::onnx) import: Importer,
}

/// The domain of ONNX Runtime's operators.
pub(in crate::onnx) const MICROSOFT: &str = "com.microsoft";

/// The tables of all families.
const FAMILIES: [&[OpEntry]; 23] = [
    activation::OPS,
    attention::OPS,
    channel_norm::OPS,
    constant::OPS,
    conv::OPS,
    einsum::OPS,
    elementwise::OPS,
    gather::OPS,
    linear_attention::OPS,
    matmul::OPS,
    norm::OPS,
    pool::OPS,
    quantized::OPS,
    recurrent::OPS,
    reduce::OPS,
    resize::OPS,
    rope::OPS,
    scatter::OPS,
    select::OPS,
    shape::OPS,
    slice::OPS,
    tile::OPS,
    window::OPS,
];

/// Every supported operator, by domain and name. `If` is supported besides, when its condition is known.
pub fn registry() -> impl Iterator<Item = &'static OpEntry> {
    table().values().copied()
}

fn table() -> &'static BTreeMap<(&'static str, &'static str), &'static OpEntry> {
    static TABLE: OnceLock<BTreeMap<(&'static str, &'static str), &'static OpEntry>> = OnceLock::new();
    TABLE.get_or_init(|| {
        FAMILIES
            .iter()
            .flat_map(|family| family.iter())
            .map(|entry| ((entry.domain, entry.name), entry))
            .collect()
    })
}

/// The importer of an operator.
pub(in crate::onnx) fn find(domain: &str, name: &str) -> Option<Importer> {
    table().get(&(domain, name)).map(|entry| entry.import)
}

/// An entry of the standard domain.
pub(super) const fn standard(name: &'static str, import: Importer) -> OpEntry {
    OpEntry { domain: "", name, import }
}

/// An entry of ONNX Runtime's domain.
pub(super) const fn microsoft(name: &'static str, import: Importer) -> OpEntry {
    OpEntry { domain: MICROSOFT, name, import }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_operator_is_listed_twice() {
        let listed: usize = FAMILIES.iter().map(|family| family.len()).sum();
        assert_eq!(listed, registry().count());
    }
}
