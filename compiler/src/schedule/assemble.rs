//! Putting the schedule together: one list of buffers and pipelines shared by all entry points, and per entry point the
//! commands.

use std::collections::BTreeMap;

use qwenc_codegen_wgsl::{BufferKey, Elem, Kernel, Need, Symbols};
use qwenc_ir::dim::Atom;
use qwenc_ir::{Dim, StateKind};
use qwenc_runtime::format::{
    Binding, BindingKind, Buffer, BufferId, BufferKind, Command, Constraint, DType, Dispatch, Entry, Expr,
    FORMAT_VERSION, Feature, Init, Pipeline, PipelineId, STEP_BYTES, Schedule, StateFacts, Symbol,
    TensorSlot, Variant, WeightPart, {self as format},
};
use sha2::{Digest, Sha256};

use super::plan::{MemoryPlan, buffer_bytes, plan};
use crate::lower::{BufferRole, Io, LowerError, Lowered, WeightSpec};

/// Longest label of a dispatch, in characters: names in model files have no bound of their own.
const MAX_LABEL: usize = 160;

/// A packed weight in the bundle: where its bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightBuffer {
    /// SHA-256 of the packed bytes, hexadecimal: two weights of equal content are one buffer.
    pub hash: String,
    /// Bytes.
    pub bytes: u64,
    /// The tensors in shards that hold it.
    pub parts: Vec<WeightPart>,
}

/// An entry point to assemble.
#[derive(Clone, Debug)]
pub struct EntryPlan {
    /// Its launches and buffers.
    pub lowered: Lowered,
    /// Bounds on symbols together.
    pub constraints: Vec<Constraint>,
}

/// A WGSL module of the bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shader {
    /// Path in the bundle.
    pub path: String,
    /// Text.
    pub source: String,
}

/// The schedule and what belongs to it.
#[derive(Clone, Debug)]
pub struct Assembled {
    /// The schedule.
    pub schedule: Schedule,
    /// The modules that its pipelines name, in order of first use.
    pub shaders: Vec<Shader>,
    /// What a processor runs in place of a shader, by the shader's path, where it is another module.
    pub processor: BTreeMap<String, String>,
    /// The states, by name.
    pub states: Vec<StateFacts>,
}

impl Assembled {
    /// The texts of all modules in the order of their paths, which is that of the manifest: what [`SHADERS_FILE`] holds.
    ///
    /// [`SHADERS_FILE`]: qwenc_runtime::bundle::SHADERS_FILE
    pub fn shaders_together(&self) -> String {
        let mut shaders: Vec<&Shader> = self.shaders.iter().collect();
        shaders.sort_by(|a, b| a.path.cmp(&b.path));
        shaders.into_iter().map(|shader| shader.source.as_str()).collect()
    }
}

/// Every weight of all entry points once, in order of first use.
pub fn weight_specs(entries: &[EntryPlan]) -> Vec<&WeightSpec> {
    let mut seen = std::collections::BTreeSet::new();
    entries
        .iter()
        .flat_map(|entry| entry.lowered.used().into_iter().map(|key| &entry.lowered.buffers[key.0 as usize]))
        .filter_map(|buffer| match &buffer.role {
            BufferRole::Weight(spec) => Some(spec),
            _ => None,
        })
        .filter(|spec| seen.insert(spec.identity()))
        .collect()
}

/// Builds the schedule. `weights` maps [`WeightSpec::identity`] to the packed weight.
pub fn assemble(
    entries: &[EntryPlan],
    symbols: &Symbols,
    weights: &BTreeMap<String, WeightBuffer>,
    cooperative_matrices: bool,
) -> Result<Assembled, LowerError> {
    let mut assembly = Assembly::new(symbols, weights, cooperative_matrices);
    assembly.add_step();
    let plans: Vec<MemoryPlan> =
        entries.iter().map(|entry| plan(&entry.lowered, symbols)).collect::<Result<_, _>>()?;
    let slabs = assembly.add_slabs(&plans);
    let mut out = BTreeMap::new();
    for (entry, plan) in entries.iter().zip(&plans) {
        let bindings = assembly.bindings(&entry.lowered, plan, &slabs)?;
        let built = assembly.entry(entry, &bindings)?;
        out.insert(entry.lowered.entry.clone(), built);
    }
    hide_internal_inputs(&mut out);
    let mut schedule_symbols = Vec::new();
    for name in symbols.names() {
        let (min, max) = symbols.ranges().get(name).copied().unwrap_or((0, 0));
        let bound = |value: i64| {
            u32::try_from(value)
                .map_err(|_| LowerError::graph(format!("symbol `{name}` is bounded by {value}")))
        };
        schedule_symbols.push(Symbol { name: name.clone(), min: bound(min)?, max: bound(max)? });
    }
    Ok(Assembled {
        schedule: Schedule {
            version: FORMAT_VERSION,
            symbols: schedule_symbols,
            buffers: assembly.buffers,
            pipelines: assembly.pipelines,
            entries: out,
        },
        shaders: assembly.shaders,
        processor: assembly.processor,
        states: assembly.states,
    })
}

/// What one entry point leaves for another is not the host's business: such inputs are not listed.
fn hide_internal_inputs(entries: &mut BTreeMap<String, Entry>) {
    let produced: Vec<BufferId> =
        entries.values().flat_map(|entry| entry.outputs.values().map(|slot| slot.buffer)).collect();
    for entry in entries.values_mut() {
        entry.inputs.retain(|_, slot| !produced.contains(&slot.buffer));
    }
}

struct Assembly<'a> {
    symbols: &'a Symbols,
    weights: &'a BTreeMap<String, WeightBuffer>,
    /// Whether variants for matrix cores are taken along.
    cooperative_matrices: bool,
    buffers: Vec<Buffer>,
    pipelines: Vec<Pipeline>,
    shaders: Vec<Shader>,
    processor: BTreeMap<String, String>,
    states: Vec<StateFacts>,
    step: BufferId,
    /// Buffers that entry points share, by a key of their role.
    shared: BTreeMap<String, BufferId>,
    /// Pipelines by shader source.
    by_source: BTreeMap<String, PipelineId>,
}

impl<'a> Assembly<'a> {
    fn new(
        symbols: &'a Symbols,
        weights: &'a BTreeMap<String, WeightBuffer>,
        cooperative_matrices: bool,
    ) -> Self {
        Self {
            symbols,
            weights,
            cooperative_matrices,
            buffers: Vec::new(),
            pipelines: Vec::new(),
            shaders: Vec::new(),
            processor: BTreeMap::new(),
            states: Vec::new(),
            step: BufferId(0),
            shared: BTreeMap::new(),
            by_source: BTreeMap::new(),
        }
    }

    fn add_buffer(&mut self, name: String, kind: BufferKind, bytes: u64) -> BufferId {
        let id = BufferId(u32::try_from(self.buffers.len()).unwrap_or(u32::MAX));
        let init = (kind == BufferKind::State).then_some(Init::Zero);
        self.buffers.push(Buffer { id, name, kind, bytes, parts: Vec::new(), init });
        id
    }

    fn add_step(&mut self) {
        self.step = self.add_buffer("step".into(), BufferKind::Step, STEP_BYTES);
    }

    /// Slabs are shared by all entry points: only one runs at a time.
    fn add_slabs(&mut self, plans: &[MemoryPlan]) -> Vec<BufferId> {
        let count = plans.iter().map(|plan| plan.slabs.len()).max().unwrap_or(0);
        (0..count)
            .map(|slab| {
                let bytes = plans.iter().filter_map(|plan| plan.slabs.get(slab)).max().copied().unwrap_or(0);
                self.add_buffer(format!("arena{slab}"), BufferKind::Arena, bytes)
            })
            .collect()
    }

    /// The device range of every logical buffer of an entry point.
    fn bindings(
        &mut self,
        lowered: &Lowered,
        plan: &MemoryPlan,
        slabs: &[BufferId],
    ) -> Result<BTreeMap<BufferKey, Binding>, LowerError> {
        let mut out = BTreeMap::new();
        let mut wanted = lowered.used();
        wanted.extend(lowered.inputs.iter().chain(&lowered.outputs).map(|io| io.buffer));
        for key in wanted {
            if let Some(place) = plan.placements.get(&key) {
                let binding = Binding { buffer: slabs[place.slab], offset: place.offset, bytes: place.bytes };
                out.insert(key, binding);
            } else if let Some(buffer) = self.shared_buffer(lowered, key)? {
                out.insert(key, Binding { buffer, offset: 0, bytes: self.buffers[buffer.0 as usize].bytes });
            }
        }
        Ok(out)
    }

    /// The buffer of a weight, a state, an input or an output; `None` for a temporary that nothing uses.
    fn shared_buffer(&mut self, lowered: &Lowered, key: BufferKey) -> Result<Option<BufferId>, LowerError> {
        let buffer = &lowered.buffers[key.0 as usize];
        let bytes = buffer_bytes(lowered, key, self.symbols)?;
        let (shared, name, kind) = match &buffer.role {
            BufferRole::Temp => return Ok(None),
            BufferRole::Weight(spec) => return self.weight(spec).map(Some),
            BufferRole::State { name, .. } => (format!("state {name}"), name, BufferKind::State),
            // An input that another entry point gives as output is that output.
            BufferRole::Input(name) => (format!("io {name}"), name, BufferKind::Input),
            // One entry point may have an input and an output of one name, which are two buffers.
            BufferRole::Output(name) if lowered.buffers.iter().any(|other| is_input(&other.role, name)) => {
                (format!("output {name}"), name, BufferKind::Output)
            }
            BufferRole::Output(name) => (format!("io {name}"), name, BufferKind::Output),
        };
        if let Some(id) = self.shared.get(&shared) {
            let have = &mut self.buffers[id.0 as usize];
            have.bytes = have.bytes.max(bytes);
            if kind == BufferKind::Output {
                have.kind = kind;
            }
            return Ok(Some(*id));
        }
        let id = self.add_buffer(name.clone(), kind, bytes);
        if let BufferRole::State { name, kind } = &buffer.role {
            self.states.push(state_facts(name, *kind, id, buffer.elem, bytes));
        }
        self.shared.insert(shared, id);
        Ok(Some(id))
    }

    fn weight(&mut self, spec: &WeightSpec) -> Result<BufferId, LowerError> {
        let weight = self
            .weights
            .get(&spec.identity())
            .ok_or_else(|| LowerError::graph("a weight was not packed before the schedule was built"))?;
        let shared = format!("weight {}", weight.hash);
        if let Some(id) = self.shared.get(&shared) {
            return Ok(*id);
        }
        let id = self.add_buffer(format!("weight {}", short(&weight.hash)), BufferKind::Weight, weight.bytes);
        self.buffers[id.0 as usize].parts.clone_from(&weight.parts);
        self.shared.insert(shared, id);
        Ok(id)
    }

    fn entry(
        &mut self,
        entry: &EntryPlan,
        bindings: &BTreeMap<BufferKey, Binding>,
    ) -> Result<Entry, LowerError> {
        let lowered = &entry.lowered;
        let mut commands = Vec::new();
        for launch in &lowered.launches {
            let kernel = &launch.kernel;
            let pipeline = self.pipeline(kernel);
            let mut bound = vec![Binding { buffer: self.step, offset: 0, bytes: STEP_BYTES }];
            for key in kernel.reads.iter().chain(&kernel.writes) {
                let binding = bindings.get(key).ok_or_else(|| {
                    LowerError::graph(format!("{key:?} of `{}` has no memory", launch.label))
                })?;
                bound.push(*binding);
            }
            let label: String =
                format!("{} · {}", kernel.family, launch.label).chars().take(MAX_LABEL).collect();
            let [x, y, z] = &kernel.workgroups;
            commands.push(Command::Dispatch(Dispatch {
                pipeline,
                label,
                bindings: bound,
                workgroups: [expr(x)?, expr(y)?, expr(z)?],
            }));
        }
        let slots = |list: &[Io]| -> Result<BTreeMap<String, TensorSlot>, LowerError> {
            let slot = |io: &Io| -> Result<(String, TensorSlot), LowerError> {
                let binding = bindings
                    .get(&io.buffer)
                    .ok_or_else(|| LowerError::graph(format!("`{}` has no memory", io.name)))?;
                let dtype = dtype(lowered.buffers[io.buffer.0 as usize].elem);
                let shape = io.shape.iter().map(expr).collect::<Result<_, _>>()?;
                Ok((io.name.clone(), TensorSlot { buffer: binding.buffer, dtype, shape }))
            };
            list.iter().map(slot).collect()
        };
        Ok(Entry {
            symbols: self.used_symbols(entry),
            constraints: entry.constraints.clone(),
            inputs: slots(&lowered.inputs)?,
            outputs: slots(&lowered.outputs)?,
            commands,
        })
    }

    /// The symbols that anything in the entry point reads, in slot order.
    fn used_symbols(&self, entry: &EntryPlan) -> Vec<String> {
        let mut used = std::collections::BTreeSet::new();
        for launch in &entry.lowered.launches {
            launch.kernel.workgroups.iter().for_each(|dim| dim.collect_symbols(&mut used));
            for (slot, name) in self.symbols.names().iter().enumerate() {
                let component = ["x", "y", "z", "w"][slot % 4];
                if launch.kernel.source.contains(&format!("step.s[{}].{component}", slot / 4)) {
                    used.insert(name.clone());
                }
            }
        }
        for io in entry.lowered.inputs.iter().chain(&entry.lowered.outputs) {
            io.shape.iter().for_each(|dim| dim.collect_symbols(&mut used));
        }
        for constraint in &entry.constraints {
            used.extend(constraint.expr.symbols().into_iter().map(str::to_string));
        }
        self.symbols.names().iter().filter(|name| used.contains(*name)).cloned().collect()
    }

    fn pipeline(&mut self, kernel: &Kernel) -> PipelineId {
        if let Some(id) = self.by_source.get(&kernel.source) {
            return *id;
        }
        let digest = hex(&Sha256::digest(kernel.source.as_bytes()));
        let path = format!("shaders/{}_{}.wgsl", kernel.family, short(&digest));
        let id = PipelineId(u32::try_from(self.pipelines.len()).unwrap_or(u32::MAX));
        let mut bindings = vec![BindingKind::Uniform];
        bindings.extend(kernel.reads.iter().map(|_| BindingKind::Read));
        bindings.extend(kernel.writes.iter().map(|_| BindingKind::ReadWrite));
        let taken: Vec<_> = kernel
            .variants
            .iter()
            .filter(|variant| self.cooperative_matrices || !variant.needs.contains(&Need::CooperativeMatrix))
            .collect();
        let variants = taken.iter().map(|variant| Variant {
            name: variant.name.into(),
            shader: format!("shaders/{}_{}_{}.wgsl", kernel.family, short(&digest), variant.name),
            needs: variant.needs.iter().map(feature).collect(),
            workgroup_size: variant.workgroup_size,
        });
        let variants: Vec<_> = variants.collect();
        self.pipelines.push(Pipeline {
            shader: path.clone(),
            entry: "main".into(),
            bindings,
            workgroup_size: kernel.workgroup_size,
            variants: variants.clone(),
        });
        self.processor.extend(kernel.cpu.clone().map(|source| (path.clone(), source)));
        self.shaders.push(Shader { path, source: kernel.source.clone() });
        let sources = variants.into_iter().zip(&taken);
        self.shaders
            .extend(sources.map(|(it, variant)| Shader { path: it.shader, source: variant.source.clone() }));
        self.by_source.insert(kernel.source.clone(), id);
        id
    }
}

const fn feature(need: &Need) -> Feature {
    match need {
        Need::Subgroups => Feature::Subgroups,
        Need::Software => Feature::Software,
        Need::CooperativeMatrix => Feature::CooperativeMatrix,
    }
}

fn state_facts(name: &str, kind: StateKind, buffer: BufferId, elem: Elem, bytes: u64) -> StateFacts {
    let (suffix, kind) = match kind {
        StateKind::KvCache => ("kv cache", format::StateKind::KvCache),
        StateKind::Window => ("window", format::StateKind::Window),
        StateKind::Matrix => ("matrix", format::StateKind::Matrix),
    };
    StateFacts {
        name: format!("{name} ({suffix})"),
        buffer,
        kind,
        dtype: dtype(elem),
        shape: vec![bytes / 4],
    }
}

const fn dtype(elem: Elem) -> DType {
    match elem {
        Elem::F32 => DType::F32,
        Elem::I32 => DType::I32,
        Elem::U32 => DType::U32,
    }
}

/// The first 16 digits of a hash: enough for names, which need not be unforgeable.
pub(crate) fn short(hash: &str) -> &str {
    hash.get(..16).unwrap_or(hash)
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A dim as an expression of the schedule.
pub fn expr(dim: &Dim) -> Result<Expr, LowerError> {
    if let Some(value) = dim.as_const() {
        return Ok(Expr::Const(value));
    }
    let mut terms = Vec::new();
    for (coefficient, atoms) in dim.terms() {
        let mut factors = Vec::new();
        for atom in atoms {
            factors.push(atom_expr(atom)?);
        }
        if coefficient != 1 || factors.is_empty() {
            factors.push(Expr::Const(coefficient));
        }
        terms.push(if factors.len() == 1 { factors.remove(0) } else { Expr::Mul(factors) });
    }
    match terms.len() {
        0 => Err(LowerError::graph("a workgroup count overflows")),
        1 => Ok(terms.remove(0)),
        _ => Ok(Expr::Add(terms)),
    }
}

fn atom_expr(atom: &Atom) -> Result<Expr, LowerError> {
    let pair = |a: &Dim, b: &Dim| -> Result<[Expr; 2], LowerError> { Ok([expr(a)?, expr(b)?]) };
    Ok(match atom {
        Atom::Sym(name) => Expr::Symbol(name.to_string()),
        Atom::FloorDiv(a, b) => Expr::FloorDiv(Box::new(pair(a, b)?)),
        Atom::Mod(a, b) => Expr::Mod(Box::new(pair(a, b)?)),
        Atom::Min(a, b) => Expr::Min(pair(a, b)?.into()),
        Atom::Max(a, b) => Expr::Max(pair(a, b)?.into()),
    })
}

fn is_input(role: &BufferRole, name: &str) -> bool {
    matches!(role, BufferRole::Input(input) if input == name)
}
