// From a template's text to pieces: text, and tags with their tokens. White space goes as `trim_blocks` and `lstrip_blocks`
// have it.

import { SPACE, strip } from './text.js';

/**
 * `kind` is n for a name, s for a string, i and f for numbers, and o for an operator or other mark.
 * @typedef {{ kind: 'n' | 's' | 'i' | 'f' | 'o', value: any }} Token
 */
/** @typedef {{ line: number, text: string | null, output: boolean, tokens: Token[] }} Piece */

/** A template's text is wrong. */
export class Trouble extends Error {
  /**
   * @param {number} line
   * @param {string} message
   */
  constructor(line, message) {
    super(message);
    this.line = line;
  }
}

const TOKEN = new RegExp(
  `[${SPACE}]+` +
    '|(?<name>[_\\p{Alphabetic}][_\\p{Alphabetic}\\p{N}]*)' +
    '|(?<number>[0-9][0-9_]*(?<float>(?:\\.[0-9][0-9_]*)?(?:[eE][+-]?[0-9][0-9_]*)?))' +
    '|(?<string>"(?:[^\\\\"]|\\\\[^])*"|\'(?:[^\\\\\']|\\\\[^])*\')' +
    '|(?<mark>\\*\\*|//|==|!=|<=|>=|[-+*/%~<>=.,:|()[\\]{};!])',
  'uy',
);
const ENDS = { '}}': /[-+]?\}\}/y, '%}': /[-+]?%\}/y };
const RAW = new RegExp(`\\{%[-+]*[${SPACE}]*endraw[${SPACE}]*([-+]*)%\\}`, 'gu');
/** @type {Record<string, string>} */
const ESCAPES = { n: '\n', t: '\t', r: '\r', b: '\b', f: '\f', v: '\v', a: '\x07', '\n': '' };

/**
 * What a string's escape stands for.
 * @param {string} body without its quotes
 * @param {number} line
 */
function unescape(body, line) {
  return body.replace(/\\(?:x([^]{0,2})|u([^]{0,4})|U([^]{0,8})|([^]))/gu, (all, x, u, U, c) => {
    if (c !== undefined) return ESCAPES[c] ?? ('\\\'"'.includes(c) ? c : all);
    const [hex, length] = x !== undefined ? [x, 2] : u !== undefined ? [u, 4] : [U, 8];
    const code = /^[0-9a-f]+$/i.test(hex) && hex.length === length ? parseInt(hex, 16) : NaN;
    if (!(code <= 0x10ffff) || (code >= 0xd800 && code < 0xe000)) {
      throw new Trouble(line, 'an escape names no character');
    }
    return String.fromCodePoint(code);
  });
}

/**
 * The pieces of a template, each with the line that it begins on.
 * @param {string} source with line feeds alone
 * @returns {Piece[]}
 */
export function pieces(source) {
  // One line feed at the very end is not part of the text.
  const text = source.replace(/\n$/, '');
  /** @type {Piece[]} */
  const out = [];
  let at = 0;
  let line = 1;
  /** The text so far ends a line. */
  let lineStart = true;
  /** The tag before strips white space after it. */
  let stripNext = false;

  /** @param {number} end */
  const advance = (end) => {
    const taken = text.slice(at, end);
    line += taken.split('\n').length - 1;
    at = end;
    return taken;
  };
  /** @type {(taken: string, from: number, stripEnd: boolean) => void} */
  const push = (taken, from, stripEnd) => {
    const kept = strip(taken, null, stripNext, stripEnd);
    stripNext = false;
    if (kept) out.push({ line: from, text: kept, output: false, tokens: [] });
  };
  /**
   * Behind the end of a tag: what becomes of the white space there.
   * @param {string} mark
   * @param {boolean} trims
   */
  const close = (mark, trims) => {
    stripNext = mark === '-';
    lineStart = trims && !mark && text[at] === '\n';
    if (lineStart) advance(at + 1);
  };

  while (at < text.length) {
    const open = /\{[{%#]/g;
    open.lastIndex = at;
    const next = open.exec(text)?.index ?? text.length;
    const from = line;
    let taken = advance(next);
    const kind = text[at + 1];
    const mark = text[at + 2];
    if (stripNext) taken = strip(taken, null, true, false);
    if (mark !== '-' && mark !== '+' && (kind === '%' || kind === '#')) {
      // A tag alone on its line takes the indent with it.
      const start = taken.lastIndexOf('\n') + 1;
      if ((start || lineStart) && !strip(taken.slice(start), null, true, false)) taken = taken.slice(0, start);
    }
    push(taken, from, mark === '-');
    if (at >= text.length) break;
    advance(at + (mark === '-' || (mark === '+' && kind !== '{') ? 3 : 2));
    const opened = line;
    if (kind === '#') {
      const end = text.indexOf('#}', at);
      if (end < 0) throw new Trouble(opened, 'a comment has no end');
      const last = advance(end).slice(-1);
      advance(at + 2);
      close('-+'.includes(last) ? last : '', true);
      continue;
    }
    const output = kind === '{';
    const { tokens, mark: closing } = tag(output ? '}}' : '%}');
    close(closing, !output);
    if (output || tokens.length !== 1 || tokens[0].kind !== 'n' || tokens[0].value !== 'raw') {
      out.push({ line: opened, text: null, output, tokens });
      continue;
    }
    // Text up to the end of a `raw` block.
    RAW.lastIndex = at;
    const end = RAW.exec(text);
    if (!end) throw new Trouble(opened, '`raw` has no `endraw`');
    push(text.slice(at, end.index), opened, end[0][2] === '-');
    advance(end.index + end[0].length);
    close(end[1].slice(0, 1), true);
  }
  return out;

  /**
   * The tokens up to the end of a tag, which is taken, too.
   * @param {'}}' | '%}'} closing
   */
  function tag(closing) {
    const opened = line;
    /** @type {Token[]} */
    const tokens = [];
    for (let braces = 0; at < text.length;) {
      const end = ENDS[closing];
      end.lastIndex = at;
      const found = braces ? null : end.exec(text);
      if (found) {
        advance(at + found[0].length);
        return { tokens, mark: found[0].slice(0, -2) };
      }
      TOKEN.lastIndex = at;
      const token = TOKEN.exec(text);
      const first = text[at];
      if (!token) {
        if (first === '"' || first === "'") throw new Trouble(line, 'a string has no end');
        const [c] = text.slice(at, at + 2);
        throw new Trouble(line, `unexpected character ${JSON.stringify(c)}`);
      }
      const { name, number, float, string, mark } = token.groups ?? {};
      const began = line;
      advance(at + token[0].length);
      if (name) tokens.push({ kind: 'n', value: name });
      else if (string !== undefined) tokens.push({ kind: 's', value: unescape(string.slice(1, -1), began) });
      else if (number) {
        const digits = number.replace(/_/g, '');
        const value = float ? Number(digits) : BigInt(digits);
        if (!float && BigInt.asIntN(128, BigInt(value)) !== value) throw new Trouble(began, 'a number is too large');
        tokens.push({ kind: float ? 'f' : 'i', value });
      } else if (mark) {
        if (mark === '{') braces++;
        if (mark === '}') braces = Math.max(0, braces - 1);
        tokens.push({ kind: 'o', value: mark });
      }
    }
    throw new Trouble(opened, 'a tag has no end');
  }
}
