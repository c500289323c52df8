//! The library of WGSL functions in `templates/math.wgsl`, handed out by need.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use qwenc_ir::Activation;

struct Function {
    text: &'static str,
    calls: Vec<&'static str>,
}

static LIBRARY: LazyLock<BTreeMap<&'static str, Function>> = LazyLock::new(|| {
    let blocks = include_str!("../templates/math.wgsl").split("\n\n");
    let named: Vec<(&str, &str)> =
        blocks.filter_map(|text| Some((defined(text)?, text.trim_end()))).collect();
    let function = |(name, text): &(&'static str, &'static str)| {
        let calls = named.iter().map(|(other, _)| *other);
        let calls = calls.filter(|other| other != name && calls_function(text, other)).collect();
        (*name, Function { text, calls })
    };
    named.iter().map(function).collect()
});

/// The name of the function that a block defines.
fn defined(block: &'static str) -> Option<&'static str> {
    let line = block.lines().find(|line| line.starts_with("fn "))?;
    line.strip_prefix("fn ")?.split('(').next()
}

fn calls_function(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        before.is_none_or(|c| !(c.is_ascii_alphanumeric() || c == '_'))
            && text[at + name.len()..].starts_with('(')
    })
}

/// The functions of the library that one kernel uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MathLibrary {
    names: BTreeSet<&'static str>,
}

impl MathLibrary {
    /// Uses a function, and all that it calls. `name` is one of the library's.
    pub fn need(&mut self, name: &'static str) {
        if self.names.insert(name) {
            for called in LIBRARY.get(name).iter().flat_map(|function| &function.calls) {
                self.need(called);
            }
        }
    }

    /// `name(arguments...)`, using the function.
    pub fn call(&mut self, name: &'static str, arguments: &[&str]) -> String {
        self.need(name);
        format!("{name}({})", arguments.join(", "))
    }

    /// An f32 constant; also infinities and NaN.
    pub fn literal(&mut self, value: f32) -> String {
        if !value.is_finite() {
            return self.call("float_from_bits", &[&format!("0x{:08x}u", value.to_bits())]);
        }
        // `{:?}` prints the shortest text that reads back to the same value.
        let text = format!("{value:?}f");
        if text.starts_with('-') { format!("({text})") } else { text }
    }

    /// A gate's activation of an f32 expression.
    pub fn activation(&mut self, activation: Activation, value: &str) -> String {
        match activation {
            Activation::Identity => value.to_string(),
            Activation::Silu => self.call("silu", &[value]),
            Activation::Sigmoid => self.call("sigmoid", &[value]),
        }
    }

    /// The definitions, in alphabetical order, each followed by an empty line.
    #[must_use]
    pub fn text(&self) -> String {
        let texts = self.names.iter().filter_map(|name| LIBRARY.get(name));
        texts.map(|function| format!("{}\n\n", function.text)).collect()
    }
}

/// `fn activate(x: f32) -> f32`, with what it calls: for templates.
pub(crate) fn activate(activation: Activation) -> String {
    let mut math = MathLibrary::default();
    let value = math.activation(activation, "x");
    format!("{}fn activate(x: f32) -> f32 {{\n    return {value};\n}}", math.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_library_is_valid() {
        let mut library = MathLibrary::default();
        for name in LIBRARY.keys() {
            library.need(name);
        }
        assert!(library.names.len() > 30);
        let source = library.text() + "@compute @workgroup_size(1, 1, 1)\nfn main() {\n}\n";
        crate::validate::validate("math", &source, [1, 1, 1], crate::validate::Features::None).unwrap();
    }

    #[test]
    fn calls_bring_what_they_call() {
        let mut library = MathLibrary::default();
        assert_eq!(library.activation(Activation::Silu, "x"), "silu(x)");
        assert_eq!(library.names.iter().copied().collect::<Vec<_>>(), ["sigmoid", "silu"]);
        assert_eq!(library.literal(f32::NEG_INFINITY), "float_from_bits(0xff800000u)");
        assert_eq!(library.literal(-1e-6), "(-1e-6f)");
    }
}
