// Chat templates: Jinja as Hugging Face transformers renders it. Without a browser, `runtime/src/chat/template` does the same;
// both are held against the same cases.
//
// A template comes with the model and is untrusted. It sees the values it is given and nothing else; its work, its output and
// its recursion are bounded.

import { Trouble } from './lexer.js';
import { Run } from './run.js';
import { parse } from './statements.js';
import { Collection, Refusal, refuse, weight } from './value.js';

/** @typedef {import('./value.js').Value} Value */

/** Longest template. */
const MAX_LENGTH = 1 << 20;
/** Work that a rendering may do besides what its input's size allows: about an instruction, or 64 bytes, each. */
const BASE_FUEL = 1_000_000;
/** More work for every byte of input. */
const FUEL_PER_BYTE = 4;

/** A template, and what is wrong with it or was wrong with its last rendering. */
export class Template {
  /** @type {string | undefined} what is wrong */
  trouble;
  /** Where. */
  line = 0;
  /** The template itself said so: it called `raise_exception`. */
  raised = false;

  /** @param {string} source */
  constructor(source) {
    /** @type {import('./statements.js').Statement[]} */
    this.program = [];
    this.attempt(() => {
      if (source.length > MAX_LENGTH) throw new Trouble(0, `it has ${source.length} bytes, at most ${MAX_LENGTH} are read`);
      // Jinja reads every end of line as one line feed.
      this.program = parse(source.replace(/\r\n?/g, '\n'));
    });
  }

  /**
   * Renders with exactly these variables: what `dict` made.
   * @param {Value} variables
   * @returns {string} the text, unless there is trouble
   */
  render(variables) {
    /** @type {Run | undefined} */
    let run;
    this.attempt(() => {
      if (!(variables instanceof Collection)) refuse('its variables are no object');
      run = new Run(new Map(variables.items), weight(variables) * FUEL_PER_BYTE + BASE_FUEL);
      run.body(this.program);
    }, () => run);
    return run?.out ?? '';
  }

  /**
   * @param {() => void} does
   * @param {() => Run | undefined} [running]
   */
  attempt(does, running) {
    this.trouble = undefined;
    try {
      does();
    } catch (error) {
      // Too deep for the stack, or too much for a string: templates can bring that about, too.
      if (!(error instanceof Trouble || error instanceof Refusal || error instanceof RangeError)) throw error;
      const run = running?.();
      this.trouble = error.message;
      this.line = error instanceof Trouble ? error.line : run?.line ?? 0;
      this.raised = run?.raised ?? false;
    }
  }
}

/**
 * A list of values that `list` and `dict` made, and of plain ones.
 * @param {Value[]} items
 */
export const list = (items) => new Collection('list', items);

/**
 * A dict of keys, which are unique, each with its value behind it.
 * @param {Value[]} members
 */
export const dict = (members) =>
  new Collection('dict', Array.from({ length: members.length / 2 }, (_, at) => [members[2 * at], members[2 * at + 1]]));
