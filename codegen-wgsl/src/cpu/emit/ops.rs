//! One operation: its operands on the stack, then its instructions.

use wasm_encoder::{Instruction as I, MemArg, ValType};

use super::super::functions;
use super::super::ir::{Binary, Kind, Op, Place, Space, Ty, Unary, Val};
use super::{Emitter, memarg, valtype};

/// A 32-bit constant.
pub(super) fn word(bits: u32) -> I<'static> {
    I::I32Const(bits.cast_signed())
}

/// A scalar or a whole `v128`, as invocations remember them.
pub(super) fn load_whole(ty: Ty, at: MemArg) -> I<'static> {
    match valtype(ty) {
        ValType::F32 => I::F32Load(at),
        ValType::V128 => I::V128Load(at),
        _ => I::I32Load(at),
    }
}

/// As [`load_whole`].
pub(super) fn store_whole(ty: Ty, at: MemArg) -> I<'static> {
    match valtype(ty) {
        ValType::F32 => I::F32Store(at),
        ValType::V128 => I::V128Store(at),
        _ => I::I32Store(at),
    }
}

impl Emitter<'_> {
    /// Computes a value, on the stack.
    pub(super) fn op(&mut self, val: Val) {
        let kernel = self.kernel;
        let ty = kernel.ty(val);
        match kernel.op(val) {
            Op::Const(bits) if ty.kind == Kind::F32 => self.push(I::F32Const(f32::from_bits(*bits).into())),
            Op::Const(bits) => self.push(word(*bits)),
            Op::ConstVector(bits) => {
                let local = match self.constants.get(bits) {
                    Some(local) => *local,
                    None => {
                        let local = self.local(ValType::V128);
                        self.constants.insert(*bits, local);
                        local
                    }
                };
                self.push(I::LocalGet(local));
            }
            Op::Input(_) => self.val(val),
            Op::Get(var) => {
                let local = self.var_local(*var);
                self.push(I::LocalGet(local));
            }
            Op::Load(place) => self.load(*place, ty),
            Op::AtomicAdd(place, value) => self.atomic_add(*place, *value),
            Op::Unary(op, a) => self.unary(*op, *a, ty),
            Op::Binary(op, a, b) => self.binary(*op, *a, *b),
            Op::Select(condition, a, b) => self.select(*condition, *a, *b, ty),
            Op::Splat(a) => {
                self.lane(*a);
                self.push(if ty.kind == Kind::F32 { I::F32x4Splat } else { I::I32x4Splat });
            }
            Op::Compose(lanes) => {
                self.lane(lanes[0]);
                self.push(if ty.kind == Kind::F32 { I::F32x4Splat } else { I::I32x4Splat });
                for (lane, part) in (1u8..).zip(&lanes[1..]) {
                    self.lane(*part);
                    self.push(replace(ty.kind, lane));
                }
            }
            Op::Extract(a, lane) => {
                self.val(*a);
                self.extract(ty.kind, *lane);
            }
            Op::ExtractAt(a, index) => {
                let last = kernel.ty(*a).lanes - 1;
                let vector = self.twice(*a);
                let index = self.twice(*index);
                self.push(I::LocalGet(vector));
                self.extract(ty.kind, last);
                for lane in (0..last).rev() {
                    // select takes the first where the condition holds.
                    let rest = self.local(valtype(ty));
                    self.push(I::LocalSet(rest));
                    self.push(I::LocalGet(vector));
                    self.extract(ty.kind, lane);
                    self.extend([
                        I::LocalGet(rest),
                        I::LocalGet(index),
                        I::I32Const(lane.into()),
                        I::I32Eq,
                        I::Select,
                    ]);
                }
            }
            Op::Replace(a, lane, value) => {
                self.val(*a);
                self.lane(*value);
                self.push(replace(ty.kind, *lane));
            }
            Op::Shuffle(a, b, lanes) => {
                self.val(*a);
                self.val(*b);
                let mut bytes = [0; 16];
                for (at, byte) in (0u8..).zip(&mut bytes) {
                    *byte = lanes[usize::from(at / 4)] * 4 + at % 4;
                }
                self.push(I::I8x16Shuffle(bytes));
            }
            Op::Call(function, arguments) => {
                arguments.iter().for_each(|argument| self.val(*argument));
                self.push(I::Call(functions::index(*function)));
            }
        }
    }

    /// A scalar as it is in a lane of a vector: booleans are no or all bits there.
    fn lane(&mut self, val: Val) {
        if self.kernel.ty(val) == Ty::BOOL {
            self.push(I::I32Const(0));
            self.val(val);
            self.push(I::I32Sub);
        } else {
            self.val(val);
        }
    }

    fn extract(&mut self, kind: Kind, lane: u8) {
        match kind {
            Kind::F32 => self.push(I::F32x4ExtractLane(lane)),
            Kind::Bool => self.extend([I::I32x4ExtractLane(lane), I::I32Const(1), I::I32And]),
            Kind::I32 | Kind::U32 => self.push(I::I32x4ExtractLane(lane)),
        }
    }

    /// A value in a local, to be used more than once.
    fn twice(&mut self, val: Val) -> u32 {
        self.val(val);
        if let Some(I::LocalGet(local)) = self.code.last() {
            let local = *local;
            self.code.pop();
            return local;
        }
        let local = self.local(valtype(self.kernel.ty(val)));
        self.push(I::LocalSet(local));
        local
    }

    /// The address of a place on the stack; what is left for the instruction.
    fn address(&mut self, place: Place) -> u32 {
        match place.space {
            Space::Binding { slot, .. } => {
                self.push(I::LocalGet(3 + 2 * slot));
                if let Some(index) = place.index {
                    self.val(index);
                    self.push(I::I32Add);
                }
            }
            Space::Workgroup => match place.index {
                Some(index) => self.val(index),
                None => self.push(I::I32Const(0)),
            },
        }
        place.offset
    }

    fn load(&mut self, place: Place, ty: Ty) {
        let offset = self.address(place);
        match ty.lanes {
            2 => self.push(I::V128Load64Zero(memarg(offset))),
            3 => {
                let address = self.local(ValType::I32);
                self.push(I::LocalTee(address));
                self.push(I::V128Load64Zero(memarg(offset)));
                let low = self.local(ValType::V128);
                self.extend([
                    I::LocalSet(low),
                    I::LocalGet(address),
                    I::LocalGet(low),
                    I::V128Load32Lane { memarg: memarg(offset + 8), lane: 2 },
                ]);
            }
            _ => self.push(load_whole(ty, memarg(offset))),
        }
    }

    pub(super) fn store(&mut self, place: Place, value: Val) {
        let ty = self.kernel.ty(value);
        let offset = self.address(place);
        match ty.lanes {
            2 => {
                self.val(value);
                self.push(I::V128Store64Lane { memarg: memarg(offset), lane: 0 });
            }
            3 => {
                let address = self.local(ValType::I32);
                self.push(I::LocalTee(address));
                let value = self.twice(value);
                self.extend([
                    I::LocalGet(value),
                    I::V128Store64Lane { memarg: memarg(offset), lane: 0 },
                    I::LocalGet(address),
                    I::LocalGet(value),
                    I::V128Store32Lane { memarg: memarg(offset + 8), lane: 2 },
                ]);
            }
            _ => {
                self.val(value);
                self.push(store_whole(ty, memarg(offset)));
            }
        }
    }

    fn atomic_add(&mut self, place: Place, value: Val) {
        let offset = self.address(place);
        let address = self.local(ValType::I32);
        let old = self.local(ValType::I32);
        self.extend([I::LocalTee(address), I::I32Load(memarg(offset)), I::LocalSet(old)]);
        self.extend([I::LocalGet(address), I::LocalGet(old)]);
        self.val(value);
        self.extend([I::I32Add, I::I32Store(memarg(offset)), I::LocalGet(old)]);
    }

    fn select(&mut self, condition: Val, accept: Val, reject: Val, ty: Ty) {
        self.val(accept);
        self.val(reject);
        if !ty.is_vector() {
            self.val(condition);
            self.push(I::Select);
            return;
        }
        // Lane by lane; a scalar condition counts for all of them.
        self.lane(condition);
        if !self.kernel.ty(condition).is_vector() {
            self.push(I::I32x4Splat);
        }
        self.push(I::V128Bitselect);
    }

    fn unary(&mut self, op: Unary, a: Val, ty: Ty) {
        let from = self.kernel.ty(a);
        let vector = from.is_vector();
        let float = from.kind == Kind::F32;
        match (op, vector) {
            (Unary::Negate, _) if float => {
                self.val(a);
                self.push(if vector { I::F32x4Neg } else { I::F32Neg });
            }
            (Unary::Negate, true) => {
                self.val(a);
                self.push(I::I32x4Neg);
            }
            (Unary::Negate, false) => {
                self.push(I::I32Const(0));
                self.val(a);
                self.push(I::I32Sub);
            }
            (Unary::Not, true) => {
                self.val(a);
                self.push(I::V128Not);
            }
            (Unary::Not, false) => {
                self.val(a);
                if from.kind == Kind::Bool {
                    self.push(I::I32Eqz);
                } else {
                    self.extend([I::I32Const(-1), I::I32Xor]);
                }
            }
            (Unary::Abs, true) => {
                self.val(a);
                self.push(if float { I::F32x4Abs } else { I::I32x4Abs });
            }
            (Unary::Abs, false) if !float => {
                let a = self.twice(a);
                self.extend([
                    I::I32Const(0),
                    I::LocalGet(a),
                    I::I32Sub,
                    I::LocalGet(a),
                    I::LocalGet(a),
                    I::I32Const(0),
                    I::I32LtS,
                    I::Select,
                ]);
            }
            (Unary::Convert, _) => {
                self.val(a);
                self.convert(from, ty);
            }
            (Unary::Bitcast, true) => self.val(a),
            (Unary::Bitcast, false) => {
                self.val(a);
                match (from.kind, ty.kind) {
                    (Kind::F32, _) => self.push(I::I32ReinterpretF32),
                    (_, Kind::F32) => self.push(I::F32ReinterpretI32),
                    _ => {}
                }
            }
            (Unary::Any | Unary::All, _) => {
                // Lanes that the vector does not have hold anything.
                let lanes = (1 << from.lanes) - 1;
                self.val(a);
                self.extend([I::I32x4Bitmask, I::I32Const(lanes), I::I32And]);
                if op == Unary::All {
                    self.extend([I::I32Const(lanes), I::I32Eq]);
                } else {
                    self.extend([I::I32Const(0), I::I32Ne]);
                }
            }
            (Unary::UnpackHalves, _) => self.unpack_halves(a),
            _ => {
                self.val(a);
                self.push(match (op, vector) {
                    (Unary::Abs, _) => I::F32Abs,
                    (Unary::Ceil, true) => I::F32x4Ceil,
                    (Unary::Ceil, false) => I::F32Ceil,
                    (Unary::Floor, true) => I::F32x4Floor,
                    (Unary::Floor, false) => I::F32Floor,
                    (Unary::Round, true) => I::F32x4Nearest,
                    (Unary::Round, false) => I::F32Nearest,
                    (Unary::Trunc, true) => I::F32x4Trunc,
                    (Unary::Trunc, false) => I::F32Trunc,
                    (Unary::Sqrt, true) => I::F32x4Sqrt,
                    (Unary::Sqrt, false) => I::F32Sqrt,
                    (Unary::CountOneBits, _) => I::I32Popcnt,
                    (Unary::LeadingZeros, _) => I::I32Clz,
                    _ => I::I32Ctz,
                });
            }
        }
    }

    /// The halves of a word, in the first two lanes, widened: shifted into place, exponents corrected by a product, which
    /// is exact for subnormal numbers too; infinities and NaN get all exponent bits.
    fn unpack_halves(&mut self, a: Val) {
        self.val(a);
        let halves = self.local(ValType::V128);
        self.extend([
            I::I32x4Splat,
            I::I32x4ExtendLowI16x8U,
            I::LocalTee(halves),
            word(0x7FFF),
            I::I32x4Splat,
            I::V128And,
            I::I32Const(13),
            I::I32x4Shl,
            I::F32Const(f32::from_bits(0x7780_0000).into()),
            I::F32x4Splat,
            I::F32x4Mul,
            I::LocalGet(halves),
            word(0x7C00),
            I::I32x4Splat,
            I::V128And,
            word(0x7C00),
            I::I32x4Splat,
            I::I32x4Eq,
            word(0x7F80_0000),
            I::I32x4Splat,
            I::V128And,
            I::V128Or,
            I::LocalGet(halves),
            word(0x8000),
            I::I32x4Splat,
            I::V128And,
            I::I32Const(16),
            I::I32x4Shl,
            I::V128Or,
        ]);
    }

    /// Converts what is on the stack.
    fn convert(&mut self, from: Ty, to: Ty) {
        let vector = from.is_vector();
        match (from.kind, to.kind) {
            (Kind::F32, Kind::I32) => {
                self.push(if vector { I::I32x4TruncSatF32x4S } else { I::I32TruncSatF32S });
            }
            (Kind::F32, Kind::U32) => {
                self.push(if vector { I::I32x4TruncSatF32x4U } else { I::I32TruncSatF32U });
            }
            (Kind::I32, Kind::F32) => {
                self.push(if vector { I::F32x4ConvertI32x4S } else { I::F32ConvertI32S });
            }
            (Kind::U32, Kind::F32) => {
                self.push(if vector { I::F32x4ConvertI32x4U } else { I::F32ConvertI32U });
            }
            (Kind::F32, Kind::Bool) if vector => {
                self.extend([I::F32Const(0.0.into()), I::F32x4Splat, I::F32x4Ne]);
            }
            (Kind::F32, Kind::Bool) => self.extend([I::F32Const(0.0.into()), I::F32Ne]),
            (_, Kind::Bool) if vector => self.extend([I::I32Const(0), I::I32x4Splat, I::I32x4Ne]),
            (_, Kind::Bool) => self.extend([I::I32Const(0), I::I32Ne]),
            (Kind::Bool, Kind::F32) if vector => {
                self.extend([I::F32Const(1.0.into()), I::F32x4Splat, I::V128And]);
            }
            (Kind::Bool, Kind::F32) => self.push(I::F32ConvertI32S),
            (Kind::Bool, _) if vector => self.extend([I::I32Const(1), I::I32x4Splat, I::V128And]),
            // Integers of either sign, and booleans, have the same bits.
            _ => {}
        }
    }

    fn binary(&mut self, op: Binary, a: Val, b: Val) {
        let ty = self.kernel.ty(a);
        let constant = match self.kernel.op(b) {
            Op::Const(bits) => Some(*bits),
            _ => None,
        };
        match (op, ty.kind, ty.is_vector()) {
            (Binary::Div | Binary::Rem, Kind::I32 | Kind::U32, false) => {
                if constant.is_some_and(|bits| bits != 0 && bits != u32::MAX) {
                    self.val(a);
                    self.val(b);
                } else {
                    let (a, b) = (self.twice(a), self.twice(b));
                    self.divisor(ty.kind, a, b);
                }
                self.push(divide(op, ty.kind));
            }
            (Binary::Div | Binary::Rem | Binary::Shl | Binary::Shr, Kind::I32 | Kind::U32, true) => {
                self.lanes(op, a, b, ty);
            }
            (Binary::Rem, _, vector) => {
                let (a, b) = (self.twice(a), self.twice(b));
                self.extend([I::LocalGet(a), I::LocalGet(a), I::LocalGet(b)]);
                self.extend(if vector {
                    [I::F32x4Div, I::F32x4Trunc, I::LocalGet(b), I::F32x4Mul, I::F32x4Sub]
                } else {
                    [I::F32Div, I::F32Trunc, I::LocalGet(b), I::F32Mul, I::F32Sub]
                });
            }
            (Binary::Min | Binary::Max, Kind::I32 | Kind::U32 | Kind::Bool, false) => {
                let (a, b) = (self.twice(a), self.twice(b));
                self.extend([I::LocalGet(a), I::LocalGet(b), I::LocalGet(a), I::LocalGet(b)]);
                self.push(match (op, ty.kind) {
                    (Binary::Min, Kind::I32) => I::I32LtS,
                    (Binary::Min, _) => I::I32LtU,
                    (_, Kind::I32) => I::I32GtS,
                    _ => I::I32GtU,
                });
                self.push(I::Select);
            }
            (_, kind, vector) => {
                self.val(a);
                self.val(b);
                self.push(match (kind, vector) {
                    (Kind::F32, false) => float(op),
                    (Kind::F32, true) => floats(op),
                    (kind, false) => integer(op, kind),
                    (kind, true) => integers(op, kind),
                });
            }
        }
    }

    /// Dividend and divisor on the stack; the divisor is 1 where there is no quotient: then the quotient is the dividend,
    /// and the remainder 0, as WGSL says.
    fn divisor(&mut self, kind: Kind, a: u32, b: u32) {
        self.extend([I::LocalGet(a), I::I32Const(1), I::LocalGet(b), I::LocalGet(b), I::I32Eqz]);
        if kind == Kind::I32 {
            self.extend([
                I::LocalGet(a),
                I::I32Const(i32::MIN),
                I::I32Eq,
                I::LocalGet(b),
                I::I32Const(-1),
                I::I32Eq,
                I::I32And,
                I::I32Or,
            ]);
        }
        self.push(I::Select);
    }

    /// An operation of vectors that WebAssembly has for scalars only.
    fn lanes(&mut self, op: Binary, a: Val, b: Val, ty: Ty) {
        let (a, b) = (self.twice(a), self.twice(b));
        let x = self.local(ValType::I32);
        let y = self.local(ValType::I32);
        self.push(I::LocalGet(a));
        for lane in 0..ty.lanes {
            self.extend([I::LocalGet(a), I::I32x4ExtractLane(lane), I::LocalSet(x)]);
            self.extend([I::LocalGet(b), I::I32x4ExtractLane(lane), I::LocalSet(y)]);
            if matches!(op, Binary::Div | Binary::Rem) {
                self.divisor(ty.kind, x, y);
                self.push(divide(op, ty.kind));
            } else {
                self.extend([I::LocalGet(x), I::LocalGet(y), integer(op, ty.kind)]);
            }
            self.push(I::I32x4ReplaceLane(lane));
        }
    }
}

fn replace(kind: Kind, lane: u8) -> I<'static> {
    if kind == Kind::F32 { I::F32x4ReplaceLane(lane) } else { I::I32x4ReplaceLane(lane) }
}

fn divide(op: Binary, kind: Kind) -> I<'static> {
    match (op, kind) {
        (Binary::Div, Kind::I32) => I::I32DivS,
        (Binary::Div, _) => I::I32DivU,
        (_, Kind::I32) => I::I32RemS,
        _ => I::I32RemU,
    }
}

fn float(op: Binary) -> I<'static> {
    match op {
        Binary::Add => I::F32Add,
        Binary::Sub => I::F32Sub,
        Binary::Mul => I::F32Mul,
        Binary::Div => I::F32Div,
        Binary::Eq => I::F32Eq,
        Binary::Ne => I::F32Ne,
        Binary::Lt => I::F32Lt,
        Binary::Le => I::F32Le,
        Binary::Gt => I::F32Gt,
        Binary::Ge => I::F32Ge,
        Binary::Min => I::F32Min,
        Binary::Max => I::F32Max,
        // naga has none of these for floats.
        Binary::Rem | Binary::And | Binary::Or | Binary::Xor | Binary::Shl | Binary::Shr => I::Unreachable,
    }
}

fn floats(op: Binary) -> I<'static> {
    match op {
        Binary::Add => I::F32x4Add,
        Binary::Sub => I::F32x4Sub,
        Binary::Mul => I::F32x4Mul,
        Binary::Div => I::F32x4Div,
        Binary::Eq => I::F32x4Eq,
        Binary::Ne => I::F32x4Ne,
        Binary::Lt => I::F32x4Lt,
        Binary::Le => I::F32x4Le,
        Binary::Gt => I::F32x4Gt,
        Binary::Ge => I::F32x4Ge,
        Binary::Min => I::F32x4PMin,
        Binary::Max => I::F32x4PMax,
        Binary::Rem | Binary::And | Binary::Or | Binary::Xor | Binary::Shl | Binary::Shr => I::Unreachable,
    }
}

fn integer(op: Binary, kind: Kind) -> I<'static> {
    let signed = kind == Kind::I32;
    match op {
        Binary::Add => I::I32Add,
        Binary::Sub => I::I32Sub,
        Binary::Mul => I::I32Mul,
        Binary::And => I::I32And,
        Binary::Or => I::I32Or,
        Binary::Xor => I::I32Xor,
        Binary::Shl => I::I32Shl,
        Binary::Shr if signed => I::I32ShrS,
        Binary::Shr => I::I32ShrU,
        Binary::Eq => I::I32Eq,
        Binary::Ne => I::I32Ne,
        Binary::Lt if signed => I::I32LtS,
        Binary::Lt => I::I32LtU,
        Binary::Le if signed => I::I32LeS,
        Binary::Le => I::I32LeU,
        Binary::Gt if signed => I::I32GtS,
        Binary::Gt => I::I32GtU,
        Binary::Ge if signed => I::I32GeS,
        Binary::Ge => I::I32GeU,
        // Handled before.
        Binary::Div | Binary::Rem | Binary::Min | Binary::Max => I::Unreachable,
    }
}

fn integers(op: Binary, kind: Kind) -> I<'static> {
    let signed = kind == Kind::I32;
    match op {
        Binary::Add => I::I32x4Add,
        Binary::Sub => I::I32x4Sub,
        Binary::Mul => I::I32x4Mul,
        Binary::And => I::V128And,
        Binary::Or => I::V128Or,
        Binary::Xor => I::V128Xor,
        Binary::Eq => I::I32x4Eq,
        Binary::Ne => I::I32x4Ne,
        Binary::Lt if signed => I::I32x4LtS,
        Binary::Lt => I::I32x4LtU,
        Binary::Le if signed => I::I32x4LeS,
        Binary::Le => I::I32x4LeU,
        Binary::Gt if signed => I::I32x4GtS,
        Binary::Gt => I::I32x4GtU,
        Binary::Ge if signed => I::I32x4GeS,
        Binary::Ge => I::I32x4GeU,
        Binary::Min if signed => I::I32x4MinS,
        Binary::Min => I::I32x4MinU,
        Binary::Max if signed => I::I32x4MaxS,
        Binary::Max => I::I32x4MaxU,
        Binary::Div | Binary::Rem | Binary::Shl | Binary::Shr => I::Unreachable,
    }
}
