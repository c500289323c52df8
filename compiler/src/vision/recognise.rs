//! What a value that follows from the grid alone means.
//!
//! - *One number* everywhere, on every probe: a mask that masks nothing, because a probe is one image.
//! - *Positions*: rows of a learned position table, interpolated. The table is a square of rows among the constants that the
//!   value is computed from.
//! - *Angles*: cosines or sines, every column of which turns with the row or the column of a patch. They are columns of a
//!   table among those constants, or functions of a vector of frequencies.
//!
//! All three are decided by value, on all probes, so that it does not matter how an exporter spells them. Slow frequencies
//! have cosines of almost 1, in which the axis does not show: where a column of a value fits several, it is left open until
//! another value has decided the axes (the sines always do), and then held against that decision.

use std::collections::BTreeSet;

use qwenc_ir::interp::HostTensor;
use qwenc_ir::{BinaryOp, Expr, Graph, Scalar, Tensor, ValueId};

use super::VisionError;
use super::generalise::uniform;
use super::probe::Probe;
use super::tables::ProbeTables;

/// How far an interpolated position may be from the runtime's, of the largest element of the table.
const POSITION_TOLERANCE: f32 = 2e-5;
/// How far a cosine or sine may be.
const ANGLE_TOLERANCE: f32 = 2e-5;
/// Most frequencies of a vector, and most columns of a table of angles.
const MAX_SLOTS: usize = 1 << 10;
/// Largest constant that is looked at, in elements.
const MAX_CONSTANT: usize = 1 << 24;

/// A value that follows from the grid, on every probe.
pub(super) struct Boundary {
    /// The value in every probe's graph.
    pub(super) tuple: Vec<ValueId>,
    /// Its elements.
    pub(super) values: Vec<HostTensor>,
}

impl Boundary {
    /// The node that computes the value, by its name in the file.
    pub(super) fn name(&self, probes: &[Probe]) -> String {
        let (Some(probe), Some(value)) = (probes.first(), self.tuple.first()) else { return String::new() };
        match probe.graph.producer(*value) {
            Some((node, _)) => probe.graph.node(node).name.clone(),
            None => probe.graph.value(*value).name.clone(),
        }
    }
}

/// What a boundary is.
pub(super) enum Meaning {
    /// One number everywhere.
    Uniform(Scalar),
    /// Interpolated rows of a table.
    Positions {
        /// The table `[side * side, width]`, as it is stored.
        table: Tensor,
        /// Its name.
        name: String,
    },
    /// Cosines or sines.
    Angles(Angles),
}

/// Cosines or sines of every patch.
pub(super) struct Angles {
    /// A row for each position along an axis.
    pub(super) table: Tensor,
    /// For every column the axis: 0 for the patch's row, 1 for its column.
    pub(super) axes: Vec<u8>,
    /// The columns come twice.
    pub(super) twice: bool,
}

/// What all boundaries are.
pub(super) struct Recognised {
    /// In the order of the boundaries.
    pub(super) meanings: Vec<Meaning>,
    /// Side of the learned position table.
    pub(super) position_side: u32,
    /// Rows of the tables of angles.
    pub(super) max_side: u32,
    /// For people.
    pub(super) notes: Vec<String>,
}

/// `a0 * a1`.
pub(super) fn product() -> Expr {
    Expr::Arg(0).binary(BinaryOp::Mul, Expr::Arg(1))
}

/// `a0 + a1`.
pub(super) fn sum() -> Expr {
    Expr::Arg(0).binary(BinaryOp::Add, Expr::Arg(1))
}

/// Says what every boundary is, or which one is nothing that is known.
pub(super) fn recognise(
    probes: &[Probe],
    boundaries: &[Boundary],
    few_floats: &[(String, Tensor)],
    merge: u32,
    max_patches: u32,
) -> Result<Recognised, VisionError> {
    let mut search = Search::new(probes, few_floats, merge, max_patches)?;
    let mut meanings: Vec<Option<Meaning>> = Vec::with_capacity(boundaries.len());
    let mut reasons: Vec<String> = Vec::with_capacity(boundaries.len());
    for boundary in boundaries {
        let (meaning, reason) = search.first_look(boundary);
        meanings.push(meaning);
        reasons.push(reason);
    }
    for (boundary, meaning) in boundaries.iter().zip(&mut meanings) {
        if meaning.is_none() {
            *meaning = search.second_look(boundary);
        }
    }
    let mut known = Vec::with_capacity(meanings.len());
    for ((boundary, meaning), reason) in boundaries.iter().zip(meanings).zip(reasons) {
        known.push(meaning.ok_or_else(|| search.unrecognised(boundary, reason))?);
    }
    search.finish(known)
}

/// Which column of which axis each column of a value is.
type Slots = Vec<(u8, usize)>;

/// Where cosines or sines come from.
struct Source {
    name: String,
    /// For people.
    kind: &'static str,
    columns: usize,
    rows: Option<usize>,
    value: Box<dyn Fn(usize, usize) -> f32>,
}

struct Search<'a> {
    probes: &'a [Probe],
    few_floats: &'a [(String, Tensor)],
    merge: u32,
    /// Row and column of every patch, for each probe.
    positions: Vec<[Vec<usize>; 2]>,
    decided: Vec<Slots>,
    position_side: Option<u32>,
    sides: u32,
    notes: BTreeSet<String>,
}

impl<'a> Search<'a> {
    fn new(
        probes: &'a [Probe],
        few_floats: &'a [(String, Tensor)],
        merge: u32,
        max_patches: u32,
    ) -> Result<Self, VisionError> {
        let mut positions = Vec::with_capacity(probes.len());
        for probe in probes {
            // Positions do not depend on the side of the learned table.
            let tables = ProbeTables::of(probe, merge, 1)?;
            positions.push([tables.rows, tables.columns]);
        }
        // The longest grid is one merged patch high.
        let sides = (max_patches / merge.max(1)).max(1);
        Ok(Self {
            probes,
            few_floats,
            merge,
            positions,
            decided: Vec::new(),
            position_side: None,
            sides,
            notes: BTreeSet::new(),
        })
    }

    fn first_look(&mut self, boundary: &Boundary) -> (Option<Meaning>, String) {
        if let Some(value) = uniform(&boundary.values) {
            self.notes.insert(format!(
                "`{}`: {} everywhere for one image; `segments` keeps images and frames apart",
                boundary.name(self.probes),
                match value {
                    Scalar::F32(value) => value.to_string(),
                    Scalar::Int(value) => value.to_string(),
                    Scalar::Bool(value) => value.to_string(),
                }
            ));
            return (Some(Meaning::Uniform(value)), String::new());
        }
        let Some(width) = self.width(boundary) else {
            return (None, "it does not have floats in one row for each patch".to_string());
        };
        let constants = self.constants(boundary);
        let mut closest: Option<(f32, String)> = None;
        let mut compared = |distance: f32, with: String| {
            if closest.as_ref().is_none_or(|(best, _)| distance < *best) {
                closest = Some((distance, with));
            }
        };
        for (name, table) in &constants {
            let Some((side, values)) = position_table(table, width) else { continue };
            match self.position_distance(boundary, side, width, &values) {
                Some(distance) if distance <= POSITION_TOLERANCE => {
                    self.position_side = Some(side);
                    self.notes.insert(format!(
                        "`{}`: position_index and position_weight into `{name}`, {side} x {side} rows",
                        boundary.name(self.probes)
                    ));
                    let meaning = Meaning::Positions { table: table.clone(), name: name.clone() };
                    return (Some(meaning), String::new());
                }
                Some(distance) => {
                    compared(distance, format!("`{name}` interpolated by position_index and position_weight"))
                }
                None => {}
            }
        }
        for source in sources(&constants) {
            match self.free_slots(boundary, width, &source) {
                Ok(slots) => {
                    let meaning = self.angles(boundary, &source, slots.clone());
                    self.decided.push(slots);
                    return (Some(meaning), String::new());
                }
                Err(distance) => {
                    compared(distance, format!("{} `{}` by patch_positions", source.kind, source.name))
                }
            }
        }
        let reason = closest.map_or_else(
            || "it is computed from no table of positions, frequencies or angles".to_string(),
            |(distance, with)| format!("the nearest, {with}, is {distance:.3e} away"),
        );
        (None, reason)
    }

    /// With the axes that other values have decided.
    fn second_look(&mut self, boundary: &Boundary) -> Option<Meaning> {
        let width = self.width(boundary)?;
        let constants = self.constants(boundary);
        for source in sources(&constants) {
            let fits = |slots: &Slots| {
                slots.len() == width
                    && slots.iter().enumerate().all(|(slot, (axis, column))| {
                        *column < source.columns
                            && self.slot_distance(boundary, width, &source, slot, *axis, *column)
                                <= ANGLE_TOLERANCE
                    })
            };
            if let Some(slots) = self.decided.iter().find(|slots| fits(slots)).cloned() {
                return Some(self.angles(boundary, &source, slots));
            }
        }
        None
    }

    /// Elements of a row, when there is one row of floats for each patch.
    fn width(&self, boundary: &Boundary) -> Option<usize> {
        let mut width = None;
        for (tensor, [rows, _]) in boundary.values.iter().zip(&self.positions) {
            let own = *tensor.shape().last()?;
            let fits = own > 0 && tensor.as_f32()?.len() == own.checked_mul(rows.len())?;
            if !fits || width.is_some_and(|width| width != own) {
                return None;
            }
            width = Some(own);
        }
        width
    }

    /// Constants of floats that a value is, or may be, computed from.
    fn constants(&self, boundary: &Boundary) -> Vec<(String, Tensor)> {
        let (Some(probe), Some(value)) = (self.probes.first(), boundary.tuple.first()) else {
            return Vec::new();
        };
        let mut found = constants_behind(&probe.graph, *value);
        found.extend(self.few_floats.iter().cloned());
        found
    }

    /// How far a value is from interpolated rows of a table, of the table's largest element.
    fn position_distance(&self, boundary: &Boundary, side: u32, width: usize, table: &[f32]) -> Option<f32> {
        let largest = table.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        let mut distance = 0f32;
        for (probe, tensor) in self.probes.iter().zip(&boundary.values) {
            let tables = ProbeTables::of(probe, self.merge, side).ok()?;
            let rows = tensor.as_f32()?.chunks(width);
            for ((row, taps), weights) in rows.zip(&tables.taps).zip(&tables.weights) {
                for (at, value) in row.iter().enumerate() {
                    let terms = taps.iter().zip(weights);
                    let wanted: f32 = terms
                        .map(|(tap, weight)| {
                            table.get(tap * width + at).map_or(f32::NAN, |entry| entry * weight)
                        })
                        .sum();
                    distance = worse(distance, (value - wanted).abs());
                }
            }
        }
        Some(if largest > 0.0 { distance / largest } else { distance })
    }

    fn slot_distance(
        &self,
        boundary: &Boundary,
        width: usize,
        source: &Source,
        slot: usize,
        axis: u8,
        column: usize,
    ) -> f32 {
        let mut distance = 0f32;
        for (tensor, positions) in boundary.values.iter().zip(&self.positions) {
            let Some(values) = tensor.as_f32() else { return f32::INFINITY };
            let along = if axis == 0 { &positions[0] } else { &positions[1] };
            for (row, position) in values.chunks(width).zip(along) {
                let value = row.get(slot).copied().unwrap_or(f32::NAN);
                distance = worse(distance, (value - (source.value)(*position, column)).abs());
            }
        }
        distance
    }

    /// The column and axis of every slot, when each fits exactly one. Else the distance of the worst, 0 when several fit.
    fn free_slots(&self, boundary: &Boundary, width: usize, source: &Source) -> Result<Slots, f32> {
        let mut slots = Vec::with_capacity(width);
        let mut worst = 0f32;
        let mut open = false;
        for slot in 0..width {
            let mut fitting = Vec::new();
            let mut best = f32::INFINITY;
            for axis in [0u8, 1] {
                for column in 0..source.columns {
                    let distance = self.slot_distance(boundary, width, source, slot, axis, column);
                    best = best.min(distance);
                    if distance <= ANGLE_TOLERANCE {
                        fitting.push((axis, column));
                    }
                }
            }
            worst = worse(worst, if fitting.is_empty() { best } else { 0.0 });
            match fitting.as_slice() {
                [one] => slots.push(*one),
                _ => open = true,
            }
        }
        if open { Err(worst) } else { Ok(slots) }
    }

    fn angles(&mut self, boundary: &Boundary, source: &Source, mut slots: Slots) -> Meaning {
        let half = slots.len() / 2;
        let twice = slots.len().is_multiple_of(2) && slots.get(..half) == slots.get(half..);
        if twice {
            slots.truncate(half);
        }
        let limit = usize::try_from(self.sides).unwrap_or(usize::MAX);
        let rows = source.rows.unwrap_or(limit).min(limit);
        self.sides = self.sides.min(u32::try_from(rows).unwrap_or(u32::MAX));
        let values: Vec<f32> = (0..rows)
            .flat_map(|row| slots.iter().map(move |(_, column)| (row, *column)))
            .map(|(row, column)| (source.value)(row, column))
            .collect();
        self.notes.insert(format!(
            "`{}`: patch_positions into {} `{}`, {} slots",
            boundary.name(self.probes),
            source.kind,
            source.name,
            slots.len()
        ));
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let table = Tensor::new(qwenc_ir::DType::F32, vec![rows, slots.len()], bytes.into());
        match table {
            Ok(table) => {
                Meaning::Angles(Angles { table, axes: slots.iter().map(|(axis, _)| *axis).collect(), twice })
            }
            // Rows and slots are bounded, so that the table always exists.
            Err(_) => Meaning::Uniform(Scalar::F32(f32::NAN)),
        }
    }

    fn unrecognised(&self, boundary: &Boundary, compared: String) -> VisionError {
        let shape = boundary.values.first().map(|tensor| format!("{:?}", tensor.shape())).unwrap_or_default();
        VisionError::Unrecognised { value: boundary.name(self.probes), shape, compared }
    }

    fn finish(self, meanings: Vec<Meaning>) -> Result<Recognised, VisionError> {
        let missing = |what: &str| {
            VisionError::Interface(format!("the graph has no {what}: it is no encoder of this family"))
        };
        let position_side = self.position_side.ok_or_else(|| missing("learned position table"))?;
        if !meanings.iter().any(|meaning| matches!(meaning, Meaning::Angles(_))) {
            return Err(missing("rotary embedding of rows and columns"));
        }
        Ok(Recognised {
            meanings,
            position_side,
            max_side: self.sides,
            notes: self.notes.into_iter().collect(),
        })
    }
}

/// The larger of two distances; what is no number is infinitely far.
fn worse(a: f32, b: f32) -> f32 {
    if b.is_nan() { f32::INFINITY } else { a.max(b) }
}

/// Constants of floats that a value is computed from, each once.
fn constants_behind(graph: &Graph, value: ValueId) -> Vec<(String, Tensor)> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    let mut work = vec![value];
    while let Some(value) = work.pop() {
        if !seen.insert(value) {
            continue;
        }
        if let Some(tensor) = graph.constant(value) {
            if tensor.dtype().is_float() && tensor.len() <= MAX_CONSTANT {
                found.push((graph.value(value).name.clone(), tensor.clone()));
            }
        } else if let Some((node, _)) = graph.producer(value) {
            work.extend(graph.node_inputs(node).into_iter().flatten());
        }
    }
    found
}

/// Side and elements of a square of rows.
fn position_table(tensor: &Tensor, width: usize) -> Option<(u32, Vec<f32>)> {
    let [rows, columns] = tensor.shape() else { return None };
    let side = rows.isqrt();
    (side * side == *rows && side > 1 && *columns == width).then_some(())?;
    Some((u32::try_from(side).ok()?, tensor.to_f32().ok()?))
}

/// A function of an angle.
type OfAngle = fn(f64) -> f64;

/// What is computed from frequencies.
const FUNCTIONS: [(&str, OfAngle); 2] = [("sines of", f64::sin), ("cosines of", f64::cos)];

/// What cosines and sines may come from: tables, and functions of frequencies.
fn sources(constants: &[(String, Tensor)]) -> Vec<Source> {
    let mut out = Vec::new();
    for (name, tensor) in constants {
        let Ok(values) = tensor.to_f32() else { continue };
        if let [rows, columns] = tensor.shape()
            && *rows > 1
            && (1..=MAX_SLOTS).contains(columns)
        {
            let (rows, columns) = (*rows, *columns);
            let values = values.clone();
            let value = move |row: usize, column: usize| {
                values.get(row * columns + column).copied().unwrap_or(f32::NAN)
            };
            out.push(Source {
                name: name.clone(),
                kind: "the table",
                columns,
                rows: Some(rows),
                value: Box::new(value),
            });
        }
        let vector = tensor.shape().iter().filter(|size| **size != 1).count() <= 1;
        if vector && (1..=MAX_SLOTS).contains(&values.len()) {
            for (kind, function) in FUNCTIONS {
                let columns = values.len();
                let frequencies = values.clone();
                // Models multiply in f32, and the table holds what they give.
                #[expect(
                    clippy::cast_precision_loss,
                    clippy::cast_possible_truncation,
                    reason = "small positions"
                )]
                let value = move |row: usize, column: usize| {
                    let angle = frequencies.get(column).map_or(f32::NAN, |frequency| row as f32 * frequency);
                    function(f64::from(angle)) as f32
                };
                out.push(Source { name: name.clone(), kind, columns, rows: None, value: Box::new(value) });
            }
        }
    }
    out
}
