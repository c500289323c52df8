//! What decoding costs, by counting: dispatches, pipelines and bytes do not change unnoticed.
//!
//! Times differ from machine to machine and from minute to minute; these numbers do not. `QWENC_BLESS=1` takes the new ones.

use std::collections::BTreeMap;
use std::path::Path;

use qwenc::bench::count;
use qwenc::pipeline::{CompileOptions, Silent, compile_to};
use qwenc::quantize::{StoreAs, WeightRecipe};

#[test]
fn what_nano_costs_is_what_it_did() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let options = CompileOptions {
        weights: WeightRecipe { default: StoreAs::Q4, ..WeightRecipe::default() },
        ..CompileOptions::default()
    };
    let compiled =
        compile_to(&here.join("../models/nano"), &mut BTreeMap::new(), &options, &mut Silent).unwrap();
    let counts = count(&compiled.manifest, &compiled.assembled.schedule);
    let found = serde_json::to_string_pretty(&counts).unwrap() + "\n";
    let file = here.join("tests/onnx/counts.json");
    if std::env::var_os("QWENC_BLESS").is_some() {
        std::fs::write(&file, &found).unwrap();
    }
    let known = std::fs::read_to_string(&file).unwrap();
    assert!(
        known == found,
        "counts have changed; if that is meant: QWENC_BLESS=1\nknown {known}\nfound {found}"
    );

    // A layer of the delta rule takes five dispatches for a token, and a layer of attention at most seven.
    let layers = compiled.manifest.model.decoder.as_ref().unwrap().layers as usize;
    let decode = &counts.entries["decode"];
    assert!(decode.dispatches <= layers / 4 * (3 * 5 + 7) + 3, "{decode:?} for {layers} layers");
    assert!(counts.entries["sample"].dispatches <= 4);
}
