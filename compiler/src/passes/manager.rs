//! What a pass is, what it reports, and the loop that runs passes and verifies the graph between them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use qwenc_ir::graph::CycleError;
use qwenc_ir::{Graph, InferError, NodeId};

/// Most notes that one run of a pass keeps; further ones are counted.
pub const MAX_NOTES: usize = 200;

/// One rewriting step over a whole graph.
#[derive(Clone, Copy)]
pub struct Pass {
    /// Short name, as `--why` takes it.
    pub name: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    /// The rewrite itself. It leaves the graph valid, and equal in meaning.
    pub run: fn(&mut Graph, &mut Report) -> Result<(), PassError>,
}

/// A candidate that a pass looked at and left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The candidate: the node's name in the model file.
    pub node: String,
    /// Why the pass did not fire.
    pub reason: String,
}

/// What one run of a pass did, and what it did not do and why.
#[derive(Clone, Debug, Default)]
pub struct Report {
    changes: BTreeMap<&'static str, usize>,
    notes: Vec<Note>,
    notes_dropped: usize,
}

impl Report {
    /// Counts one application of a rule.
    pub fn changed(&mut self, rule: &'static str) {
        *self.changes.entry(rule).or_insert(0) += 1;
    }

    /// Records why a candidate was left alone. At most [`MAX_NOTES`] are kept.
    pub fn note(&mut self, graph: &Graph, node: NodeId, reason: impl Into<String>) {
        if self.notes.len() < MAX_NOTES {
            self.notes.push(Note { node: graph.node(node).name.clone(), reason: reason.into() });
        } else {
            self.notes_dropped += 1;
        }
    }

    /// How often each rule was applied.
    pub fn changes(&self) -> &BTreeMap<&'static str, usize> {
        &self.changes
    }

    /// Applications of all rules.
    pub fn total(&self) -> usize {
        self.changes.values().sum()
    }

    /// Candidates left alone, in the order they were seen.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Notes beyond [`MAX_NOTES`] that were counted but not kept.
    pub fn notes_dropped(&self) -> usize {
        self.notes_dropped
    }
}

/// A pass could not be carried out. The graph may be half rewritten and must not be used.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// A rewritten operator does not fit its inputs: the model does not mean what its shapes say.
    #[error("rewriting node `{node}`: {source}")]
    Infer {
        /// The node's name in the model file.
        node: String,
        /// What does not fit.
        source: InferError,
    },
    /// The graph has a cycle.
    #[error(transparent)]
    Cycle(#[from] CycleError),
    /// Evaluating constants failed.
    #[error("folding node `{node}`: {message}")]
    Fold {
        /// The node's name in the model file.
        node: String,
        /// What went wrong.
        message: String,
    },
}

/// The pipeline failed in a named pass.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The pass itself failed.
    #[error("pass `{pass}`: {source}")]
    Pass {
        /// Which pass.
        pass: &'static str,
        /// What failed.
        source: PassError,
    },
    /// The graph is not valid after the pass (or before the first one).
    #[error("the graph is not valid after `{pass}`: {message}")]
    Invalid {
        /// Which pass.
        pass: &'static str,
        /// The verifier's finding.
        message: String,
    },
}

/// Number of nodes by operator name.
pub type Histogram = BTreeMap<&'static str, usize>;

/// Number of nodes by operator name.
pub fn histogram(graph: &Graph) -> Histogram {
    let mut counts = Histogram::new();
    for node in graph.nodes() {
        *counts.entry(graph.node(node).op.name()).or_insert(0) += 1;
    }
    counts
}

/// What one pass did to a graph, and how long it took.
#[derive(Clone, Debug)]
pub struct PassRecord {
    /// The pass's name.
    pub pass: &'static str,
    /// The pass's line of explanation.
    pub about: &'static str,
    /// Time of the rewrite and of the verification behind it.
    pub elapsed: Duration,
    /// Operators before.
    pub before: Histogram,
    /// Operators after.
    pub after: Histogram,
    /// Changes and notes.
    pub report: Report,
}

/// Runs `passes` in order, verifying the graph before the first and after each. `observer` sees every record and the
/// graph as it then is. After an error the graph must not be used.
pub fn run_passes(
    passes: &[Pass],
    graph: &mut Graph,
    observer: &mut dyn FnMut(&PassRecord, &Graph),
) -> Result<(), PipelineError> {
    verify(graph, "import")?;
    for pass in passes {
        let before = histogram(graph);
        let start = Instant::now();
        let mut report = Report::default();
        (pass.run)(graph, &mut report).map_err(|source| PipelineError::Pass { pass: pass.name, source })?;
        verify(graph, pass.name)?;
        let record = PassRecord {
            pass: pass.name,
            about: pass.about,
            elapsed: start.elapsed(),
            before,
            after: histogram(graph),
            report,
        };
        observer(&record, graph);
    }
    Ok(())
}

fn verify(graph: &Graph, pass: &'static str) -> Result<(), PipelineError> {
    qwenc_ir::verify(graph).map_err(|errors| {
        let message = errors.first().map_or_else(String::new, ToString::to_string);
        PipelineError::Invalid { pass, message }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use qwenc_ir::{BinaryOp, DType, Expr, Op, ValueType};

    fn graph() -> Graph {
        let mut graph = Graph::new("g");
        let x = graph.add_input("x", ValueType::new(DType::F32, [4usize]));
        let add = Op::Elementwise(Expr::Arg(0).binary(BinaryOp::Add, Expr::Arg(1)));
        let y = graph.apply("y", add, &[x, x]).unwrap();
        graph.add_output("y", y);
        graph
    }

    #[test]
    fn a_pass_that_breaks_the_graph_is_named() {
        let broken = Pass {
            name: "broken",
            about: "leaves an input out",
            run: |graph, _| {
                let node = graph.nodes().next().unwrap();
                graph.set_input(node, 1, None);
                Ok(())
            },
        };
        let error = run_passes(&[broken], &mut graph(), &mut |_, _| {}).unwrap_err();
        assert!(matches!(error, PipelineError::Invalid { pass: "broken", .. }), "{error}");
    }

    #[test]
    fn records_hold_changes_and_bounded_notes() {
        let noisy = Pass {
            name: "noisy",
            about: "finds many candidates",
            run: |graph, report| {
                let node = graph.nodes().next().unwrap();
                (0..MAX_NOTES + 3).for_each(|at| report.note(graph, node, format!("reason {at}")));
                report.changed("nothing");
                Ok(())
            },
        };
        let mut seen = Vec::new();
        run_passes(&[noisy], &mut graph(), &mut |record, _| seen.push(record.clone())).unwrap();
        let report = &seen[0].report;
        assert_eq!((report.notes().len(), report.notes_dropped()), (MAX_NOTES, 3));
        assert_eq!(report.notes()[0], Note { node: "y".into(), reason: "reason 0".into() });
        assert_eq!(report.changes().get("nothing"), Some(&1));
        assert_eq!(seen[0].before, seen[0].after);
    }
}
