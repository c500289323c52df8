// Memory of a page in Chromium, from outside: what JavaScript holds, and what its process has.

import { readFileSync } from 'node:fs';

/** Most bytes that JavaScript holds in the page and its workers together: objects and array buffers. WebAssembly's memory is not in it. */
export class HeapWatch {
  /** @param {import('playwright-core').BrowserContext} context @param {import('playwright-core').Page} page */
  static async start(context, page) {
    const session = await context.newCDPSession(page);
    const watch = new HeapWatch(session);
    session.on('Target.attachedToTarget', ({ sessionId }) => watch.workers.add(sessionId));
    session.on('Target.detachedFromTarget', ({ sessionId }) => watch.workers.delete(sessionId));
    session.on('Target.receivedMessageFromTarget', ({ sessionId, message }) => {
      const { result } = JSON.parse(message);
      if (result) watch.latest.set(sessionId, bytesOf(result));
    });
    await session.send('Target.setAutoAttach', { autoAttach: true, waitForDebuggerOnStart: false, flatten: false });
    watch.timer = setInterval(() => watch.sample().catch(() => {}), 50);
    return watch;
  }

  /** @param {import('playwright-core').CDPSession} session */
  constructor(session) {
    this.session = session;
    /** @type {Set<string>} */ this.workers = new Set();
    /** @type {Map<string, number>} */ this.latest = new Map();
    this.peak = 0;
    this.id = 0;
    /** @type {NodeJS.Timeout | undefined} */ this.timer = undefined;
  }

  async sample() {
    for (const sessionId of this.workers) {
      const message = JSON.stringify({ id: ++this.id, method: 'Runtime.getHeapUsage' });
      this.session.send('Target.sendMessageToTarget', { sessionId, message }).catch(() => {});
    }
    this.latest.set('page', bytesOf(await this.session.send('Runtime.getHeapUsage')));
    this.peak = Math.max(this.peak, [...this.latest.values()].reduce((sum, bytes) => sum + bytes, 0));
  }

  stop() {
    clearInterval(this.timer);
    return this.peak;
  }
}

/** @param {any} usage of Runtime.getHeapUsage */
const bytesOf = ({ usedSize, backingStorageSize = 0 }) => usedSize + backingStorageSize;

/** The processes that pages run in (Linux). */
export class Processes {
  /** @param {import('playwright-core').Browser} browser */
  static async of(browser) {
    return new Processes(await browser.newBrowserCDPSession());
  }

  /** @param {import('playwright-core').CDPSession} session */
  constructor(session) {
    this.session = session;
    /** @type {Set<number>} */ this.others = new Set();
  }

  /** @returns {Promise<number[]>} */
  async renderers() {
    const { processInfo } = await this.session.send('SystemInfo.getProcessInfo');
    return processInfo.filter(({ type }) => type === 'renderer').map(({ id }) => id);
  }

  /** From now on only new ones count. */
  async mark() {
    this.others = new Set(await this.renderers());
  }

  /** Most memory in bytes that the new one has had, WebAssembly's and its code included. */
  async peak() {
    return Math.max(0, ...(await this.renderers()).filter((id) => !this.others.has(id)).map(residentPeak));
  }
}

/** @param {number} id */
function residentPeak(id) {
  try {
    return Number(/VmHWM:\s*(\d+) kB/.exec(readFileSync(`/proc/${id}/status`, 'utf8'))?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}
