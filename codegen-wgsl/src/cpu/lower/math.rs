//! Built-in functions of numbers.

use naga::{Expression, Handle, MathFunction};

use super::super::ir::{Binary, Function, Kind, Op, Ty, Unary, Val};
use super::{Lowerer, Unsupported, refuse};

impl<'a> Lowerer<'a> {
    /// A call of a built-in function; one list of parts an argument.
    pub(super) fn math(
        &mut self,
        fun: MathFunction,
        arguments: Vec<Vec<Val>>,
        handle: Handle<Expression>,
    ) -> Result<Vec<Val>, Unsupported> {
        if fun == MathFunction::Transpose {
            return self.transpose(&arguments[0]);
        }
        let mut args = Vec::new();
        for parts in &arguments {
            match parts[..] {
                [part] => args.push(part),
                _ => return refuse(format!("the function {fun:?} of a matrix")),
            }
        }
        let result = self.ty(handle)?;
        let ty = self.builder.ty(args[0]);
        let function = match fun {
            MathFunction::Exp => Some(Function::Exp),
            MathFunction::Exp2 => Some(Function::Exp2),
            MathFunction::Log => Some(Function::Log),
            MathFunction::Log2 => Some(Function::Log2),
            MathFunction::Pow => Some(Function::Pow),
            MathFunction::Sin => Some(Function::Sin),
            MathFunction::Cos => Some(Function::Cos),
            MathFunction::Tanh => Some(Function::Tanh),
            _ => None,
        };
        if let Some(function) = function {
            return Ok(vec![self.builder.call(function, args)]);
        }
        let unary = match fun {
            MathFunction::Abs if ty.kind == Kind::U32 => return Ok(args),
            MathFunction::Abs => Some(Unary::Abs),
            MathFunction::Ceil => Some(Unary::Ceil),
            MathFunction::Floor => Some(Unary::Floor),
            MathFunction::Round => Some(Unary::Round),
            MathFunction::Trunc => Some(Unary::Trunc),
            MathFunction::Sqrt => Some(Unary::Sqrt),
            MathFunction::CountOneBits => Some(Unary::CountOneBits),
            MathFunction::CountLeadingZeros => Some(Unary::LeadingZeros),
            MathFunction::CountTrailingZeros => Some(Unary::TrailingZeros),
            MathFunction::Unpack2x16float => {
                return Ok(vec![self.builder.unary(Unary::UnpackHalves, args[0], result)]);
            }
            _ => None,
        };
        if let Some(op) = unary {
            if ty.is_vector()
                && matches!(op, Unary::CountOneBits | Unary::LeadingZeros | Unary::TrailingZeros)
            {
                return refuse(format!("the function {fun:?} of a vector"));
            }
            return Ok(vec![self.builder.unary(op, args[0], ty)]);
        }
        let one = self.builder.f32(1.0);
        let value = match fun {
            MathFunction::Min => self.builder.binary(Binary::Min, args[0], args[1]),
            MathFunction::Max => self.builder.binary(Binary::Max, args[0], args[1]),
            MathFunction::Clamp => {
                let raised = self.builder.binary(Binary::Max, args[0], args[1]);
                self.builder.binary(Binary::Min, raised, args[2])
            }
            MathFunction::Saturate => {
                let zero = self.builder.f32(0.0);
                let raised = self.builder.binary(Binary::Max, args[0], zero);
                self.builder.binary(Binary::Min, raised, one)
            }
            // WGSL leaves it open whether the product is rounded.
            MathFunction::Fma => {
                let product = self.builder.binary(Binary::Mul, args[0], args[1]);
                self.builder.binary(Binary::Add, product, args[2])
            }
            MathFunction::InverseSqrt => {
                let root = self.builder.unary(Unary::Sqrt, args[0], ty);
                self.builder.binary(Binary::Div, one, root)
            }
            MathFunction::Fract => {
                let floor = self.builder.unary(Unary::Floor, args[0], ty);
                self.builder.binary(Binary::Sub, args[0], floor)
            }
            MathFunction::Step => {
                let below = self.builder.binary(Binary::Lt, args[1], args[0]);
                let zero = self.builder.constant(ty, 0);
                let ones = self.builder.constant(ty, 1.0f32.to_bits());
                self.builder.select(below, zero, ones)
            }
            MathFunction::Mix => {
                let rest = self.builder.binary(Binary::Sub, one, args[2]);
                let a = self.builder.binary(Binary::Mul, args[0], rest);
                let b = self.builder.binary(Binary::Mul, args[1], args[2]);
                self.builder.binary(Binary::Add, a, b)
            }
            MathFunction::Sign => self.sign(args[0], ty),
            MathFunction::Dot => self.dot(args[0], args[1]),
            MathFunction::Length => {
                let square = self.dot(args[0], args[0]);
                self.builder.unary(Unary::Sqrt, square, result)
            }
            MathFunction::ExtractBits => self.extract_bits(&args, ty)?,
            other => return refuse(format!("the function {other:?}")),
        };
        Ok(vec![value])
    }

    fn sign(&mut self, x: Val, ty: Ty) -> Val {
        let one = if ty.kind == Kind::F32 { 1.0f32.to_bits() } else { 1 };
        let minus = if ty.kind == Kind::F32 { (-1.0f32).to_bits() } else { u32::MAX };
        let (zero, one, minus) =
            (self.builder.constant(ty, 0), self.builder.constant(ty, one), self.builder.constant(ty, minus));
        let above = self.builder.binary(Binary::Gt, x, zero);
        let below = self.builder.binary(Binary::Lt, x, zero);
        let negative = self.builder.select(below, minus, zero);
        self.builder.select(above, one, negative)
    }

    fn dot(&mut self, a: Val, b: Val) -> Val {
        let product = self.builder.binary(Binary::Mul, a, b);
        let lanes = self.builder.ty(product).lanes;
        let mut sum = self.builder.extract(product, 0);
        for lane in 1..lanes {
            let next = self.builder.extract(product, lane);
            sum = self.builder.binary(Binary::Add, sum, next);
        }
        sum
    }

    /// `count` bits from bit `offset` on; the sign goes with them for i32.
    fn extract_bits(&mut self, args: &[Val], ty: Ty) -> Result<Val, Unsupported> {
        let [value, offset, count] = args[..] else { return refuse("extractBits of other arguments") };
        let bits = self.builder.u32(32);
        let offset = self.builder.binary(Binary::Min, offset, bits);
        let room = self.builder.binary(Binary::Sub, bits, offset);
        let count = self.builder.binary(Binary::Min, count, room);
        // Up until the highest bit is the field's, then down again; by 32 when there is none.
        let above = self.builder.binary(Binary::Sub, room, count);
        let up = self.shift(Binary::Shl, value, above, ty);
        let down = self.builder.binary(Binary::Sub, bits, count);
        let field = self.shift(Binary::Shr, up, down, ty);
        let none = self.builder.u32(0);
        let empty = self.builder.binary(Binary::Eq, count, none);
        let zero = self.builder.constant(ty, 0);
        Ok(self.builder.select(empty, zero, field))
    }

    fn shift(&mut self, op: Binary, value: Val, by: Val, ty: Ty) -> Val {
        let by = if ty.is_vector() { self.builder.splat(by, ty.lanes) } else { by };
        self.builder.def(Op::Binary(op, value, by), ty)
    }

    fn transpose(&mut self, columns: &[Val]) -> Result<Vec<Val>, Unsupported> {
        let [a, b, c, d] = columns[..] else { return refuse("the transpose of a matrix that is not 4 by 4") };
        let ty = self.builder.ty(a);
        if ty.lanes != 4 {
            return refuse("the transpose of a matrix that is not 4 by 4");
        }
        let mut mix = |x, y, lanes| self.builder.def(Op::Shuffle(x, y, lanes), ty);
        let (low_ab, high_ab) = (mix(a, b, [0, 4, 1, 5]), mix(a, b, [2, 6, 3, 7]));
        let (low_cd, high_cd) = (mix(c, d, [0, 4, 1, 5]), mix(c, d, [2, 6, 3, 7]));
        Ok(vec![
            mix(low_ab, low_cd, [0, 1, 4, 5]),
            mix(low_ab, low_cd, [2, 3, 6, 7]),
            mix(high_ab, high_cd, [0, 1, 4, 5]),
            mix(high_ab, high_cd, [2, 3, 6, 7]),
        ])
    }
}
