// Byte-level BPE over the table that the compiler made, with the results of the `tokenizers` crate. Without a browser,
// `runtime/src/tokenizer/native` does the same; both are held against the same cases. docs/tokenizer.md has the method.

import { EXISTS, Places, SPECIAL, WHOLE, readTable } from './table.js';
import { AddedTokens, PATTERNS, nfc } from './words.js';

const encoder = new TextEncoder();
/** Ranks and places are one number in the heap: both are small. */
const RANK = 2 ** 32;

/** @param {number} left @param {number} right */
const pairHash = (left, right) => mix(Math.imul(left, 0x9e3779b1) ^ right);

/** @param {number} hash */
const mix = (hash) => Math.imul(hash ^ hash >>> 15, 0x85ebca77);

/** @param {Uint8Array} bytes @param {number} from @param {number} to */
function wordHash(bytes, from, to) {
  let hash = to - from;
  for (let at = from; at < to; at++) hash = Math.imul(hash ^ bytes[at], 0x01000193);
  return mix(hash);
}

export class Tokenizer {
  /** @param {Uint8Array} file not kept. Throws when it is no valid table. */
  constructor(file) {
    const { merges, kinds, starts, content, added, ...table } = readTable(file);
    this.table = { merges, kinds, starts, content, ...table };
    this.pattern = RegExp(PATTERNS[table.pattern], 'gu');
    this.pairs = new Places(merges.length / 3, (rank) => pairHash(merges[rank * 3], merges[rank * 3 + 1]));
    this.words = new Places(kinds.length, (id) => kinds[id] & EXISTS ? wordHash(content, starts[id], starts[id + 1]) : undefined);
    this.raw = new AddedTokens(added.filter(({ normalized }) => !normalized));
    this.normalized = new AddedTokens(added.filter(({ normalized }) => normalized));
    /** Room for merging. @type {Int32Array[]} */
    this.lists = [];
    /** Room for a word's bytes. */
    this.word = new Uint8Array(1024);
  }

  /** The ids of a text, added and special tokens recognised. @param {string} text @returns {number[]} */
  encode(text) {
    /** @type {number[]} */
    const ids = [];
    for (const piece of this.raw.split(text)) {
      if (typeof piece === 'number') {
        ids.push(piece);
        continue;
      }
      for (const part of this.normalized.split(this.table.nfc ? nfc(piece) : piece)) {
        if (typeof part === 'number') ids.push(part);
        else part.match(this.pattern)?.forEach((word) => this.encodeWord(word, ids));
      }
    }
    return ids;
  }

  /** @param {string} word @param {number[]} ids */
  encodeWord(word, ids) {
    const length = this.bytesOf(word);
    const id = this.find(length, WHOLE);
    // Merging such a word ends with this token: the compiler tried.
    if (id >= 0) ids.push(id);
    else this.merge(length, ids);
  }

  /** Puts a text's bytes into `word`; how many. @param {string} text */
  bytesOf(text) {
    if (this.word.length < text.length * 3) this.word = new Uint8Array(text.length * 3);
    return encoder.encodeInto(text, this.word).written;
  }

  /** The first id of `word`'s bytes whose kind has all bits of `kind`, or -1. @param {number} length @param {number} kind */
  find(length, kind) {
    const { word, table: { kinds, starts, content } } = this;
    return this.words.find(wordHash(word, 0, length), (id) => {
      const from = starts[id];
      let same = starts[id + 1] - from === length && (kinds[id] & kind) === kind;
      for (let at = 0; same && at < length; at++) same = content[from + at] === word[at];
      return same;
    });
  }

  /** Four lists that hold as much; their content is anything. @param {number} length */
  links(length) {
    if (!(this.lists[0]?.length > length)) this.lists = Array.from('1234', () => new Int32Array(length + 256));
    return this.lists;
  }

  /**
   * Appends what merging makes of `word`: of all neighbours that can merge, the pair of the best rank does, leftmost first, until
   * none is left.
   * @param {number} length @param {number[]} out
   */
  merge(length, out) {
    const { merges, byteIds } = this.table;
    // Ids, and ranks of pairs by the place of their left one; -1 for none.
    const [ids, ranks, before, behind] = this.links(length);
    const heap = new Heap();
    const offer = (/** @type {number} */ at) => {
      const left = ids[at], right = ids[behind[at]];
      const rank = behind[at] < length
        ? this.pairs.find(pairHash(left, right), (rank) => merges[rank * 3] === left && merges[rank * 3 + 1] === right) : -1;
      ranks[at] = rank;
      if (rank >= 0) heap.push(rank * RANK + at);
    };
    for (let at = 0; at < length; at++) {
      ids[at] = byteIds[this.word[at]];
      before[at] = at - 1;
      behind[at] = at + 1;
    }
    for (let at = 0; at < length; at++) offer(at);
    for (let best; (best = heap.pop()) !== undefined;) {
      const rank = Math.floor(best / RANK);
      const at = best - rank * RANK;
      // Out of date: another merge has taken one of the two. What is gone has no rank.
      if (ranks[at] !== rank) continue;
      ranks[behind[at]] = -1;
      ids[at] = merges[rank * 3 + 2];
      behind[at] = behind[behind[at]];
      before[behind[at]] = at;
      offer(at);
      if (at) offer(before[at]);
    }
    for (let at = 0; at < length; at = behind[at]) out.push(ids[at]);
  }

  /** The bytes that an id contributes to text. @param {number} id @param {boolean} skipSpecial */
  shown(id, skipSpecial) {
    const { kinds, starts, content } = this.table;
    const is = (kinds[id] & (skipSpecial ? EXISTS | SPECIAL : EXISTS)) === EXISTS;
    return is ? content.subarray(starts[id], starts[id + 1]) : new Uint8Array();
  }

  /**
   * The text of ids. Those that stand for nothing are left out, and special tokens too when `skipSpecial`. Bytes that are no UTF-8
   * become U+FFFD.
   * @param {Iterable<number>} ids @param {boolean} skipSpecial
   */
  decode(ids, skipSpecial) {
    const detokenizer = new Detokenizer(skipSpecial);
    let text = '';
    for (const id of ids) text += detokenizer.push(this, id);
    return text + detokenizer.finish();
  }

  /** The id of a token by its text: an added token's content, or what a token of the vocabulary stands for. @param {string} text */
  tokenToId(text) {
    const added = this.raw.tokens.get(text) ?? this.normalized.tokens.get(text);
    if (added) return added.id;
    const id = this.find(this.bytesOf(text), 0);
    return id < 0 ? undefined : id;
  }
}

/** Turns ids into text as they come. Bytes of a character that is not complete are held back until it is, or cannot be. */
export class Detokenizer {
  /** @param {boolean} skipSpecial */
  constructor(skipSpecial) {
    this.skipSpecial = skipSpecial;
    this.decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  }

  /** The text that is complete with this id; may be empty. @param {Tokenizer} tokenizer @param {number} id */
  push(tokenizer, id) {
    return this.decoder.decode(tokenizer.shown(id, this.skipSpecial), { stream: true });
  }

  /** What is left at the end: U+FFFD when the last character is not complete. */
  finish() {
    return this.decoder.decode();
  }
}

/** Numbers, the least first. */
class Heap {
  /** @type {number[]} */
  items = [];

  /** @param {number} item */
  push(item) {
    const { items } = this;
    let at = items.length;
    for (let up; at && items[up = at - 1 >> 1] > item; at = up) items[at] = items[up];
    items[at] = item;
  }

  pop() {
    const { items } = this;
    const top = items[0];
    const last = /** @type {number} */ (items.pop());
    const { length } = items;
    if (length) {
      let at = 0;
      for (let down; (down = 2 * at + 1) < length; at = down) {
        if (items[down + 1] < items[down]) down++;
        if (items[down] >= last) break;
        items[at] = items[down];
      }
      items[at] = last;
    }
    return top;
  }
}
