// Python's arithmetic.

import { asFloat, asInt, refuse, typeName } from './value.js';

/** @typedef {import('./value.js').Value} Value */

/**
 * Whole numbers are exact to 64 bits.
 * @param {bigint} value
 */
const small = (value) => (BigInt.asIntN(64, value) === value ? value : refuse('a whole number is too large'));

/**
 * @param {Value} value
 * @returns {Value}
 */
export const negative = (value) => (typeof value === 'number' ? -value : arithmetic('-', 0n, value));

/**
 * A number; or the number that a text is.
 * @param {Value} value
 * @returns {Value}
 */
export function toNumber(value) {
  if (typeof value !== 'string') return asFloat(value) === undefined ? undefined : value;
  const text = value.replace(/^\p{White_Space}+|\p{White_Space}+$|_/gu, '');
  if (/^[+-]?\d+$/.test(text)) {
    const whole = BigInt(text.replace('+', ''));
    if (BigInt.asIntN(64, whole) === whole) return whole;
  }
  const float = /^[\d+\-.eE]*\d[\d+\-.eE]*$/.test(text) ? Number(text) : NaN;
  return float === float ? float : undefined;
}

/**
 * A number without what is behind the point.
 * @param {Value} value
 * @returns {bigint | undefined}
 */
export function truncated(value) {
  if (typeof value !== 'number') return asInt(value);
  return Math.abs(value) < 9e18 ? BigInt(Math.trunc(value)) : undefined;
}

/**
 * An operator between numbers.
 * @param {string} operator
 * @param {Value} left
 * @param {Value} right
 * @returns {Value}
 */
export function arithmetic(operator, left, right) {
  const divides = '//%'.includes(operator);
  const [m, n] = [asInt(left), asInt(right)];
  if (m !== undefined && n !== undefined && operator !== '/') {
    const [a, b] = [small(m), small(n)];
    if (divides && b === 0n) refuse('division by zero');
    const rest = divides ? a % b : 0n;
    // Rounded down, as Python does.
    const down = rest !== 0n && rest < 0n !== b < 0n;
    switch (operator) {
      case '+': return small(a + b);
      case '-': return small(a - b);
      case '*': return small(a * b);
      case '//': return small(a / b - BigInt(down));
      case '%': return down ? rest + b : rest;
    }
    if (b < 0n || b >> 32n) refuse('an exponent is too large, or negative');
    // Powers of -1, 0 and 1 come again and again; all others are too large beyond this.
    return small(a ** (b < 64n ? b : a * a > 1n ? 64n : 64n + (b & 1n)));
  }
  const [a, b] = [asFloat(left), asFloat(right)];
  if (a === undefined || b === undefined) {
    return refuse(`${typeName(left)} and ${typeName(right)} cannot be computed with`);
  }
  if (divides && b === 0) refuse('division by zero');
  switch (operator) {
    case '+': return a + b;
    case '-': return a - b;
    case '*': return a * b;
    case '/': return a / b;
    case '//': return Math.floor(a / b);
    case '%': return a - b * Math.floor(a / b);
  }
  return n !== undefined && BigInt.asIntN(32, n) === n ? a ** b : refuse('an exponent is a whole number');
}

/**
 * A number with so many digits behind the point.
 * @param {number} value
 * @param {bigint} precision
 * @param {Value} method
 */
export function round(value, precision, method) {
  const scale = Number(`1e${Math.min(Math.max(Number(precision), -30), 30)}`);
  const scaled = value * scale;
  const even = Math.abs(scaled % 1) === 0.5 ? 2 * Math.round(scaled / 2) : Math.round(scaled);
  const rounded = method === 'ceil' ? Math.ceil(scaled) : method === 'floor' ? Math.floor(scaled) : even;
  return isFinite(rounded) ? rounded / scale : value;
}
