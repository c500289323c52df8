//! The gated delta rule for one position.

use askama::Template;
use qwenc_ir::Dim;

use crate::checks::{Access, Checks, render};
use crate::delta::DeltaParams;
use crate::kernel::{Bindings, CodegenError, Kernel, KernelVariant, Need, Symbols};

const FAMILY: &str = "delta_step";
const WORKGROUP: u32 = 256;
/// Columns of the state in one workgroup: few, so that there are workgroups enough for a large device.
const COLUMNS: u32 = 16;

/// The module for one thread, which has no groups of invocations to add up.
#[derive(Template)]
#[template(path = "delta_step_cpu.wgsl", escape = "none")]
struct OneThread<'a> {
    source: &'a Source<'a>,
}

/// The module for renderers on a CPU.
#[derive(Template)]
#[template(path = "delta_step_software.wgsl", escape = "none")]
struct Software<'a> {
    source: &'a Source<'a>,
}

#[derive(Template)]
#[template(path = "delta_step.wgsl", escape = "none")]
struct Source<'a> {
    declarations: String,
    gates: String,
    norm: String,
    query: Access<'a>,
    key: Access<'a>,
    value: Access<'a>,
    past: Option<Access<'a>>,
    present: Option<Access<'a>>,
    output: Access<'a>,
    group: u32,
    key_width: u32,
    value_width: u32,
    scale: String,
    columns: u32,
    workgroup: u32,
    /// State rows of one invocation.
    rows: u32,
    /// The module for devices with subgroups.
    subgroups: bool,
    /// How far apart in a subgroup, which has at most 128 invocations, those of a column are.
    apart: [u32; 3],
}

/// One position (S = 1) of the gated delta rule.
///
/// # Errors
/// When shapes do not fit each other or S is not 1.
pub fn kernel(symbols: &Symbols, params: &DeltaParams) -> Result<Kernel, CodegenError> {
    let checks = Checks::of(FAMILY);
    let sizes = params.sizes(checks)?;
    if !sizes.tokens.is(1) {
        return Err(checks.fail(format!("{} positions, expected 1", sizes.tokens)));
    }
    let mut bindings = Bindings::new();
    let output = Access::new(bindings.write(&params.output), symbols);
    let present = params.present.as_ref().map(|view| Access::new(bindings.write(view), symbols));
    let past = params.past.as_ref().map(|view| Access::new(bindings.read(view), symbols));
    let query = Access::new(bindings.read(&params.query), symbols);
    let key = Access::new(bindings.read(&params.key), symbols);
    let value = Access::new(bindings.read(&params.value), symbols);
    let gates = params.gates_function(symbols, &mut bindings);
    let mut source = Source {
        declarations: bindings.declarations(),
        gates,
        norm: params.norm_function(checks)?,
        query,
        key,
        value,
        past,
        present,
        output,
        group: sizes.group,
        key_width: sizes.key_width,
        value_width: sizes.value_width,
        scale: checks.literal("the scale", params.scale)?,
        columns: COLUMNS,
        workgroup: WORKGROUP,
        rows: sizes.key_width.div_ceil(WORKGROUP / COLUMNS),
        subgroups: false,
        apart: [COLUMNS, 2 * COLUMNS, 4 * COLUMNS],
    };
    let slices = sizes.value_width.div_ceil(COLUMNS);
    let workgroups =
        [Dim::constant(i64::from(sizes.heads)), Dim::constant(i64::from(slices)), Dim::constant(1)];
    let one_thread = render(FAMILY, &OneThread { source: &source })?;
    let software = render(FAMILY, &Software { source: &source })?;
    let baseline = render(FAMILY, &source)?;
    source.subgroups = true;
    let subgroups = KernelVariant {
        name: "subgroups",
        source: render(FAMILY, &source)?,
        needs: &[Need::Subgroups],
        workgroup_size: [WORKGROUP, 1, 1],
    };
    let kernel = bindings.finish(FAMILY, symbols, baseline, [WORKGROUP, 1, 1], workgroups)?;
    let software = KernelVariant {
        name: "software",
        source: software,
        needs: &[Need::Software],
        workgroup_size: [COLUMNS, 1, 1],
    };
    kernel.with_variant(subgroups)?.with_variant(software)?.with_cpu(one_thread)
}
