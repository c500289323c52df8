// The tokenizer against the `tokenizers` crate: the cases of `runtime/tests/tokenizer`, which the one in Rust is held against, too;
// and tables that are wrong.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';

import { Detokenizer, Tokenizer } from '../src/tokenizer/tokenizer.js';

/** @param {string} path */
const file = (path) => readFileSync(new URL(`../../../${path}`, import.meta.url));
/** @param {Uint8Array} bytes */
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
const { large, ...cases } = JSON.parse(file('runtime/tests/tokenizer/cases.json').toString());
/** What a browser has in place of a `Buffer`. @param {Uint8Array} bytes */
const plain = (bytes) => Uint8Array.from(bytes);
/** @param {string} name */
const table = (name) => plain(Buffer.from(cases[name].table, 'hex'));

/** @param {Uint8Array} bytes */
const read = (bytes) => new Tokenizer(bytes);

/** @param {Tokenizer} tokenizer @param {{texts: [string, number[]][], ids: [number[], string, string][]}} of */
function agree(tokenizer, { texts, ids }) {
  assert.ok(texts.length > 20 && ids.length > 10);
  for (const [text, expected] of texts) assert.deepEqual(tokenizer.encode(text), expected, JSON.stringify(text));
  for (const [list, ...expected] of ids) {
    assert.deepEqual([true, false].map((skip) => tokenizer.decode(list, skip)), expected, `${list}`);
  }
}

for (const [name, of] of Object.entries(cases)) {
  test(`ids and texts of the table ${name}`, () => agree(read(table(name)), of));
}

/** Ideographs and syllables, thousands of which are alike, and what is not assigned. */
const ALIKE = [[0x4000, 0x9000], [0xb000, 0xd000], [0x18000, 0x1b000], [0x21000, 0x2f000], [0x34000, 0xe0000], [0xe1000, 0x10f000]];

test('every character, by itself and where it could be normalized', () => {
  const BLOCK = 0x1000;
  const tables = Object.entries(cases).filter(([, of]) => of.characters);
  assert.equal(tables.length, 3);
  for (const [name, of] of tables) {
    const tokenizer = read(table(name));
    for (let first = 0; first < 0x110000; first += BLOCK) {
      if (ALIKE.some(([from, to]) => from <= first && first < to)) continue;
      let text = '';
      for (let code = first; code < first + BLOCK; code++) {
        if (code >= 0xd800 && code < 0xe000) continue;
        const c = String.fromCodePoint(code);
        text += `a${c} ${c}${c}'${c}1${c}\ne\u0345${c}\u0334\u0301${c}A\u030a`;
      }
      const ids = Uint32Array.from(tokenizer.encode(text));
      const at = first / BLOCK * 4;
      assert.equal(sha256(new Uint8Array(ids.buffer)).slice(0, 4), of.characters.slice(at, at + 4), `${name}: ${first.toString(16)}`);
    }
  }
});

/** The table of Qwen2's vocabulary, whose ids are 256 + the rank of the merge, as `qwenc compile` writes it. */
function qwen2() {
  const printable = [...Array(256).keys()].filter((code) => (code > 32 && code < 127) || (code > 160 && code !== 173));
  const others = [...Array(256).keys()].filter((code) => !printable.includes(code));
  const bytes = [...printable, ...others];
  const byCharacter = new Map(bytes.map((byte, id) => [String.fromCharCode(id < printable.length ? byte : 256 + id - printable.length), byte]));
  const lines = gunzipSync(file('models/vocab/qwen2/merges.txt.gz')).toString().trimEnd().split('\n').slice(1);
  const vocabulary = [...byCharacter.keys(), ...lines.map((line) => line.replace(' ', ''))];
  const ids = new Map(vocabulary.map((token, id) => [token, id]));
  const added = ['<|endoftext|>', '<|im_start|>', '<|im_end|>', '<|vision_start|>', '<|image_pad|>', '<tool_call>', '</tool_call>', '<think>', '</think>'];
  const content = [...vocabulary.map((token) => Buffer.from(Array.from(token, (c) => byCharacter.get(c) ?? 0))), ...added.map((text) => Buffer.from(text))];
  const words = (/** @type {number[]} */ ...values) => Buffer.from(Uint32Array.from(values).buffer);
  const whole = new Set(large.notWhole);
  const kinds = content.map((_, id) => 1 + (whole.has(id) ? 0 : 2) + (id >= vocabulary.length && id < vocabulary.length + 5 ? 4 : 0));
  const texts = Buffer.from(added.join(''));
  const merges = lines.flatMap((line, rank) => [...line.split(' ').map((token) => ids.get(token) ?? 0), 256 + rank]);
  return plain(Buffer.concat([
    Buffer.from('QWTK'), words(1, 2, 1, content.length, Buffer.concat(content).length, lines.length, added.length, texts.length),
    Buffer.from(Uint16Array.from(content, ({ length }) => length).buffer), Buffer.from(kinds), ...content,
    words(...Array.from({ length: 256 }, (_, byte) => bytes.indexOf(byte))), Buffer.from(Uint32Array.from(merges).buffer),
    words(...added.flatMap((text, at) => [vocabulary.length + at, 0, text.length])), texts,
  ]));
}

test('a vocabulary of full size, and texts without end', () => {
  const bytes = qwen2();
  assert.equal(sha256(bytes), large.sha256, 'the table is the compiler\'s');
  const tokenizer = read(bytes);
  agree(tokenizer, large);
  // Each costs n log n; what is quadratic would take hours.
  for (const piece of ['a', ' ', '\n', 'ab cd', '!', 'é', '的', '\u{1F600}', '<', '1', '\u0301', ' \n ', '\'S', '<|im_end|>']) {
    const text = piece.repeat(300_000 / piece.length);
    const began = Date.now();
    assert.equal(tokenizer.decode(tokenizer.encode(text), false), text.normalize());
    assert.ok(Date.now() - began < 10_000, `${JSON.stringify(piece)} took ${Date.now() - began} ms`);
  }
});

test('a token by its text, and characters in pieces', () => {
  const tokenizer = read(table('qwen3.5'));
  const [end] = tokenizer.encode('<|im_end|>');
  assert.deepEqual(['<|im_end|>', 'zzzz', ''].map((text) => tokenizer.tokenToId(text)), [end, undefined, undefined]);
  const detokenizer = new Detokenizer(true);
  const pieces = [...tokenizer.encode('\u{1F600}'), end].map((id) => detokenizer.push(tokenizer, id));
  assert.deepEqual([...new Set(pieces.slice(0, -2))], ['']);
  assert.equal(pieces.join('') + detokenizer.finish(), '\u{1F600}');
  for (const id of tokenizer.encode('\u{1F600}').slice(0, 2)) assert.equal(detokenizer.push(tokenizer, id), '');
  assert.equal(detokenizer.finish(), '\u{FFFD}');
  assert.equal(tokenizer.decode([-1, 2 ** 20, NaN, end], true), '');
});

test('damaged tables are refused, or give other text and nothing worse', () => {
  const good = table('flags');
  let refused = 0;
  const attempt = (/** @type {Uint8Array} */ bytes) => {
    let tokenizer;
    try {
      tokenizer = read(bytes);
    } catch {
      refused++;
      return;
    }
    tokenizer.decode(tokenizer.encode('<l> abc <r>Å 12 magma\u{1F600}'), true);
  };
  for (let at = 0; at < good.length; at++) {
    const bytes = plain(good);
    bytes[at] ^= [1, 0x80, 0xff][at % 3];
    attempt(bytes);
    if (at % 7 === 0) attempt(good.subarray(0, at));
  }
  assert.ok(refused > good.length / 2);
  // Lengths that add up to more than 32 bits hold, and ids that all fall into one place.
  const header = Uint32Array.of(0x4b545751, 1, 2, 1, 1 << 20, 4096, 0, 0, 0);
  const huge = new Uint8Array(36 + (3 << 20) + 4096 + 1024);
  huge.set(new Uint8Array(header.buffer));
  huge.fill(0xff, 36, 36 + (2 << 20));
  assert.throws(() => read(huge), /other tokens/);
  const crowded = plain(good);
  const words = new Uint32Array(crowded.buffer.slice(0, 36));
  const [tokens, content, merges] = words.subarray(4);
  const from = 36 + tokens * 3 + content + 1024;
  for (let rank = 1; rank < merges; rank++) crowded.copyWithin(from + rank * 12, from, from + 12);
  assert.ok(merges > 64);
  assert.throws(() => read(crowded), /fall together/);
});
