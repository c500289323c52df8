//! Writes seeds: small bundles to `seeds/bundle/`, and the tables of tiny tokenizers to `seeds/tokenizer/`, as the compiler
//! makes them.

use std::collections::BTreeMap;
use std::path::Path;

use qwenc_codegen_wgsl::Symbols;
use qwenc_fuzz::pack;
use qwenc_ir::text::{ConstPool, parse};

const GRAPHS: [(&str, &str); 2] = [
    (
        "pointwise",
        "graph \"g\" { input %x: f32[n, 3] const %w: f32[3] = dense(1, 2, 3) \
         %y = elementwise(%x, %w) {expr = add(mul(a0, a0), a1)} output \"y\" = %y }",
    ),
    (
        "matmul",
        "graph \"g\" { input %x: f32[n, 8] const %w: f32[8, 4] = seeded(3) %y = matmul(%x, %w) output \"y\" = %y }",
    ),
];

/// Models of `models/tiny` whose tokenizers differ.
const TOKENIZERS: [&str; 2] = ["odd_genai", "odd_torch"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("seeds/tokenizer");
    std::fs::create_dir_all(&folder)?;
    for name in TOKENIZERS {
        let json = std::fs::read(root.join(format!("../../models/tiny/{name}/tokenizer.json")))?;
        std::fs::write(folder.join(format!("{name}.bin")), qwenc::tokenizer::compile_json(&json)?)?;
    }
    let folder = root.join("seeds/bundle");
    std::fs::create_dir_all(&folder)?;
    for (name, text) in GRAPHS {
        let graph = parse(text, &ConstPool::new())?;
        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let symbols = Symbols::new([("n".to_owned(), (1, 40))]);
        qwenc::pipeline::compile_graph(&graph, symbols, &mut files)?;
        std::fs::write(folder.join(format!("{name}.sealed")), pack::pack(true, &files))?;
        std::fs::write(folder.join(format!("{name}.plain")), pack::pack(false, &files))?;
    }
    Ok(())
}
