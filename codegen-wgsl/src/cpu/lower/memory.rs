//! Pointers: places in memory, and parts of local variables. Reads clamp their indices, writes out of range are dropped,
//! as WebGPU allows.

use naga::{Handle, TypeInner};

use super::super::ir::{Binary, Input, Op, Place, Space, Stmt, Ty, Val, Var};
use super::{Global, Lowerer, Unsupported, Value, kind_of, refuse};

/// What a pointer points to.
#[derive(Clone, Debug)]
pub(super) enum Pointer {
    /// All of these variables.
    Local { vars: Vec<Var>, inner: TypeInner },
    /// One of several elements, each of as many variables.
    LocalAt { elements: Vec<Vec<Var>>, index: Val },
    /// A lane of a vector in a variable.
    Lane { var: Var, lane: Val },
    /// A place in memory.
    Memory { global: Global, offset: u32, steps: Vec<Step>, inner: TypeInner },
}

/// An index on the way to a place in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    index: Val,
    last: Last,
    stride: u32,
}

/// The largest index.
#[derive(Clone, Copy, Debug)]
enum Last {
    Const(u32),
    /// Of the array at byte `start` of a binding.
    Binding {
        slot: u32,
        start: u32,
    },
}

/// An index into a composite.
#[derive(Clone, Copy, Debug)]
pub(super) enum Index {
    Const(u32),
    Dynamic(Val),
}

impl<'a> Lowerer<'a> {
    pub(super) fn global_pointer(
        &mut self,
        handle: Handle<naga::GlobalVariable>,
    ) -> Result<Pointer, Unsupported> {
        let Some(global) = self.globals.get(&handle).copied() else {
            return refuse("an unknown global variable");
        };
        let inner = self.module.types[self.module.global_variables[handle].ty].inner.clone();
        Ok(Pointer::Memory { global, offset: global.offset, steps: Vec::new(), inner })
    }

    pub(super) fn local_pointer(
        &mut self,
        handle: Handle<naga::LocalVariable>,
    ) -> Result<Pointer, Unsupported> {
        let module = self.module;
        let frame = self.frame()?;
        let Some(vars) = frame.locals.get(&handle).cloned() else {
            return refuse("an unknown local variable");
        };
        let inner = module.types[frame.function.local_variables[handle].ty].inner.clone();
        Ok(Pointer::Local { vars, inner })
    }

    /// The pointer to an element.
    pub(super) fn step_into(&mut self, base: Pointer, index: Index) -> Result<Pointer, Unsupported> {
        let module = self.module;
        let of = |handle: Handle<naga::Type>| module.types[handle].inner.clone();
        match base {
            Pointer::Memory { global, mut offset, mut steps, inner } => {
                let (inner, stride, last) = match (&inner, index) {
                    (TypeInner::Struct { members, .. }, Index::Const(at)) => {
                        let Some(member) = members.get(at as usize) else {
                            return refuse("a structure without this member");
                        };
                        let inner = of(member.ty);
                        return Ok(Pointer::Memory { global, offset: offset + member.offset, steps, inner });
                    }
                    (TypeInner::Array { base, size, stride }, _) => {
                        let last = match (size, global.space) {
                            (naga::ArraySize::Constant(count), _) => Last::Const(count.get() - 1),
                            (naga::ArraySize::Dynamic, Space::Binding { slot, .. }) => {
                                Last::Binding { slot, start: offset }
                            }
                            _ => return refuse("an array whose length is not known"),
                        };
                        (of(*base), *stride, last)
                    }
                    (TypeInner::Vector { size, scalar }, _) => {
                        (TypeInner::Scalar(*scalar), 4, Last::Const(*size as u32 - 1))
                    }
                    (TypeInner::Matrix { columns, rows, scalar }, _) => (
                        TypeInner::Vector { size: *rows, scalar: *scalar },
                        if *rows as u8 == 2 { 8 } else { 16 },
                        Last::Const(*columns as u32 - 1),
                    ),
                    (other, _) => return refuse(format!("an index into {other:?}")),
                };
                let index = match (index, last) {
                    // naga has checked it.
                    (Index::Const(at), Last::Const(last)) => {
                        offset += at.min(last) * stride;
                        return Ok(Pointer::Memory { global, offset, steps, inner });
                    }
                    (Index::Const(at), Last::Binding { .. }) => self.builder.u32(at),
                    (Index::Dynamic(index), _) => index,
                };
                steps.push(Step { index, last, stride });
                Ok(Pointer::Memory { global, offset, steps, inner })
            }
            Pointer::Local { vars, inner } => {
                if let TypeInner::Vector { .. } = inner {
                    let lane = match index {
                        Index::Const(lane) => self.builder.u32(lane),
                        Index::Dynamic(lane) => lane,
                    };
                    return Ok(Pointer::Lane { var: vars[0], lane });
                }
                let (inner, elements) = self.elements(&inner, &vars, index)?;
                match index {
                    Index::Const(at) => match elements.get(at as usize) {
                        Some(vars) => Ok(Pointer::Local { vars: vars.clone(), inner }),
                        None => refuse("an index out of range"),
                    },
                    Index::Dynamic(index) => Ok(Pointer::LocalAt { elements, index }),
                }
            }
            Pointer::LocalAt { .. } | Pointer::Lane { .. } => {
                refuse("an index into an element of a local array that is not constant")
            }
        }
    }

    /// The elements of a composite among its parts, and their type; of a structure only the type of member `index`.
    pub(super) fn elements<T: Clone>(
        &self,
        inner: &TypeInner,
        parts: &[T],
        index: Index,
    ) -> Result<(TypeInner, Vec<Vec<T>>), Unsupported> {
        let of = |handle: Handle<naga::Type>| self.module.types[handle].inner.clone();
        match (inner, index) {
            (TypeInner::Struct { members, .. }, Index::Const(at)) => {
                let Some(found) = members.get(at as usize).map(|member| of(member.ty)) else {
                    return refuse("a structure without this member");
                };
                let mut rest = parts.iter().cloned();
                let mut elements = Vec::new();
                for member in members {
                    let count = self.parts_of(&of(member.ty))?.len();
                    elements.push(rest.by_ref().take(count).collect());
                }
                Ok((found, elements))
            }
            (TypeInner::Array { base, .. }, _) => {
                let element = of(*base);
                let count = self.parts_of(&element)?.len().max(1);
                Ok((element, parts.chunks(count).map(<[T]>::to_vec).collect()))
            }
            (TypeInner::Matrix { rows, scalar, .. }, _) => {
                let column = TypeInner::Vector { size: *rows, scalar: *scalar };
                Ok((column, parts.iter().map(|part| vec![part.clone()]).collect()))
            }
            (other, _) => refuse(format!("an index into {other:?}")),
        }
    }

    pub(super) fn load_pointer(&mut self, pointer: &Pointer) -> Result<Vec<Val>, Unsupported> {
        match pointer {
            Pointer::Local { vars, .. } => Ok(vars.iter().map(|var| self.builder.get(*var)).collect()),
            Pointer::LocalAt { elements, index } => {
                let elements: Vec<Vec<Val>> = elements
                    .iter()
                    .map(|vars| vars.iter().map(|var| self.builder.get(*var)).collect())
                    .collect();
                Ok(self.choose(&elements, *index))
            }
            Pointer::Lane { var, lane } => {
                let vector = self.builder.get(*var);
                Ok(vec![self.lane(vector, *lane)])
            }
            Pointer::Memory { global, offset, steps, inner } => {
                let layout = self.layout(inner)?;
                let mut index = None;
                for step in steps {
                    let clamped = match step.last {
                        Last::Const(last) if self.builder.upper_of(step.index) <= last => step.index,
                        _ => {
                            let last = self.last(step);
                            let unsigned = self.unsigned(step.index);
                            self.builder.binary(Binary::Min, unsigned, last)
                        }
                    };
                    index = Some(self.advance(index, clamped, step.stride));
                }
                let place = |part: u32| Place { space: global.space, index, offset: offset + part };
                Ok(layout.into_iter().map(|(part, ty)| self.builder.load(place(part), ty)).collect())
            }
        }
    }

    pub(super) fn store(&mut self, pointer: &Pointer, parts: Vec<Val>) -> Result<(), Unsupported> {
        match pointer {
            Pointer::Local { vars, .. } => {
                for (var, part) in vars.iter().zip(parts) {
                    self.builder.push(Stmt::Set(*var, part));
                }
            }
            Pointer::LocalAt { elements, index } => {
                for (at, vars) in (0u32..).zip(elements) {
                    let at = self.builder.u32(at);
                    let here = self.equal(*index, at);
                    for (var, part) in vars.iter().zip(&parts) {
                        let old = self.builder.get(*var);
                        let new = self.builder.select(here, *part, old);
                        self.builder.push(Stmt::Set(*var, new));
                    }
                }
            }
            Pointer::Lane { var, lane } => {
                let mut vector = self.builder.get(*var);
                let ty = self.builder.ty(vector);
                if let Some(lane) = self.builder.as_const(*lane) {
                    let lane = u8::try_from(lane).unwrap_or(3).min(ty.lanes - 1);
                    vector = self.builder.def(Op::Replace(vector, lane, parts[0]), ty);
                } else {
                    for at in 0..ty.lanes {
                        let replaced = self.builder.def(Op::Replace(vector, at, parts[0]), ty);
                        let number = self.builder.u32(at.into());
                        let here = self.equal(*lane, number);
                        vector = self.builder.select(here, replaced, vector);
                    }
                }
                self.builder.push(Stmt::Set(*var, vector));
            }
            Pointer::Memory { global, offset, steps, inner } => {
                let layout = self.layout(inner)?;
                let (index, guard) = self.guarded(steps);
                for ((part, _), value) in layout.into_iter().zip(parts) {
                    let place = Place { space: global.space, index, offset: offset + part };
                    self.builder.push(Stmt::Store { place, value, guard });
                }
            }
        }
        Ok(())
    }

    /// Adds to a word and gives what was there. Out of range it adds to the last one.
    pub(super) fn atomic_add(&mut self, pointer: &Pointer, value: Val) -> Result<Val, Unsupported> {
        let Pointer::Memory { global, offset, steps, inner: TypeInner::Atomic(scalar) } = pointer else {
            return refuse("an atomic operation outside of memory");
        };
        let mut index = None;
        for step in steps {
            let last = self.last(step);
            let unsigned = self.unsigned(step.index);
            let clamped = self.builder.binary(Binary::Min, unsigned, last);
            index = Some(self.advance(index, clamped, step.stride));
        }
        let place = Place { space: global.space, index, offset: *offset };
        Ok(self.builder.def(Op::AtomicAdd(place, value), Ty::scalar(kind_of(*scalar)?)))
    }

    /// The byte offset of a write, and whether it is in range.
    fn guarded(&mut self, steps: &[Step]) -> (Option<Val>, Option<Val>) {
        let mut index = None;
        let mut guard = None;
        for step in steps {
            let inside = matches!(step.last, Last::Const(last) if self.builder.upper_of(step.index) <= last);
            let unsigned = self.unsigned(step.index);
            if !inside {
                let last = self.last(step);
                let fits = self.builder.binary(Binary::Le, unsigned, last);
                guard = Some(match guard {
                    None => fits,
                    Some(before) => self.builder.binary(Binary::And, before, fits),
                });
            }
            index = Some(self.advance(index, unsigned, step.stride));
        }
        (index, guard)
    }

    fn last(&mut self, step: &Step) -> Val {
        match step.last {
            Last::Const(last) => self.builder.u32(last),
            Last::Binding { slot, start } => {
                self.builder.input(Input::LastIndex { slot, start, stride: step.stride })
            }
        }
    }

    fn advance(&mut self, sum: Option<Val>, index: Val, stride: u32) -> Val {
        let stride = self.builder.u32(stride);
        let bytes = self.builder.binary(Binary::Mul, index, stride);
        match sum {
            None => bytes,
            Some(sum) => self.builder.binary(Binary::Add, sum, bytes),
        }
    }

    /// An index as u32: what is negative is out of range.
    pub(super) fn unsigned(&mut self, index: Val) -> Val {
        if self.builder.ty(index) == Ty::U32 {
            index
        } else {
            self.builder.unary(super::super::ir::Unary::Bitcast, index, Ty::U32)
        }
    }

    fn equal(&mut self, index: Val, at: Val) -> Val {
        let index = self.unsigned(index);
        self.builder.binary(Binary::Eq, index, at)
    }

    /// A lane of a vector; the last one when out of range.
    pub(super) fn lane(&mut self, vector: Val, lane: Val) -> Val {
        let ty = self.builder.ty(vector);
        if let Some(lane) = self.builder.as_const(lane) {
            let lane = u8::try_from(lane).unwrap_or(3).min(ty.lanes - 1);
            return self.builder.extract(vector, lane);
        }
        let lane = self.unsigned(lane);
        self.builder.def(Op::ExtractAt(vector, lane), Ty::scalar(ty.kind))
    }

    /// One of several elements; the last one when out of range.
    pub(super) fn choose(&mut self, elements: &[Vec<Val>], index: Val) -> Vec<Val> {
        let Some((last, others)) = elements.split_last() else { return Vec::new() };
        let mut chosen = last.clone();
        for (at, element) in others.iter().enumerate().rev() {
            let at = self.builder.u32(u32::try_from(at).unwrap_or(u32::MAX));
            let here = self.equal(index, at);
            let both = element.iter().zip(chosen);
            chosen = both.map(|(this, other)| self.builder.select(here, *this, other)).collect();
        }
        chosen
    }

    /// The bytes of a binding behind a pointer to an array without length, as a number of elements.
    pub(super) fn array_length(&mut self, pointer: &Pointer) -> Result<Value, Unsupported> {
        match pointer {
            Pointer::Memory {
                global: Global { space: Space::Binding { slot, .. }, .. },
                offset,
                inner: TypeInner::Array { stride, size: naga::ArraySize::Dynamic, .. },
                ..
            } => {
                let bytes = self.builder.input(Input::Length(*slot));
                let start = self.builder.u32(*offset);
                let bytes = self.builder.binary(Binary::Sub, bytes, start);
                let stride = self.builder.u32(*stride);
                Ok(Value::Parts(vec![self.builder.binary(Binary::Div, bytes, stride)]))
            }
            _ => refuse("arrayLength of something else than a buffer"),
        }
    }
}
