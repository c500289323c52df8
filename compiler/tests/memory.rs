//! How much memory the worst files take: what `docs/security.md` states is measured here, with an allocator that counts.
//!
//! The bound for reading, importing and running the passes over a file: [`CONSTANT`] + [`PER_BYTE`] times its size. Mapped
//! files are not heap; the heap is what a bomb would fill.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod onnx_builder;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use onnx_builder::{Attributes, Builder, FLOAT, INT64, node};
use prost::Message;
use qwenc::onnx::proto::{FunctionProto, NodeProto};
use qwenc::onnx::{ImportOptions, Model, import};

/// Heap for any file, in bytes.
const CONSTANT: usize = 1 << 30;
/// Heap for each byte of the file.
const PER_BYTE: usize = 128;

/// The system's allocator, counting.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn grown(bytes: usize) {
    let now = NOW.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(now, Ordering::Relaxed);
}

// SAFETY: every call goes to the system's allocator as it is; the counters do not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are the same.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // Old and new may exist at once.
        grown(new_size);
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are the same.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most heap that `run` took at once, above what there was before.
fn peak(run: impl FnOnce()) -> usize {
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    run();
    PEAK.load(Ordering::Relaxed) - before
}

fn read_import_optimize(file: Vec<u8>) {
    let Ok(model) = Model::from_bytes("bomb.onnx", file.into()) else { return };
    let Ok(imported) = import(&model, &ImportOptions::default()) else { return };
    let mut graph = imported.graph;
    drop(qwenc::passes::run_all(&mut graph, &mut |_, _| ()));
}

fn field(number: usize, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::encode_varint((number << 3 | 2) as u64, &mut out);
    prost::encoding::encode_varint(content.len() as u64, &mut out);
    out.extend(content);
    out
}

fn raw_model(graph: &[u8]) -> Vec<u8> {
    [vec![0x08, 0x0A], field(8, &[0x10, 21]), field(7, graph)].concat()
}

fn chain(start: Builder, count: usize, op: impl Fn(Builder, &str, &str) -> Builder) -> Vec<u8> {
    let built = (0..count).fold(start, |model, at| op(model, &format!("v{at}"), &format!("v{}", at + 1)));
    built.proto.encode_to_vec()
}

/// Files that are small for what they would cost.
fn bombs() -> Vec<(&'static str, Vec<u8>)> {
    let numbers: Vec<i64> = (0..4096).map(|at| at * at).collect();
    let sizes =
        Builder::new().input("x", FLOAT, &["a", "b", "c", "d", "e", "f"]).op("Shape", &["x"], &["v0"]);
    let table: Vec<f32> = (0u16..1024).map(f32::from).collect();
    let tables = Builder::new().floats("r", &[1, 1024], &table).floats("c", &[1024, 1], &table);
    let body: Vec<NodeProto> = (0..512)
        .map(|at| {
            let from = if at == 0 { "a".to_owned() } else { format!("m{at}") };
            NodeProto { name: Some("n".repeat(2000)), ..node("Abs", &[&from], &[&format!("m{}", at + 1)]) }
        })
        .collect();
    let function = FunctionProto {
        name: Some("F".into()),
        domain: Some("local".into()),
        input: vec!["a".into()],
        output: vec!["m512".into()],
        node: body,
        opset_import: vec![onnx_builder::opset("", 21)],
        ..FunctionProto::default()
    };
    vec![
        ("empty attributes", raw_model(&field(1, &field(5, &[]).repeat(150_000)))),
        ("empty nodes", raw_model(&field(1, &[]).repeat(300_000))),
        ("empty tensors", raw_model(&field(5, &[]).repeat(300_000))),
        ("empty inputs", raw_model(&field(11, &[]).repeat(400_000))),
        ("packed integers", raw_model(&field(5, &field(7, &vec![1; 8 << 20])))),
        ("single integers", raw_model(&field(5, &[0x38, 1].repeat(4 << 20)))),
        ("empty strings", raw_model(&field(1, &field(1, &[]).repeat(1 << 20)))),
        (
            "known vectors",
            chain(Builder::new().ints("v0", &numbers), 20_000, |m, a, b| m.op("Add", &[a, "v0"], &[b])),
        ),
        ("growing symbols", chain(sizes, 20_000, |m, a, b| m.op("Add", &[a, "v0"], &[b]))),
        (
            "shapes",
            chain(Builder::new().input("v0", FLOAT, &["a"; 8]), 20_000, |m, a, b| m.op("Abs", &[a], &[b])),
        ),
        (
            "folded tables",
            chain(tables.op("Mul", &["c", "r"], &["v0"]), 400, |m, a, b| m.op("Add", &[a, "c"], &[b])),
        ),
        (
            "doubling",
            chain(Builder::new().ints("v0", &[1]), 60, |m, a, b| {
                m.node(node("Concat", &[a, a], &[b]).int("axis", 0))
            }),
        ),
        (
            "names in functions",
            chain(Builder::new().input("v0", FLOAT, &["n"]).function(function), 250, |m, a, b| {
                m.op("local::F", &[a], &[b])
            }),
        ),
        (
            "range",
            Builder::new()
                .scalar("a", 0)
                .scalar("b", 1 << 40)
                .scalar("c", 1)
                .op("Range", &["a", "b", "c"], &["y"])
                .output("y", INT64)
                .proto
                .encode_to_vec(),
        ),
    ]
}

/// One test, so that nothing else allocates meanwhile.
#[test]
fn no_file_takes_more_than_its_size_explains() {
    // The counter counts.
    assert!(peak(|| drop(vec![0u8; 5 << 20])) >= 5 << 20);
    for (name, file) in bombs() {
        let bytes = file.len();
        let bound = CONSTANT + PER_BYTE * bytes;
        let peak = peak(|| read_import_optimize(file));
        println!("{name:20} {:>8} KiB in the file, {:>7} KiB of heap", bytes >> 10, peak >> 10);
        assert!(peak <= bound, "{name}: {peak} bytes of heap for {bytes} bytes, more than {bound}");
    }
}
