// From text that comes in pieces to what it is: where stop strings end it, and what is reasoning, answer and tool call. What could be
// the beginning of a mark is held back. Without a browser, `runtime/src/chat` does the same, held to the same cases.

/** @typedef {'answer' | 'reasoning' | 'tool_call'} Kind */

const THINK = '<think>', END_THINK = '</think>', CALL = '<tool_call>', END_CALL = '</tool_call>';

/** Characters at the end of a text that could be the beginning of a mark, but are not all of it. @param {string} text @param {string} mark */
function heldBack(text, mark) {
  let count = Math.min(text.length, mark.length - 1);
  while (count > 0 && !text.endsWith(mark.slice(0, count))) count--;
  return Math.max(count, 0);
}

/** Looks for stop strings in text that comes in pieces. */
export class StopStrings {
  /** @param {string[]} strings */
  constructor(strings) {
    this.strings = strings;
    this.held = '';
  }

  /** Text that is certainly before any stop string, and whether one was found. @param {string} text @returns {[string, boolean]} */
  push(text) {
    const held = this.held + text;
    const found = this.strings.map((stop) => held.indexOf(stop)).filter((at) => at >= 0);
    const open = Math.max(0, ...this.strings.map((stop) => heldBack(held, stop)));
    const end = found.length ? Math.min(...found) : held.length - open;
    this.held = found.length ? '' : held.slice(end);
    return [held.slice(0, end), found.length > 0];
  }
}

/** Splits text that comes in pieces of any size. */
export class Splitter {
  /** @param {boolean} thinking the prompt ends inside of reasoning @param {(kind: Kind, text: string) => void} give never without text */
  constructor(thinking, give) {
    this.give = give;
    this.held = '';
    /** @type {'start' | 'before reasoning' | 'reasoning' | 'before answer' | 'answer' | 'tool_call'} */
    this.state = thinking ? 'before reasoning' : 'start';
  }

  /** Takes text; gives what is certain. @param {string} text */
  push(text) {
    this.held += text;
    while (this.step());
  }

  /** The end of the text: gives what was held back. */
  finish() {
    const { state } = this;
    this.take(this.held.length, state === 'tool_call' ? state : state.endsWith('reasoning') ? 'reasoning' : 'answer');
  }

  /** Does one thing; `false` when more text is needed. @returns {boolean} */
  step() {
    const { held } = this;
    switch (this.state) {
      case 'start': {
        const text = held.trimStart();
        if (text.startsWith(THINK)) {
          this.held = text.slice(THINK.length);
          this.state = 'before reasoning';
        } else if (THINK.startsWith(text)) {
          return false;
        } else {
          this.state = 'answer';
        }
        return true;
      }
      case 'reasoning': {
        const at = held.indexOf(END_THINK);
        const certain = at < 0 ? held.length - heldBack(held, END_THINK) : at;
        let end = certain;
        while (held[end - 1] === '\n') end--;
        this.take(end, 'reasoning');
        if (at < 0) return false;
        this.held = held.slice(at + END_THINK.length);
        this.state = 'before answer';
        return true;
      }
      case 'answer':
        return this.until(CALL, 0, 'answer', 'tool_call');
      case 'tool_call':
        return this.until(END_CALL, END_CALL.length, 'tool_call', 'answer');
      default:
        this.held = held.replace(/^\n+/, '');
        if (this.held === '') return false;
        this.state = this.state === 'before answer' ? 'answer' : 'reasoning';
        return true;
    }
  }

  /** Gives text up to a mark, and `more` characters of the mark itself. @param {string} mark @param {number} more @param {Kind} kind @param {Splitter['state']} next */
  until(mark, more, kind, next) {
    const at = this.held.indexOf(mark);
    this.take(at < 0 ? this.held.length - heldBack(this.held, mark) : at + more, kind);
    if (at >= 0) this.state = next;
    return at >= 0;
  }

  /** @param {number} count @param {Kind} kind */
  take(count, kind) {
    const text = this.held.slice(0, count);
    this.held = this.held.slice(count);
    if (text) this.give(kind, text);
  }
}
