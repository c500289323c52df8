// Runs a program: scopes, loops, macros, calls, operators.

import { strftime } from './date.js';
import { filter, test } from './filters.js';
import { method } from './methods.js';
import { arithmetic } from './number.js';
import { percent } from './text.js';
import {
  Callable, Collection, Loop, Namespace, asInt, at, contains, elementsOf, equals, findPair, insert, isCollection, iterate, list,
  order, refuse, toText, truth, typeName, weight, width,
} from './value.js';

/** @typedef {import('./value.js').Value} Value */
/** @typedef {import('./statements.js').Statement} Statement */
/** @typedef {import('./statements.js').Flow} Flow */

/** Deepest nesting of statements, expressions and macros together: each level takes some of the stack. */
const MAX_DEPTH = 400;
/** Most elements of a `range`. */
const MAX_RANGE = 100_000;

/** Arguments of a call. */
export class Args {
  /**
   * @param {Value[]} [places]
   * @param {[string, Value][]} [names]
   */
  constructor(places = [], names = []) {
    this.places = places;
    this.names = names;
  }

  /**
   * The argument at a place, or by its name.
   * @param {number} at
   * @param {string} name
   * @param {Value} [otherwise] what it is when it is missing
   * @returns {Value}
   */
  get(at, name, otherwise) {
    if (at < this.places.length) return this.places[at];
    const named = this.names.findIndex(([known]) => known === name);
    return named < 0 ? otherwise : this.names.splice(named, 1)[0][1];
  }

  /**
   * An argument that must be there.
   * @param {number} at
   * @param {string} name
   * @returns {Value}
   */
  need(at, name) {
    const value = this.get(at, name, Args);
    return value === Args ? refuse(`the argument \`${name}\` is missing`) : value;
  }

  /**
   * An argument that is neither `none` nor undefined, or null.
   * @param {number} at
   * @param {string} name
   * @returns {Value}
   */
  given(at, name) {
    return this.get(at, name) ?? null;
  }

  /**
   * An argument that is true.
   * @param {number} at
   * @param {string} name
   */
  flag(at, name) {
    return truth(this.get(at, name));
  }

  /**
   * A whole number, or null.
   * @param {number} at
   * @param {string} name
   * @returns {bigint | null}
   */
  int(at, name) {
    const value = this.given(at, name);
    return value === null ? null : asInt(value) ?? refuse(`\`${name}\` is a whole number`);
  }

  /**
   * Refuses arguments that nobody asked for.
   * @param {number} most
   */
  end(most) {
    if (this.names.length) refuse(`unknown argument \`${this.names[0][0]}\``);
    if (this.places.length > most) refuse(`at most ${most} arguments are taken`);
  }
}

/** A rendering. */
export class Run {
  out = '';
  depth = 0;
  /** The line of what runs. */
  line = 1;
  /** The template called `raise_exception`. */
  raised = false;

  /**
   * @param {Map<string, Value>} globals
   * @param {number} fuel about how many instructions, or 64 bytes each
   */
  constructor(globals, fuel) {
    this.fuel = fuel;
    /** @type {Map<string, Value>[]} names, those of the environment and the globals first, the innermost scope last */
    this.scopes = [new Map(this.functions()), globals, new Map()];
  }

  /**
   * Pays for work on so many bytes.
   * @param {number} bytes
   */
  charge(bytes) {
    this.fuel -= Math.floor(bytes / 64) + 1;
    if (this.fuel < 0) refuse('it does too much work for this conversation');
  }

  enter() {
    if (++this.depth > MAX_DEPTH) refuse('it nests too deeply');
    this.charge(0);
  }

  /**
   * @param {Statement[]} statements
   * @returns {Flow}
   */
  body(statements) {
    this.enter();
    /** @type {Flow} */
    let flow = undefined;
    for (const { line, run } of statements) {
      this.line = line;
      flow = run(this);
      if (flow) break;
    }
    this.depth--;
    return flow;
  }

  /** @param {string} text */
  write(text) {
    this.charge(text.length);
    this.out += text;
  }

  /**
   * `str(value)`, paid for.
   * @param {Value} value
   * @returns {string}
   */
  text(value) {
    this.charge(weight(value));
    return toText(value);
  }

  /**
   * The elements of a value, paid for.
   * @param {Value} value
   * @returns {Value[]}
   */
  elements(value) {
    this.charge(width(value));
    return iterate(value);
  }

  /**
   * @param {Map<string, Value>} scope
   * @param {Statement[]} body
   * @returns {Flow}
   */
  scoped(scope, body) {
    this.scopes.push(scope);
    const flow = this.body(body);
    this.scopes.pop();
    return flow;
  }

  /**
   * The text that something writes.
   * @param {() => void} write
   */
  written(write) {
    const before = this.out;
    this.out = '';
    write();
    const text = this.out;
    this.out = before;
    return text;
  }

  /**
   * The text of statements in a scope of their own.
   * @param {Map<string, Value>} scope
   * @param {Statement[]} body
   */
  capture(scope, body) {
    return this.written(() => this.scoped(scope, body));
  }

  /**
   * @param {string} name
   * @returns {Value}
   */
  lookup(name) {
    return this.scopes.findLast((scope) => scope.has(name))?.get(name);
  }

  /**
   * @param {string} name
   * @param {Value} value
   */
  define(name, value) {
    this.scopes.at(-1)?.set(name, value);
  }

  /**
   * @param {string[]} names
   * @param {Value} value
   */
  assign(names, value) {
    if (names.length === 1) return this.define(names[0], value);
    const values = this.elements(value);
    if (values.length !== names.length) refuse(`${values.length} values cannot be given to ${names.length} names`);
    names.forEach((name, at) => this.define(name, values[at]));
  }

  /**
   * Runs a loop, on its own level when it calls itself.
   * @param {import('./statements.js').For} of
   * @param {Value} over
   * @param {number} level
   */
  forEach(of, over, level) {
    let items = this.elements(over);
    const { condition } = of;
    if (condition) {
      items = items.filter((item) => {
        this.scopes.push(new Map());
        this.assign(of.targets, item);
        const holds = truth(condition(this));
        this.scopes.pop();
        return holds;
      });
    }
    if (!items.length) {
      this.scoped(new Map(), of.otherwise);
      return;
    }
    const recurse = (/** @type {Value} */ items) => {
      const { line } = this;
      this.enter();
      const text = this.written(() => this.forEach(of, items, level + 1));
      this.depth--;
      this.line = line;
      return text;
    };
    const loop = new Loop(items, level, of.recursive ? recurse : null);
    for (; loop.at < items.length; loop.at++) {
      this.scopes.push(new Map([['loop', loop]]));
      this.assign(of.targets, items[loop.at]);
      const flow = this.body(of.body);
      this.scopes.pop();
      if (flow === 'break') break;
    }
    loop.ended = true;
  }

  /**
   * A macro. It sees the scopes that it is defined in.
   * @param {import('./statements.js').Macro} of
   */
  macro({ parameters, body }) {
    const scopes = this.scopes.length;
    return new Callable((args) => {
      const { line } = this;
      const hidden = this.scopes.splice(scopes);
      const scope = new Map();
      // Defaults may name the parameters before them.
      this.scopes.push(scope);
      parameters.forEach(([name, otherwise], at) => {
        const value = args.get(at, name, Args);
        scope.set(name, value === Args ? otherwise?.(this) : value);
      });
      this.scopes.pop();
      args.end(parameters.length);
      const text = this.capture(scope, body);
      this.scopes.push(...hidden);
      this.line = line;
      return text;
    });
  }

  /**
   * @param {import('./expressions.js').Arguments} args
   */
  arguments({ places, names }) {
    return new Args(places.map((it) => it(this)), names.map(([name, it]) => [name, it(this)]));
  }

  /**
   * Puts a value through filters.
   * @param {import('./expressions.js').FilterCall[]} filters
   * @param {Value} value
   * @returns {Value}
   */
  through(filters, value) {
    for (const [name, args] of filters) value = this.filter(name, value, this.arguments(args));
    return value;
  }

  /** @type {(name: string, value: Value, args: Args) => Value} */
  filter(name, value, args) {
    return filter(this, name, value, args);
  }

  /** @type {(name: string, value: Value, args: Value[]) => boolean} */
  test(name, value, args) {
    return test(this, name, value, args);
  }

  /** @type {(value: Value, name: string, args: Args) => Value} */
  method(value, name, args) {
    return method(this, value, name, args);
  }

  /**
   * @param {Value} callee
   * @param {Args} args
   * @returns {Value}
   */
  call(callee, args) {
    if (callee instanceof Callable) return callee.call(args);
    if (!(callee instanceof Loop)) return refuse(`a value of type ${typeName(callee)} cannot be called`);
    const items = args.need(0, 'items');
    if (callee.ended) refuse('the loop has ended');
    return callee.recurse ? callee.recurse(items) : refuse('only a loop that is `recursive` can be called');
  }

  /**
   * The functions of the environment.
   * @returns {[string, Callable][]}
   */
  functions() {
    /** @type {Record<string, (args: Args) => Value>} */
    const functions = {
      range: (args) => {
        const first = args.int(0, 'start') ?? refuse('`range` takes 1 to 3 whole numbers');
        const second = args.int(1, 'stop');
        const step = args.int(2, 'step') ?? 1n;
        args.end(3);
        const [start, stop] = second === null ? [0n, first] : [first, second];
        if (!step || [start, stop, step].some((it) => BigInt.asIntN(64, it) !== it)) {
          refuse('the bounds of a range are too large, or its step is 0');
        }
        const items = [];
        for (let at = start; step > 0n ? at < stop : at > stop; at += step) {
          if (items.length >= MAX_RANGE) refuse('a range has too many elements');
          this.charge(32);
          items.push(at);
        }
        return list(items);
      },
      dict: (args) => {
        const of = args.places.pop();
        if (of !== undefined && !isCollection(of, 'dict')) refuse(`no dict can be made of ${typeName(of)}`);
        /** @type {import('./value.js').Pairs} */
        const pairs = of ? of.items.map((/** @type {[Value, Value]} */ pair) => [...pair]) : [];
        this.charge(pairs.length * 64);
        for (const [name, value] of args.names.splice(0)) insert(pairs, name, value);
        args.end(0);
        return new Collection('dict', pairs);
      },
      namespace: (args) => {
        const of = args.places.pop();
        /** @type {[string, Value][]} */
        const members = isCollection(of, 'dict')
          ? of.items.map((/** @type {[Value, Value]} */ [key, value]) => [toText(key), value])
          : [];
        this.charge(members.length * 64);
        members.push(...args.names.splice(0));
        args.end(0);
        if (members.some(([, value]) => value instanceof Namespace)) {
          refuse('a namespace cannot be part of another value');
        }
        return new Namespace(new Map(members));
      },
      raise_exception: (args) => {
        const message = this.text(args.need(0, 'message'));
        this.raised = true;
        return refuse(message);
      },
      strftime_now: (args) => {
        const format = args.need(0, 'format');
        if (typeof format !== 'string') refuse('`strftime_now` takes a string');
        this.charge(format.length);
        return strftime(format, new Date());
      },
    };
    return Object.entries(functions).map(([name, call]) => [name, new Callable(call)]);
  }

  /**
   * `value.name`
   * @param {Value} value
   * @param {string} name
   * @returns {Value}
   */
  attribute(value, name) {
    if (value === undefined) refuse(`undefined value: it has no attribute \`${name}\``);
    if (value instanceof Namespace) return value.members.get(name);
    if (value instanceof Loop) return value.attribute(name);
    if (!isCollection(value, 'dict')) return undefined;
    this.charge(value.items.length * 8);
    return findPair(value.items, name)?.[1];
  }

  /**
   * `value[index]`
   * @param {Value} value
   * @param {Value} index
   * @returns {Value}
   */
  index(value, index) {
    if (isCollection(value, 'dict')) {
      this.charge(weight(index) + value.items.length * 8);
      return findPair(value.items, index)?.[1];
    }
    if (typeof index === 'string') return this.attribute(value, index);
    if (value === undefined) refuse('undefined value: it has no elements');
    if (typeof value === 'string') this.charge(value.length);
    const place = asInt(index);
    return place === undefined ? undefined : at(value, place);
  }

  /**
   * An attribute by its path: `a.b.0`.
   * @param {Value} value
   * @param {Value} path
   * @returns {Value}
   */
  path(value, path) {
    if (typeof path !== 'string') return this.index(value, path);
    for (const name of path.split('.')) {
      value = /^[+-]?\d{1,18}$/.test(name) ? this.index(value, BigInt(name.replace('+', ''))) : this.attribute(value, name);
    }
    return value;
  }

  /**
   * @param {string} operator
   * @param {Value} left
   * @param {Value} right
   * @returns {boolean}
   */
  compare(operator, left, right) {
    const [a, b] = [weight(left), weight(right)];
    this.charge(operator.endsWith('in') ? a + b : Math.min(a, b));
    switch (operator) {
      case '==': return equals(left, right);
      case '!=': return !equals(left, right);
      case '<': return order(left, right) < 0;
      case '<=': return order(left, right) <= 0;
      case '>': return order(left, right) > 0;
      case '>=': return order(left, right) >= 0;
      case 'in': return contains(right, left);
    }
    return !contains(right, left);
  }

  /**
   * @param {string} operator
   * @param {Value} left
   * @param {Value} right
   * @returns {Value}
   */
  binary(operator, left, right) {
    if (operator === '~') return this.text(left) + this.text(right);
    if (left === undefined || right === undefined) refuse('undefined value: nothing can be computed with it');
    const text = typeof left === 'string';
    if (operator === '+' && text && typeof right === 'string') {
      this.charge(left.length + right.length);
      return left + right;
    }
    if (operator === '+' && elementsOf(left) && isCollection(right, left.kind)) {
      this.charge(width(left) + width(right));
      return new Collection(left.kind, [...left.items, ...right.items]);
    }
    if (operator === '*') {
      if ((text || elementsOf(left)) && typeof right === 'bigint') return this.repeat(left, right);
      if ((typeof right === 'string' || elementsOf(right)) && typeof left === 'bigint') return this.repeat(right, left);
    }
    if (operator === '%' && text) {
      this.charge(weight(right) + weight(left));
      return percent(left, isCollection(right, 'tuple') ? right.items : [right]);
    }
    return arithmetic(operator, left, right);
  }

  /**
   * @param {Value} value
   * @param {bigint} times
   * @returns {Value}
   */
  repeat(value, times) {
    const count = Math.max(0, Number(times));
    this.charge((typeof value === 'string' ? value.length : width(value)) * count);
    // Nothing stays nothing, however often.
    if (!truth(value)) return value;
    if (typeof value === 'string') return value.repeat(count);
    return new Collection(value.kind, Array.from({ length: count }, () => value.items).flat());
  }
}
