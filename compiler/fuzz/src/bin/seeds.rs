//! Writes the seeds of the bundle target to `seeds/bundle/`: small bundles, as the compiler makes them.

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

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds/bundle");
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
