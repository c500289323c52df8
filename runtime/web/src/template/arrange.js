// Filters that compare elements: order, unique, groups.

import { key } from './filters.js';
import { Args } from './run.js';
import { Collection, equals, list, order, refuse, weight } from './value.js';

/** @typedef {import('./run.js').Run} Run */
/** @typedef {import('./value.js').Value} Value */
/** @typedef {[key: Value, item: Value]} Keyed */

/**
 * @param {Run} run
 * @param {string} name
 * @param {Value} value
 * @param {Args} args
 * @returns {{ value: Value } | null} null when there is no such filter
 */
export function arrange(run, name, value, args) {
  switch (name) {
    case 'sort': {
      const reverse = args.flag(0, 'reverse');
      const cased = args.flag(1, 'case_sensitive');
      const attribute = args.given(2, 'attribute');
      args.end(3);
      return { value: list(sorted(run, keyed(run, value, cased, attribute), reverse)) };
    }
    case 'dictsort': {
      const cased = args.flag(0, 'case_sensitive');
      const by = args.given(1, 'by');
      const reverse = args.flag(2, 'reverse');
      args.end(3);
      const items = run.filter('items', value, new Args());
      return { value: list(sorted(run, keyed(run, items, cased, by === 'value' ? 1n : 0n), reverse)) };
    }
    case 'unique':
    case 'min':
    case 'max': {
      const cased = args.flag(0, 'case_sensitive');
      const attribute = args.given(1, 'attribute');
      args.end(2);
      /** @type {Keyed[]} */
      let kept = [];
      for (const pair of keyed(run, value, cased, attribute)) {
        run.charge(weight(pair[0]) * kept.length);
        if (name === 'unique') {
          if (!kept.some(([known]) => equals(known, pair[0]))) kept.push(pair);
        } else if (!kept.length || (name === 'min' ? -1 : 1) * order(pair[0], kept[0][0]) > 0) {
          kept = [pair];
        }
      }
      const items = kept.map(([, item]) => item);
      return { value: name === 'unique' ? list(items) : items[0] };
    }
    case 'sum': {
      const attribute = args.given(0, 'attribute');
      const start = args.get(1, 'start', 0n);
      args.end(2);
      return {
        value: run.elements(value).reduce((sum, item) => run.binary('+', sum, key(run, item, attribute)), start),
      };
    }
    case 'groupby': {
      const attribute = args.need(0, 'attribute');
      args.end(1);
      /** @type {[Value, Value[]][]} */
      const groups = [];
      for (const item of sorted(run, keyed(run, value, true, attribute), false)) {
        const of = run.path(item, attribute);
        run.charge(weight(of));
        const last = groups.at(-1);
        if (last && equals(last[0], of)) last[1].push(item);
        else groups.push([of, [item]]);
      }
      return { value: list(groups.map(([of, group]) => new Collection('tuple', [of, list(group)]))) };
    }
    case 'batch': {
      const size = Number(args.int(0, 'linecount') ?? 0n);
      if (size <= 0) refuse('`batch` takes the size of a batch');
      const filling = args.given(1, 'fill_with');
      args.end(2);
      const items = run.elements(value);
      const batches = [];
      for (let at = 0; at < items.length; at += size) {
        const batch = items.slice(at, at + size);
        if (filling !== null) {
          run.charge(size * 32);
          while (batch.length < size) batch.push(filling);
        }
        batches.push(list(batch));
      }
      return { value: list(batches) };
    }
  }
  return null;
}

/**
 * Elements with what they are compared by.
 * @param {Run} run
 * @param {Value} value
 * @param {boolean} cased
 * @param {Value} attribute
 * @returns {Keyed[]}
 */
function keyed(run, value, cased, attribute) {
  return run.elements(value).map((item) => {
    const by = key(run, item, attribute);
    if (typeof by !== 'string' || cased) return [by, item];
    run.charge(by.length);
    return [by.toLowerCase(), item];
  });
}

/**
 * Elements in the order of their keys; equal ones stay as they are.
 * @param {Run} run
 * @param {Keyed[]} keyed
 * @param {boolean} reverse
 */
function sorted(run, keyed, reverse) {
  const sign = reverse ? -1 : 1;
  keyed.sort(([a], [b]) => {
    run.charge(Math.min(weight(a), weight(b)));
    return sign * order(a, b);
  });
  return keyed.map(([, item]) => item);
}
