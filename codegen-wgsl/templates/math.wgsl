// Functions that expressions call where WGSL has none, or where its own is inaccurate, overflows or is undefined.
// A kernel takes those that it needs. Every function is separated from the next by a blank line and starts with its
// comment. Arguments of functions are run-time values, so that no compiler evaluates them as constants. Comparisons
// with NaN may give anything, so NaN is told by its bits where a comparison would lose it.

// A float by its bits: also infinities and NaN, which WGSL constants cannot be.
fn float_from_bits(bits: u32) -> f32 {
    return bitcast<f32>(bits);
}

// True for NaN, whatever the compiler assumes of floats.
fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

// The smaller; NaN if any is.
fn min_nan(a: f32, b: f32) -> f32 {
    if (is_nan(a)) {
        return a;
    }
    if (is_nan(b)) {
        return b;
    }
    return min(a, b);
}

// The larger; NaN if any is.
fn max_nan(a: f32, b: f32) -> f32 {
    if (is_nan(a)) {
        return a;
    }
    if (is_nan(b)) {
        return b;
    }
    return max(a, b);
}

// 1/(1+e^-x) without overflow.
fn sigmoid(x: f32) -> f32 {
    let e = exp(-abs(x));
    return select(e, 1.0, x >= 0.0) / (1.0 + e);
}

// x * sigmoid(x).
fn silu(x: f32) -> f32 {
    return x * sigmoid(x);
}

// ln(1+e^x) = max(x,0) + ln(1+e), with e = e^-|x| at most 1 and ln(1+e) = 2 atanh(e/(2+e)) as a series.
fn softplus(x: f32) -> f32 {
    let e = exp(-abs(x));
    let s = e / (2.0 + e);
    let z = s * s;
    var p = fma(z, 1.0 / 15.0, 1.0 / 13.0);
    p = fma(p, z, 1.0 / 11.0);
    p = fma(p, z, 1.0 / 9.0);
    p = fma(p, z, 1.0 / 7.0);
    p = fma(p, z, 0.2);
    p = fma(p, z, 1.0 / 3.0);
    return select(0.0, x, x > 0.0) + 2.0 * fma(p * z, s, s);
}

// The Gauss error function, by polynomials; within 1e-7. Beyond 4 it rounds to 1.
fn erf(x: f32) -> f32 {
    if (is_nan(x)) {
        return x;
    }
    let t = select(abs(x), 4.0, abs(x) > 4.0);
    let s = t * t;
    if (t > 0.927734375) {
        var r = fma(-1.72853470e-5, t, 3.83197126e-4);
        let u = fma(-3.88396438e-3, t, 2.42546219e-2);
        r = fma(r, s, u);
        r = fma(r, t, -1.06777877e-1);
        r = fma(r, t, -6.34846687e-1);
        r = fma(r, t, -1.28717512e-1);
        r = fma(r, t, -t);
        return select(1.0, -1.0, x < 0.0) * (1.0 - exp(r));
    }
    var r = fma(-5.96761703e-4, s, 4.99119423e-3);
    r = fma(r, s, -2.67681349e-2);
    r = fma(r, s, 1.12819925e-1);
    r = fma(r, s, -3.76125336e-1);
    r = fma(r, s, 1.28379166e-1);
    return fma(r, x, x);
}

// Sine and cosine: reduction by multiples of pi/2 in three parts (exact up to |x| of about 1e4), then polynomials.
fn sin_cos(x: f32) -> vec2<f32> {
    let n = round(x * 0.63661977);
    var r = fma(n, -1.5703125, x);
    r = fma(n, -4.837512969970703125e-4, r);
    r = fma(n, -7.54978995489188216e-8, r);
    let z = r * r;
    var s = fma(-1.9515295891e-4, z, 8.3321608736e-3);
    s = fma(s, z, -1.6666654611e-1);
    s = fma(s * z, r, r);
    var c = fma(2.443315711809948e-5, z, -1.388731625493765e-3);
    c = fma(c, z, 4.166664568298827e-2);
    c = fma(c * z, z, fma(-0.5, z, 1.0));
    let quadrant = u32(i32(n) & 3);
    let swapped = select(vec2<f32>(s, c), vec2<f32>(c, s), (quadrant & 1u) == 1u);
    let sine = select(swapped.x, -swapped.x, quadrant >= 2u);
    let cosine = select(swapped.y, -swapped.y, quadrant == 1u || quadrant == 2u);
    return vec2<f32>(sine, cosine);
}

// Tangent.
fn tangent(x: f32) -> f32 {
    let both = sin_cos(x);
    return both.x / both.y;
}

// Arc sine of |x| <= 1/2.
fn asin_core(x: f32) -> f32 {
    let z = x * x;
    var p = fma(4.2163199048e-2, z, 2.4181311049e-2);
    p = fma(p, z, 4.5470025998e-2);
    p = fma(p, z, 7.4953002686e-2);
    p = fma(p, z, 1.6666752422e-1);
    return fma(p * z, x, x);
}

// Arc sine; NaN outside of [-1,1].
fn arc_sin(x: f32) -> f32 {
    let a = abs(x);
    if (a <= 0.5) {
        return asin_core(x);
    }
    if (!(a <= 1.0)) {
        return float_from_bits(0x7fc00000u);
    }
    let tail = 1.5707963267948966 - 2.0 * asin_core(sqrt(0.5 * (1.0 - a)));
    return select(tail, -tail, x < 0.0);
}

// Arc cosine; NaN outside of [-1,1].
fn arc_cos(x: f32) -> f32 {
    let a = abs(x);
    if (a <= 0.5) {
        return 1.5707963267948966 - asin_core(x);
    }
    if (!(a <= 1.0)) {
        return float_from_bits(0x7fc00000u);
    }
    let tail = 2.0 * asin_core(sqrt(0.5 * (1.0 - a)));
    return select(tail, 3.141592653589793 - tail, x < 0.0);
}

// Arc tangent.
fn arc_tan(x: f32) -> f32 {
    let a = abs(x);
    var base = 0.0;
    var t = a;
    if (a > 2.414213562373095) {
        base = 1.5707963267948966;
        t = -1.0 / a;
    } else if (a > 0.4142135623730950) {
        base = 0.7853981633974483;
        t = (a - 1.0) / (a + 1.0);
    }
    let z = t * t;
    var p = fma(8.05374449538e-2, z, -1.38776856032e-1);
    p = fma(p, z, 1.99777106478e-1);
    p = fma(p, z, -3.33329491539e-1);
    let y = base + fma(p * z, t, t);
    return select(y, -y, x < 0.0);
}

// Hyperbolic sine; overflows only where the result does.
fn sinh_exact(x: f32) -> f32 {
    let a = abs(x);
    if (a < 1.0) {
        let z = x * x;
        var p = fma(2.03721912945e-4, z, 8.33028376239e-3);
        p = fma(p, z, 1.66667160211e-1);
        return fma(p * z, x, x);
    }
    let e = exp(0.5 * a);
    let y = (0.5 * e) * e - (0.5 / e) / e;
    return select(y, -y, x < 0.0);
}

// Hyperbolic cosine; overflows only where the result does.
fn cosh_exact(x: f32) -> f32 {
    let e = exp(0.5 * abs(x));
    return (0.5 * e) * e + (0.5 / e) / e;
}

// Hyperbolic tangent; the built-in overflows for large arguments on some drivers.
fn tanh_exact(x: f32) -> f32 {
    if (is_nan(x)) {
        return x;
    }
    let a = select(abs(x), 20.0, abs(x) > 20.0);
    if (a < 0.625) {
        let z = x * x;
        var p = fma(-5.70498872745e-3, z, 2.06390887954e-2);
        p = fma(p, z, -5.37397155531e-2);
        p = fma(p, z, 1.33314422036e-1);
        p = fma(p, z, -3.33332819422e-1);
        return fma(p * z, x, x);
    }
    let y = 1.0 - 2.0 / (exp(2.0 * a) + 1.0);
    return select(y, -y, x < 0.0);
}

// Inverse hyperbolic sine.
fn arc_sinh(x: f32) -> f32 {
    let a = abs(x);
    if (a < 0.5) {
        let z = x * x;
        var p = fma(2.0122003309e-2, z, -4.2699340972e-2);
        p = fma(p, z, 7.4847586088e-2);
        p = fma(p, z, -1.6666288134e-1);
        return fma(p * z, x, x);
    }
    var y = log(a) + 0.6931471805599453;
    if (a <= 1500.0) {
        y = log(a + sqrt(fma(a, a, 1.0)));
    }
    return select(y, -y, x < 0.0);
}

// Inverse hyperbolic cosine; NaN below 1.
fn arc_cosh(x: f32) -> f32 {
    let z = x - 1.0;
    if (!(z >= 0.0)) {
        return float_from_bits(0x7fc00000u);
    }
    if (z < 0.5) {
        var p = fma(1.7596881071e-3, z, -7.5272886713e-3);
        p = fma(p, z, 2.6454905019e-2);
        p = fma(p, z, -1.1784741703e-1);
        p = fma(p, z, 1.4142135263);
        return p * sqrt(z);
    }
    if (x > 1500.0) {
        return log(x) + 0.6931471805599453;
    }
    return log(x + sqrt(z * (x + 1.0)));
}

// Inverse hyperbolic tangent.
fn arc_tanh(x: f32) -> f32 {
    let a = abs(x);
    if (a < 0.5) {
        let z = x * x;
        var p = fma(1.81740078349e-1, z, 8.24370301058e-2);
        p = fma(p, z, 1.46691431730e-1);
        p = fma(p, z, 1.99782164500e-1);
        p = fma(p, z, 3.33337300303e-1);
        return fma(p * z, x, x);
    }
    if (!(a <= 1.0)) {
        return float_from_bits(0x7fc00000u);
    }
    let y = 0.5 * log((1.0 + a) / (1.0 - a));
    return select(y, -y, x < 0.0);
}

// -1, 0 or 1; NaN for NaN.
fn sign_f32(x: f32) -> f32 {
    if (is_nan(x)) {
        return x;
    }
    return sign(x);
}

// x^y with a negative base: real where y is an integer, else NaN. 0^0 and NaN^0 are 1.
fn pow_f32(x: f32, y: f32) -> f32 {
    if (y == 0.0 || x == 1.0) {
        return 1.0;
    }
    if (is_nan(x) || is_nan(y)) {
        return float_from_bits(0x7fc00000u);
    }
    let a = abs(x);
    let whole = floor(y) == y;
    let odd = whole && abs(y) < 16777216.0 && (i32(y) & 1) == 1;
    let flip = odd && (bitcast<u32>(x) >> 31u) == 1u;
    if (a == 0.0) {
        let zero = select(float_from_bits(0x7f800000u), 0.0, y > 0.0);
        return select(zero, -zero, flip);
    }
    if (x < 0.0 && !whole) {
        return float_from_bits(0x7fc00000u);
    }
    if (a == 1.0) {
        return select(1.0, -1.0, flip);
    }
    if (whole && abs(y) <= 8.0) {
        // Small whole powers by multiplication: exp2(y * log2(x)) loses digits.
        var product = a;
        for (var i = 1i; i < i32(abs(y)); i++) {
            product *= a;
        }
        product = select(product, 1.0 / product, y < 0.0);
        return select(product, -product, flip);
    }
    let magnitude = pow(a, y);
    return select(magnitude, -magnitude, flip);
}

// Remainder with the sign of x. The quotient may be off by one in the last place, hence the correction.
fn fmod_f32(x: f32, y: f32) -> f32 {
    let b = abs(y);
    if ((bitcast<u32>(b) == 0x7f800000u) && abs(x) < b) {
        return x;
    }
    var r = fma(-trunc(abs(x) / b), b, abs(x));
    if (r < 0.0) {
        r += b;
    }
    if (r >= b) {
        r -= b;
    }
    return select(r, -r, (bitcast<u32>(x) >> 31u) == 1u);
}

// Remainder with the sign of y.
fn mod_f32(x: f32, y: f32) -> f32 {
    let r = fmod_f32(x, y);
    return select(r, r + y, r != 0.0 && (r < 0.0) != (y < 0.0));
}

// Quotient toward zero; 0 for a zero divisor.
fn div_i32(a: i32, b: i32) -> i32 {
    return select(a / select(b, 1i, b == 0i), 0i, b == 0i);
}

// Remainder with the sign of a; 0 for a zero divisor.
fn fmod_i32(a: i32, b: i32) -> i32 {
    return select(a - div_i32(a, b) * b, 0i, b == 0i);
}

// Remainder with the sign of b; 0 for a zero divisor.
fn mod_i32(a: i32, b: i32) -> i32 {
    let r = fmod_i32(a, b);
    return select(r, r + b, r != 0i && (r < 0i) != (b < 0i));
}

// Power by squaring; a negative exponent gives the quotient 1/a^|n| toward zero.
fn pow_i32(a: i32, n: i32) -> i32 {
    if (n < 0i) {
        return select(0i, select(1i, a, (n & 1i) == 1i), a == 1i || a == -1i);
    }
    var base = a;
    var left = u32(n);
    var out = 1i;
    while (left != 0u) {
        if ((left & 1u) == 1u) {
            out *= base;
        }
        base *= base;
        left >>= 1u;
    }
    return out;
}

// Shift left; 0 when everything is shifted out.
fn shl_i32(a: i32, n: i32) -> i32 {
    return select(a << (u32(n) & 31u), 0i, u32(n) > 31u);
}

// Logical shift right; 0 when everything is shifted out.
fn shr_i32(a: i32, n: i32) -> i32 {
    return select(bitcast<i32>(bitcast<u32>(a) >> (u32(n) & 31u)), 0i, u32(n) > 31u);
}

// Quotient; 0 for a zero divisor.
fn div_u32(a: u32, b: u32) -> u32 {
    return select(a / select(b, 1u, b == 0u), 0u, b == 0u);
}

// Remainder; 0 for a zero divisor.
fn mod_u32(a: u32, b: u32) -> u32 {
    return select(a % select(b, 1u, b == 0u), 0u, b == 0u);
}

// Power by squaring.
fn pow_u32(a: u32, n: u32) -> u32 {
    var base = a;
    var left = n;
    var out = 1u;
    while (left != 0u) {
        if ((left & 1u) == 1u) {
            out *= base;
        }
        base *= base;
        left >>= 1u;
    }
    return out;
}

// Shift left; 0 when everything is shifted out.
fn shl_u32(a: u32, n: u32) -> u32 {
    return select(a << (n & 31u), 0u, n > 31u);
}

// Shift right; 0 when everything is shifted out.
fn shr_u32(a: u32, n: u32) -> u32 {
    return select(a >> (n & 31u), 0u, n > 31u);
}

// Conversion toward zero; saturates, NaN gives 0. The largest f32 below 2^31 is 2147483520.
fn i32_from_f32(x: f32) -> i32 {
    if (is_nan(x)) {
        return 0i;
    }
    if (x >= 2147483648.0) {
        return 2147483647i;
    }
    return i32(max(x, -2147483648.0));
}

// Conversion toward zero; saturates, NaN and negative values give 0.
fn u32_from_f32(x: f32) -> u32 {
    if (is_nan(x) || x <= 0.0) {
        return 0u;
    }
    if (x >= 4294967296.0) {
        return 0xffffffffu;
    }
    return u32(x);
}
