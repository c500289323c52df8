//! Every pass on small graphs in text form.
//!
//! `tests/passes/<pass>/<case>.ir` is the graph before the pass; `<case>.after.ir` is what the pass makes of it (with
//! dead code removed). In a case called `not_...` the pass must leave the graph alone. Before and after give the same
//! results in the reference interpreter. To write the `.after.ir` files anew, run with `QWENC_BLESS=1` and read the
//! differences.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use qwenc::passes::{Pass, Report, pipeline, run_passes};
use qwenc_ir::interp::{HostTensor, Values, inputs_by_name, run};
use qwenc_ir::text::{ConstPool, parse, print};
use qwenc_ir::{Bindings, DType, Graph};

/// Passes that only remove what is dead, so that expected graphs are short.
const CLEANING: &str = "dce";

fn cases_of(pass: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/passes").join(pass);
    let mut cases: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.ends_with(".ir") && !name.ends_with(".after.ir")
        })
        .collect();
    cases.sort();
    cases
}

fn pass_named(name: &str) -> &'static Pass {
    pipeline().find(|pass| pass.name == name).unwrap_or_else(|| panic!("no pass is called {name}"))
}

/// Runs one pass and then dead code elimination, each verified; gives the pass's report.
fn apply(pass: &str, graph: &mut Graph) -> Report {
    let steps = [pass_named(pass), pass_named(CLEANING)];
    let mut first = None;
    for step in steps {
        let step = Pass { name: step.name, about: step.about, run: step.run };
        run_passes(&[step], graph, &mut |record, _| {
            first.get_or_insert_with(|| record.report.clone());
        })
        .unwrap();
    }
    first.unwrap()
}

fn check_pass(pass: &str) {
    let cases = cases_of(pass);
    assert!(!cases.is_empty(), "{pass} has no case");
    for case in cases {
        let text = fs::read_to_string(&case).unwrap();
        let before =
            parse(&text, &ConstPool::new()).unwrap_or_else(|error| panic!("{}: {error}", case.display()));
        let mut after = before.clone();
        let report = apply(pass, &mut after);
        let name = case.file_stem().unwrap().to_string_lossy().into_owned();
        if name.starts_with("not_") {
            assert_eq!(
                report.total(),
                0,
                "{}: {pass} should not fire: {:?}",
                case.display(),
                report.changes()
            );
        } else {
            assert!(report.total() > 0, "{}: {pass} did not fire: {:?}", case.display(), report.notes());
            compare_text(&case, &print(&after));
        }
        assert_same_results(&before, &after, &case.display().to_string());
    }
}

fn compare_text(case: &Path, actual: &str) {
    let expected = case.with_extension("after.ir");
    if std::env::var_os("QWENC_BLESS").is_some() {
        fs::write(&expected, actual).unwrap();
        return;
    }
    let wanted = fs::read_to_string(&expected).unwrap_or_default();
    assert_eq!(actual, wanted, "{} differs from what the pass gives", expected.display());
}

/// Deterministic values: floats in -1..1, integers in 0..6, below every table size of the cases.
fn inputs(graph: &Graph, bindings: &Bindings) -> BTreeMap<String, HostTensor> {
    let mut state = 0x2545_F491_4F6C_DD1Du64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as u32
    };
    let mut tensors = BTreeMap::new();
    for input in graph.inputs() {
        let value = graph.value(*input);
        let shape: Vec<usize> =
            value.ty.shape.iter().map(|dim| usize::try_from(dim.eval(bindings).unwrap()).unwrap()).collect();
        let count: usize = shape.iter().product();
        let tensor = match value.ty.dtype {
            dtype if dtype.is_float() => HostTensor::f32(
                shape,
                (0..count).map(|_| next() as f32 / 8_388_608.0 - 1.0).collect::<Vec<_>>(),
            ),
            DType::I64 => {
                HostTensor::i64(shape, (0..count).map(|_| i64::from(next() % 7)).collect::<Vec<_>>())
            }
            other => panic!("no test input of type {other}"),
        };
        tensors.insert(value.name.clone(), tensor.unwrap());
    }
    tensors
}

fn results(graph: &Graph, bindings: &Bindings, inputs: &BTreeMap<String, HostTensor>) -> Values {
    let named = inputs.iter().map(|(name, tensor)| (name.clone(), tensor.clone()));
    run(graph, bindings, &inputs_by_name(graph, named).unwrap()).unwrap()
}

fn assert_same_results(before: &Graph, after: &Graph, place: &str) {
    let bindings = Bindings::from([("tokens".into(), 5), ("past".into(), 3), ("images".into(), 2)]);
    let inputs = inputs(before, &bindings);
    let (old, new) = (results(before, &bindings, &inputs), results(after, &bindings, &inputs));
    let (mut old_states, mut other_states) = (presents(before, &old), presents(after, &new));
    for (name, _) in before.outputs() {
        let wanted = old.output(name).unwrap();
        match new.output(name) {
            Some(actual) => assert_close(wanted, actual, &format!("{place}: {name}")),
            // The output has become a state: its values are compared with the states'.
            None => old_states.push(wanted),
        }
    }
    assert_eq!(old_states.len(), other_states.len(), "{place}: states were lost");
    let key = |tensor: &&HostTensor| format!("{:?}", tensor.shape());
    old_states.sort_by_key(key);
    other_states.sort_by_key(key);
    for (wanted, actual) in old_states.into_iter().zip(other_states) {
        assert_close(wanted, actual, &format!("{place}: state"));
    }
}

fn presents<'a>(graph: &Graph, values: &'a Values) -> Vec<&'a HostTensor> {
    graph.states().iter().map(|state| values.get(state.present).unwrap()).collect()
}

fn assert_close(wanted: &HostTensor, actual: &HostTensor, place: &str) {
    assert_eq!(wanted.shape(), actual.shape(), "{place}");
    if wanted.as_f32().is_none() {
        assert_eq!(wanted, actual, "{place}");
        return;
    }
    let difference = wanted.max_abs_diff(actual).unwrap_or(f32::INFINITY);
    assert!(difference <= 2e-6, "{place}: differs by {difference}");
}

macro_rules! pass_tests {
    ($($pass:ident),* $(,)?) => {
        $(#[test]
        fn $pass() {
            check_pass(stringify!($pass));
        })*

        #[test]
        fn every_pass_has_cases() {
            let tested = [$(stringify!($pass)),*];
            for pass in pipeline() {
                assert!(tested.contains(&pass.name), "{} is not tested", pass.name);
            }
        }
    };
}

pass_tests!(
    widen,
    fold,
    views,
    cse,
    dce,
    embed,
    states,
    raise_activation,
    raise_causal_conv,
    raise_attention,
    raise_causal,
    raise_rotate_half,
    raise_norm,
    raise_gated_norm,
    raise_rope,
    fuse_attention,
    fuse_delta,
    fuse_linear,
    fuse_swiglu,
    fuse_parallel,
    fuse_elementwise,
    fuse_norm,
    fuse_epilogue,
);
