//! Pairs recurrent states: an input that holds the past with the output that replaces it.
//!
//! The structure decides: the output must be the new state of the very operator (attention, causal convolution, gated
//! delta rule) that reads the input as its past, and nothing else may read that input, because the device updates it in
//! place. The names must agree as well, in any of the exporters' spellings: `past_key_values.3.key` and
//! `present.3.key`, `past.0.conv` and `present.0.conv`, `past_conv.0` and `present_conv.0`, `input.x` and `output.x`.
//! A paired output leaves the graph's list of outputs. What fits the structure but not the names stays as it is.

use qwenc_ir::op::{attention, gated_delta};
use qwenc_ir::{Graph, NodeId, Op, State, StateKind, ValueId, ValueKind};

use super::manager::{Pass, PassError, Report};

/// Input slot of the convolution's past.
const CONV_PAST: usize = 3;

/// See the module.
pub(super) const PASS: Pass =
    Pass { name: "states", about: "pair past inputs with present outputs, to be updated in place", run };

fn run(graph: &mut Graph, report: &mut Report) -> Result<(), PassError> {
    for node in graph.topo_order()? {
        for (slot, port, kind) in candidates(&graph.node(node).op) {
            match find(graph, node, *slot, *port, *kind) {
                None => {}
                Some(Err(reason)) => report.note(graph, node, reason),
                Some(Ok((past, present, output))) => {
                    graph.add_state(State { name: free_name(graph, past), kind: *kind, past, present });
                    let rest = graph.outputs().iter().filter(|(name, _)| *name != output).cloned().collect();
                    graph.set_outputs(rest);
                    report.changed("state");
                }
            }
        }
    }
    Ok(())
}

/// Input slot of the past, output port of the present, and kind of state, per operator.
fn candidates(op: &Op) -> &'static [(usize, usize, StateKind)] {
    match op {
        Op::Attention(attrs) if attrs.present => {
            &[(attention::PAST_K, 1, StateKind::KvCache), (attention::PAST_V, 2, StateKind::KvCache)]
        }
        Op::CausalConv { .. } => &[(CONV_PAST, 1, StateKind::Window)],
        Op::GatedDelta(_) => &[(gated_delta::PAST, 1, StateKind::Matrix)],
        _ => &[],
    }
}

type Pair = (ValueId, ValueId, String);

/// `None` when the operator keeps no state between calls here.
fn find(
    graph: &Graph,
    node: NodeId,
    slot: usize,
    port: usize,
    kind: StateKind,
) -> Option<Result<Pair, String>> {
    let past = graph.node_input(node, slot)?;
    let present = *graph.node_outputs(node).get(port)?;
    let paired = graph.states().iter().any(|state| state.past == past || state.present == present);
    if graph.value(past).kind != ValueKind::Input || paired {
        return None;
    }
    let names: Vec<&String> =
        graph.outputs().iter().filter(|(_, value)| *value == present).map(|(name, _)| name).collect();
    let past_name = &graph.value(past).name;
    let Some(output) = names.iter().find(|name| canonical(name) == canonical(past_name)) else {
        return Some(Err(format!("no output of the new state is named like its past `{past_name}`")));
    };
    // Dead users are gone by now: what still reads the past would see it overwritten.
    if graph.consumers(past).len() != 1 || !graph.consumers(present).is_empty() || names.len() != 1 {
        return Some(Err(format!("`{past_name}` or its new value is read elsewhere")));
    }
    if !same_memory(graph, past, present, kind) {
        return Some(Err(format!("`{past_name}` and its new value differ in type or shape")));
    }
    Some(Ok((past, present, (*output).clone())))
}

/// True when the new value can take the place of the past: same type and shape, but for the length of a cache.
fn same_memory(graph: &Graph, past: ValueId, present: ValueId, kind: StateKind) -> bool {
    let (old, new) = (&graph.value(past).ty, &graph.value(present).ty);
    let grows = |axis: usize| kind == StateKind::KvCache && axis == 2;
    old.dtype == new.dtype
        && old.rank() == new.rank()
        && old.shape.iter().zip(&new.shape).enumerate().all(|(axis, (a, b))| a == b || grows(axis))
}

/// The state's short name, or its input's full one where two inputs differ in their prefix only.
fn free_name(graph: &Graph, past: ValueId) -> String {
    let full = &graph.value(past).name;
    let short = canonical(full);
    let taken = graph.states().iter().any(|state| state.name == short);
    if taken { full.clone() } else { short }
}

/// What a state's name says apart from past or present: `3.key`, `0.conv`, `conv.0`.
fn canonical(name: &str) -> String {
    let name = name.strip_prefix("input.").or_else(|| name.strip_prefix("output.")).unwrap_or(name);
    const PREFIXES: [&str; 7] = [
        "past_key_values",
        "present_key_values",
        "past_key_value",
        "present_key_value",
        "past",
        "present",
        "cache",
    ];
    let rest = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    let rest = rest.trim_start_matches('.').trim_start_matches('_');
    if rest.is_empty() { name.to_string() } else { rest.to_string() }
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn names_of_all_exporters_agree() {
        for (past, present) in [
            ("past_key_values.3.key", "present.3.key"),
            ("past_key_values.0.conv_state", "present.0.conv_state"),
            ("past.0.recurrent", "present.0.recurrent"),
            ("past_conv.0", "present_conv.0"),
            ("past_recurrent.11", "present_recurrent.11"),
            ("input.past_key_values.0.key", "output.past_key_values.0.key"),
            ("input.past_key_values.layers.0.conv_states.0", "output.past_key_values.layers.0.conv_states.0"),
        ] {
            assert_eq!(canonical(past), canonical(present));
        }
        assert_ne!(canonical("past.0.key"), canonical("present.0.value"));
        assert_ne!(canonical("past.0.key"), canonical("present.1.key"));
    }
}
