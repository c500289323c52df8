//! Functions of floats as functions of the module, computed in f64 by series that are exact to well below the last
//! place of an f32.

use wasm_encoder::{Instruction as I, ValType};

use super::ir::Function;

/// The helpers in f64 come first, then every [`Function`] in the order of [`ALL`].
const HELPERS: u32 = 2;
const EXP2_64: u32 = 0;
const LOG2_64: u32 = 1;
const FUNCTIONS: u32 = 8;
const ALL: [Function; FUNCTIONS as usize] = [
    Function::Exp,
    Function::Exp2,
    Function::Log,
    Function::Log2,
    Function::Pow,
    Function::Sin,
    Function::Cos,
    Function::Tanh,
];

/// Number of functions; kernels come behind them.
pub(super) const COUNT: u32 = HELPERS + FUNCTIONS;

/// A function of the module.
pub(super) struct Body {
    pub(super) parameters: Vec<ValType>,
    pub(super) result: ValType,
    pub(super) locals: Vec<ValType>,
    pub(super) code: Vec<I<'static>>,
}

/// The index of a function.
pub(super) fn index(function: Function) -> u32 {
    let at = ALL.iter().zip(HELPERS..).find(|(have, _)| **have == function);
    at.map_or(HELPERS, |(_, index)| index)
}

/// All functions, in order of their indices.
pub(super) fn bodies() -> Vec<Body> {
    let mut all = vec![exp2_64(), log2_64()];
    all.extend(ALL.iter().map(|function| body(*function)));
    all
}

fn f64(value: f64) -> I<'static> {
    I::F64Const(value.into())
}

/// Evaluates a polynomial in the local `x`; coefficients from the highest power on.
fn horner(code: &mut Vec<I<'static>>, x: u32, coefficients: &[f64]) {
    for (at, coefficient) in coefficients.iter().enumerate() {
        if at > 0 {
            code.extend([I::LocalGet(x), I::F64Mul]);
        }
        code.push(f64(*coefficient));
        if at > 0 {
            code.push(I::F64Add);
        }
    }
}

/// 2^y: y = n + r with |r| at most 1/2, e^(r ln 2) as a series, and n put into the exponent.
fn exp2_64() -> Body {
    let (y, n) = (0, 1);
    let mut code = vec![
        // Beyond these every f32 is infinite or zero. NaN stays.
        I::LocalGet(y),
        f64(1000.0),
        I::F64Min,
        f64(-1000.0),
        I::F64Max,
        I::LocalTee(y),
        I::F64Nearest,
        I::LocalSet(n),
        I::LocalGet(y),
        I::LocalGet(n),
        I::F64Sub,
        f64(std::f64::consts::LN_2),
        I::F64Mul,
        I::LocalSet(y),
    ];
    let mut factorial = 1.0;
    let mut coefficients = vec![1.0];
    for power in 1..=9 {
        factorial *= f64::from(power);
        coefficients.insert(0, 1.0 / factorial);
    }
    horner(&mut code, y, &coefficients);
    code.extend([
        I::LocalGet(n),
        I::I64TruncSatF64S,
        I::I64Const(1023),
        I::I64Add,
        I::I64Const(52),
        I::I64Shl,
        I::F64ReinterpretI64,
        I::F64Mul,
    ]);
    Body { parameters: vec![ValType::F64], result: ValType::F64, locals: vec![ValType::F64], code }
}

/// log2(x) of an f32's value: exponent, and 2 atanh((m-1)/(m+1)) of the mantissa m in sqrt(1/2)..sqrt(2) as a series.
fn log2_64() -> Body {
    let (x, bits, m, z, e) = (0, 1, 2, 3, 4);
    let mut code = vec![
        // Zero, negative, infinite, NaN.
        I::LocalGet(x),
        f64(0.0),
        I::F64Gt,
        I::LocalGet(x),
        f64(f64::INFINITY),
        I::F64Lt,
        I::I32And,
        I::I32Eqz,
        I::If(wasm_encoder::BlockType::Empty),
        f64(f64::NEG_INFINITY),
        f64(f64::NAN),
        I::LocalGet(x),
        I::LocalGet(x),
        f64(0.0),
        I::F64Lt,
        I::Select,
        // NaN below zero, x itself above; f64.lt has no answer for NaN, which is x.
        I::LocalGet(x),
        f64(0.0),
        I::F64Eq,
        I::Select,
        I::Return,
        I::End,
        I::LocalGet(x),
        I::I64ReinterpretF64,
        I::LocalTee(bits),
        I::I64Const(52),
        I::I64ShrU,
        I::I64Const(1023),
        I::I64Sub,
        I::F64ConvertI64S,
        I::LocalSet(e),
        I::LocalGet(bits),
        I::I64Const((1 << 52) - 1),
        I::I64And,
        I::I64Const(1023 << 52),
        I::I64Or,
        I::F64ReinterpretI64,
        I::LocalTee(m),
        f64(std::f64::consts::SQRT_2),
        I::F64Gt,
        I::If(wasm_encoder::BlockType::Empty),
        I::LocalGet(m),
        f64(0.5),
        I::F64Mul,
        I::LocalSet(m),
        I::LocalGet(e),
        f64(1.0),
        I::F64Add,
        I::LocalSet(e),
        I::End,
        I::LocalGet(m),
        f64(1.0),
        I::F64Sub,
        I::LocalGet(m),
        f64(1.0),
        I::F64Add,
        I::F64Div,
        I::LocalTee(m),
        I::LocalGet(m),
        I::F64Mul,
        I::LocalSet(z),
    ];
    let coefficients: Vec<f64> = (0..9).rev().map(|n| 1.0 / f64::from(2 * n + 1)).collect();
    horner(&mut code, z, &coefficients);
    code.extend([
        I::LocalGet(m),
        I::F64Mul,
        f64(2.0 * std::f64::consts::LOG2_E),
        I::F64Mul,
        I::LocalGet(e),
        I::F64Add,
    ]);
    let locals = vec![ValType::I64, ValType::F64, ValType::F64, ValType::F64];
    Body { parameters: vec![ValType::F64], result: ValType::F64, locals, code }
}

fn body(function: Function) -> Body {
    let mut parameters = vec![ValType::F32];
    let mut locals = Vec::new();
    let code = match function {
        Function::Exp => vec![
            I::LocalGet(0),
            I::F64PromoteF32,
            f64(std::f64::consts::LOG2_E),
            I::F64Mul,
            I::Call(EXP2_64),
            I::F32DemoteF64,
        ],
        Function::Exp2 => vec![I::LocalGet(0), I::F64PromoteF32, I::Call(EXP2_64), I::F32DemoteF64],
        Function::Log => vec![
            I::LocalGet(0),
            I::F64PromoteF32,
            I::Call(LOG2_64),
            f64(std::f64::consts::LN_2),
            I::F64Mul,
            I::F32DemoteF64,
        ],
        Function::Log2 => vec![I::LocalGet(0), I::F64PromoteF32, I::Call(LOG2_64), I::F32DemoteF64],
        Function::Pow => {
            parameters.push(ValType::F32);
            vec![
                I::LocalGet(0),
                I::F64PromoteF32,
                I::Call(LOG2_64),
                I::LocalGet(1),
                I::F64PromoteF32,
                I::F64Mul,
                I::Call(EXP2_64),
                I::F32DemoteF64,
            ]
        }
        Function::Sin => turn(&mut locals, 0),
        Function::Cos => turn(&mut locals, 1),
        Function::Tanh => tanh(&mut locals),
    };
    Body { parameters, result: ValType::F32, locals, code }
}

/// Sine, or with `ahead` = 1 cosine: reduction by multiples of pi/2, then the series of the quadrant.
fn turn(locals: &mut Vec<ValType>, ahead: i64) -> Vec<I<'static>> {
    locals.extend([ValType::F64, ValType::F64, ValType::F64, ValType::I32]);
    let (r, n, z, quadrant) = (1, 2, 3, 4);
    // pi/2 in two parts; the first has 33 bits, so that its product with n below 2^20 is exact.
    let high = f64::from_bits(0x3FF9_21FB_5440_0000);
    let low = 6.077_100_506_506_192e-11;
    let mut code = vec![
        I::LocalGet(0),
        I::F64PromoteF32,
        I::LocalTee(r),
        f64(std::f64::consts::FRAC_2_PI),
        I::F64Mul,
        I::F64Nearest,
        I::LocalSet(n),
        I::LocalGet(r),
        I::LocalGet(n),
        f64(high),
        I::F64Mul,
        I::F64Sub,
        I::LocalGet(n),
        f64(low),
        I::F64Mul,
        I::F64Sub,
        I::LocalTee(r),
        I::LocalGet(r),
        I::F64Mul,
        I::LocalSet(z),
        I::LocalGet(n),
        I::I64TruncSatF64S,
        I::I64Const(ahead),
        I::I64Add,
        I::I64Const(3),
        I::I64And,
        I::I32WrapI64,
        I::LocalSet(quadrant),
    ];
    // The series in r^2 of sin(r)/r and of cos(r).
    let series = |first: u32| -> Vec<f64> {
        let mut coefficients = Vec::new();
        let mut value = 1.0;
        let mut power = first;
        for _ in 0..8 {
            coefficients.insert(0, value);
            value = -value / f64::from((power + 1) * (power + 2));
            power += 2;
        }
        coefficients
    };
    horner(&mut code, z, &series(1));
    code.extend([I::LocalGet(r), I::F64Mul]);
    horner(&mut code, z, &series(0));
    code.extend([
        // Odd quadrants have the cosine.
        I::LocalGet(quadrant),
        I::I32Const(1),
        I::I32And,
        I::I32Eqz,
        I::Select,
        I::F32DemoteF64,
        I::LocalTee(0),
        I::F32Neg,
        I::LocalGet(0),
        I::LocalGet(quadrant),
        I::I32Const(2),
        I::I32And,
        I::Select,
    ]);
    code
}

/// 1 - 2/(e^2|x| + 1) with the sign of x; near zero x - x^3/3.
fn tanh(locals: &mut Vec<ValType>) -> Vec<I<'static>> {
    locals.push(ValType::F64);
    let a = 1;
    vec![
        I::LocalGet(0),
        I::F32Abs,
        I::F64PromoteF32,
        I::LocalTee(a),
        f64(1e-3),
        I::F64Lt,
        I::If(wasm_encoder::BlockType::Result(ValType::F64)),
        f64(1.0),
        I::LocalGet(a),
        I::LocalGet(a),
        I::F64Mul,
        f64(1.0 / 3.0),
        I::F64Mul,
        I::F64Sub,
        I::LocalGet(a),
        I::F64Mul,
        I::Else,
        f64(1.0),
        f64(2.0),
        I::LocalGet(a),
        f64(2.0 * std::f64::consts::LOG2_E),
        I::F64Mul,
        I::Call(EXP2_64),
        f64(1.0),
        I::F64Add,
        I::F64Div,
        I::F64Sub,
        I::End,
        I::F32DemoteF64,
        I::LocalGet(0),
        I::F32Copysign,
    ]
}
