// The file `model/tokenizer.bin`: docs/tokenizer.md has its format. It is untrusted: reading takes time and memory in proportion to
// its size.

/** Most tokens, and most merges. */
const MAX_TOKENS = 1 << 20;
const MAX_ADDED = 1 << 16;
/** Most bytes of all tokens' content, and of all added tokens' texts. */
const MAX_CONTENT = 32 << 20;
/** Most entries that fall into one place of a lookup table: an ordinary vocabulary has no more than ten. */
const CROWD = 64;

/** Bits of a kind: the id stands for something; a word of these bytes is this token; special. */
export const EXISTS = 1, WHOLE = 2, SPECIAL = 4;

/** What is wrong with a table. @param {string} what @returns {never} */
export const refuse = (what) => {
  throw new Error(what);
};

/** @typedef {{id: number, text: string, lstrip: number, rstrip: number, normalized: number}} AddedToken */

/**
 * What a table says, checked.
 * @param {Uint8Array} file
 */
export function readTable(file) {
  let at = 0;
  // A node `Buffer` has a slice of its own, which copies nothing.
  const bytes = (/** @type {number} */ count) => Uint8Array.prototype.slice.call(file, at, at += count);
  // Every machine that has a browser is little-endian.
  const words = (/** @type {number} */ count) => new Uint32Array(bytes(count * 4).buffer);
  if (file.length < 36) refuse('it ends before its header does');
  const [magic, version, pattern, flags, tokens, tokenBytes, merges, added, addedBytes] = words(9);
  if (magic !== 0x4b545751) refuse('is no tokenizer table of qwenc');
  if (version !== 1) refuse(`has version ${version}, this program reads version 1; compile the model again`);
  if (pattern > 2 || flags > 1) refuse('names a pattern or a flag that is not known');
  if (tokens > MAX_TOKENS || merges > MAX_TOKENS || added > MAX_ADDED || tokenBytes > MAX_CONTENT || addedBytes > MAX_CONTENT) {
    refuse('says more tokens than are read');
  }
  if (file.length !== 36 + tokens * 3 + tokenBytes + 1024 + (merges + added) * 12 + addedBytes) {
    refuse(`has ${file.length} bytes, its header says otherwise; the file is cut off or changed`);
  }

  const lengths = new Uint16Array(bytes(tokens * 2).buffer);
  /** Where each token begins in `content`, and where the last one ends. */
  const starts = new Uint32Array(tokens + 1);
  let end = 0;
  lengths.forEach((length, id) => starts[id + 1] = end += length);
  if (end !== tokenBytes) refuse('has other tokens than bytes of tokens');
  const kinds = bytes(tokens);
  if (kinds.some((kind) => kind > 7)) refuse('has a token with a flag that is not known');
  const content = bytes(tokenBytes);
  const exists = (/** @type {number} */ id) => (kinds[id] & EXISTS) !== 0;

  const byteIds = words(256);
  byteIds.forEach((id, byte) => {
    if (!exists(id) || lengths[id] !== 1 || content[starts[id]] !== byte) refuse(`has another token for byte ${byte}`);
  });
  const triples = words(merges * 3);
  if (!triples.every(exists)) refuse('has a merge with an id that stands for nothing');

  const records = words(added * 3);
  const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  /** @type {AddedToken[]} */
  const addedTokens = [];
  for (let of = 0; of < records.length; of += 3) {
    const [id, bits, length] = records.subarray(of, of + 3);
    if (!exists(id) || bits > 7 || length === 0 || at + length > file.length) refuse(`has an added token ${of / 3} that is wrong`);
    let text = '';
    try {
      text = utf8.decode(bytes(length));
    } catch {
      refuse(`has an added token ${of / 3} that is not UTF-8`);
    }
    addedTokens.push({ id, text, lstrip: bits & 1, rstrip: bits & 2, normalized: bits & 4 });
  }
  if (at !== file.length) refuse('has more than its added tokens');
  return { pattern, nfc: flags === 1, starts, kinds, content, byteIds, merges: triples, added: addedTokens };
}

/** Entries by their hashes, of 32 bits, whose upper ones are a place. */
export class Places {
  /** @param {number} count @param {(entry: number) => number | undefined} hash */
  constructor(count, hash) {
    const bits = 32 - Math.clz32(count | 1);
    this.shift = 32 - bits;
    this.first = new Int32Array(1 << bits).fill(-1);
    /** The next entry at the same place. */
    this.next = new Int32Array(count);
    const sizes = new Uint8Array(1 << bits);
    // From behind, so that entries of a place come in their order.
    for (let entry = count; entry-- > 0;) {
      const of = hash(entry);
      if (of === undefined) continue;
      const place = of >>> this.shift;
      if (++sizes[place] > CROWD) refuse(`has more than ${CROWD} entries that fall together in a lookup table`);
      this.next[entry] = this.first[place];
      this.first[place] = entry;
    }
  }

  /** The first entry of this hash for which `is` holds, or -1. @param {number} hash @param {(entry: number) => boolean} is */
  find(hash, is) {
    let entry = this.first[hash >>> this.shift];
    while (entry >= 0 && !is(entry)) entry = this.next[entry];
    return entry;
  }
}
