// From pieces to a program: Jinja's grammar, as far as templates without other templates go. A statement is a function that a
// rendering calls.

import { MAX_DEPTH, Tokens } from './expressions.js';
import { Trouble, pieces } from './lexer.js';
import { Namespace, refuse, truth, typeName } from './value.js';

/** @typedef {import('./lexer.js').Token} Token */
/** @typedef {import('./expressions.js').Node} Node */
/** @typedef {import('./run.js').Run} Run */
/** How a statement ended: it goes on, or a loop is left or goes on with its next element. */
/** @typedef {void | 'break' | 'continue'} Flow */
/** @typedef {{ line: number, run: (run: Run) => Flow }} Statement */
/** @typedef {{ targets: string[], items: Node, condition: Node | null, recursive: boolean, body: Statement[], otherwise: Statement[] }} For */
/** @typedef {{ name: string, parameters: [string, Node | null][], body: Statement[] }} Macro */

/**
 * Parses a template.
 * @param {string} source with line feeds alone
 * @returns {Statement[]}
 */
export function parse(source) {
  return new Blocks(source).body([]).body;
}

class Blocks {
  depth = 0;
  line = 1;

  /** @param {string} source */
  constructor(source) {
    this.pieces = pieces(source).values();
  }

  /**
   * @param {string} message
   * @returns {never}
   */
  trouble(message) {
    throw new Trouble(this.line, message);
  }

  /**
   * Statements up to one of the tags in `ends`, or to the end of the template when there are none.
   * @param {string[]} ends
   * @returns {{ body: Statement[], end: string, tokens: Token[] }}
   */
  body(ends) {
    if (this.depth >= MAX_DEPTH) this.trouble('tags are nested too deeply');
    this.depth++;
    const opened = this.line;
    /** @type {Statement[]} */
    const body = [];
    for (const { line, text, output, tokens } of this.pieces) {
      this.line = line;
      if (text !== null) {
        body.push({ line, run: (run) => run.write(text) });
      } else if (output) {
        const value = this.whole(tokens);
        body.push({ line, run: (run) => run.write(run.text(value(run))) });
      } else {
        const [first, ...rest] = tokens;
        if (first?.kind !== 'n') this.trouble('a tag has no name');
        if (ends.includes(first.value)) {
          this.depth--;
          return { body, end: first.value, tokens: rest };
        }
        body.push({ line, run: this.statement(first.value, rest) });
      }
    }
    if (ends.length) {
      this.line = opened;
      this.trouble(`a tag is open: \`${ends.at(-1)}\` is missing`);
    }
    this.depth--;
    return { body, end: '', tokens: [] };
  }

  /** @param {string} end */
  closedBody(end) {
    return this.body([end]).body;
  }

  /**
   * An expression that is all of the tokens.
   * @param {Token[]} tokens
   * @returns {Node}
   */
  whole(tokens) {
    const parser = new Tokens(tokens, this.line);
    return lastOf(parser);
  }

  /**
   * @param {string} name
   * @param {Token[]} rest
   * @returns {(run: Run) => Flow}
   */
  statement(name, rest) {
    const parser = new Tokens(rest, this.line);
    switch (name) {
      case 'if': return this.choice(rest);
      case 'for': return this.loop(parser);
      case 'set': return this.set(parser);
      case 'macro': {
        const name = parser.name();
        parser.expect('(');
        /** @type {Macro['parameters']} */
        const parameters = [];
        parser.items(')', () => {
          parameters.push([parser.name(), parser.eat('=') ? parser.expression() : null]);
        });
        parser.end();
        const body = this.closedBody('endmacro');
        return (run) => run.define(name, run.macro({ name, parameters, body }));
      }
      case 'with': {
        /** @type {[string, Node][]} */
        const values = [];
        while (!parser.ended) {
          const name = parser.name();
          parser.expect('=');
          values.push([name, parser.expression()]);
          if (!parser.eat(',')) break;
        }
        parser.end();
        const body = this.closedBody('endwith');
        return (run) => run.scoped(new Map(values.map(([name, value]) => [name, value(run)])), body);
      }
      case 'filter': {
        const filters = [parser.filter(), ...parser.filters()];
        const body = this.closedBody('endfilter');
        return (run) => run.write(run.text(run.through(filters, run.capture(new Map(), body))));
      }
      case 'generation': {
        parser.end();
        const body = this.closedBody('endgeneration');
        return (run) => run.scoped(new Map(), body);
      }
      case 'break':
      case 'continue': return () => name;
      case 'include':
      case 'extends':
      case 'import':
      case 'from': return () => refuse(`\`${name}\`: there are no other templates`);
    }
    return this.trouble(`unknown tag \`${name}\``);
  }

  /**
   * @param {Token[]} rest
   * @returns {(run: Run) => Flow}
   */
  choice(rest) {
    /** @type {[Node | null, Statement[]][]} */
    const arms = [];
    let condition = /** @type {Node | null} */ (this.whole(rest));
    for (;;) {
      const { body, end, tokens } = this.body(condition ? ['elif', 'else', 'endif'] : ['endif']);
      arms.push([condition, body]);
      if (end === 'endif') break;
      condition = end === 'elif' ? this.whole(tokens) : null;
    }
    return (run) => {
      const arm = arms.find(([condition]) => !condition || truth(condition(run)));
      return arm && run.body(arm[1]);
    };
  }

  /**
   * @param {Tokens} parser
   * @returns {(run: Run) => Flow}
   */
  loop(parser) {
    const targets = parser.targets();
    parser.expect('in', 'n');
    const items = parser.tuple(() => parser.or());
    const condition = parser.eat('if', 'n') ? parser.expression() : null;
    const recursive = parser.eat('recursive', 'n');
    parser.end();
    const { body, end } = this.body(['else', 'endfor']);
    const otherwise = end === 'else' ? this.closedBody('endfor') : [];
    const of = { targets, items, condition, recursive, body, otherwise };
    return (run) => run.forEach(of, items(run), 0);
  }

  /**
   * @param {Tokens} parser
   * @returns {(run: Run) => Flow}
   */
  set(parser) {
    const targets = parser.targets();
    const [target] = targets;
    if (targets.length === 1 && parser.eat('.')) {
      const attribute = parser.name();
      parser.expect('=');
      const value = lastOf(parser);
      return (run) => {
        const it = value(run);
        const of = run.lookup(target);
        if (it instanceof Namespace) refuse('a namespace cannot be part of another value');
        if (!(of instanceof Namespace)) refuse(`attributes of a value of type ${typeName(of)} cannot be set`);
        of.members.set(attribute, it);
      };
    }
    if (targets.length > 1) parser.expect('=');
    else if (!parser.eat('=')) {
      const filters = parser.filters();
      const body = this.closedBody('endset');
      return (run) => run.define(target, run.through(filters, run.capture(new Map(), body)));
    }
    const value = lastOf(parser);
    return (run) => run.assign(targets, value(run));
  }
}

/**
 * An expression, or several with commas, up to the end of the tag.
 * @param {Tokens} parser
 */
function lastOf(parser) {
  const value = parser.tuple();
  parser.end();
  return value;
}
