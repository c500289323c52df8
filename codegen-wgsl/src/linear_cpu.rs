//! A fused linear layer of one row for one thread: what a device without a GPU runs in place of [`crate::linear_gemv`], with
//! its bindings and its workgroups.
//!
//! Invocations that share a dot product and add up through workgroup memory are what keeps a GPU busy, and on one thread
//! nothing but work: adding up costs more than the products. Here one invocation makes everything, in the order in which it
//! lies, and sums stay in registers.

use askama::Template;

use crate::linear_gemv::Part;

/// The module of a layer of one row.
#[derive(Template)]
#[template(path = "linear_gemv_cpu.wgsl", escape = "none")]
pub(crate) struct Gemv<'a> {
    pub(crate) k: u32,
    pub(crate) n: u32,
    pub(crate) weight: &'a str,
    pub(crate) read: &'a str,
    pub(crate) glu: bool,
    pub(crate) per_output: u32,
    /// Outputs at a time.
    pub(crate) step: u32,
    pub(crate) norm: bool,
    pub(crate) part: Option<&'a Part>,
    /// The body of the gate's function of `q`, and its four elements `g` behind the activation.
    pub(crate) gate: Option<&'a (String, String)>,
    pub(crate) eps: &'a str,
    /// Whether x goes through workgroup memory, normalised and without checks of indices.
    pub(crate) stage: bool,
    pub(crate) index: &'a str,
    pub(crate) units: u32,
    pub(crate) unit_vectors: u32,
    pub(crate) declarations: &'a str,
    pub(crate) functions: &'a str,
    pub(crate) x_body: &'a str,
    pub(crate) norm_body: Option<&'a str>,
    pub(crate) store: &'a str,
    pub(crate) extras: &'a [String],
    pub(crate) convolve: Option<&'a str>,
    pub(crate) channels: u32,
    pub(crate) weight_functions: &'a str,
    /// For each dot product, statements that say where its row of the weight starts.
    pub(crate) starts: Vec<String>,
    /// Statements that take a unit of every row into the sums.
    pub(crate) turn: String,
    /// The result, of `y0`, `y1` and `scale`.
    pub(crate) value: &'a str,
}
