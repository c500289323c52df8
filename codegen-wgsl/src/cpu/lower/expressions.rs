//! Expressions.

use naga::{Expression, Handle, Literal, TypeInner};

use super::super::ir::{Binary, Kind, Op, Ty, Unary, Val};
use super::memory::{Index, Pointer};
use super::{Lowerer, Unsupported, Value, kind_of, refuse};

impl<'a> Lowerer<'a> {
    /// The value of an expression that has been emitted, or need not be.
    pub(super) fn value(&mut self, handle: Handle<Expression>) -> Result<Value, Unsupported> {
        if let Some(value) = self.frame()?.values.get(&handle) {
            return Ok(value.clone());
        }
        self.expression(handle)
    }

    pub(super) fn parts(&mut self, handle: Handle<Expression>) -> Result<Vec<Val>, Unsupported> {
        match self.value(handle)? {
            Value::Parts(parts) => Ok(parts),
            Value::Pointer(_) => refuse("a pointer where a value belongs"),
        }
    }

    /// A scalar or a vector.
    pub(super) fn scalar(&mut self, handle: Handle<Expression>) -> Result<Val, Unsupported> {
        match self.parts(handle)?[..] {
            [part] => Ok(part),
            _ => refuse("a composite where a scalar or a vector belongs"),
        }
    }

    pub(super) fn pointer(&mut self, handle: Handle<Expression>) -> Result<Pointer, Unsupported> {
        match self.value(handle)? {
            Value::Pointer(pointer) => Ok(pointer),
            Value::Parts(_) => refuse("a value where a pointer belongs"),
        }
    }

    pub(super) fn type_of(&mut self, handle: Handle<Expression>) -> Result<TypeInner, Unsupported> {
        let module = self.module;
        Ok(self.frame()?.info[handle].ty.inner_with(&module.types).clone())
    }

    /// The type of a scalar or a vector.
    pub(super) fn ty(&mut self, handle: Handle<Expression>) -> Result<Ty, Unsupported> {
        let inner = self.type_of(handle)?;
        match self.parts_of(&inner)?[..] {
            [ty] => Ok(ty),
            _ => refuse("a composite where a scalar or a vector belongs"),
        }
    }

    pub(super) fn expression(&mut self, handle: Handle<Expression>) -> Result<Value, Unsupported> {
        let function = self.frame()?.function;
        let one = |val: Val| Ok(Value::Parts(vec![val]));
        match &function.expressions[handle] {
            expression @ (Expression::Literal(_) | Expression::Constant(_) | Expression::ZeroValue(_)) => {
                self.constant(expression).map(Value::Parts)
            }
            Expression::Compose { ty, components } => {
                let mut parts = Vec::new();
                for component in components {
                    parts.extend(self.parts(*component)?);
                }
                self.composed(*ty, parts).map(Value::Parts)
            }
            Expression::Access { base, index } => {
                let index = self.scalar(*index)?;
                match self.value(*base)? {
                    Value::Pointer(pointer) => {
                        Ok(Value::Pointer(self.step_into(pointer, Index::Dynamic(index))?))
                    }
                    Value::Parts(parts) => {
                        let inner = self.type_of(*base)?;
                        if matches!(inner, TypeInner::Vector { .. }) {
                            return one(self.lane(parts[0], index));
                        }
                        let (_, elements) = self.elements(&inner, &parts, Index::Dynamic(index))?;
                        Ok(Value::Parts(self.choose(&elements, index)))
                    }
                }
            }
            Expression::AccessIndex { base, index } => match self.value(*base)? {
                Value::Pointer(pointer) => Ok(Value::Pointer(self.step_into(pointer, Index::Const(*index))?)),
                Value::Parts(parts) => {
                    let inner = self.type_of(*base)?;
                    if matches!(inner, TypeInner::Vector { .. }) {
                        return one(self.builder.extract(parts[0], u8::try_from(*index).unwrap_or(3)));
                    }
                    let (_, elements) = self.elements(&inner, &parts, Index::Const(*index))?;
                    match elements.into_iter().nth(*index as usize) {
                        Some(element) => Ok(Value::Parts(element)),
                        None => refuse("an index out of range"),
                    }
                }
            },
            Expression::Splat { size, value } => {
                let value = self.scalar(*value)?;
                one(self.builder.splat(value, *size as u8))
            }
            Expression::Swizzle { size, vector, pattern } => {
                let vector = self.scalar(*vector)?;
                let ty = Ty { lanes: *size as u8, ..self.builder.ty(vector) };
                let lanes = pattern.map(|lane| lane as u8);
                one(self.builder.def(Op::Shuffle(vector, vector, lanes), ty))
            }
            Expression::FunctionArgument(at) => match self.frame()?.arguments.get(*at as usize) {
                Some(value) => Ok(value.clone()),
                None => refuse("an argument that is not there"),
            },
            Expression::GlobalVariable(global) => Ok(Value::Pointer(self.global_pointer(*global)?)),
            Expression::LocalVariable(local) => Ok(Value::Pointer(self.local_pointer(*local)?)),
            Expression::Load { pointer } => {
                let pointer = self.pointer(*pointer)?;
                self.load_pointer(&pointer).map(Value::Parts)
            }
            Expression::Unary { op, expr } => {
                let operand = self.scalar(*expr)?;
                let ty = self.builder.ty(operand);
                let op = match op {
                    naga::UnaryOperator::Negate => Unary::Negate,
                    naga::UnaryOperator::LogicalNot | naga::UnaryOperator::BitwiseNot => Unary::Not,
                };
                one(self.builder.unary(op, operand, ty))
            }
            Expression::Binary { op, left, right } => {
                let (left, right) = (self.scalar(*left)?, self.scalar(*right)?);
                one(self.builder.binary(binary(*op), left, right))
            }
            Expression::Select { condition, accept, reject } => {
                let condition = self.scalar(*condition)?;
                let (accept, reject) = (self.scalar(*accept)?, self.scalar(*reject)?);
                one(self.builder.select(condition, accept, reject))
            }
            Expression::Relational { fun, argument } => {
                let op = match fun {
                    naga::RelationalFunction::All => Unary::All,
                    naga::RelationalFunction::Any => Unary::Any,
                    other => return refuse(format!("the function {other:?}")),
                };
                let argument = self.scalar(*argument)?;
                if !self.builder.ty(argument).is_vector() {
                    return one(argument);
                }
                one(self.builder.unary(op, argument, Ty::BOOL))
            }
            Expression::Math { fun, arg, arg1, arg2, arg3 } => {
                let mut arguments = Vec::new();
                for argument in [Some(*arg), *arg1, *arg2, *arg3].into_iter().flatten() {
                    arguments.push(self.parts(argument)?);
                }
                self.math(*fun, arguments, handle).map(Value::Parts)
            }
            Expression::As { expr, kind, convert } => {
                let operand = self.scalar(*expr)?;
                let from = self.builder.ty(operand);
                let width = convert.unwrap_or(4);
                let kind = kind_of(naga::Scalar { kind: *kind, width })?;
                let ty = Ty { kind, ..from };
                if kind == from.kind {
                    return one(operand);
                }
                let op = if convert.is_some() { Unary::Convert } else { Unary::Bitcast };
                one(self.builder.unary(op, operand, ty))
            }
            Expression::ArrayLength(pointer) => {
                let pointer = self.pointer(*pointer)?;
                self.array_length(&pointer)
            }
            other => {
                let text = format!("{other:?}");
                let name = text.split([' ', '{', '(']).next().unwrap_or_default();
                refuse(format!("the expression {name}"))
            }
        }
    }

    /// The parts of a composite of the type `ty`; the scalars of a vector are put together.
    fn composed(&mut self, ty: Handle<naga::Type>, parts: Vec<Val>) -> Result<Vec<Val>, Unsupported> {
        let wanted = self.parts_of(&self.module.types[ty].inner)?;
        let [vector] = wanted[..] else {
            // A matrix of scalars, or a composite of the right parts.
            if parts.len() == wanted.len() {
                return Ok(parts);
            }
            let mut scalars = Vec::new();
            for part in parts {
                self.scalars(part, &mut scalars);
            }
            let mut scalars = scalars.into_iter();
            let columns = wanted.iter().map(|ty| {
                let lanes = scalars.by_ref().take(ty.lanes.into()).collect();
                self.builder.compose(lanes, *ty)
            });
            return Ok(columns.collect());
        };
        if let [part] = parts[..]
            && self.builder.ty(part).lanes == vector.lanes
        {
            return Ok(parts);
        }
        if let [a, b] = parts[..]
            && self.builder.ty(a).lanes == 2
            && self.builder.ty(b).lanes == 2
        {
            return Ok(vec![self.builder.def(Op::Shuffle(a, b, [0, 1, 4, 5]), vector)]);
        }
        let mut lanes = Vec::new();
        for part in parts {
            self.scalars(part, &mut lanes);
        }
        if lanes.len() != usize::from(vector.lanes) {
            return refuse("a vector of another number of components");
        }
        Ok(vec![self.builder.compose(lanes, vector)])
    }

    fn scalars(&mut self, part: Val, out: &mut Vec<Val>) {
        match self.builder.ty(part).lanes {
            1 => out.push(part),
            lanes => out.extend((0..lanes).map(|lane| self.builder.extract(part, lane))),
        }
    }

    /// A constant expression, of a function or of the module.
    fn constant(&mut self, expression: &Expression) -> Result<Vec<Val>, Unsupported> {
        let module = self.module;
        match expression {
            Expression::Literal(literal) => {
                let (kind, bits) = match *literal {
                    Literal::F32(value) => (Kind::F32, value.to_bits()),
                    Literal::U32(value) => (Kind::U32, value),
                    Literal::I32(value) => (Kind::I32, value.cast_unsigned()),
                    Literal::Bool(value) => (Kind::Bool, u32::from(value)),
                    other => return refuse(format!("the literal {other:?}")),
                };
                Ok(vec![self.builder.constant(Ty::scalar(kind), bits)])
            }
            Expression::Constant(constant) => {
                self.constant(&module.global_expressions[module.constants[*constant].init])
            }
            Expression::ZeroValue(ty) => {
                let parts = self.parts_of(&module.types[*ty].inner)?;
                Ok(parts.into_iter().map(|ty| self.builder.constant(ty, 0)).collect())
            }
            Expression::Compose { ty, components } => {
                let mut parts = Vec::new();
                for component in components {
                    parts.extend(self.constant(&module.global_expressions[*component])?);
                }
                self.composed(*ty, parts)
            }
            Expression::Splat { size, value } => {
                let parts = self.constant(&module.global_expressions[*value])?;
                Ok(vec![self.builder.splat(parts[0], *size as u8)])
            }
            _ => refuse("a constant that is not evaluated"),
        }
    }
}

fn binary(op: naga::BinaryOperator) -> Binary {
    use naga::BinaryOperator as Naga;
    match op {
        Naga::Add => Binary::Add,
        Naga::Subtract => Binary::Sub,
        Naga::Multiply => Binary::Mul,
        Naga::Divide => Binary::Div,
        Naga::Modulo => Binary::Rem,
        Naga::Equal => Binary::Eq,
        Naga::NotEqual => Binary::Ne,
        Naga::Less => Binary::Lt,
        Naga::LessEqual => Binary::Le,
        Naga::Greater => Binary::Gt,
        Naga::GreaterEqual => Binary::Ge,
        Naga::And | Naga::LogicalAnd => Binary::And,
        Naga::ExclusiveOr => Binary::Xor,
        Naga::InclusiveOr | Naga::LogicalOr => Binary::Or,
        Naga::ShiftLeft => Binary::Shl,
        Naga::ShiftRight => Binary::Shr,
    }
}
