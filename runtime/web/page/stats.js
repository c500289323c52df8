// Live measurements below the conversation.

import { $, h, size } from './elements.js';

export class Stats {
  /** @param {any} info of the model */
  constructor(info) {
    this.info = info;
    this.view = $('stats');
    this.view.hidden = false;
    /** @type {[string, string][]} */ this.last = [];
    this.draw([]);
  }

  /** Follows an answer until it ends. @param {import('../src/answer.js').Answer} answer */
  async follow(answer) {
    const started = performance.now();
    let first = 0;
    let shown = 0;
    const tick = () => {
      const now = performance.now();
      if (!first && answer.tokenCount > 0) first = now;
      if (now - shown > 200) {
        shown = now;
        const since = first ? (now - first) / 1000 : 0;
        this.draw([
          ['Speed', since > 0.05 ? `${((answer.tokenCount - 1) / since).toFixed(1)} tokens/s` : '…'],
          ['First token', first ? `${Math.round(first - started)} ms` : `${((now - started) / 1000).toFixed(1)} s…`],
          ['Tokens', String(answer.tokenCount)],
        ]);
      }
      if (!answer.done) requestAnimationFrame(tick);
    };
    tick();
    const { usage } = await answer.result;
    this.draw([
      ['Speed', usage.tokensPerSecond > 0 ? `${usage.tokensPerSecond.toFixed(1)} tokens/s` : '–'],
      ['First token', `${Math.round(usage.firstTokenSeconds * 1000)} ms`],
      ['Tokens', `${usage.generatedTokens} after ${usage.promptTokens}${usage.reusedTokens > 0 ? ` (${usage.reusedTokens} known)` : ''}`],
      ['Context', `${Math.round(((usage.promptTokens + usage.generatedTokens) / this.info.maxContext) * 100)} %`],
    ]);
  }

  /** @param {[string, string][]} numbers */
  draw(numbers) {
    const heap = /** @type {any} */ (performance).memory?.usedJSHeapSize;
    const memory = `${size(this.info.memory.peakBytes)} ${this.info.deviceKind === 'gpu' ? 'GPU' : ''}${heap ? ` + ${size(heap)} page` : ''}`;
    const all = [...numbers, /** @type {[string, string]} */ (['Memory', memory])];
    if (String(all) === String(this.last)) return;
    this.last = all;
    this.view.replaceChildren(...all.map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))));
  }
}
