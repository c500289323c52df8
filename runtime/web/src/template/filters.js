// Jinja's filters and tests.

import { arrange } from './arrange.js';
import { arithmetic, negative, round, toNumber, truncated } from './number.js';
import { Args } from './run.js';
import { capitalize, escape, indent, percent, spaces, strip, titleWords } from './text.js';
import {
  Callable, Loop, asFloat, asInt, at, isCollection, lengthOf, list, order, refuse, slice, toText, truth, typeName, weight,
  weights, width, equals,
} from './value.js';
import { dumps } from './write.js';

/** @typedef {import('./run.js').Run} Run */
/** @typedef {import('./value.js').Value} Value */

/**
 * A filter of a text, which is asked for after its arguments.
 * @param {(text: string) => Value} change
 * @returns {(run: Run, value: Value) => Value}
 */
const onText = (change) => (run, value) => change(run.text(value));

/**
 * Filters that have all of their arguments at once: how many at most, and the filter.
 * @type {Record<string, [most: number, filter: (run: Run, value: Value, args: Args) => Value]>}
 */
const FILTERS = {
  default: [2, (run, value, args) => {
    const otherwise = args.get(0, 'default_value', '');
    return value === undefined || (args.flag(1, 'boolean') && !truth(value)) ? otherwise : value;
  }],
  safe: [0, (run, value) => value],
  string: [0, onText((text) => text)],
  trim: [1, (run, value, args) => {
    const chars = args.given(0, 'chars');
    return strip(run.text(value), typeof chars === 'string' ? chars : null, true, true);
  }],
  upper: [0, onText((text) => text.toUpperCase())],
  lower: [0, onText((text) => text.toLowerCase())],
  capitalize: [0, onText(capitalize)],
  title: [0, onText(titleWords)],
  length: [0, (run, value) => {
    if (typeof value === 'string') run.charge(value.length);
    return BigInt(lengthOf(value) ?? refuse(`${typeName(value)} has no length`));
  }],
  list: [0, (run, value) => list(run.elements(value))],
  first: [0, (run, value) => run.elements(value)[0]],
  last: [0, (run, value) => run.elements(value).at(-1)],
  reverse: [0, (run, value) => {
    run.charge(width(value));
    return slice(value, [null, null, -1n]);
  }],
  items: [0, (run, value) => {
    if (value === undefined) return list([]);
    if (!isCollection(value, 'dict')) refuse(`a value of type ${typeName(value)} has no items`);
    return run.method(value, 'items', new Args());
  }],
  join: [2, (run, value, args) => {
    const given = args.get(0, 'd', '');
    const attribute = args.given(1, 'attribute');
    const between = run.text(given);
    const texts = run.elements(value).map((item) => {
      run.charge(between.length);
      return run.text(key(run, item, attribute));
    });
    return texts.join(between);
  }],
  attr: [1, (run, value, args) => run.index(value, args.need(0, 'name'))],
  int: [2, (run, value, args) => {
    const otherwise = args.get(0, 'default', 0n);
    return truncated(toNumber(value)) ?? otherwise;
  }],
  float: [2, (run, value, args) => {
    const otherwise = args.get(0, 'default', 0);
    return asFloat(toNumber(value)) ?? otherwise;
  }],
  abs: [0, (run, value) => (order(value, 0n) < 0 ? negative(value) : value)],
  round: [2, (run, value, args) => {
    const precision = args.int(0, 'precision') ?? 0n;
    const method = args.given(1, 'method');
    if (typeof value === 'bigint' && method === null && precision >= 0n) return value;
    return round(asFloat(value) ?? refuse(`${typeName(value)} is no number`), precision, method);
  }],
  format: [0, (run, value, args) => {
    const text = run.text(value);
    const values = args.places.splice(0);
    run.charge(text.length + weights(values));
    return percent(text, values);
  }],
  indent: [3, (run, value, args) => {
    const given = args.given(0, 'width');
    const blanks = typeof given === 'string' ? given : spaces(asInt(given) ?? 4n);
    const [first, blank] = [args.flag(1, 'first'), args.flag(2, 'blank')];
    const text = run.text(value);
    run.charge(text.split('\n').length * blanks.length);
    return indent(text, blanks, first, blank);
  }],
  escape: [0, (run, value) => {
    const text = run.text(value);
    run.charge(text.length * 5);
    return escape(text);
  }],
  tojson: [4, (run, value, args) => {
    const ascii = args.flag(0, 'ensure_ascii');
    const given = args.int(1, 'indent');
    // Deeper indents only make output.
    const indent = given === null ? null : given < 0n ? 0 : Math.min(Number(given), 32);
    const separators = args.given(2, 'separators');
    const sortKeys = args.flag(3, 'sort_keys');
    /** @type {(place: bigint, otherwise: string) => string} */
    const separator = (place, otherwise) => (separators === null ? otherwise : toText(at(separators, place)));
    const itemSeparator = separator(0n, indent === null ? ', ' : ',');
    const keySeparator = separator(1n, ': ');
    const work = weight(value);
    // Keys are put in order one by one.
    run.charge(sortKeys ? work * (work / 1024 + 1) : work);
    const text = dumps(value, { ascii, indent, itemSeparator, keySeparator, sortKeys });
    run.charge(text.length);
    return text;
  }],
};

/** Filters that check their arguments themselves. */
/** @type {Record<string, (run: Run, value: Value, args: Args, name: string) => Value>} */
const OTHERS = {
  replace: (run, value, args) => run.method(run.text(value), 'replace', args),
  map,
  select,
  reject: select,
  selectattr: select,
  rejectattr: select,
};

/** @type {Record<string, string>} */
const OTHER_NAMES = { d: 'default', count: 'length', e: 'escape' };

/**
 * `value | name(args)`
 * @param {Run} run
 * @param {string} called
 * @param {Value} value
 * @param {Args} args
 * @returns {Value}
 */
export function filter(run, called, value, args) {
  const name = Object.hasOwn(OTHER_NAMES, called) ? OTHER_NAMES[called] : called;
  if (Object.hasOwn(OTHERS, name)) return OTHERS[name](run, value, args, name);
  if (!Object.hasOwn(FILTERS, name)) {
    const arranged = arrange(run, name, value, args);
    return arranged ? arranged.value : refuse(`unknown filter \`${name}\``);
  }
  const [most, change] = FILTERS[name];
  const result = change(run, value, args);
  args.end(most);
  return result;
}

/**
 * The value itself, or what an attribute of it is.
 * @param {Run} run
 * @param {Value} value
 * @param {Value} attribute
 * @returns {Value}
 */
export const key = (run, value, attribute) => (attribute === null ? value : run.path(value, attribute));

/**
 * @param {Run} run
 * @param {Value} value
 * @param {Args} args
 */
function map(run, value, args) {
  const attribute = args.places.length ? Args : args.get(0, 'attribute', Args);
  if (attribute !== Args) {
    const otherwise = args.get(1, 'default');
    args.end(0);
    return list(run.elements(value).map((item) => run.path(item, attribute) ?? otherwise));
  }
  const name = args.need(0, 'filter');
  if (typeof name !== 'string') refuse('`map` takes the name of a filter');
  const mapped = run.elements(value).map((item) => {
    const places = args.places.slice(1);
    run.charge(places.length * 32);
    return run.filter(name, item, new Args(places, [...args.names]));
  });
  return list(mapped);
}

/**
 * @param {Run} run
 * @param {Value} value
 * @param {Args} args
 * @param {string} name
 */
function select(run, value, args, name) {
  const byAttribute = name.endsWith('attr');
  const attribute = byAttribute ? args.need(0, 'attribute') : null;
  const [test, ...rest] = args.places.slice(Number(byAttribute));
  const tested = args.places.length > Number(byAttribute);
  args.end(Infinity);
  const kept = run.elements(value).filter((item) => {
    const it = byAttribute ? run.path(item, attribute) : item;
    const holds = tested ? run.test(typeof test === 'string' ? test : '', it, rest) : truth(it);
    return holds === name.startsWith('select');
  });
  return list(kept);
}

/** @type {Record<string, string>} */
const COMPARISONS = {
  eq: '==', equalto: '==', ne: '!=', lt: '<', lessthan: '<', le: '<=', gt: '>', greaterthan: '>', ge: '>=', in: 'in',
};
const OPERATORS = Object.values(COMPARISONS);

/** @param {Value} value */
const isOdd = (value) => ((asInt(value) ?? refuse(`${typeName(value)} is no whole number`)) & 1n) === 1n;

/**
 * `value is name(args)`
 * @param {Run} run
 * @param {string} name
 * @param {Value} value
 * @param {Value[]} args
 * @returns {boolean}
 */
export function test(run, name, value, args) {
  const need = () => (args.length ? args[0] : refuse(`the test \`${name}\` takes an argument`));
  const operator = Object.hasOwn(COMPARISONS, name) ? COMPARISONS[name] : OPERATORS.find((it) => it === name);
  if (operator) return run.compare(operator, value, need());
  const kind = typeof value;
  switch (name) {
    case 'defined': return value !== undefined;
    case 'undefined': return value === undefined;
    case 'none': return value === null;
    case 'true': return value === true;
    case 'false': return value === false;
    case 'boolean': return kind === 'boolean';
    case 'string': return kind === 'string';
    case 'number': return asFloat(value) !== undefined;
    case 'integer': return kind === 'bigint';
    case 'float': return kind === 'number';
    case 'mapping': return isCollection(value, 'dict');
    case 'iterable':
    case 'sequence': return lengthOf(value) !== undefined;
    case 'callable': return value instanceof Callable || value instanceof Loop;
    case 'odd': return isOdd(value);
    case 'even': return !isOdd(value);
    case 'divisibleby': return asInt(arithmetic('%', value, need())) === 0n;
    case 'sameas': {
      const other = need();
      run.charge(weight(value));
      return typeName(value) === typeName(other) && equals(value, other);
    }
    case 'lower': return run.text(value) === toText(value).toLowerCase();
    case 'upper': return run.text(value) === toText(value).toUpperCase();
  }
  return refuse(`unknown test \`${name}\``);
}
