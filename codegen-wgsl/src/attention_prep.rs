//! What happens to q, k and v between projection and attention, in one dispatch: RMS norm per head, rotation, and the
//! append to the caches.

use askama::Template;
use qwenc_ir::Dim;

use crate::checks::{Access, Checks, render};
use crate::kernel::{Bindings, CodegenError, Kernel, Symbols};
use crate::rope::Rotation;
use crate::view::{Elem, View};

const FAMILY: &str = "attention_prep";
/// Widest head: it is held in workgroup memory.
const MAX_WIDTH: u32 = 2048;

/// RMS norm over a head: `x / sqrt(mean(x^2) + eps) * weight`.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadNorm {
    /// `[D]` f32.
    pub weight: View,
    /// Added to the mean square.
    pub eps: f32,
}

/// One tensor of heads on its way: `output = rotate(norm(input))`.
#[derive(Clone, Debug, PartialEq)]
pub struct PrepPart {
    /// `[S, H, D]` f32 in any layout; H and D are constants, D at most 2048.
    pub input: View,
    /// Norm in front of the rotation.
    pub norm: Option<HeadNorm>,
    /// Whether [`AttentionPrepParams::rotation`] applies.
    pub rotate: bool,
    /// `[S, H, D]`: a dense tensor for q, [`cache_rows`] of a cache for k and v. May be the input itself.
    pub output: View,
}

/// Parameters of [`kernel`]: usually three parts, q, k and v. All have the same S.
///
/// q, k and v normally lie in one allocation; with norms and a rope table the kernel then binds 1 + 2 + 2 + 3 = 8
/// storage buffers, which is the limit. If they do not, give the parts to several kernels.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionPrepParams {
    /// The tensors, in the order in which workgroups are laid out.
    pub parts: Vec<PrepPart>,
    /// Rotation of the parts that ask for it.
    pub rotation: Option<Rotation>,
}

/// The rows of a cache `[H, T, D]` that this call appends, the last `tokens` of them, as `[tokens, H, D]`: what a
/// part writes to. `None` when the cache is not of rank 3.
pub fn cache_rows(cache: &View, tokens: &Dim) -> Option<View> {
    let [heads, total, width] = cache.shape.as_slice() else { return None };
    let [head_stride, row_stride, element_stride] = cache.strides.as_slice() else { return None };
    let past = total.clone() - tokens.clone();
    Some(View {
        buffer: cache.buffer,
        elem: cache.elem,
        offset: cache.offset.clone() + past * row_stride.clone(),
        shape: vec![tokens.clone(), heads.clone(), width.clone()],
        strides: vec![row_stride.clone(), head_stride.clone(), element_stride.clone()],
    })
}

/// One part as the template sees it.
struct Part<'a> {
    input: Access<'a>,
    output: Access<'a>,
    /// Weight and epsilon.
    norm: Option<(Access<'a>, String)>,
    rotate: bool,
    /// The part's heads in the grid's first dimension: from here, to there.
    start: u32,
    end: u32,
    width: u32,
}

#[derive(Template)]
#[template(path = "attention_prep.wgsl", escape = "none")]
struct Source<'a> {
    declarations: String,
    angle: Option<String>,
    /// R/2, and the elements of pair `i`.
    half: u32,
    first: String,
    second: String,
    parts: Vec<Part<'a>>,
    row: u32,
    workgroup: u32,
}

/// Norms, rotates and stores every part.
///
/// # Errors
/// When shapes do not fit each other, H and D are not constants, or more than 8 buffers would be bound.
pub fn kernel(symbols: &Symbols, params: &AttentionPrepParams) -> Result<Kernel, CodegenError> {
    let checks = Checks::of(FAMILY);
    let first = params.parts.first().ok_or_else(|| checks.fail("there are no parts"))?;
    let [tokens, _, _] = checks.shape("the input", &first.input, Elem::F32)?;

    let mut bindings = Bindings::new();
    let outputs: Vec<_> = params.parts.iter().map(|part| bindings.write(&part.output)).collect();
    let mut parts = Vec::new();
    let (mut heads_before, mut row, mut half) = (0u32, 1u32, 0u32);
    for (part, output) in params.parts.iter().zip(outputs) {
        let [_, heads, width] = checks.shape("an input", &part.input, Elem::F32)?;
        checks.expect("an input", &part.input, Elem::F32, &[&tokens, &heads, &width])?;
        checks.expect("an output", &part.output, Elem::F32, &[&tokens, &heads, &width])?;
        let heads = checks.constant("the number of heads", &heads, 65535)?;
        let norm = match &part.norm {
            Some(norm) => {
                checks.expect("a norm's weight", &norm.weight, Elem::F32, &[&width])?;
                let weight = Access::new(bindings.read(&norm.weight), symbols);
                Some((weight, checks.literal("a norm's epsilon", norm.eps)?))
            }
            None => None,
        };
        let width = checks.constant("the head width", &width, MAX_WIDTH)?;
        if part.rotate {
            let rotation = params.rotation.as_ref().ok_or_else(|| checks.fail("there is no rotation"))?;
            half = rotation.check(checks, &tokens, width)?;
        }
        row = row.max(width);
        parts.push(Part {
            input: Access::new(bindings.read(&part.input), symbols),
            output: Access::new(output, symbols),
            norm,
            rotate: part.rotate,
            start: heads_before,
            end: heads_before + heads,
            width,
        });
        heads_before += heads;
    }
    let rotation = params.rotation.as_ref().filter(|_| half > 0);
    let (first, second) = rotation.map(|rotation| rotation.pair("i")).unwrap_or_default();
    let angle = rotation.map(|rotation| rotation.angle_function(symbols, &mut bindings));
    let workgroup = row.next_power_of_two().clamp(32, 128);
    let source =
        Source { declarations: bindings.declarations(), angle, half, first, second, parts, row, workgroup };
    let workgroups = [Dim::constant(i64::from(heads_before)), tokens, Dim::constant(1)];
    bindings.finish(FAMILY, symbols, render(FAMILY, &source)?, [workgroup, 1, 1], workgroups)
}
