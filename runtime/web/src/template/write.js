// Values as Python writes them: `repr` and `json.dumps`.

import { Collection, order, refuse, typeName } from './value.js';

/** @typedef {import('./value.js').Value} Value */

/** Longest text of one value: a few shared lists can spell out to more than there is memory. */
const MAX_LENGTH = 16 << 20;

/**
 * `repr` of a float: the shortest digits that read back, with an exponent below 1e-4 and from 1e16 on.
 * @param {number} value
 * @returns {string}
 */
export function float(value) {
  if (value !== value) return 'nan';
  const sign = value < 0 || Object.is(value, -0) ? '-' : '';
  if (!isFinite(value)) return `${sign}inf`;
  const [mantissa, exponent] = Math.abs(value).toExponential().split('e');
  const power = Number(exponent);
  if (power < -4 || power >= 16) {
    return `${sign}${mantissa}e${power < 0 ? '-' : '+'}${String(Math.abs(power)).padStart(2, '0')}`;
  }
  let digits = '0'.repeat(Math.max(0, -power)) + mantissa.replace('.', '');
  const point = Math.max(power, 0) + 1;
  digits = digits.padEnd(point + 1, '0');
  return `${sign}${digits.slice(0, point)}.${digits.slice(point)}`;
}

/**
 * A code unit by its number.
 * @param {string} unit
 * @param {number} digits
 */
const hex = (unit, digits) => unit.charCodeAt(0).toString(16).padStart(digits, '0');

/** @type {Record<string, string>} */
const ESCAPES = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/**
 * A string as a literal.
 * @param {string} text
 */
function quote(text) {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
  const escaped = text.replace(/[\\'"\0-\x1f\x7f-\xa0]/g, (c) =>
    ESCAPES[c] ?? (c === mark ? `\\${c}` : c === '"' || c === "'" ? c : `\\x${hex(c, 2)}`));
  return mark + escaped + mark;
}

/**
 * Pieces of one text, of which there must not be too much.
 */
class Writer {
  text = '';

  /** @param {string} piece */
  push(piece) {
    this.text += piece;
    if (this.text.length > MAX_LENGTH) refuse('the text of a value is too large');
  }
}

/**
 * `repr(value)`
 * @param {Value} value
 * @returns {string}
 */
export function repr(value) {
  const out = new Writer();
  /** @param {Value} value */
  const write = (value) => {
    if (!(value instanceof Collection)) return out.push(simple(value));
    const [open, close] = { list: '[]', tuple: '()', dict: '{}' }[value.kind];
    out.push(open);
    value.items.forEach((item, at) => {
      if (at) out.push(', ');
      if (value.kind !== 'dict') return write(item);
      write(item[0]);
      out.push(': ');
      write(item[1]);
    });
    out.push(value.kind === 'tuple' && value.items.length === 1 ? ',)' : close);
  };
  write(value);
  return out.text;
}

/**
 * @param {Value} value
 * @returns {string}
 */
function simple(value) {
  switch (typeof value) {
    case 'undefined': return 'Undefined';
    case 'boolean': return value ? 'True' : 'False';
    case 'bigint': return String(value);
    case 'number': return float(value);
    case 'string': return quote(value);
  }
  return value === null ? 'None' : `<${typeName(value)}>`;
}

/** @type {Record<string, string>} */
const JSON_ESCAPES = { ...ESCAPES, '"': '\\"', '\b': '\\b', '\f': '\\f' };

/**
 * What has the same text in JSON, whether it is a value or the key of one.
 * @param {Value} value
 * @returns {string | undefined}
 */
function jsonScalar(value) {
  switch (typeof value) {
    case 'boolean':
    case 'bigint': return String(value);
    case 'number':
      return value !== value ? 'NaN' : isFinite(value) ? float(value) : value < 0 ? '-Infinity' : 'Infinity';
  }
  return value === null ? 'null' : undefined;
}

/**
 * `json.dumps(value)`, with the options that transformers gives to templates.
 * @param {Value} value
 * @param {{ ascii: boolean, indent: number | null, itemSeparator: string, keySeparator: string, sortKeys: boolean }} options
 * @returns {string}
 */
export function dumps(value, { ascii, indent, itemSeparator, keySeparator, sortKeys }) {
  const out = new Writer();
  /** @param {string} text */
  const string = (text) => {
    const escaped = text.replace(/["\\\0-\x1f]/g, (c) => JSON_ESCAPES[c] ?? `\\u${hex(c, 4)}`);
    return `"${ascii ? escaped.replace(/[^\0-~]/g, (c) => `\\u${hex(c, 4)}`) : escaped}"`;
  };
  /** @param {number} depth */
  const line = (depth) => {
    if (indent !== null) out.push('\n' + ' '.repeat(indent * depth));
  };
  /** @type {(value: Value, depth: number) => void} */
  const write = (value, depth) => {
    if (typeof value === 'string') return out.push(string(value));
    if (!(value instanceof Collection)) {
      return out.push(jsonScalar(value) ?? refuse(`a value of type ${typeName(value)} has no JSON`));
    }
    const { items } = value;
    const dict = value.kind === 'dict';
    out.push(dict ? '{' : '[');
    (dict && sortKeys ? sorted(items) : items).forEach((item, at) => {
      if (at) out.push(itemSeparator);
      line(depth + 1);
      if (!dict) return write(item, depth + 1);
      const [key, inner] = item;
      const name = typeof key === 'string' ? key : jsonScalar(key);
      out.push(string(name ?? refuse(`a key of JSON cannot be of type ${typeName(key)}`)) + keySeparator);
      write(inner, depth + 1);
    });
    if (items.length) line(depth);
    out.push(dict ? '}' : ']');
  };
  write(value, 0);
  return out.text;
}

/**
 * Pairs in the order of their keys; keys that have none stay behind those before them.
 * @param {import('./value.js').Pairs} pairs
 */
function sorted(pairs) {
  /** @type {import('./value.js').Pairs} */
  const sorted = [];
  for (const pair of pairs) {
    const comesBefore = (/** @type {[Value, Value]} */ other) => {
      try {
        return order(other[0], pair[0]) <= 0;
      } catch {
        return false;
      }
    };
    let at = sorted.length;
    while (at > 0 && !comesBefore(sorted[at - 1])) at--;
    sorted.splice(at, 0, pair);
  }
  return sorted;
}
