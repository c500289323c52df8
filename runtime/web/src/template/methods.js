// Methods of Python's types.

import { braces, capitalize, is, lines, occurrences, replace, split, strip, title, words } from './text.js';
import {
  Collection, Loop, elementsOf, equals, findPair, isCollection, list, refuse, typeName, weight, weights, width,
} from './value.js';

/** @typedef {import('./run.js').Run} Run */
/** @typedef {import('./run.js').Args} Args */
/** @typedef {import('./value.js').Value} Value */

/**
 * `value.name(args)`
 * @param {Run} run
 * @param {Value} value
 * @param {string} name
 * @param {Args} args
 * @returns {Value}
 */
export function method(run, value, name, args) {
  if (typeof value === 'string') {
    run.charge(value.length);
    const result = textMethod(run, value, name, args);
    if (result !== undefined) {
      // Every method here takes at most two.
      args.end(2);
      return result;
    }
  }
  const own = isCollection(value, 'dict')
    ? dictMethod(run, value, name, args)
    : value instanceof Loop
      ? loopMethod(run, value, name, args)
      : listMethod(run, elementsOf(value), name, args);
  if (own) return own.value;
  const callee = run.attribute(value, name);
  if (callee === undefined) refuse(`a value of type ${typeName(value)} has no method \`${name}\``);
  return run.call(callee, args);
}

/** @type {(run: Run, value: Value, name: string, args: Args) => { value: Value } | null} */
function dictMethod(run, value, name, args) {
  /** @type {import('./value.js').Pairs} */
  const pairs = value.items;
  if (name === 'get') {
    const key = args.need(0, 'key');
    const otherwise = args.get(1, 'default', null);
    args.end(2);
    run.charge(weight(key) + pairs.length * 8);
    const pair = findPair(pairs, key);
    return { value: pair ? pair[1] : otherwise };
  }
  if (name !== 'keys' && name !== 'values' && name !== 'items') return null;
  args.end(0);
  run.charge(width(value));
  const part = { keys: 0, values: 1, items: 2 }[name];
  return { value: list(pairs.map((pair) => (part < 2 ? pair[part] : new Collection('tuple', [...pair])))) };
}

/** @type {(run: Run, items: Value[] | null, name: string, args: Args) => { value: Value } | null} */
function listMethod(run, items, name, args) {
  if (!items || (name !== 'count' && name !== 'index')) return null;
  const wanted = args.need(0, 'value');
  run.charge(items.reduce((sum, item) => sum + weight(item), 32));
  const found = items.flatMap((item, at) => (equals(item, wanted) ? [at] : []));
  const number = name === 'count' ? found.length : found[0] ?? refuse('the list has no such element');
  args.end(2);
  return { value: BigInt(number) };
}

/** @type {(run: Run, loop: Loop, name: string, args: Args) => { value: Value } | null} */
function loopMethod(run, loop, name, { places }) {
  if (name === 'cycle') return { value: places[(loop.ended ? 0 : loop.at) % places.length] };
  if (name !== 'changed') return null;
  run.charge(weights(places));
  const { seen } = loop;
  loop.seen = places;
  return { value: !(seen && seen.length === places.length && seen.every((it, at) => equals(it, places[at]))) };
}

/**
 * A count of at most so many, where one is given that makes sense.
 * @param {bigint | null} count
 */
const limit = (count) => (count === null || count < 0n ? Infinity : Number(count));

/**
 * @param {Run} run
 * @param {string} text
 * @param {string} name
 * @param {Args} args
 * @returns {Value} undefined when there is no such method
 */
function textMethod(run, text, name, args) {
  /** @param {Value} value */
  const string = (value) => (typeof value === 'string' ? value : refuse(`\`${name}\` takes a string`));
  switch (name) {
    case 'strip':
    case 'lstrip':
    case 'rstrip': {
      const given = args.given(0, 'chars');
      const chars = given === null ? null : string(given);
      run.charge((chars?.length ?? 0) * text.length);
      return strip(text, chars, name !== 'rstrip', name !== 'lstrip');
    }
    case 'split':
    case 'rsplit': {
      const separator = args.given(0, 'sep');
      const most = limit(args.int(1, 'maxsplit'));
      const pieces = separator === null
        ? words(text, name === 'split' ? most : Infinity)
        : split(text, string(separator || null), most, name === 'rsplit');
      run.charge(pieces.length * 64);
      return list(pieces);
    }
    case 'splitlines': {
      const pieces = lines(text, args.flag(0, 'keepends'));
      run.charge(pieces.length * 64);
      return list(pieces);
    }
    case 'startswith':
    case 'endswith': {
      const given = args.need(0, 'prefix');
      const affixes = elementsOf(given) ?? [given];
      run.charge(affixes.length * 32);
      const found = affixes.map(string).map((affix) => (name === 'endswith' ? text.endsWith(affix) : text.startsWith(affix)));
      return found.includes(true);
    }
    case 'replace': {
      const [old, replacement] = [args.need(0, 'old'), args.need(1, 'new')];
      const most = limit(args.int(2, 'count'));
      args.places.length = Math.min(args.places.length, 2);
      const [part, by] = [run.text(old), run.text(replacement)];
      const count = Math.min(occurrences(text, part), most);
      run.charge(by.length * count);
      return replace(text, part, by, count);
    }
    case 'upper': return text.toUpperCase();
    case 'lower': return text.toLowerCase();
    case 'title': return title(text);
    case 'capitalize': return capitalize(text);
    case 'find':
    case 'rfind':
    case 'index':
    case 'count': {
      const wanted = string(args.need(0, 'sub'));
      if (name === 'count') return BigInt(occurrences(text, wanted));
      const at = name === 'rfind' ? text.lastIndexOf(wanted) : text.indexOf(wanted);
      if (at < 0 && name === 'index') refuse('the string has no such part');
      // Places are counted in characters.
      return at < 0 ? -1n : BigInt([...text.slice(0, at)].length);
    }
    case 'join': {
      const texts = run.elements(args.need(0, 'iterable'));
      for (const item of texts) {
        if (typeof item !== 'string') refuse('`join` takes strings');
        run.charge(text.length + item.length);
      }
      return texts.join(text);
    }
    case 'removeprefix':
    case 'removesuffix': {
      const affix = string(args.need(0, 'affix'));
      if (name === 'removeprefix') return text.startsWith(affix) ? text.slice(affix.length) : text;
      return text.endsWith(affix) ? text.slice(0, text.length - affix.length) : text;
    }
    case 'format': {
      // A field may be named again and again.
      const fields = text.split('{').length - 1;
      run.charge((weights(args.places) + weights(args.names.map(([, it]) => it))) * fields);
      const formatted = braces(text, args);
      args.places = [];
      args.names = [];
      return formatted;
    }
  }
  return is(text, name);
}
