// An answer while it comes: pieces of text that any number of readers take, each from the beginning.

import { QwenError } from './errors.js';

/**
 * A piece of an answer.
 * @typedef {object} Piece
 * @property {'reasoning' | 'answer' | 'tool_call'} kind
 * @property {string} text
 */

/**
 * What an answer took.
 * @typedef {object} Usage
 * @property {number} promptTokens positions of the prompt
 * @property {number} reusedTokens of these, how many were known from the turn before
 * @property {number} generatedTokens without the one that ended the answer
 * @property {number} firstTokenSeconds from the request to the first token
 * @property {number} seconds from the request to the end
 * @property {number} tokensPerSecond after the first token; 0 when there are fewer than two
 */

/**
 * A finished answer.
 * @typedef {object} Result
 * @property {string} text
 * @property {string} reasoning what the model thought before; empty without thinking
 * @property {import('./tools.js').ToolCall[]} toolCalls
 * @property {number[]} tokens
 * @property {'stop' | 'length' | 'abort'} finishReason
 * @property {number} seed gives the same answer again
 * @property {Usage} usage
 */

/**
 * An answer that is being generated. Iterate over it for the text as it comes; `pieces` has reasoning too, `readable` is
 * a stream, `result` the end. All of them may be used, each gets everything.
 * @implements {AsyncIterable<string>}
 */
export class Answer {
  /**
   * @param {(emit: (event: any) => void, signal: AbortSignal) => Promise<Result>} run
   * @param {AbortSignal} [signal] ends it with an error: the signal's reason
   */
  constructor(run, signal) {
    /** @type {Piece[]} */
    this.log = [];
    this.done = false;
    /** @type {(() => void)[]} */
    this.waiting = [];
    /** How many tokens there are so far. */
    this.tokenCount = 0;
    /** @type {{tokens: number, reused: number} | undefined} Set once the prompt is on its way. */
    this.prompt = undefined;
    this.stopper = new AbortController();
    const abort = () => this.stopper.abort(signal?.reason);
    if (signal?.aborted) abort();
    else signal?.addEventListener('abort', abort, { once: true });
    /** @type {Promise<Result>} The finished answer; fails with a `QwenError`, or with the reason of an abort. */
    this.result = run((event) => this.receive(event), this.stopper.signal).then((result) => {
      if (signal?.aborted) throw signal.reason;
      return result;
    }).finally(() => {
      signal?.removeEventListener('abort', abort);
      this.done = true;
      this.wake();
    });
    // Whoever only iterates gets the error there.
    this.result.catch(() => {});
  }

  /** @param {any} event */
  receive(event) {
    if (event.type === 'piece') this.log.push({ kind: event.kind, text: event.text });
    else if (event.type === 'token') this.tokenCount += 1;
    else if (event.type === 'prompt') this.prompt = { tokens: event.tokens, reused: event.reused };
    this.wake();
  }

  wake() {
    for (const resume of this.waiting.splice(0)) resume();
  }

  /** Ends it here, without an error: `result` has what there is, with the finish reason `abort`. */
  stop() {
    this.stopper.abort(STOPPED);
  }

  /** Every piece, reasoning and tool calls too. @returns {AsyncGenerator<Piece, void, undefined>} */
  async *pieces() {
    let at = 0;
    for (;;) {
      while (at < this.log.length) yield this.log[at++];
      if (this.done) break;
      await new Promise((resolve) => this.waiting.push(() => resolve(undefined)));
    }
    await this.result;
  }

  /** The text as it comes. Leaving the loop ends the answer. @returns {AsyncGenerator<string, void, undefined>} */
  async *[Symbol.asyncIterator]() {
    let ended = false;
    try {
      for await (const piece of this.pieces()) if (piece.kind !== 'reasoning') yield piece.text;
      ended = true;
    } finally {
      if (!ended) this.stop();
    }
  }

  /** The text as a stream; cancelling it ends the answer. @returns {ReadableStream<string>} */
  get readable() {
    return toStream(this[Symbol.asyncIterator]());
  }

  /** The whole text. @returns {Promise<string>} */
  async text() {
    return (await this.result).text;
  }
}

/** The reason of an end without an error. */
const STOPPED = new QwenError('aborted', 'the answer was stopped');

/**
 * @template T
 * @param {AsyncGenerator<T, void, undefined>} iterator
 * @returns {ReadableStream<T>}
 */
export function toStream(iterator) {
  return new ReadableStream({
    async pull(controller) {
      try {
        const { done, value } = await iterator.next();
        if (done) controller.close();
        else controller.enqueue(value);
      } catch (error) {
        controller.error(error);
      }
    },
    async cancel() {
      await iterator.return();
    },
  }, { highWaterMark: 0 });
}
