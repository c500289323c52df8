// What Python's strings can do.

import { refuse, toText } from './value.js';
import { truncated } from './number.js';
import { repr } from './write.js';

/** @typedef {import('./value.js').Value} Value */

/** White space as `str.isspace` has it: four separators more than Unicode's property. */
export const SPACE = '\\x1c-\\x1f\\p{White_Space}';
const LEADING = new RegExp(`^[${SPACE}]+`, 'u');
const TRAILING = new RegExp(`[${SPACE}]+$`, 'u');

/**
 * The text without characters at its ends: those given, or white space.
 * @param {string} text
 * @param {string | null} chars
 * @param {boolean} start
 * @param {boolean} end
 * @returns {string}
 */
export function strip(text, chars, start, end) {
  if (chars === null) {
    if (start) text = text.replace(LEADING, '');
    // What ends in no space is not searched for its last one, which takes long.
    return end && TRAILING.test(text.slice(-1)) ? stripEnd(text) : text;
  }
  const letters = [...text];
  const goes = new Set(chars);
  let first = 0;
  let last = letters.length;
  if (start) while (first < last && goes.has(letters[first])) first++;
  if (end) while (last > first && goes.has(letters[last - 1])) last--;
  return letters.slice(first, last).join('');
}

/** @param {string} text */
function stripEnd(text) {
  let end = text.length;
  while (end > 0 && TRAILING.test(text[end - 1])) end--;
  return text.slice(0, end);
}

/**
 * The first character large, the others small.
 * @param {string} text
 */
export function capitalize(text) {
  const [first = ''] = text;
  return first.toUpperCase() + text.slice(first.length).toLowerCase();
}

/**
 * `str.title`: every run of letters capitalized.
 * @param {string} text
 */
export const title = (text) => text.replace(/\p{L}*\P{L}|\p{L}+/gu, capitalize);

const WORDS = new RegExp(`[^${SPACE}\\-({\\[<]*[${SPACE}\\-({\\[<]|[^${SPACE}\\-({\\[<]+`, 'gu');

/**
 * Jinja's `title`: every word capitalized.
 * @param {string} text
 */
export const titleWords = (text) => text.replace(WORDS, capitalize);

/**
 * The words between white space; behind `most` of them the rest as it is.
 * @param {string} text
 * @param {number} most
 */
export function words(text, most) {
  const words = [];
  const word = new RegExp(`[^${SPACE}]+`, 'uy');
  for (let rest = strip(text, null, true, false); rest; rest = strip(rest, null, true, false)) {
    word.lastIndex = 0;
    /** @type {string} */
    const found = words.length >= most ? rest : String(word.exec(rest));
    words.push(found);
    rest = rest.slice(found.length);
  }
  return words;
}

/**
 * The pieces between separators, cut at most so often, from the end when asked to.
 * @param {string} text
 * @param {string} separator
 * @param {number} most
 * @param {boolean} fromEnd
 */
export function split(text, separator, most, fromEnd) {
  const pieces = text.split(separator);
  const extra = pieces.length - 1 - most;
  if (extra > 0) {
    const [at, count] = fromEnd ? [0, extra + 1] : [most, pieces.length];
    pieces.splice(at, count, pieces.slice(at, at + count).join(separator));
  }
  return pieces;
}

/**
 * The lines of a text, with their ends when these are to be kept.
 * @param {string} text
 * @param {boolean} keep
 */
export function lines(text, keep) {
  const lines = text.match(/[^\n\r]*(?:\r\n|\n|\r)|[^\n\r]+/g) ?? [];
  return keep ? [...lines] : lines.map((line) => line.replace(/\r?\n$|\r$/, ''));
}

const SPACES = new RegExp(`^[${SPACE}]+$`, 'u');

/**
 * `str.isdigit` and its like; undefined for a name that is no such method.
 * @param {string} text
 * @param {string} name
 * @returns {boolean | undefined}
 */
export function is(text, name) {
  const [lower, upper] = [text.toLowerCase(), text.toUpperCase()];
  switch (name) {
    case 'isascii': return !/[^\0-\x7f]/.test(text);
    case 'isspace': return SPACES.test(text);
    case 'isalpha': return /^\p{L}+$/u.test(text);
    case 'isdigit':
    case 'isnumeric':
    case 'isdecimal': return /^\p{N}+$/u.test(text);
    case 'isalnum': return /^[\p{L}\p{N}]+$/u.test(text);
    // There is a letter that has a case, and none of the other one.
    case 'isupper': return upper === text && lower !== text;
    case 'islower': return lower === text && upper !== text;
  }
}

/**
 * `format % values`, for whole texts and numbers.
 * @param {string} format
 * @param {Value[]} values
 */
export function percent(format, values) {
  let next = 0;
  const text = format.replace(/%([^]?)/gu, (_, directive) => {
    if (directive === '%') return '%';
    if (next >= values.length) refuse('there are fewer values than places in the format');
    const value = values[next++];
    switch (directive) {
      case 's': return toText(value);
      case 'r': return repr(value);
      case 'd':
      case 'i': return String(truncated(value) ?? refuse('`%d` takes a number'));
    }
    return refuse(`the format has \`%${directive || ' '}\`: only %s, %r, %d and %% are known`);
  });
  if (next < values.length) refuse('there are more values than places in the format');
  return text;
}

/**
 * `format.format(…)`, for fields by place or name.
 * @param {string} format
 * @param {import('./run.js').Args} args
 */
export function braces(format, args) {
  let next = 0;
  return format.replace(/\{\{|\}\}|\{[^}]*\}|[{}]/g, (found) => {
    if (found === '{{' || found === '}}') return found[0];
    if (found.length < 2) refuse('a brace of the format has no other');
    const field = found.slice(1, -1);
    const place = field ? (/^\+?\d+$/.test(field) ? Number(field) : NaN) : next;
    next++;
    if (place < args.places.length) return toText(args.places[place]);
    const named = args.names.find(([name]) => name === field);
    return toText((named ?? refuse(`the format has \`{${field}}\`, which is not given`))[1]);
  });
}

/**
 * Blanks; more than 1000 would only make output.
 * @param {bigint} count
 */
export const spaces = (count) => ' '.repeat(Math.min(Math.max(Number(count), 0), 1000));

/**
 * Every line behind so much white space, the first one and blank ones when asked to.
 * @param {string} text
 * @param {string} width
 * @param {boolean} first
 * @param {boolean} blank
 */
export const indent = (text, width, first, blank) =>
  text.split('\n').map((line, at) => ((at ? blank || line : first) ? width + line : line)).join('\n');

/** @type {Record<string, string>} */
const ENTITIES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&#34;', "'": '&#39;' };

/**
 * Text for HTML.
 * @param {string} text
 */
export const escape = (text) => text.replace(/[&<>"']/g, (c) => ENTITIES[c]);

/**
 * Places where a part is in a text, without overlaps; nothing is everywhere.
 * @param {string} text
 * @param {string} part
 */
export const occurrences = (text, part) => pieces(text, part).length - 1;

/**
 * @param {string} text
 * @param {string} part
 */
const pieces = (text, part) => (part ? text.split(part) : ['', ...text, '']);

/**
 * @param {string} text
 * @param {string} old
 * @param {string} replacement
 * @param {number} count
 */
export function replace(text, old, replacement, count) {
  const all = pieces(text, old);
  const rest = all.splice(count + 1);
  return [all.join(replacement), ...rest].join(old);
}
