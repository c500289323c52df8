// From tokens to expressions: functions that a rendering calls.

import { Trouble } from './lexer.js';
import { negative } from './number.js';
import { Collection, asInt, insert, list, refuse, slice, truth, weight, width } from './value.js';

/** @typedef {import('./lexer.js').Token} Token */
/** @typedef {import('./run.js').Run} Run */
/** @typedef {import('./value.js').Value} Value */
/** @typedef {(run: Run) => Value} Node */
/** @typedef {{ places: Node[], names: [string, Node][] }} Arguments */
/** @typedef {[string, Arguments]} FilterCall */

/** Deepest nesting of statements, and of expressions. */
export const MAX_DEPTH = 100;
/** Words that are no names. */
const RESERVED = ['and', 'or', 'not', 'in', 'is', 'if', 'else', 'recursive'];
/** @type {Record<string, Value>} */
const CONSTANTS = { true: true, True: true, false: false, False: false, none: null, None: null };

/**
 * An expression; what is evaluated is counted.
 * @param {Node} evaluate
 * @returns {Node}
 */
const node = (evaluate) => (run) => {
  run.enter();
  const value = evaluate(run);
  run.depth--;
  return value;
};

/**
 * @param {Run} run
 * @param {Node[]} nodes
 */
const all = (run, nodes) => nodes.map((it) => it(run));

/** @param {Node[]} items */
const tupleOf = (items) => node((run) => new Collection('tuple', all(run, items)));

export class Tokens {
  at = 0;
  depth = 0;

  /**
   * @param {Token[]} tokens
   * @param {number} line
   */
  constructor(tokens, line) {
    this.tokens = tokens;
    this.line = line;
  }

  /**
   * @param {string} message
   * @returns {never}
   */
  trouble(message) {
    throw new Trouble(this.line, message);
  }

  /** @returns {never} */
  unexpected() {
    const token = this.tokens[this.at];
    if (!token) return this.trouble('unexpected end of a tag');
    return this.trouble('no'.includes(token.kind) ? `unexpected \`${token.value}\`` : 'unexpected literal');
  }

  get ended() {
    return this.at >= this.tokens.length;
  }

  end() {
    if (!this.ended) this.unexpected();
  }

  /**
   * Whether this word or mark comes next.
   * @param {string} value
   * @param {'n' | 'o'} [kind]
   */
  is(value, kind = 'o') {
    const token = this.tokens[this.at];
    return token !== undefined && token.kind === kind && token.value === value;
  }

  /**
   * Takes this word or mark if it comes next.
   * @param {string} value
   * @param {'n' | 'o'} [kind]
   */
  eat(value, kind) {
    const found = this.is(value, kind);
    if (found) this.at++;
    return found;
  }

  /**
   * @param {string} value
   * @param {'n' | 'o'} [kind]
   */
  expect(value, kind) {
    if (!this.eat(value, kind)) this.unexpected();
  }

  /** @returns {string} */
  name() {
    const token = this.tokens[this.at];
    if (token?.kind !== 'n' || RESERVED.includes(token.value)) return this.unexpected();
    this.at++;
    return token.value;
  }

  /**
   * Items with commas between them, and perhaps behind the last one, up to a mark that is taken too.
   * @param {string} close
   * @param {() => void} item
   */
  items(close, item) {
    while (!this.eat(close)) {
      item();
      if (!this.eat(',')) return this.expect(close);
    }
  }

  /** Names to assign to, perhaps in parentheses. */
  targets() {
    const parentheses = this.eat('(');
    const names = [this.name()];
    while (this.eat(',') && !this.is('in', 'n') && !this.is('=') && !this.is(')')) names.push(this.name());
    if (parentheses) this.expect(')');
    return names;
  }

  /**
   * One expression, or several with commas. Of what a `for` goes over, the `if` behind it is not part.
   * @param {() => Node} [item]
   * @returns {Node}
   */
  tuple(item = () => this.expression()) {
    const first = item();
    if (!this.is(',')) return first;
    const items = [first];
    while (this.eat(',') && !this.ended && !this.is(')') && !this.is(']')) items.push(item());
    return tupleOf(items);
  }

  /**
   * One level deeper.
   * @param {() => Node} parse
   * @returns {Node}
   */
  nested(parse) {
    if (this.depth >= MAX_DEPTH) this.trouble('an expression is nested too deeply');
    this.depth++;
    const value = parse();
    this.depth--;
    return value;
  }

  /** @returns {Node} */
  expression() {
    return this.nested(() => {
      let value = this.or();
      while (this.eat('if', 'n')) {
        const [then, condition] = [value, this.or()];
        const otherwise = this.eat('else', 'n') ? this.expression() : node(() => undefined);
        value = node((run) => (truth(condition(run)) ? then : otherwise)(run));
      }
      return value;
    });
  }

  /** @returns {Node} */
  or() {
    let value = this.and();
    while (this.eat('or', 'n')) {
      const [left, right] = [value, this.and()];
      value = node((run) => {
        const it = left(run);
        return truth(it) ? it : right(run);
      });
    }
    return value;
  }

  /** @returns {Node} */
  and() {
    let value = this.not();
    while (this.eat('and', 'n')) {
      const [left, right] = [value, this.not()];
      value = node((run) => {
        const it = left(run);
        return truth(it) ? right(run) : it;
      });
    }
    return value;
  }

  /** @returns {Node} */
  not() {
    let nots = 0;
    while (this.eat('not', 'n')) nots++;
    let value = this.compare();
    for (; nots; nots--) value = negated(value);
    return value;
  }

  /** @returns {Node} */
  compare() {
    const first = this.sum();
    /** @type {[string, Node][]} */
    const rest = [];
    for (;;) {
      let found = ['==', '!=', '<=', '>=', '<', '>'].find((mark) => this.is(mark));
      if (this.is('in', 'n')) found = 'in';
      else if (this.eat('not', 'n')) {
        if (!this.is('in', 'n')) this.unexpected();
        found = 'not in';
      }
      if (!found) break;
      this.at++;
      rest.push([found, this.sum()]);
    }
    if (!rest.length) return first;
    return node((run) => {
      let left = first(run);
      return rest.every(([operator, operand]) => {
        const right = operand(run);
        const holds = run.compare(operator, left, right);
        left = right;
        return holds;
      });
    });
  }

  /**
   * A chain of operators of the same strength.
   * @param {string[]} operators
   * @param {() => Node} operand
   * @returns {Node}
   */
  chain(operators, operand) {
    let value = operand();
    for (;;) {
      const operator = operators.find((mark) => this.eat(mark));
      if (!operator) return value;
      const [left, right] = [value, operand()];
      value = node((run) => run.binary(operator, left(run), right(run)));
    }
  }

  /** @returns {Node} */
  sum() {
    const power = () => this.chain(['**'], () => this.unary(true));
    const product = () => this.chain(['*', '/', '//', '%'], power);
    return this.chain(['+', '-'], () => this.chain(['~'], product));
  }

  /**
   * @param {boolean} withFilters
   * @returns {Node}
   */
  unary(withFilters) {
    return this.nested(() => {
      let value;
      if (this.eat('-')) {
        const of = this.unary(false);
        value = node((run) => negative(of(run)));
      } else if (this.eat('+')) {
        value = node(this.unary(false));
      } else {
        value = this.primary();
      }
      value = this.postfix(value);
      return withFilters ? this.filtersAndTests(value) : value;
    });
  }

  /** @returns {Node} */
  primary() {
    const token = this.tokens[this.at];
    if (!token || (token.kind === 'n' && RESERVED.includes(token.value))) return this.unexpected();
    this.at++;
    const { kind, value } = token;
    if (kind === 'n') {
      return node(Object.hasOwn(CONSTANTS, value) ? () => CONSTANTS[value] : (run) => run.lookup(value));
    }
    if (kind === 's') {
      // Strings beside each other are one.
      let text = value;
      while (this.tokens[this.at]?.kind === 's') text += this.tokens[this.at++].value;
      return node((run) => {
        run.charge(text.length);
        return text;
      });
    }
    if (kind !== 'o') return node(() => value);
    /** @type {Node[]} */
    const items = [];
    if (value === '(') {
      if (this.eat(')')) return tupleOf(items);
      const inner = this.tuple();
      this.expect(')');
      return inner;
    }
    if (value === '[') {
      this.items(']', () => items.push(this.expression()));
      return node((run) => list(all(run, items)));
    }
    if (value === '{') {
      /** @type {[Node, Node][]} */
      const members = [];
      this.items('}', () => {
        const key = this.expression();
        this.expect(':');
        members.push([key, this.expression()]);
      });
      return node((run) => {
        /** @type {import('./value.js').Pairs} */
        const pairs = [];
        for (const member of members) {
          const [key, value] = all(run, member);
          run.charge(weight(key) * pairs.length);
          insert(pairs, key, value);
        }
        return new Collection('dict', pairs);
      });
    }
    this.at--;
    return this.unexpected();
  }

  /**
   * @param {Node} value
   * @returns {Node}
   */
  postfix(value) {
    for (;;) {
      const of = value;
      if (this.eat('.')) {
        const token = this.tokens[this.at];
        if (token?.kind !== 'n' && token?.kind !== 'i') return this.unexpected();
        this.at++;
        const name = token.value;
        if (token.kind === 'i') {
          value = node((run) => run.index(of(run), name));
        } else if (this.eat('(')) {
          const args = this.arguments();
          value = node((run) => run.method(of(run), name, run.arguments(args)));
        } else {
          value = node((run) => run.attribute(of(run), name));
        }
      } else if (this.eat('[')) {
        value = this.subscript(of);
      } else if (this.is('(')) {
        value = this.call(of);
      } else {
        return value;
      }
    }
  }

  /**
   * @param {Node} of
   * @returns {Node}
   */
  call(of) {
    this.expect('(');
    const args = this.arguments();
    return node((run) => run.call(of(run), run.arguments(args)));
  }

  /**
   * @param {Node} of
   * @returns {Node}
   */
  subscript(of) {
    /** @type {Node[]} */
    const parts = [];
    let colons = 0;
    while (!this.eat(']')) {
      if (this.eat(':')) colons++;
      else if (colons < 3 && !parts[colons]) parts[colons] = this.tuple();
      else this.unexpected();
    }
    const [index] = parts;
    if (!colons && index) return node((run) => run.index(of(run), index(run)));
    if (!colons || colons > 2) return this.trouble('a subscript is empty');
    return node((run) => {
      const value = of(run);
      const bounds = [0, 1, 2].map((at) => {
        const bound = parts[at]?.(run) ?? null;
        return parts[at] && bound !== null ? asInt(bound) ?? refuse('the bounds of a slice are whole numbers') : null;
      });
      run.charge(width(value));
      return slice(value, bounds);
    });
  }

  /**
   * Arguments of a call, behind its opening parenthesis.
   * @returns {Arguments}
   */
  arguments() {
    /** @type {Arguments} */
    const args = { places: [], names: [] };
    this.items(')', () => {
      const next = this.tokens[this.at + 1];
      if (this.tokens[this.at]?.kind === 'n' && next?.kind === 'o' && next.value === '=') {
        const name = this.name();
        this.expect('=');
        args.names.push([name, this.expression()]);
      } else if (args.names.length) {
        this.unexpected();
      } else {
        args.places.push(this.expression());
      }
    });
    return args;
  }

  /**
   * A filter's name and arguments.
   * @returns {FilterCall}
   */
  filter() {
    return [this.name(), this.eat('(') ? this.arguments() : { places: [], names: [] }];
  }

  /** Filters up to the end of the tag. */
  filters() {
    const filters = [];
    while (this.eat('|')) filters.push(this.filter());
    this.end();
    return filters;
  }

  /**
   * @param {Node} value
   * @returns {Node}
   */
  filtersAndTests(value) {
    for (;;) {
      const of = value;
      if (this.eat('|')) {
        const [name, args] = this.filter();
        value = node((run) => run.filter(name, of(run), run.arguments(args)));
      } else if (this.eat('is', 'n')) {
        const not = this.eat('not', 'n');
        const token = this.tokens[this.at];
        // `in` is a test, too.
        if (token?.kind !== 'n') return this.unexpected();
        this.at++;
        const args = this.testArguments();
        value = node((run) => run.test(token.value, of(run), all(run, args)));
        if (not) value = negated(value);
      } else if (this.is('(')) {
        value = this.call(of);
      } else {
        return value;
      }
    }
  }

  /**
   * Arguments of a test: in parentheses, or one that follows.
   * @returns {Node[]}
   */
  testArguments() {
    if (this.eat('(')) return this.arguments().places;
    const token = this.tokens[this.at];
    const stops = { n: RESERVED.includes(token?.value), o: !['[', '{'].includes(token?.value), s: false, i: false, f: false };
    if (!token || stops[token.kind]) return [];
    return [this.postfix(this.primary())];
  }
}

/** @param {Node} of */
const negated = (of) => node((run) => !truth(of(run)));
