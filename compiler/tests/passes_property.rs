//! Passes keep the meaning of random graphs: the reference interpreter gives the same results before and after every
//! single pass, and after each step of the whole pipeline.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use qwenc::passes::{Pass, pipeline, run_all, run_passes};
use qwenc_ir::interp::{HostTensor, Values, run};
use qwenc_ir::random::{RandomGraph, random_graph};
use qwenc_ir::{Graph, text};

const SEEDS: std::ops::Range<u64> = 0..150;
const STEPS: usize = 24;

/// Results by output name, then those of the states.
fn results(graph: &Graph, random: &RandomGraph) -> Values {
    run(graph, &random.bindings, &random.inputs)
        .unwrap_or_else(|error| panic!("seed graph {}: {error}\n{}", graph.name(), text::print(graph)))
}

fn assert_same(random: &RandomGraph, wanted: &Values, after: &Graph, place: &str) {
    let actual = results(after, random);
    for (name, _) in random.graph.outputs() {
        let (Some(wanted), Some(actual)) = (wanted.output(name), actual.output(name)) else {
            panic!("{place}: output {name} is lost");
        };
        assert_close(wanted, actual, &format!("{place}: {name}"), &random.graph, after);
    }
    assert_eq!(random.graph.states().len(), after.states().len(), "{place}: a state is lost");
    let before = random.graph.states().iter();
    for (old, new) in before.zip(after.states()) {
        let (Some(wanted), Some(actual)) = (wanted.get(old.present), actual.get(new.present)) else {
            panic!("{place}: state {} is lost", old.name);
        };
        assert_close(wanted, actual, &format!("{place}: state {}", old.name), &random.graph, after);
    }
}

fn assert_close(wanted: &HostTensor, actual: &HostTensor, place: &str, before: &Graph, after: &Graph) {
    let same = match (wanted.as_f32(), actual.as_f32()) {
        (Some(a), Some(b)) => wanted.shape() == actual.shape() && a.iter().zip(b).all(|(a, b)| close(*a, *b)),
        _ => wanted == actual,
    };
    assert!(same, "{place}\n{wanted:?}\n{actual:?}\n{}\n{}", text::print(before), text::print(after));
}

fn close(a: f32, b: f32) -> bool {
    (a.is_nan() && b.is_nan()) || a == b || (a - b).abs() <= 1e-4 * (1.0 + a.abs())
}

#[test]
fn every_pass_alone_keeps_the_meaning() {
    let mut fired = std::collections::BTreeSet::new();
    for seed in SEEDS {
        let random = random_graph(seed, STEPS);
        let wanted = results(&random.graph, &random);
        for pass in pipeline() {
            let mut graph = random.graph.clone();
            let mut changes = 0;
            let step = [Pass { name: pass.name, about: pass.about, run: pass.run }];
            run_passes(&step, &mut graph, &mut |record, _| changes = record.report.total())
                .unwrap_or_else(|error| panic!("seed {seed}: {error}\n{}", text::print(&random.graph)));
            if changes > 0 {
                fired.insert(pass.name);
                assert_same(&random, &wanted, &graph, &format!("seed {seed}, pass {}", pass.name));
            }
        }
    }
    // The test means something only when the generator makes what passes look for.
    for pass in ["widen", "fold", "views", "cse", "dce", "fuse_linear", "fuse_elementwise"] {
        assert!(fired.contains(pass), "{pass} never fired; fired: {fired:?}");
    }
}

#[test]
fn the_pipeline_keeps_the_meaning_step_by_step() {
    for seed in SEEDS {
        let random = random_graph(seed, STEPS);
        let wanted = results(&random.graph, &random);
        let mut graph = random.graph.clone();
        run_all(&mut graph, &mut |record, after| {
            if record.report.total() > 0 {
                assert_same(&random, &wanted, after, &format!("seed {seed}, after {}", record.pass));
            }
        })
        .unwrap_or_else(|error| panic!("seed {seed}: {error}\n{}", text::print(&random.graph)));
    }
}
