// How text becomes words: normalization, added tokens, and the model's expression.

import { CLASSES, YOUNGER } from './unicode.js';
import { refuse } from './table.js';

/** What stands between the brackets of an expression's class of characters. @param {string} runs @param {string} letter */
function members(runs, letter) {
  let at = 0;
  let out = '';
  for (const [, kind, count] of runs.matchAll(/([A-Z])([0-9a-z]*)/g)) {
    const end = at + (count ? parseInt(count, 36) : 1);
    if (kind === letter) out += `\\u{${at.toString(16)}}-\\u{${(end - 1).toString(16)}}`;
    at = end;
  }
  return out;
}

const [L, M, N, S] = Array.from('LMNS', (letter) => members(CLASSES, letter));

const SPACE = RegExp(`[${S}]`, 'u');
const YOUNG = RegExp(`([${members(YOUNGER, 'Y')}])`, 'u');

/** Qwen's expression; `letter` are the characters that count as letters. @param {string} letter */
const qwen = (letter) => `'(?:[sSſtTmMdD]|[rRvV][eE]|[lL]{2})|[^\\r\\n${letter}${N}]?[${letter}]+|[${N}]`
  + `| ?[^${S}${letter}${N}]+[\\r\\n]*|[${S}]*[\\r\\n]+|[${S}]+(?![^${S}])|[${S}]+`;

/** The expressions of GPT-2, Qwen2 and Qwen3.5, by their numbers in the table: `pattern.rs` has them as they are written. */
export const PATTERNS = [
  `'(?:[stmd]|[rv]e|ll)| ?[${L}]+| ?[${N}]+| ?[^${S}${L}${N}]+|[${S}]+(?![^${S}])|[${S}]+`,
  qwen(L),
  qwen(L + M),
];

/**
 * Normalization form C by Unicode 9, as the reference has it: characters that are younger take no part.
 * @param {string} text
 */
export const nfc = (text) => text.split(YOUNG).map((part, at) => at % 2 ? part : part.normalize()).join('');

/** Added tokens that are looked for together. */
export class AddedTokens {
  /** @param {import('./table.js').AddedToken[]} tokens */
  constructor(tokens) {
    this.tokens = new Map(tokens.map((token) => [token.text, token]));
    if (this.tokens.size < tokens.length) refuse('has two added tokens of one text');
    /** Lengths of tokens by what they begin with, longest first. @type {Map<string, number[]>} */
    this.lengths = new Map();
    for (const { text } of tokens.sort((a, b) => b.text.length - a.text.length)) {
      const known = this.lengths.get(text[0]);
      if (!known) this.lengths.set(text[0], [text.length]);
      else if (known.at(-1) !== text.length) known.push(text.length);
    }
  }

  /**
   * Cuts the tokens out of a text: of those that begin leftmost, the longest; the next one behind its end. A token may take
   * the white space around it along. What it takes on its left ends where the token before it ended; what it takes on its right is
   * still looked through for the next token, as in the reference.
   * @param {string} text @returns {Generator<string | number>} ids, and texts between them
   */
  * split(text) {
    let done = 0;
    for (let at = 0; this.tokens.size && at < text.length; at++) {
      const token = this.at(text, at);
      if (!token) continue;
      let from = at;
      if (token.lstrip) while (from > done && SPACE.test(text[from - 1])) from--;
      if (from > done) yield text.slice(done, from);
      yield token.id;
      done = at + token.text.length;
      at = done - 1;
      if (token.rstrip) while (done < text.length && SPACE.test(text[done])) done++;
    }
    if (done < text.length) yield text.slice(done);
  }

  /** The longest token at a place. @param {string} text @param {number} at */
  at(text, at) {
    for (const length of this.lengths.get(text[at]) ?? []) {
      const token = this.tokens.get(text.substr(at, length));
      if (token) return token;
    }
  }
}
