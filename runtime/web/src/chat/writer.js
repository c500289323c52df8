// From tokens to pieces of text.

import { Detokenizer } from '../tokenizer/tokenizer.js';
import { Splitter, StopStrings } from './split.js';

export class Writer {
  text = '';
  reasoning = '';
  /** Each with its marks. @type {string[]} */
  toolCalls = [];

  /**
   * @param {import('../tokenizer/tokenizer.js').Tokenizer} tokenizer
   * @param {{thinking: boolean, stop: string[]}} options
   * @param {(kind: import('./split.js').Kind, text: string) => void} emit
   */
  constructor(tokenizer, { thinking, stop }, emit) {
    this.tokenizer = tokenizer;
    this.detokenizer = new Detokenizer(true);
    this.stop = new StopStrings(stop);
    this.inCall = false;
    /** A stop string came: nothing more is text. */
    this.ended = false;
    this.splitter = new Splitter(thinking, (kind, text) => {
      this.note(kind, text);
      emit(kind, text);
    });
  }

  /** Takes a token; whether a stop string came. @param {number} id */
  token(id) {
    return this.push(this.detokenizer.push(this.tokenizer, id));
  }

  /** @param {string} text */
  push(text) {
    const [certain, ended] = this.stop.push(text);
    this.splitter.push(certain);
    return this.ended = ended;
  }

  /** Gives what was held back. */
  finish() {
    if (!this.ended && !this.push(this.detokenizer.finish())) this.splitter.push(this.stop.held);
    this.splitter.finish();
  }

  /** @param {import('./split.js').Kind} kind @param {string} text */
  note(kind, text) {
    const { toolCalls } = this;
    if (kind === 'reasoning') this.reasoning += text;
    else this.text += text;
    if (kind === 'tool_call') toolCalls.push((this.inCall ? toolCalls.pop() : '') + text);
    this.inCall = kind === 'tool_call' && !text.endsWith('</tool_call>');
  }
}
