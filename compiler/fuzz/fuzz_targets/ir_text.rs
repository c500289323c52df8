//! The text form: what parses prints, and what is printed parses to an equal graph.

#![no_main]

use libfuzzer_sys::fuzz_target;
use qwenc_ir::text::{ConstPool, difference, parse, print};

fuzz_target!(|text: &str| {
    let Ok(graph) = parse(text, &ConstPool::new()) else { return };
    let _ = qwenc_ir::verify(&graph);
    let printed = print(&graph);
    let again =
        parse(&printed, &ConstPool::of(&graph)).unwrap_or_else(|error| panic!("{error} in\n{printed}"));
    if let Some(difference) = difference(&graph, &again) {
        panic!("{difference} in\n{printed}");
    }
    assert_eq!(print(&again), printed);
});
