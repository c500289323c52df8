// Values of a rendering, with the semantics of Python's.
//
// `undefined` is Jinja's undefined value, null is None, a bigint is an int, a number is a float.

import { repr } from './write.js';

/** @typedef {any} Value */
/** @typedef {[Value, Value][]} Pairs */

/** Deepest nesting of lists and maps. */
const MAX_DEPTH = 150;
/** About what a value takes besides its text, in bytes. */
const NODE_BYTES = 32;

/** What a value cannot do: ends the rendering. */
export class Refusal extends Error {}

/**
 * @param {string} message
 * @returns {never}
 */
export function refuse(message) {
  throw new Refusal(message);
}

/** A list, tuple or dict: nothing changes it, and nothing contains itself. */
export class Collection {
  /**
   * @param {'list' | 'tuple' | 'dict'} kind
   * @param {any[]} items of a dict the pairs, whose keys are unique
   */
  constructor(kind, items) {
    this.kind = kind;
    this.items = items;
    /** How deep values nest. */
    this.depth = 1;
    /** How much there is when what the values share is spelt out: about bytes. */
    this.size = NODE_BYTES;
    for (const item of kind === 'dict' ? items.flat() : items) {
      if (item instanceof Namespace || item instanceof Loop) {
        refuse(`a ${typeName(item)} cannot be part of another value`);
      }
      this.size += weight(item);
      if (item instanceof Collection) this.depth = Math.max(this.depth, item.depth + 1);
    }
    if (this.depth > MAX_DEPTH) refuse('values are nested too deeply');
  }
}

/** `namespace(…)`: the only thing that can be changed. */
export class Namespace {
  /** @param {Map<string, Value>} members */
  constructor(members) {
    this.members = members;
  }
}

/** A macro, or a function of the environment. */
export class Callable {
  /** @param {(args: import('./run.js').Args) => Value} call */
  constructor(call) {
    this.call = call;
  }
}

/** A loop that runs, or has run. */
export class Loop {
  /**
   * @param {Value[]} items
   * @param {number} level
   * @param {((items: Value) => string) | null} recurse
   */
  constructor(items, level, recurse) {
    this.items = items;
    this.level = level;
    this.recurse = recurse;
    this.at = 0;
    this.ended = false;
    /** @type {Value[] | null} what `loop.changed` was last given */
    this.seen = null;
  }

  /**
   * @param {string} name
   * @returns {Value}
   */
  attribute(name) {
    const { at, items, level } = this;
    const count = items.length;
    if (this.ended) return undefined;
    switch (name) {
      case 'index': return BigInt(at + 1);
      case 'index0': return BigInt(at);
      case 'revindex': return BigInt(count - at);
      case 'revindex0': return BigInt(count - at - 1);
      case 'first': return at === 0;
      case 'last': return at + 1 === count;
      case 'length': return BigInt(count);
      case 'depth': return BigInt(level + 1);
      case 'depth0': return BigInt(level);
      case 'previtem': return items[at - 1];
      case 'nextitem': return items[at + 1];
    }
  }
}

/** @param {Value[]} items */
export const list = (items) => new Collection('list', items);

/**
 * @param {Value} value
 * @param {string} [kind]
 */
export const isCollection = (value, kind) => value instanceof Collection && (!kind || value.kind === kind);

/**
 * The elements of a list or tuple.
 * @param {Value} value
 * @returns {Value[] | null}
 */
export const elementsOf = (value) => (isCollection(value) && value.kind !== 'dict' ? value.items : null);

/**
 * The type's name in messages.
 * @param {Value} value
 * @returns {string}
 */
export function typeName(value) {
  if (value === null) return 'None';
  if (value instanceof Collection) return value.kind;
  if (value instanceof Namespace) return 'namespace';
  if (value instanceof Loop) return 'loop';
  if (value instanceof Callable) return 'function';
  const names = { boolean: 'bool', bigint: 'int', number: 'float', string: 'str' };
  return /** @type {Record<string, string>} */ (names)[typeof value] ?? 'undefined';
}

/** @param {Value} value */
export const truth = (value) =>
  value instanceof Collection ? value.items.length > 0 : typeof value === 'number' ? value !== 0 : Boolean(value);

/**
 * A whole number; truth values are 0 and 1.
 * @param {Value} value
 * @returns {bigint | undefined}
 */
export const asInt = (value) =>
  typeof value === 'bigint' ? value : typeof value === 'boolean' ? BigInt(value) : undefined;

/**
 * @param {Value} value
 * @returns {number | undefined}
 */
export const asFloat = (value) => (['number', 'bigint', 'boolean'].includes(typeof value) ? Number(value) : undefined);

/**
 * Elements, or characters.
 * @param {Value} value
 * @returns {number | undefined}
 */
export function lengthOf(value) {
  if (value === undefined) return 0;
  if (typeof value === 'string') return [...value].length;
  return value instanceof Collection ? value.items.length : undefined;
}

/**
 * What a loop goes over.
 * @param {Value} value
 * @returns {Value[]}
 */
export function iterate(value) {
  if (value === undefined) return [];
  if (typeof value === 'string') return [...value];
  if (!(value instanceof Collection)) refuse(`a value of type ${typeName(value)} has no elements`);
  return value.kind === 'dict' ? value.items.map(([key]) => key) : value.items;
}

/**
 * The pair of a key.
 * @param {Pairs} pairs
 * @param {Value} key
 */
export const findPair = (pairs, key) => pairs.find(([known]) => equals(known, key));

/**
 * Puts a pair among others; of equal keys the last value counts, in the place of the first.
 * @param {Pairs} pairs
 * @param {Value} key
 * @param {Value} value
 */
export function insert(pairs, key, value) {
  const pair = findPair(pairs, key);
  if (pair) pair[1] = value;
  else pairs.push([key, value]);
}

/**
 * @param {Value} a
 * @param {Value} b
 * @returns {boolean}
 */
export function equals(a, b) {
  if (a instanceof Collection && b instanceof Collection) {
    if (a.kind !== b.kind || a.items.length !== b.items.length) return false;
    if (a.kind !== 'dict') return a.items.every((item, at) => equals(item, b.items[at]));
    return a.items.every(([key, value]) => {
      const pair = findPair(b.items, key);
      return pair !== undefined && equals(value, pair[1]);
    });
  }
  const whole = asInt(a);
  const other = asInt(b);
  if (whole !== undefined && other !== undefined) return whole === other;
  const float = asFloat(a);
  if (float !== undefined) return float === asFloat(b);
  return a === b && !(a instanceof Callable || a instanceof Loop);
}

/**
 * The order of two values, where Python has one: negative, 0 or positive.
 * @param {Value} a
 * @param {Value} b
 * @returns {number}
 */
export function order(a, b) {
  if (typeof a === 'string' && typeof b === 'string') {
    // By characters, not by UTF-16's units.
    const [left, right] = [[...a], [...b]];
    const at = left.findIndex((c, at) => c !== right[at]);
    if (at < 0 || at >= right.length) return left.length - right.length;
    return Number(left[at].codePointAt(0)) - Number(right[at].codePointAt(0));
  }
  const items = elementsOf(a);
  if (items && isCollection(b, a.kind)) {
    const at = items.findIndex((item, at) => at < b.items.length && !equals(item, b.items[at]));
    return at < 0 ? items.length - b.items.length : order(items[at], b.items[at]);
  }
  const ints = [asInt(a), asInt(b)];
  const [left, right] = ints.includes(undefined) ? [asFloat(a), asFloat(b)] : ints;
  if (left === undefined || right === undefined || left !== left || right !== right) {
    return refuse(`${typeName(a)} and ${typeName(b)} have no order`);
  }
  return left < right ? -1 : left > right ? 1 : 0;
}

/**
 * `needle in value`
 * @param {Value} value
 * @param {Value} needle
 * @returns {boolean}
 */
export function contains(value, needle) {
  if (value === undefined) return false;
  if (typeof value === 'string' && typeof needle === 'string') return value.includes(needle);
  if (!(value instanceof Collection)) {
    return refuse(`a value of type ${typeName(value)} contains nothing of type ${typeName(needle)}`);
  }
  return iterate(value).some((item) => equals(item, needle));
}

/**
 * An element by its index, from the end when that is negative.
 * @param {Value} value
 * @param {bigint} index
 * @returns {Value}
 */
export function at(value, index) {
  const items = typeof value === 'string' ? [...value] : elementsOf(value);
  return items?.at(Number(index));
}

/**
 * `value[start:stop:step]`
 * @param {Value} value
 * @param {(bigint | null | undefined)[]} bounds
 * @returns {Value}
 */
export function slice(value, bounds) {
  const items = typeof value === 'string' ? [...value] : elementsOf(value);
  if (!items) return refuse(`a value of type ${typeName(value)} cannot be sliced`);
  const [start, stop, step = 1] = bounds.map((bound) => (bound == null ? undefined : Number(bound)));
  if (step === 0) refuse('the step of a slice is 0');
  const [low, high] = step > 0 ? [0, items.length] : [-1, items.length - 1];
  const [first, last] = step > 0 ? [low, high] : [high, low];
  /** @type {(value: number | undefined, otherwise: number) => number} */
  const bound = (value, otherwise) =>
    value === undefined ? otherwise : Math.min(Math.max(value < 0 ? value + items.length : value, low), high);
  const end = bound(stop, last);
  const picked = [];
  for (let at = bound(start, first); step > 0 ? at < end : at > end; at += step) picked.push(items[at]);
  return typeof value === 'string' ? picked.join('') : new Collection(value.kind, picked);
}

/**
 * About how much work it is to look at all of a value, in bytes.
 * @param {Value} value
 * @returns {number}
 */
export function weight(value) {
  if (value instanceof Collection) return value.size;
  return NODE_BYTES + (typeof value === 'string' ? value.length : 0);
}

/**
 * About how much work it is to look at all of these, in bytes.
 * @param {Value[]} values
 */
export const weights = (values) => values.reduce((sum, value) => sum + weight(value), 0);

/**
 * About how much work it is to copy a value's elements, in bytes.
 * @param {Value} value
 */
export const width = (value) =>
  typeof value === 'string' ? value.length * NODE_BYTES : 2 * NODE_BYTES * (lengthOf(value) ?? 0);

/**
 * `str(value)`; an undefined value is empty.
 * @param {Value} value
 * @returns {string}
 */
export const toText = (value) => (typeof value === 'string' ? value : value === undefined ? '' : repr(value));
