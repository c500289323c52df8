// Chat templates against transformers: the cases of `runtime/tests/chat_template`, which the interpreter in Rust is held
// against, too; and templates that would not come to an end.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { Template, dict, list } from '../src/template/template.js';

/** @param {string} path */
const file = (path) => readFileSync(new URL(path, import.meta.url), 'utf8');

/**
 * JSON as the interpreter is given it: whole numbers stay apart from others, objects keep their order.
 * @param {string} text
 * @returns {any}
 */
function read(text) {
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[-+.\w]+|[[\]{},:]/g) ?? [];
  let at = 0;
  /** @returns {any} */
  const value = () => {
    const token = tokens[at++];
    if (token !== '{' && token !== '[') return /^-?\d+$/.test(token) ? BigInt(token) : JSON.parse(token);
    const items = [];
    while (tokens[at] !== '}' && tokens[at] !== ']') {
      items.push(value());
      if (tokens[at] === ',' || tokens[at] === ':') at++;
    }
    at++;
    return token === '{' ? dict(items) : list(items);
  };
  return value();
}

/** @type {(of: any, name: string) => any} */
const get = (of, name) => of.items.find((/** @type {any} */ [key]) => key === name)?.[1];

const cases = read(file('../../tests/chat_template/cases.json'));

/**
 * The same text, or the same refusal. Other errors have other words than Python's.
 * @param {any} expected
 * @param {Template} template
 * @param {any} variables
 */
function agree(expected, template, variables) {
  const text = template.trouble === undefined ? template.render(variables) : undefined;
  const { trouble, raised, line } = template;
  if (get(expected, 'text') !== undefined) {
    assert.equal(trouble, undefined);
    assert.equal(text, get(expected, 'text'));
  } else if (get(expected, 'error') === null) {
    assert.ok(trouble !== undefined && !raised);
  } else {
    assert.deepEqual([trouble, raised, line > 0], [get(expected, 'error'), true, true]);
  }
}

const conversations = get(cases, 'conversations').items;
assert.ok(conversations.length > 70);
for (const expected of conversations) {
  test(`a conversation is rendered as by transformers: ${get(expected, 'name')}`, () => {
    const template = new Template(file('../../../models/qwen3_5_chat_template.jinja'));
    const variables = new Map([['add_generation_prompt', false], ...get(expected, 'arguments').items]);
    for (const name of ['messages', 'tools', 'documents']) variables.set(name, get(expected, name) ?? null);
    agree(expected, template, dict([...variables].flat()));
  });
}

const snippets = get(cases, 'snippets').items;
assert.ok(snippets.length > 130);
for (const expected of snippets) {
  const source = get(expected, 'template');
  test(`a template does as in Python: ${source}`, () => agree(expected, new Template(source), get(expected, 'variables')));
}

const DOUBLED = '{% set n = namespace(x=[1]) %}{% for a in range(99) %}{% set n.x = [n.x, n.x] %}{% endfor %}';
for (const source of [
  '{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}',
  "{% set n = namespace(x='aaaaaaaa') %}{% for a in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}",
  `${DOUBLED}{{ n.x }}`,
  `${DOUBLED}{{ n.x | tojson }}`,
  `${DOUBLED}{{ n.x == n.x }}`,
  '{% set n = namespace(x=[1]) %}{% for a in range(9999) %}{% set n.x = [n.x] %}{% endfor %}{{ n.x | string }}',
  '{% set n = namespace() %}{% for a in range(9) %}{% set n.x = namespace(x=n) %}{% endfor %}',
  "{{ 'a' * 999999999999 }}",
  "{{ 2 ** 999999999 }}",
  "{% set x = 'a' * 1000000 %}{{ x.replace('a', x) }}",
  "{% set x = 'a' * 1000000 %}{% for a in range(99) %}{{ x.split('') or x.split('a') | sort }}{% endfor %}",
  "{{ 'x' | center(99999999999) }}",
  "{{ '%999999999d' | format(1) }}",
  '{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}',
  "{% include '/etc/passwd' %}",
  `{{ ${'('.repeat(100_000)}1${')'.repeat(100_000)} }}`,
  ...['+1', '~1', '|abs', '.a', '[0]', ' is none', ' if 1'].map((link) => `{{ 1${link.repeat(10_000)} }}`),
  ' '.repeat(2 << 20),
]) {
  test(`a template has bounds: ${source.slice(0, 100)}`, () => {
    const template = new Template(source);
    if (template.trouble === undefined) template.render(dict([]));
    assert.ok(template.trouble !== undefined && !template.raised);
  });
}

test('trouble has its line, and a template its own words', () => {
  /** @param {string} source */
  const trouble = (source) => {
    const template = new Template(source);
    if (template.trouble === undefined) template.render(dict(['a', list([1n, 1.5])]));
    return [template.trouble, template.line, template.raised];
  };
  assert.deepEqual(trouble("a\n{{ raise_exception('no ' ~ a) }}"), ['no [1, 1.5]', 2, true]);
  assert.deepEqual(trouble('a\n\n{{ a.x.y }}'), ['undefined value: it has no attribute `y`', 3, false]);
  assert.deepEqual(trouble('a\n{% if %}'), ['unexpected end of a tag', 2, false]);
});
