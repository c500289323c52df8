use std::collections::BTreeSet;

use proptest::prelude::*;
use qwenc_ir::interp::{run, run_all};
use qwenc_ir::random::{RandomGraph, random_graph};
use qwenc_ir::text::{ConstPool, difference, parse, print};
use qwenc_ir::verify;

/// Verifies, prints and parses back, and computes the same again.
fn holds(seed: u64, steps: usize) -> Result<(), String> {
    let RandomGraph { graph, bindings, inputs } = random_graph(seed, steps);
    verify(&graph).map_err(|errors| format!("{errors:?}"))?;
    let text = print(&graph);
    let back = parse(&text, &ConstPool::of(&graph)).map_err(|error| format!("{error} in\n{text}"))?;
    verify(&back).map_err(|errors| format!("read back: {errors:?}"))?;
    if let Some(difference) = difference(&graph, &back) {
        return Err(format!("{difference} in\n{text}"));
    }
    let values = run(&graph, &bindings, &inputs).map_err(|error| format!("{error} in\n{text}"))?;
    let inputs =
        graph.inputs().iter().zip(back.inputs()).filter_map(|(a, b)| Some((*b, inputs.get(a)?.clone())));
    let again = run(&back, &bindings, &inputs.collect()).map_err(|error| error.to_string())?;
    for (name, _) in graph.outputs() {
        let (a, b) = (values.output(name).unwrap(), again.output(name).unwrap());
        if a.max_abs_diff(b) != Some(0.0) {
            return Err(format!("output {name} differs in\n{text}"));
        }
        if a.as_f32().is_some_and(|values| values.iter().any(|v| !v.is_finite() || v.abs() > 1e6)) {
            return Err(format!("output {name} = {a:?} is not moderate in\n{text}"));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn graphs_verify_print_parse_and_run(seed in any::<u64>(), steps in 1usize..40) {
        prop_assert_eq!(holds(seed, steps), Ok(()));
    }
}

#[test]
fn the_same_seed_gives_the_same_graph() {
    let (a, b) = (random_graph(11, 30), random_graph(11, 30));
    assert_eq!(difference(&a.graph, &b.graph), None);
    assert_eq!(a.inputs, b.inputs);
    assert!(difference(&a.graph, &random_graph(12, 30).graph).is_some());
}

#[test]
fn many_operators_states_and_dead_nodes_occur() {
    let mut ops = BTreeSet::new();
    let (mut states, mut dead) = (0, 0);
    for seed in 0..60 {
        let RandomGraph { graph, bindings, inputs } = random_graph(seed, 30);
        ops.extend(graph.nodes().map(|id| graph.node(id).op.name()));
        states += graph.states().len();
        dead += usize::from(graph.values().any(|id| {
            graph.producer(id).is_some() && graph.consumers(id).is_empty() && !graph.is_output(id)
        }));
        // Dead nodes run as well.
        run_all(&graph, &bindings, &inputs).unwrap();
    }
    let missing: Vec<&str> = [
        "elementwise",
        "matmul",
        "reduce",
        "cumsum",
        "softmax",
        "layer_norm",
        "gather",
        "reshape",
        "transpose",
        "slice",
        "concat",
        "expand",
        "pad",
        "range",
        "fill",
        "dims",
        "rms_norm",
        "l2_norm",
        "rope",
        "attention",
        "causal_conv",
        "gated_delta",
        "linear",
    ]
    .into_iter()
    .filter(|name| !ops.contains(name))
    .collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(states > 60 && dead > 30, "{states} states, {dead} graphs with dead nodes");
}
