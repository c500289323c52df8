//! The entry point that chooses tokens. No graph has it: its launches are the same for all models, over the buffers that
//! other entry points leave and read.

use qwenc_codegen_wgsl::sample::{self, PARAMETER_WORDS, SampleParams, Scratch};
use qwenc_codegen_wgsl::{BufferKey, Elem, Symbols, View};
use qwenc_ir::{DType, Dim};
use qwenc_runtime::session::{INPUT_IDS, LOGITS, SAMPLE, SAMPLING, TOKEN, TOKEN_COUNTS};

use super::{Buffer, BufferRole, Io, Launch, LowerError, Lowered};

/// Buffers by the order in which they are made.
#[derive(Default)]
struct Buffers(Vec<Buffer>);

impl Buffers {
    fn add(&mut self, role: BufferRole, elem: Elem, shape: Vec<Dim>) -> View {
        let key = BufferKey(u32::try_from(self.0.len()).unwrap_or(u32::MAX));
        let view = View::dense(key, elem, shape);
        self.0.push(Buffer { role, elem, elements: view.elements() });
        view
    }

    fn input(&mut self, name: &str, elem: Elem, size: usize) -> View {
        self.add(BufferRole::Input(name.to_string()), elem, vec![size.into()])
    }
}

/// The entry point `sample` over logits of this many tokens. The host writes parameters and counts; `logits` is what
/// `head` and `decode` write, and the first word of `input_ids` what `decode` reads.
pub fn sample(vocabulary: u32, symbols: &Symbols) -> Result<Lowered, LowerError> {
    let mut buffers = Buffers::default();
    let size = usize::try_from(vocabulary).unwrap_or(usize::MAX);
    let logits = buffers.input(LOGITS, Elem::F32, size);
    let sampling = buffers.input(SAMPLING, Elem::U32, PARAMETER_WORDS);
    let counts = buffers.input(TOKEN_COUNTS, Elem::U32, size);
    let input_id = buffers.input(INPUT_IDS, Elem::I32, 1);
    let token = buffers.add(BufferRole::Output(TOKEN.to_string()), Elem::U32, vec![1usize.into()]);
    let Scratch { scores, groups, candidates, best } = Scratch::shapes(vocabulary);
    let mut temp = |(elem, shape)| buffers.add(BufferRole::Temp, elem, shape);
    let scratch = Scratch {
        scores: temp(scores),
        groups: temp(groups),
        candidates: temp(candidates),
        best: temp(best),
    };
    let io = |name: &str, view: &View| Io {
        name: name.to_string(),
        buffer: view.buffer,
        dtype: if view.elem == Elem::F32 { DType::F32 } else { DType::U32 },
        shape: view.shape.clone(),
    };
    let inputs = vec![io(LOGITS, &logits), io(SAMPLING, &sampling), io(TOKEN_COUNTS, &counts)];
    let outputs = vec![io(TOKEN, &token)];
    let params = SampleParams { logits, sampling, counts, scratch, token, input_id };
    let launches = [
        ("scores", sample::scan(symbols, &params)?),
        ("candidates", sample::narrow(symbols, &params)?),
        ("token", sample::choose(symbols, &params)?),
    ];
    let launch = |(label, kernel): (&str, _)| Launch { label: label.to_string(), kernel };
    Ok(Lowered {
        entry: SAMPLE.to_string(),
        launches: launches.map(launch).into(),
        buffers: buffers.0,
        inputs,
        outputs,
    })
}
