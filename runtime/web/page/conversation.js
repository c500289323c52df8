// What was said: the conversation as a model reads it, and as a person does.

import { $, announce, h, icon } from './elements.js';
import { markdown } from './markdown.js';

/** @typedef {import('../src/answer.js').Answer} Answer */

export class Conversation {
  constructor() {
    /** @type {any[]} Messages as the model reads them. */
    this.messages = [];
    this.view = $('conversation');
  }

  get empty() {
    return this.messages.length === 0;
  }

  clear() {
    this.messages = [];
    this.view.replaceChildren();
  }

  /** @param {string} text @param {{file: Blob, url: string, name: string}[]} pictures */
  ask(text, pictures) {
    const parts = [...pictures.map(({ file }) => ({ type: 'image', image: file })), ...(text ? [{ type: 'text', text }] : [])];
    this.messages.push({ role: 'user', content: pictures.length > 0 ? parts : text });
    this.view.append(h('article', { className: 'message user', 'aria-label': 'You' },
      pictures.length > 0 && h('div', { className: 'shown' }, ...pictures.map(({ url, name }) => h('img', { src: url, alt: name, onload: () => this.follow() }))),
      text && h('p', { className: 'said' }, text)));
    this.follow(true);
  }

  /**
   * Shows an answer while it comes. Resolves with its result; an error is shown, and thrown on.
   * @param {Answer} answer
   */
  async show(answer) {
    const body = h('div', { className: 'body' });
    const thought = h('details', { className: 'thought', hidden: true }, h('summary', {}, 'Thinking…'), h('div', { className: 'thought-text' }));
    const article = h('article', { className: 'message assistant streaming', 'aria-label': 'Answer', 'aria-busy': 'true' }, thought, body);
    this.view.append(article);
    const sentences = new Sentences();
    const started = performance.now();
    let text = '';
    let reasoning = '';
    let thinkingUntil = 0;
    let drawn = false;
    const draw = () => {
      drawn = false;
      if (reasoning) {
        thought.hidden = false;
        thought.lastChild && (thought.lastChild.textContent = reasoning);
      }
      if (text) body.replaceChildren(...markdown(text));
      this.follow();
    };
    try {
      for await (const piece of answer.pieces()) {
        if (piece.kind === 'reasoning') {
          reasoning += piece.text;
        } else {
          if (!thinkingUntil && reasoning) tellThought(thought, started);
          thinkingUntil ||= performance.now();
          text += piece.text;
          sentences.take(piece.text);
        }
        // At most once a frame, however fast tokens come.
        if (!drawn) {
          drawn = true;
          requestAnimationFrame(draw);
        }
      }
      const result = await answer.result;
      this.messages.push({ role: 'assistant', content: result.text, ...(result.reasoning ? { reasoning_content: result.reasoning } : {}) });
      sentences.end();
      return result;
    } catch (error) {
      // The question was not answered: what follows should not be read as if it had been.
      this.messages.pop();
      throw error;
    } finally {
      draw();
      article.classList.remove('streaming');
      article.removeAttribute('aria-busy');
      if (reasoning && !thinkingUntil) tellThought(thought, started);
      if (text) article.append(this.actions(text));
      this.follow();
    }
  }

  /** @param {string} text */
  actions(text) {
    const copy = h('button', {
      type: 'button', className: 'icon-button small', 'aria-label': 'Copy the answer', title: 'Copy',
      onclick: async () => {
        await navigator.clipboard.writeText(text);
        copy.replaceChildren(icon('check'));
        announce('Copied.');
        setTimeout(() => copy.replaceChildren(icon('copy')), 1500);
      },
    }, icon('copy'));
    return h('div', { className: 'message-actions' }, copy);
  }

  /** @param {{message: string, remedy?: string}} error */
  fail({ message, remedy }) {
    this.view.append(h('div', { className: 'problem', role: 'alert' }, h('p', {}, h('strong', {}, message)), remedy && h('p', {}, remedy)));
    this.follow(true);
  }

  /** Keeps the end in view, unless the reader has scrolled up. @param {boolean} [always] */
  follow(always = false) {
    const { view } = this;
    if (always || view.scrollHeight - view.scrollTop - view.clientHeight < 120) view.scrollTop = view.scrollHeight;
  }
}

/** @param {HTMLElement} thought @param {number} started */
function tellThought(thought, started) {
  const summary = thought.querySelector('summary');
  if (summary) summary.textContent = `Thought for ${((performance.now() - started) / 1000).toFixed(1)} s`;
}

/** Reads an answer to a screen reader sentence by sentence: letter by letter nobody can listen to. */
class Sentences {
  constructor() {
    this.waiting = '';
  }

  /** @param {string} text */
  take(text) {
    this.waiting += text;
    const end = Math.max(...['. ', '! ', '? ', '\n'].map((mark) => this.waiting.lastIndexOf(mark)));
    if (end < 0 || this.waiting.length < 60) return;
    announce(this.waiting.slice(0, end + 1));
    this.waiting = this.waiting.slice(end + 1);
  }

  end() {
    if (this.waiting.trim()) announce(this.waiting);
  }
}
