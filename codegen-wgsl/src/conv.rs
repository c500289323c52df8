//! Causal depthwise convolution with a state.

use askama::Template;
use qwenc_ir::{Activation, Dim};

use crate::checks::{Access, Checks, render};
use crate::kernel::{Bindings, CodegenError, Kernel, Symbols};
use crate::view::{Elem, View};
use crate::wgsl_math::activate;

const WORKGROUP: u32 = 64;
/// Positions that one invocation of [`prefill`] computes, so that it loads an input once and not K times.
const RUN: u32 = 8;
/// Taps are unrolled.
pub(crate) const MAX_TAPS: u32 = 16;
/// Columns of the state are copied one after the other.
pub(crate) const MAX_STATE: u32 = 64;

/// Parameters of all kernels here: `y[s] = act(sum_j w[c, j] * x'[s + j] + bias)`, where `x'` is the last K-1 columns
/// of the past followed by x.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvParams {
    /// x: `[S, C]` f32.
    pub input: View,
    /// `[C, K]` f32; C and K are constants, K at most 16.
    pub weight: View,
    /// `[C]` f32.
    pub bias: Option<View>,
    /// `[C, W]` f32, newest column last; W is a constant of at least K-1 and at most 64. Absent: zeros.
    pub past: Option<View>,
    /// `[C, W]` f32: the last W columns of past and x. May be `past` itself (in place). Absent: not wanted.
    pub present: Option<View>,
    /// Behind the sum.
    pub activation: Activation,
    /// y: `[S, C]` f32.
    pub output: View,
}

/// What the kernels have in common once the parameters are checked.
struct Plan {
    tokens: Dim,
    channels: u32,
    taps: u32,
    /// W; 0 without a state.
    state: u32,
}

impl ConvParams {
    fn plan(&self, checks: Checks) -> Result<Plan, CodegenError> {
        let [tokens, channels] = checks.shape("the input", &self.input, Elem::F32)?;
        let [_, taps] = checks.shape("the weight", &self.weight, Elem::F32)?;
        checks.expect("the weight", &self.weight, Elem::F32, &[&channels, &taps])?;
        checks.expect("the output", &self.output, Elem::F32, &[&tokens, &channels])?;
        if let Some(bias) = &self.bias {
            checks.expect("the bias", bias, Elem::F32, &[&channels])?;
        }
        let mut width = None;
        for (what, state) in [("the past", &self.past), ("the present", &self.present)] {
            let Some(state) = state else { continue };
            let [_, columns] = checks.shape(what, state, Elem::F32)?;
            checks.expect(what, state, Elem::F32, &[&channels, width.as_ref().unwrap_or(&columns)])?;
            width = Some(columns);
        }
        let taps = checks.constant("the number of taps", &taps, MAX_TAPS)?;
        let state = match &width {
            Some(width) if !width.is(0) => checks.constant("the width of the state", width, MAX_STATE)?,
            _ => 0,
        };
        if state + 1 < taps && width.is_some() {
            return Err(checks.fail(format!("a state of {state} columns is too narrow for {taps} taps")));
        }
        Ok(Plan {
            tokens,
            channels: checks.constant("the number of channels", &channels, u32::MAX)?,
            taps,
            state,
        })
    }
}

impl Plan {
    fn channel_groups(&self) -> Dim {
        Dim::constant(i64::from(self.channels.div_ceil(WORKGROUP)))
    }
}

#[derive(Template)]
#[template(path = "conv_prefill.wgsl", escape = "none")]
struct PrefillSource<'a> {
    declarations: String,
    activate: String,
    input: Access<'a>,
    weight: Access<'a>,
    bias: Option<Access<'a>>,
    past: Option<Access<'a>>,
    output: Access<'a>,
    tokens: String,
    channels: u32,
    taps: u32,
    /// The column of the state that is column t of its last K-1.
    past_column: String,
    run: u32,
    workgroup: u32,
}

/// y for any number of positions. Does not touch the state: when [`ConvParams::present`] is there,
/// [`update_state`] must be dispatched behind it.
///
/// # Errors
/// When shapes do not fit each other, or C, K, W are not constants within their limits.
pub fn prefill(symbols: &Symbols, params: &ConvParams) -> Result<Kernel, CodegenError> {
    const FAMILY: &str = "conv_prefill";
    let plan = params.plan(Checks::of(FAMILY))?;
    let mut bindings = Bindings::new();
    let output = Access::new(bindings.write(&params.output), symbols);
    let input = Access::new(bindings.read(&params.input), symbols);
    let weight = Access::new(bindings.read(&params.weight), symbols);
    let mut optional =
        |view: &Option<View>| view.as_ref().map(|view| Access::new(bindings.read(view), symbols));
    let bias = optional(&params.bias);
    let past = if plan.taps > 1 { optional(&params.past) } else { None };
    let source = PrefillSource {
        declarations: bindings.declarations(),
        activate: activate(params.activation),
        input,
        weight,
        bias,
        past_column: format!("t + {}u", (plan.state + 1).saturating_sub(plan.taps)),
        past,
        output,
        tokens: symbols.wgsl(&plan.tokens),
        channels: plan.channels,
        taps: plan.taps,
        run: RUN,
        workgroup: WORKGROUP,
    };
    let workgroups = [plan.channel_groups(), plan.tokens.ceil_div(i64::from(RUN)), Dim::constant(1)];
    bindings.finish(FAMILY, symbols, render(FAMILY, &source)?, [WORKGROUP, 1, 1], workgroups)
}

#[derive(Template)]
#[template(path = "conv_state.wgsl", escape = "none")]
struct StateSource<'a> {
    declarations: String,
    input: Access<'a>,
    past: Option<Access<'a>>,
    present: Access<'a>,
    tokens: String,
    channels: u32,
    state: u32,
    workgroup: u32,
}

/// The new state after [`prefill`]. Needs [`ConvParams::present`].
///
/// # Errors
/// As [`prefill`], and when there is no present.
pub fn update_state(symbols: &Symbols, params: &ConvParams) -> Result<Kernel, CodegenError> {
    const FAMILY: &str = "conv_state";
    let checks = Checks::of(FAMILY);
    let plan = params.plan(checks)?;
    let present = params.present.as_ref().ok_or_else(|| checks.fail("there is no present to write"))?;
    let mut bindings = Bindings::new();
    let present = Access::new(bindings.write(present), symbols);
    let input = Access::new(bindings.read(&params.input), symbols);
    let past = params.past.as_ref().map(|past| Access::new(bindings.read(past), symbols));
    let source = StateSource {
        declarations: bindings.declarations(),
        input,
        past,
        present,
        tokens: symbols.wgsl(&plan.tokens),
        channels: plan.channels,
        state: plan.state,
        workgroup: WORKGROUP,
    };
    let workgroups = [plan.channel_groups(), Dim::constant(1), Dim::constant(1)];
    bindings.finish(FAMILY, symbols, render(FAMILY, &source)?, [WORKGROUP, 1, 1], workgroups)
}

#[derive(Template)]
#[template(path = "conv_step.wgsl", escape = "none")]
struct StepSource<'a> {
    declarations: String,
    activate: String,
    input: Access<'a>,
    weight: Access<'a>,
    bias: Option<Access<'a>>,
    past: Option<Access<'a>>,
    present: Option<Access<'a>>,
    output: Access<'a>,
    channels: u32,
    taps: u32,
    state: u32,
    workgroup: u32,
}

/// y and the new state for one position (S = 1), in one dispatch.
///
/// # Errors
/// As [`prefill`], and when S is not 1.
pub fn step(symbols: &Symbols, params: &ConvParams) -> Result<Kernel, CodegenError> {
    const FAMILY: &str = "conv_step";
    let checks = Checks::of(FAMILY);
    let plan = params.plan(checks)?;
    if !plan.tokens.is(1) {
        return Err(checks.fail(format!("{} positions, expected 1", plan.tokens)));
    }
    let mut bindings = Bindings::new();
    let output = Access::new(bindings.write(&params.output), symbols);
    let present = match &params.present {
        Some(present) if plan.state > 0 => Some(Access::new(bindings.write(present), symbols)),
        _ => None,
    };
    let input = Access::new(bindings.read(&params.input), symbols);
    let weight = Access::new(bindings.read(&params.weight), symbols);
    let mut optional =
        |view: &Option<View>| view.as_ref().map(|view| Access::new(bindings.read(view), symbols));
    let bias = optional(&params.bias);
    let past = if plan.state > 0 { optional(&params.past) } else { None };
    let source = StepSource {
        declarations: bindings.declarations(),
        activate: activate(params.activation),
        input,
        weight,
        bias,
        past,
        present,
        output,
        channels: plan.channels,
        taps: plan.taps,
        // Without a state the step still reads taps - 1 columns of zeros.
        state: plan.state.max(plan.taps - 1),
        workgroup: WORKGROUP,
    };
    let workgroups = [plan.channel_groups(), Dim::constant(1), Dim::constant(1)];
    bindings.finish(FAMILY, symbols, render(FAMILY, &source)?, [WORKGROUP, 1, 1], workgroups)
}
