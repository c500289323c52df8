//! How kernels read a [`Weight`]: its bindings, and WGSL that unpacks it.

use qwenc_ir::Dim;

use crate::checks::Checks;
use crate::kernel::{Bindings, CodegenError, Operand, Symbols};
use crate::view::View;
use crate::weight::{CodeBits, QuantBlock, QuantFormat, ScaleType, Weight, WeightFormat, ZeroPoint};

/// How much of a row a kernel reads at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grain {
    /// Four elements: [`BoundWeight::vector`].
    Vector,
    /// Eight elements: [`BoundWeight::pair_functions`].
    Pair,
    /// [`WeightFormat::unit`]: [`BoundWeight::add_unit`].
    Unit,
}

/// A weight's bindings.
pub(crate) struct BoundWeight {
    pub(crate) format: WeightFormat,
    k: u32,
    /// In loads: the view's last axis and its offset count what one load reads.
    values: Operand,
    scales: Option<Operand>,
    zeros: Option<Operand>,
    /// Loads of a row.
    row: usize,
    /// Scales of a row.
    blocks: usize,
}

impl BoundWeight {
    /// Binds a checked weight with `k` columns.
    pub(crate) fn bind(
        checks: Checks,
        bindings: &mut Bindings,
        weight: &Weight,
        k: u32,
        grain: Grain,
    ) -> Result<Self, CodegenError> {
        let format = weight.format;
        let words = match (grain, format) {
            (Grain::Unit, _) | (_, WeightFormat::F32) => format.unit_words(),
            (Grain::Vector, WeightFormat::F16 | WeightFormat::Bf16) => 2,
            (Grain::Pair, WeightFormat::F16 | WeightFormat::Bf16) => 4,
            (Grain::Vector | Grain::Pair, WeightFormat::Quantized(_)) => 1,
        };
        let elem = weight.values.elem.wgsl();
        let load = if words == 1 { elem.to_string() } else { format!("vec{words}<{elem}>") };
        let offset = weight.values.offset.exact_div(&Dim::from(words));
        let offset = offset.ok_or_else(|| checks.fail("the weight is not aligned"))?;
        let values = bindings.read_as(&View { offset, ..weight.values.clone() }, &load);
        Ok(Self {
            format,
            k,
            values,
            scales: weight.scales.as_ref().map(|view| bindings.read(view)),
            zeros: weight.zeros.as_ref().map(|view| bindings.read(view)),
            row: format.row_words(k as usize) / words,
            blocks: format.blocks(k as usize),
        })
    }

    /// The WGSL functions that unpack values, scales and zero points, each with a blank line behind. None for f32.
    pub(crate) fn functions(&self, symbols: &Symbols) -> String {
        let flat = |operand: &Operand, index: &str| operand.at(symbols, &[index]);
        let mut text = match self.format {
            WeightFormat::F32 => String::new(),
            WeightFormat::F16 => "\
// Four 16-bit floats.
fn floats4(a: u32, b: u32) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(a), unpack2x16float(b));
}

"
            .to_string(),
            WeightFormat::Bf16 => "\
// Four floats of which only the upper halves are stored.
fn floats4(a: u32, b: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4<u32>(a << 16u, a & 0xffff0000u, b << 16u, b & 0xffff0000u));
}

"
            .to_string(),
            WeightFormat::Quantized(quant) => codes_function(quant),
        };
        if let (WeightFormat::Quantized(quant), Some(scales)) = (self.format, &self.scales) {
            text += "// The scale of a block.\nfn scale_at(i: u32) -> f32 {\n";
            text += &match quant.scales {
                ScaleType::F32 => format!("    return {};\n}}\n\n", flat(scales, "i")),
                ScaleType::F16 => format!(
                    "    let pair = unpack2x16float({});\n    return select(pair.x, pair.y, i % 2u == 1u);\n}}\n\n",
                    flat(scales, "i / 2u")
                ),
            };
        }
        if let (WeightFormat::Quantized(quant), Some(zeros)) = (self.format, &self.zeros) {
            text += "// The zero point of a block.\nfn zero_at(i: u32) -> f32 {\n";
            text += &match quant.zero {
                ZeroPoint::Codes => {
                    let (bits, per_word) = (quant.bits.get(), quant.bits.per_word());
                    let word = flat(zeros, &format!("i / {per_word}u"));
                    let mask = (1 << bits) - 1;
                    format!("    return f32(({word} >> (i % {per_word}u * {bits}u)) & {mask}u);\n}}\n\n")
                }
                ZeroPoint::Constant(_) | ZeroPoint::Float => {
                    format!("    return {};\n}}\n\n", flat(zeros, "i"))
                }
            };
        }
        text
    }

    /// The body of a WGSL function of `r` and `q` that gives elements 4q to 4q+3 of row r. Those beyond K may be
    /// anything finite.
    pub(crate) fn vector(&self, symbols: &Symbols) -> String {
        let load = |index: &str| {
            let offset = &self.values.view.offset;
            let offset = if offset.is(0) { String::new() } else { format!("{} + ", symbols.wgsl(offset)) };
            format!("{}[{offset}r * {}u + {index}]", self.values.var, self.row)
        };
        match self.format {
            WeightFormat::F32 => format!("    return {};\n", load("q")),
            WeightFormat::F16 | WeightFormat::Bf16 => {
                format!("    let pair = {};\n    return floats4(pair.x, pair.y);\n", load("q"))
            }
            WeightFormat::Quantized(quant) => {
                let codes = match quant.bits {
                    CodeBits::Two => format!("{} >> (q % 4u * 8u)", load("q / 4u")),
                    CodeBits::Four => format!("{} >> (q % 2u * 16u)", load("q / 2u")),
                    CodeBits::Eight => load("q"),
                };
                let block = match quant.block {
                    QuantBlock::Elements(block) if self.blocks > 1 => {
                        format!("r * {}u + {}", self.blocks, block_of("q", block, 4))
                    }
                    QuantBlock::Elements(_) | QuantBlock::Row => "r".to_string(),
                };
                let zero = if self.zeros.is_some() { ", zero_at(block)" } else { "" };
                format!(
                    "    let codes = {codes};\n    let block = {block};\n    \
                     return codes4(codes{zero}) * scale_at(block);\n"
                )
            }
        }
    }

    /// WGSL functions that read two vectors of four elements in two steps, each with a blank line behind: `w8(r, p)` loads
    /// elements 8p to 8p+7 of row r, and `first4` and `second4` unpack them, so that nothing waits for memory between the
    /// two. Rows from `rows` on give those of the last row; elements beyond K may be anything finite.
    pub(crate) fn pair_functions(&self, symbols: &Symbols, rows: u32) -> String {
        let offset = &self.values.view.offset;
        let offset = if offset.is(0) { String::new() } else { format!("{} + ", symbols.wgsl(offset)) };
        let load = |index: &str| format!("{}[{offset}row * {}u + {index}]", self.values.var, self.row);
        let pairs = self.k.div_ceil(8);
        let clamps = format!(
            "    let row = min(r, {}u);\n    let pair = min(p, {}u);\n",
            rows.saturating_sub(1),
            pairs.saturating_sub(1)
        );
        let (packed, body, first, second) = match self.format {
            WeightFormat::F32 => {
                let last = self.k.div_ceil(4).saturating_sub(1);
                let second = load(&format!("min(2u * pair + 1u, {last}u)"));
                let body = format!("    return mat2x4<f32>({}, {second});\n", load("2u * pair"));
                ("mat2x4<f32>", body, "w[0]".to_string(), "w[1]".to_string())
            }
            WeightFormat::F16 | WeightFormat::Bf16 => {
                let body = format!("    return {};\n", load("pair"));
                ("vec4<u32>", body, "floats4(w.x, w.y)".to_string(), "floats4(w.z, w.w)".to_string())
            }
            WeightFormat::Quantized(quant) => {
                let (first, second) = match quant.bits {
                    CodeBits::Two => {
                        let codes = format!("{} >> (pair % 2u * 16u)", load("pair / 2u"));
                        (codes, "codes >> 8u".to_string())
                    }
                    CodeBits::Four => (load("pair"), "codes >> 16u".to_string()),
                    CodeBits::Eight => (load("2u * pair"), load("2u * pair + 1u")),
                };
                let block = match quant.block {
                    QuantBlock::Elements(block) if self.blocks > 1 => {
                        format!("row * {}u + {}", self.blocks, block_of("pair", block, 8))
                    }
                    QuantBlock::Elements(_) | QuantBlock::Row => "row".to_string(),
                };
                let zero = if self.zeros.is_some() { "bitcast<u32>(zero_at(block))" } else { "0u" };
                let body = format!(
                    "    let codes = {first};\n    let block = {block};\n    \
                     return vec4<u32>(codes, {second}, bitcast<u32>(scale_at(block)), {zero});\n"
                );
                let zero = if self.zeros.is_some() { ", bitcast<f32>(w.w)" } else { "" };
                let unpack = |codes: &str| format!("codes4({codes}{zero}) * bitcast<f32>(w.z)");
                ("vec4<u32>", body, unpack("w.x"), unpack("w.y"))
            }
        };
        format!(
            "\
// Elements 8p to 8p+7 of row r of the weight, as they are stored.
fn w8(r: u32, p: u32) -> {packed} {{
{clamps}{body}}}

// The first four of them.
fn first4(w: {packed}) -> vec4<f32> {{
    return {first};
}}

// The last four of them.
fn second4(w: {packed}) -> vec4<f32> {{
    return {second};
}}

"
        )
    }

    /// The index of the first unit of a row, as WGSL.
    pub(crate) fn row_start(&self, symbols: &Symbols, row: &str) -> String {
        let offset = &self.values.view.offset;
        let offset = if offset.is(0) { String::new() } else { format!(" + {}", symbols.wgsl(offset)) };
        format!("{row} * {}u{offset}", self.row)
    }

    /// The index of the first scale of a row, as WGSL; `None` for floats.
    pub(crate) fn scale_start(&self, row: &str) -> Option<String> {
        match self.blocks {
            0 => None,
            1 => Some(row.to_string()),
            blocks => Some(format!("{row} * {blocks}u")),
        }
    }

    /// Statements that load a unit of a row under the name `part`: `at` is the unit's index in all values, `unit` its index
    /// in its row, whose scales start at `scales`.
    pub(crate) fn load_unit(&self, part: &str, at: &str, scales: &str, unit: &str) -> String {
        let mut text = format!("let p{part} = {}[{at}];", self.values.var);
        let WeightFormat::Quantized(quant) = self.format else { return text };
        let block = match quant.block {
            QuantBlock::Elements(block) if self.blocks > 1 => {
                format!("{scales} + {}", block_of(unit, block, 16))
            }
            QuantBlock::Elements(_) | QuantBlock::Row => scales.to_string(),
        };
        text += &format!(" let scale{part} = scale_at({block});");
        if self.zeros.is_some() {
            text += &format!(" let zero{part} = zero_at({block});");
        }
        text
    }

    /// WGSL that adds the products of the unit loaded as `part` with x to `sum`, a vec4 whose elements are summed in the
    /// end. `x` are the vectors of x, one for each four elements of the unit.
    pub(crate) fn add_unit(&self, part: &str, x: &[String], sum: &str) -> String {
        let x = x.join(", ");
        match (self.format, &self.zeros) {
            (WeightFormat::F32, _) => format!("fma(p{part}, {x}, {sum})"),
            (WeightFormat::F16 | WeightFormat::Bf16, _) => format!("add_unit(p{part}, {x}, {sum})"),
            (WeightFormat::Quantized(_), None) => format!("add_unit(p{part}, scale{part}, {x}, {sum})"),
            (WeightFormat::Quantized(_), Some(_)) => {
                format!("add_unit(p{part}, scale{part}, zero{part}, {x}, {sum})")
            }
        }
    }

    /// The function that [`Self::add_unit`] calls, with a blank line behind. None for f32.
    pub(crate) fn unit_function(&self) -> String {
        let vectors = self.format.unit_vectors();
        let parameters: String = (0..vectors).map(|v| format!("x{v}: vec4<f32>, ")).collect();
        let words = match self.format.unit_words() {
            1 => "u32".to_string(),
            words => format!("vec{words}<u32>"),
        };
        match self.format {
            WeightFormat::F32 => String::new(),
            WeightFormat::F16 | WeightFormat::Bf16 => format!(
                "\
// Adds the products of 8 elements of the weight with x to four sums.
fn add_unit(w: {words}, {parameters}sum: vec4<f32>) -> vec4<f32> {{
    return fma(floats4(w.z, w.w), x1, fma(floats4(w.x, w.y), x0, sum));
}}

"
            ),
            WeightFormat::Quantized(quant) => {
                let (zero, zero_parameter) =
                    if self.zeros.is_some() { (", zero", "zero: f32, ") } else { ("", "") };
                let codes = |vector: u32| {
                    let (word, shift) = match quant.bits {
                        CodeBits::Two => ("w".to_string(), 8 * vector),
                        CodeBits::Four => (format!("w[{}]", vector / 2), 16 * (vector % 2)),
                        CodeBits::Eight => (format!("w[{vector}]"), 0),
                    };
                    let word = if shift == 0 { word } else { format!("{word} >> {shift}u") };
                    format!("codes4({word}{zero})")
                };
                let mut text = format!(
                    "\
// Adds the products of 16 elements of the weight, scaled together, with x to four sums.
fn add_unit(w: {words}, scale: f32, {zero_parameter}{parameters}sum: vec4<f32>) -> vec4<f32> {{
"
                );
                text += &format!("    var unscaled = {} * x0;\n", codes(0));
                for vector in 1..vectors {
                    text += &format!("    unscaled = fma({}, x{vector}, unscaled);\n", codes(vector));
                }
                text + "    return fma(unscaled, vec4<f32>(scale), sum);\n}\n\n"
            }
        }
    }

    /// For the comment at the head of a shader.
    pub(crate) fn describe(&self) -> String {
        let (rows, k) = (&self.values.view.shape[0], self.k);
        match self.format {
            WeightFormat::F32 => format!("[{rows}, {}] row-major", 4 * self.row),
            WeightFormat::F16 => format!("[{rows}, {k}] row-major, f16"),
            WeightFormat::Bf16 => format!("[{rows}, {k}] row-major, bf16"),
            WeightFormat::Quantized(quant) => {
                let block = match quant.block {
                    QuantBlock::Elements(block) => format!("blocks of {block}"),
                    QuantBlock::Row => "one block a row".to_string(),
                };
                let scales = match quant.scales {
                    ScaleType::F32 => "f32",
                    ScaleType::F16 => "f16",
                };
                let zero = match quant.zero {
                    ZeroPoint::Constant(zero) => format!("zero point {zero}"),
                    ZeroPoint::Codes => "zero points in codes".to_string(),
                    ZeroPoint::Float => "zero points in f32".to_string(),
                };
                let bits = quant.bits.get();
                format!("[{rows}, {k}] row-major, codes of {bits} bits, {block}, scales in {scales}, {zero}")
            }
        }
    }
}

/// The block within its row that holds part `index` of `elements` elements each, as WGSL.
fn block_of(index: &str, block: u32, elements: u32) -> String {
    if block == elements { index.to_string() } else { format!("{index} / {}u", block / elements) }
}

/// `fn codes4`: four codes less their zero point, as floats.
///
/// A code is not converted. Its bits are masked where they lie and put under the exponent with which the last of these
/// bits counts 1: that is the float `base + code`, from which `base + zero` is subtracted. All of this is exact while the
/// zero point is a whole number. Others would be rounded to the places that the base leaves, so there codes are converted.
fn codes_function(quant: QuantFormat) -> String {
    let bits = quant.bits.get();
    // Where codes lie in their words. 16 bits and more from the low end would not fit the mantissa.
    let (source, places) = match quant.bits {
        CodeBits::Two => ("vec4<u32>(bits)", [0, 2, 4, 6]),
        CodeBits::Four => ("vec4<u32>(bits)", [0, 4, 8, 12]),
        CodeBits::Eight => ("vec4<u32>(bits, bits, bits >> 16u, bits >> 16u)", [0, 8, 0, 8]),
    };
    let list = |value: &dyn Fn(u32) -> String| places.map(value).join(", ");
    let mask = (1u32 << bits) - 1;
    let masks = list(&|place| format!("{:#x}u", mask << place));
    let exponents = list(&|place| format!("{:#x}u", (150 - place) << 23));
    let base = |zero: u32| list(&|place| format!("{}.0", (1u32 << (23 - place)) + zero));
    let floats = format!("bitcast<vec4<f32>>(({source} & vec4<u32>({masks})) | vec4<u32>({exponents}))");
    let (zero, value) = match quant.zero {
        ZeroPoint::Constant(zero) => ("", format!("{floats}\n        - vec4<f32>({})", base(zero))),
        ZeroPoint::Codes => {
            (", zero: f32", format!("{floats}\n        - (vec4<f32>({}) + vec4<f32>(zero))", base(0)))
        }
        ZeroPoint::Float => {
            let shifts = list(&|place| format!("{place}u"));
            let codes = format!("({source} >> vec4<u32>({shifts})) & vec4<u32>({mask}u)");
            (", zero: f32", format!("vec4<f32>({codes}) - vec4<f32>(zero)"))
        }
    };
    format!(
        "\
// The first four codes of {bits} bits, less the zero point.
fn codes4(bits: u32{zero}) -> vec4<f32> {{
    return {value};
}}

"
    )
}
