// JSON as templates see it: whole numbers stay apart from others, and objects keep their order.

import { dict, list } from '../template/template.js';

/** Whole numbers of 64 bits are whole numbers to a template. */
const WHOLE = 2n ** 63n;

/**
 * A value of `JSON.parse(marked(text))`, for a template.
 * @param {any} value @returns {any}
 */
export function plain(value) {
  if (typeof value === 'string') return value[0] === 's' ? value.slice(1) : number(value.slice(1));
  if (Array.isArray(value)) return list(value.map(plain));
  if (typeof value !== 'object' || value === null) return value;
  return dict(Object.entries(value).flatMap(([key, of]) => [key.slice(1), plain(of)]));
}

/** @param {string} text */
function number(text) {
  const whole = /^-?\d+$/.test(text) && BigInt(text);
  return whole !== false && whole >= -WHOLE && whole < WHOLE ? whole : Number(text);
}

/**
 * JSON with a mark in front of every text and key, `s`, and its numbers as texts behind an `n`: what JavaScript would change of
 * them, and of the order of keys that are numbers, stays. Throws like `JSON.parse` when the text is none.
 * @param {string} text @returns {any}
 */
export function parse(text) {
  JSON.parse(text);
  return JSON.parse(text.replace(/"((?:[^"\\]|\\.)*")|-?\d[-+.\deE]*/g, (token, rest) => rest === undefined ? `"n${token}"` : `"s${rest}`));
}
