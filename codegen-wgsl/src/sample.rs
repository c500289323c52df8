//! Choosing a token from logits, in three launches: scores of all tokens ([`scan`]), the few that may be kept
//! ([`narrow`]), and the choice ([`choose`]). `docs/sampling.md` says what the parameters mean and why the result is exact.

use askama::Template;
use qwenc_ir::Dim;

use crate::checks::{Access, Checks, render};
use crate::indexing::in_vec4;
use crate::kernel::{Bindings, CodegenError, Kernel, Symbols};
use crate::view::{Elem, View};

const FAMILY: &str = "sample";
const WORKGROUP: u32 = 256;
/// Tokens of a workgroup of the first two kernels.
const CHUNK: u32 = 1024;
/// Candidates that the last kernel ranks in workgroup memory.
const CAPACITY: u32 = 512;
/// Candidates that there is room for; with more, the last kernel looks at all scores.
const LISTED: u32 = 8192;
/// Words in front of the candidates.
const HEADER: u32 = 4;
/// Vectors of scores that an invocation of the last kernel reads at a time, when it looks at all.
const SCAN_VECTORS: u32 = 4;
const COMPONENTS: [&str; 4] = ["x", "y", "z", "w"];
/// Counts of tokens are exact in f32.
const MAX_VOCABULARY: u32 = 1 << 22;
/// Words of the input `sampling`.
pub const PARAMETER_WORDS: usize = 12;

/// Operands of all three kernels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleParams {
    /// `[V]` f32, dense, as all operands.
    pub logits: View,
    /// `[12]` u32.
    pub sampling: View,
    /// `[V]` u32: occurrences in the answer, and in bit 31 whether the token is in the prompt. Updated.
    pub counts: View,
    /// Scratch; shapes by [`Scratch`].
    pub scratch: Scratch<View>,
    /// `[1]` u32: the token, or `0xffffffff` when there is none.
    pub token: View,
    /// `[1]` i32: the token as the next input.
    pub input_id: View,
}

/// Scratch memory between the kernels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scratch<T> {
    /// f32: the logits after penalties, padded to a multiple of 1024.
    pub scores: T,
    /// f32: of every 256 tokens the largest score and the sum of weights.
    pub groups: T,
    /// u32: the number of candidates, the bits of the largest score and of the mass of all, 0; of each candidate the
    /// token and the bits of its score.
    pub candidates: T,
    /// u32: of every 1024 tokens the best key (the bits of an f32) and its token.
    pub best: T,
}

impl Scratch<(Elem, Vec<Dim>)> {
    /// Element types and shapes for a vocabulary.
    pub fn shapes(vocabulary: u32) -> Self {
        let chunks = i64::from(vocabulary.div_ceil(CHUNK));
        let dims = |sizes: &[i64]| sizes.iter().map(|size| Dim::constant(*size)).collect();
        Self {
            scores: (Elem::F32, dims(&[chunks * i64::from(CHUNK)])),
            groups: (Elem::F32, dims(&[4 * chunks, 2])),
            candidates: (Elem::U32, dims(&[i64::from(HEADER + 2 * LISTED)])),
            best: (Elem::U32, dims(&[chunks, 2])),
        }
    }
}

/// What the text of all three kernels begins with: sizes, and the parameters of the choice.
#[derive(Template)]
#[template(path = "sample_common.wgsl", escape = "none")]
struct Common<'a> {
    vocabulary: u32,
    /// Of [`CHUNK`] tokens.
    chunks: u32,
    capacity: u32,
    listed: u32,
    header: u32,
    sampling: Access<'a>,
}

#[derive(Template)]
#[template(path = "sample_draw.wgsl", escape = "none")]
struct Draw;

#[derive(Template)]
#[template(path = "sample_scan.wgsl", escape = "none")]
struct Scan<'a> {
    declarations: String,
    common: Common<'a>,
    logits: Access<'a>,
    counts: Access<'a>,
    scores: Access<'a>,
    groups: Access<'a>,
    candidates: Access<'a>,
}

#[derive(Template)]
#[template(path = "sample_narrow.wgsl", escape = "none")]
struct Narrow<'a> {
    declarations: String,
    common: Common<'a>,
    draw: Draw,
    scores: Access<'a>,
    /// Largest score and sum of the groups that an invocation looks at.
    groups: Vec<[String; 2]>,
    candidates: Access<'a>,
    best: Access<'a>,
    components: [&'static str; 4],
}

#[derive(Template)]
#[template(path = "sample_choose.wgsl", escape = "none")]
struct Choose<'a> {
    declarations: String,
    common: Common<'a>,
    draw: Draw,
    scores: Access<'a>,
    /// The vectors of scores that are read together.
    scan: Vec<String>,
    candidates: Access<'a>,
    best: Access<'a>,
    counts: Access<'a>,
    token: Access<'a>,
    input_ids: Access<'a>,
}

impl<'a> Common<'a> {
    fn of(vocabulary: u32, sampling: Access<'a>) -> Self {
        Self {
            vocabulary,
            chunks: vocabulary.div_ceil(CHUNK),
            capacity: CAPACITY,
            listed: LISTED,
            header: HEADER,
            sampling,
        }
    }
}

impl SampleParams {
    /// The scores in units of four.
    fn scores4(&self) -> Result<View, CodegenError> {
        in_vec4(&self.scratch.scores).ok_or_else(|| Checks::of(FAMILY).fail("the scores are not aligned"))
    }

    /// Checks all operands; gives the size of the vocabulary.
    fn check(&self) -> Result<u32, CodegenError> {
        let checks = Checks::of(FAMILY);
        let [size] = checks.shape("the logits", &self.logits, Elem::F32)?;
        let vocabulary = checks.constant("the vocabulary", &size, MAX_VOCABULARY)?;
        let one = Dim::constant(1);
        let words = Dim::from(PARAMETER_WORDS);
        checks.expect("the parameters", &self.sampling, Elem::U32, &[&words])?;
        checks.expect("the counts", &self.counts, Elem::U32, &[&size])?;
        checks.expect("the token", &self.token, Elem::U32, &[&one])?;
        checks.expect("the next input", &self.input_id, Elem::I32, &[&one])?;
        let (have, want) = (&self.scratch, Scratch::shapes(vocabulary));
        for (what, view, (elem, shape)) in [
            ("the scores", &have.scores, want.scores),
            ("the groups", &have.groups, want.groups),
            ("the candidates", &have.candidates, want.candidates),
            ("the best tokens", &have.best, want.best),
        ] {
            checks.expect(what, view, elem, &shape.iter().collect::<Vec<_>>())?;
        }
        Ok(vocabulary)
    }
}

/// The first launch: logits and counts to scores and groups.
///
/// # Errors
/// When operands do not fit each other.
pub fn scan(symbols: &Symbols, params: &SampleParams) -> Result<Kernel, CodegenError> {
    let vocabulary = params.check()?;
    let mut bindings = Bindings::new();
    let scores = Access::new(bindings.write(&params.scratch.scores), symbols);
    let groups = Access::new(bindings.write(&params.scratch.groups), symbols);
    let candidates = Access::new(bindings.write(&params.scratch.candidates), symbols);
    let logits = Access::new(bindings.read(&params.logits), symbols);
    let sampling = Access::new(bindings.read(&params.sampling), symbols);
    let counts = Access::new(bindings.read(&params.counts), symbols);
    let source = Scan {
        declarations: bindings.declarations(),
        common: Common::of(vocabulary, sampling),
        logits,
        counts,
        scores,
        groups,
        candidates,
    };
    finish(bindings, "sample_scan", symbols, render(FAMILY, &source)?, vocabulary.div_ceil(CHUNK))
}

/// The second launch: candidates, or without filters the best token of each chunk.
///
/// # Errors
/// When operands do not fit each other.
pub fn narrow(symbols: &Symbols, params: &SampleParams) -> Result<Kernel, CodegenError> {
    let vocabulary = params.check()?;
    let mut bindings = Bindings::new();
    let candidates = Access::new(bindings.write_as(&params.scratch.candidates, "atomic<u32>"), symbols);
    let best = Access::new(bindings.write(&params.scratch.best), symbols);
    let sampling = Access::new(bindings.read(&params.sampling), symbols);
    let scores = Access::new(bindings.read_as(&params.scores4()?, "vec4<f32>"), symbols);
    let groups = Access::new(bindings.read(&params.scratch.groups), symbols);
    let groups = (0..(4 * vocabulary.div_ceil(CHUNK)).div_ceil(WORKGROUP))
        .map(|n| format!("lid + {}u", n * WORKGROUP))
        .map(|group| ["0u", "1u"].map(|word| groups.at2(&group, word)))
        .collect();
    let source = Narrow {
        declarations: bindings.declarations(),
        common: Common::of(vocabulary, sampling),
        draw: Draw,
        scores,
        groups,
        candidates,
        best,
        components: COMPONENTS,
    };
    finish(bindings, "sample_narrow", symbols, render(FAMILY, &source)?, vocabulary.div_ceil(CHUNK))
}

/// The last launch: the token.
///
/// # Errors
/// When operands do not fit each other.
pub fn choose(symbols: &Symbols, params: &SampleParams) -> Result<Kernel, CodegenError> {
    let vocabulary = params.check()?;
    let mut bindings = Bindings::new();
    let counts = Access::new(bindings.write(&params.counts), symbols);
    let token = Access::new(bindings.write(&params.token), symbols);
    let input_ids = Access::new(bindings.write(&params.input_id), symbols);
    let sampling = Access::new(bindings.read(&params.sampling), symbols);
    let scores = Access::new(bindings.read_as(&params.scores4()?, "vec4<f32>"), symbols);
    let candidates = Access::new(bindings.read(&params.scratch.candidates), symbols);
    let best = Access::new(bindings.read(&params.scratch.best), symbols);
    let scan = (0..SCAN_VECTORS)
        .map(|n| scores.at1(&format!("min(n + {}u, CHUNKS * WORKGROUP - 1u)", n * WORKGROUP)))
        .collect();
    let source = Choose {
        declarations: bindings.declarations(),
        common: Common::of(vocabulary, sampling),
        draw: Draw,
        scan,
        scores,
        candidates,
        best,
        counts,
        token,
        input_ids,
    };
    finish(bindings, "sample_choose", symbols, render(FAMILY, &source)?, 1)
}

fn finish(
    bindings: Bindings,
    family: &'static str,
    symbols: &Symbols,
    source: String,
    workgroups: u32,
) -> Result<Kernel, CodegenError> {
    let workgroups = [i64::from(workgroups), 1, 1].map(Dim::constant);
    bindings.finish(family, symbols, source, [WORKGROUP, 1, 1], workgroups)
}
