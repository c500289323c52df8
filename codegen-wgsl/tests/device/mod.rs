//! Device memory for kernel tests: strided views over poisoned buffers, kernels run on every test GPU and, translated to
//! WebAssembly, on the CPU, and proof that a kernel wrote nothing but its outputs.

#![allow(dead_code, reason = "every test binary uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};

use qwenc_codegen_wgsl::{BufferKey, Elem, Kernel, Need, Symbols, View};
use qwenc_ir::Dim;
use qwenc_runtime::gpu::probe::{run_kernel, test_gpus};
use qwenc_runtime::gpu::{Gpu, GpuOptions};

mod wasm;

/// A NaN as f32; what no test computes.
pub(crate) const POISON: u32 = 0xDEAD_BEEF | 0x7FC0_0000;

/// A constant dim.
pub(crate) fn c(value: usize) -> Dim {
    Dim::from(value)
}

/// A symbol.
pub(crate) fn sym(name: &str) -> Dim {
    Dim::sym(name)
}

/// A dense f32 view of a buffer of its own.
pub(crate) fn dense(buffer: u32, shape: &[Dim]) -> View {
    View::dense(BufferKey(buffer), Elem::F32, shape.to_vec())
}

/// `[rows, heads, width]` cut out of the rows of a projection `[rows, pitch]`, from column `column` on.
pub(crate) fn cut(buffer: u32, rows: &Dim, pitch: usize, column: usize, heads: usize, width: usize) -> View {
    View {
        buffer: BufferKey(buffer),
        elem: Elem::F32,
        offset: c(column),
        shape: vec![rows.clone(), c(heads), c(width)],
        strides: vec![c(pitch), c(width), c(1)],
    }
}

/// `[heads, total, width]` of a cache `[heads, context, width]`.
pub(crate) fn cache(buffer: u32, heads: usize, total: &Dim, context: usize, width: usize) -> View {
    View {
        buffer: BufferKey(buffer),
        elem: Elem::F32,
        offset: c(0),
        shape: vec![c(heads), total.clone(), c(width)],
        strides: vec![c(context * width), c(width), c(1)],
    }
}

/// Symbols, their values in this run, and memory.
#[derive(Clone)]
pub(crate) struct Device {
    pub(crate) symbols: Symbols,
    values: BTreeMap<String, i64>,
    order: Vec<String>,
    memory: BTreeMap<BufferKey, Vec<u32>>,
}

impl Device {
    /// `symbols`: name, largest value, value in this run. Minimum 0.
    pub(crate) fn new(symbols: &[(&str, i64, i64)]) -> Self {
        Self {
            symbols: Symbols::new(symbols.iter().map(|(name, max, _)| (name.to_string(), (0, *max)))),
            values: symbols.iter().map(|(name, _, value)| (name.to_string(), *value)).collect(),
            order: symbols.iter().map(|(name, ..)| name.to_string()).collect(),
            memory: BTreeMap::new(),
        }
    }

    fn value(&self, dim: &Dim) -> usize {
        usize::try_from(self.signed(dim)).unwrap()
    }

    fn signed(&self, dim: &Dim) -> i64 {
        dim.eval(&self.values).unwrap()
    }

    /// The values of the symbols in this run.
    pub(crate) fn bindings(&self) -> &BTreeMap<String, i64> {
        &self.values
    }

    /// The flat index of every element, row-major.
    fn positions(&self, view: &View) -> Vec<usize> {
        let mut positions = vec![self.signed(&view.offset)];
        for (dim, stride) in view.shape.iter().zip(&view.strides) {
            let (dim, stride) = (self.signed(dim), self.signed(stride));
            positions = positions.into_iter().flat_map(|at| (0..dim).map(move |i| at + i * stride)).collect();
        }
        positions.into_iter().map(|at| usize::try_from(at).unwrap()).collect()
    }

    /// Makes sure that the view's buffer reaches to its end; new memory is poisoned.
    pub(crate) fn reserve(&mut self, view: &View) {
        let end = self.positions(view).into_iter().max().map_or(0, |last| last + 1);
        let buffer = self.memory.entry(view.buffer).or_default();
        if buffer.len() < end {
            buffer.resize(end, POISON);
        }
    }

    /// Stores dense row-major words at the view's places.
    pub(crate) fn put(&mut self, view: &View, bits: impl ExactSizeIterator<Item = u32>) {
        self.reserve(view);
        let positions = self.positions(view);
        assert_eq!(positions.len(), bits.len());
        let buffer = self.memory.get_mut(&view.buffer).unwrap();
        for (at, bits) in positions.into_iter().zip(bits) {
            buffer[at] = bits;
        }
    }

    /// Stores dense row-major values at the view's places.
    pub(crate) fn put_f32(&mut self, view: &View, values: &[f32]) {
        self.put(view, values.iter().map(|value| value.to_bits()));
    }

    /// As [`Self::put_f32`], for 32-bit integers.
    pub(crate) fn put_i32(&mut self, view: &View, values: &[i32]) {
        self.put(view, values.iter().map(|value| value.cast_unsigned()));
    }

    /// Poisons the view's elements.
    pub(crate) fn poison(&mut self, view: &View) {
        let count = self.positions(view).len();
        self.put(view, vec![POISON; count].into_iter());
    }

    /// The view's elements, dense row-major.
    pub(crate) fn get(&self, view: &View) -> Vec<f32> {
        self.words(view).into_iter().map(f32::from_bits).collect()
    }

    /// The bits of the view's elements, dense row-major.
    pub(crate) fn words(&self, view: &View) -> Vec<u32> {
        let buffer = &self.memory[&view.buffer];
        self.positions(view).into_iter().map(|at| buffer[at]).collect()
    }

    /// Runs a kernel; `outputs` are all the views it may write.
    pub(crate) fn run(&mut self, target: &Target<'_>, kernel: &Kernel, outputs: &[&View]) {
        dump(kernel);
        let step: Vec<u32> =
            self.order.iter().map(|name| u32::try_from(self.values[name]).unwrap()).collect();
        let bytes = |key: &BufferKey| bytes_of(&self.memory[key]);
        let reads: Vec<Vec<u8>> = kernel.reads.iter().map(bytes).collect();
        let writes: Vec<Vec<u8>> = kernel.writes.iter().map(bytes).collect();
        let reads: Vec<&[u8]> = reads.iter().map(Vec::as_slice).collect();
        let writes: Vec<(usize, Option<&[u8]>)> =
            writes.iter().map(|data| (data.len(), Some(data.as_slice()))).collect();
        let workgroups = kernel.workgroups.each_ref().map(|dim| u32::try_from(self.value(dim)).unwrap());
        let start = std::time::Instant::now();
        let on_gpu = |gpu: &Gpu, source: &str| {
            run_kernel(gpu, source, "main", &step, &reads, &writes, workgroups)
                .map_err(|error| error.to_string())
        };
        let results = match target {
            // All modules, which must agree; what the test looks at is the variant that a GPU prefers.
            Target::Gpu(gpu) => on_gpu(gpu, &kernel.source).and_then(|baseline| {
                let mut preferred = None;
                for variant in &kernel.variants {
                    let rounds = variant.needs.contains(&Need::CooperativeMatrix);
                    if rounds && !gpu.has_cooperative_matrices() {
                        continue;
                    }
                    let results = on_gpu(gpu, &variant.source)?;
                    let tolerance = if rounds { ROUNDED } else { REORDERED };
                    agree(&format!("{}, {}", kernel.family, variant.name), &baseline, &results, tolerance);
                    if !rounds && !variant.needs.contains(&Need::Software) {
                        preferred.get_or_insert(results);
                    }
                }
                Ok(preferred.unwrap_or(baseline))
            }),
            Target::Wasm => {
                let writes: Vec<&[u8]> = writes.iter().filter_map(|(_, data)| *data).collect();
                let source = kernel.cpu.as_ref().unwrap_or(&kernel.source);
                wasm::run_kernel(source, &step, &reads, &writes, workgroups)
            }
        };
        let results = results.unwrap_or_else(|error| {
            panic!("{} on {}: {error}\n{}", kernel.family, target.name(), kernel.source)
        });

        if std::env::var_os("QWENC_SHOW_ERRORS").is_some() {
            eprintln!("{} on {}: {:.2?}", kernel.family, target.name(), start.elapsed());
        }
        let mut allowed: BTreeSet<(BufferKey, usize)> = BTreeSet::new();
        for view in outputs {
            allowed.extend(self.positions(view).into_iter().map(|at| (view.buffer, at)));
        }
        for (key, bytes) in kernel.writes.iter().zip(results) {
            let words: Vec<u32> =
                bytes.chunks_exact(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap())).collect();
            for (at, (new, old)) in words.iter().zip(&self.memory[key]).enumerate() {
                let name = target.name();
                assert!(
                    new == old || allowed.contains(&(*key, at)),
                    "{} on {name} wrote {key:?}[{at}], which is no output",
                    kernel.family
                );
            }
            self.memory.insert(*key, words);
        }
    }
}

/// How far results may be apart, relative to the largest: sums in another order.
const REORDERED: f32 = 1e-5;
/// Sums of what was rounded to 16-bit floats, by up to 2^-11 each.
const ROUNDED: f32 = 2e-3;

/// Holds two results of one kernel to each other, as floats.
fn agree(family: &str, one: &[Vec<u8>], other: &[Vec<u8>], tolerance: f32) {
    let floats = |bytes: &[u8]| -> Vec<f32> {
        bytes.chunks_exact(4).map(|word| f32::from_ne_bytes(word.try_into().unwrap())).collect()
    };
    for (one, other) in one.iter().zip(other) {
        let (one, other) = (floats(one), floats(other));
        let scale = one.iter().filter(|x| x.is_finite()).fold(1e-6f32, |most, x| most.max(x.abs()));
        for (at, (a, b)) in one.iter().zip(&other).enumerate() {
            let same = a.to_bits() == b.to_bits() || (a - b).abs() <= tolerance * scale;
            assert!(same, "{family}: element {at} is {b}, of the baseline {a}");
        }
    }
}

fn bytes_of(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Writes the source to the folder that `QWENC_DUMP_WGSL` names, for the check with Tint.
fn dump(kernel: &Kernel) {
    let Some(folder) = std::env::var_os("QWENC_DUMP_WGSL") else { return };
    use std::hash::{DefaultHasher, Hash, Hasher};
    std::fs::create_dir_all(&folder).unwrap();
    // Browsers want to be told of subgroups, which naga takes as they are.
    // Nor do they have cooperative matrices.
    let variants = kernel.variants.iter().filter(|it| !it.needs.contains(&Need::CooperativeMatrix));
    let variants = variants.map(|variant| {
        let prelude = if variant.needs.contains(&Need::Subgroups) { "enable subgroups;\n" } else { "" };
        format!("{prelude}{}", variant.source)
    });
    for source in [kernel.source.clone()].into_iter().chain(variants) {
        let mut hasher = DefaultHasher::new();
        source.hash(&mut hasher);
        let name = format!("{}-{:016x}.wgsl", kernel.family, hasher.finish());
        std::fs::write(std::path::Path::new(&folder).join(name), source).unwrap();
    }
}

/// Where a kernel runs.
pub(crate) enum Target<'a> {
    /// As it is.
    Gpu(&'a Gpu),
    /// Translated to WebAssembly.
    Wasm,
}

impl Target<'_> {
    /// For messages.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Gpu(gpu) => &gpu.adapter().name,
            Self::Wasm => "WebAssembly",
        }
    }
}

/// The environment variable that names an adapter to run kernel tests on, with all modules that it takes, in place of the test
/// GPUs: neither of those has matrix cores.
const ADAPTER: &str = "QWENC_TEST_ADAPTER";

/// Runs a test on every test GPU, and with kernels translated to WebAssembly. A missing GPU is a failure.
pub(crate) fn on_every_target(mut test: impl FnMut(&Target<'_>)) {
    let gpus = match std::env::var(ADAPTER) {
        Ok(name) => {
            let options = GpuOptions { cooperative_matrices: true, ..GpuOptions::named(&name) };
            vec![Gpu::open(&options).unwrap()]
        }
        Err(_) => {
            let gpus = test_gpus().unwrap();
            assert_eq!(gpus.len(), 2);
            gpus
        }
    };
    gpus.iter().for_each(|gpu| test(&Target::Gpu(gpu)));
    test(&Target::Wasm);
}

/// Pseudo-random numbers, reproducible.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Uniform in -1..1.
    pub(crate) fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let bits = u16::try_from(self.0 >> 48).unwrap();
        f32::from(bits) / 32768.0 - 1.0
    }

    pub(crate) fn vec(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next()).collect()
    }
}

/// Holds values to expected ones: largest absolute difference relative to the largest expected magnitude.
pub(crate) fn assert_close(what: &str, got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len(), "{what}");
    let scale = want.iter().fold(1e-6f32, |max, x| max.max(x.abs()));
    let mut worst = 0.0f32;
    for (at, (got, want)) in got.iter().zip(want).enumerate() {
        let error = (got - want).abs() / scale;
        assert!(error <= tolerance, "{what}: element {at} is {got}, expected {want} (scale {scale})");
        worst = worst.max(error);
    }
    if std::env::var_os("QWENC_SHOW_ERRORS").is_some() {
        eprintln!("{what}: {worst:e}");
    }
}
