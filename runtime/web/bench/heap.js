// How much JavaScript holds while a bundle is loaded, in Chromium: `node bench/heap.js BUNDLE`. A first visit, into OPFS, and a second one
// from there. Prints JSON; bytes, seconds.
//
//   --device cpu     or webgpu, where it ends when all weights are uploaded, without waiting for shaders
//   --runs 3         visits of each kind

import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

import { chromium } from 'playwright-core';

import { startServer } from '../peers/server.js';
import { HeapWatch, Processes } from './memory.js';
import { readArguments, summary } from './numbers.js';

const { options, rest: [folder] } = readArguments(process.argv.slice(2), { device: 'cpu', runs: '3' });
if (!folder) throw new Error('which bundle? node bench/heap.js BUNDLE');
const here = dirname(fileURLToPath(import.meta.url));
const server = await startServer({ bench: here, package: join(here, '..'), bundle: resolve(folder) });
const { VK_DRIVER_FILES: _, VK_ICD_FILENAMES: __, ...env } = process.env;
const browser = await chromium.launch({
  env: /** @type {Record<string, string>} */ (env), executablePath: process.env.QWENC_CHROMIUM ?? '/usr/bin/chromium', headless: true, chromiumSandbox: false,
  args: ['--enable-unsafe-webgpu', '--disable-background-networking'],
});
const processes = await Processes.of(browser);

/** @param {import('playwright-core').BrowserContext} context @param {'first' | 'second'} kind */
async function visit(context, kind) {
  await processes.mark();
  const page = await context.newPage();
  await page.goto(`${server.origin}/bench/empty.html`);
  const watch = await HeapWatch.start(context, page);
  const before = server.counts.model;
  const facts = await page.evaluate(async (/** @type {string} */ device) => {
    const { Qwen } = await import(/** @type {any} */ ('/package/src/index.js'));
    const start = performance.now();
    const stopper = new AbortController();
    let fetched = start;
    const onProgress = (/** @type {any} */ { phase }) => {
      if (phase === 'fetch') fetched = performance.now();
      else if (device !== 'cpu') stopper.abort();
    };
    const model = await Qwen.load('/bundle/', { device: device === 'cpu' ? 'cpu' : 'gpu', onProgress, signal: stopper.signal }).catch((/** @type {any} */ error) => {
      if (error.name !== 'AbortError') throw error;
    });
    model?.close();
    return { seconds: (fetched - start) / 1000 };
  }, options.device);
  // A second visit has its process from the first.
  const resident = kind === 'first' ? { processBytes: await processes.peak() } : {};
  const outcome = { ...facts, javaScriptBytes: watch.stop(), ...resident, fetchedBytes: server.counts.model - before };
  console.error(JSON.stringify(outcome));
  await page.close();
  return outcome;
}

/** @type {Record<string, any[]>} */ const visits = { first: [], second: [] };
for (let run = 0; run < Number(options.runs); run++) {
  const context = await browser.newContext();
  visits.first.push(await visit(context, 'first'));
  visits.second.push(await visit(context, 'second'));
  await context.close();
}
const report = Object.fromEntries(Object.entries(visits).map(([kind, all]) => [kind,
  Object.fromEntries(Object.keys(all[0]).map((key) => [key, summary(all.map((one) => one[key]))]))]));
console.log(JSON.stringify({ bundle: folder, device: options.device, chromium: browser.version(), ...report }, null, 2));
await browser.close();
server.close();
