//! Dead code elimination: removes nodes none of whose outputs is used, and constants that nobody reads.
//!
//! Graph outputs and the new contents of states are uses. Graph inputs stay, used or not: they are the graph's
//! interface.

use qwenc_ir::{Graph, ValueId, ValueKind};

use super::manager::{Pass, PassError, Report};

/// See the module.
pub(super) const PASS: Pass =
    Pass { name: "dce", about: "remove nodes and constants that nothing uses", run };

fn run(graph: &mut Graph, report: &mut Report) -> Result<(), PassError> {
    // Against the flow of data, so that a node goes after the last of its users.
    for node in graph.topo_order()?.into_iter().rev() {
        if graph.remove_node(node) {
            report.changed("dead node");
        }
    }
    let constants: Vec<ValueId> =
        graph.values().filter(|value| matches!(graph.value(*value).kind, ValueKind::Const(_))).collect();
    for value in constants {
        if graph.remove_value(value) {
            report.changed("dead constant");
        }
    }
    Ok(())
}
