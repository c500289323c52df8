// The web runtime beside other ways to run the same model in a browser: `cargo xtask peers`, or `node peers/peers.js` with QWENC_BIN.
// One Chromium, one machine, one run; the contestants take turns, so that what disturbs the machine disturbs all of them. Prints JSON,
// and the table of docs/web.md.
//
//   --runs 3     visits of each contestant (a first visit and a second one each)
//   --tokens 32  tokens decoded on the CPU; on SwiftShader, the GPU that is none, a quarter of them
//   --only 0,3   some of the contestants, by their places in the list below

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { chromium } from 'playwright-core';

import { HeapWatch, Processes } from '../bench/memory.js';
import { readArguments, summary } from '../bench/numbers.js';
import { startServer } from './server.js';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '../../..');
const { options } = readArguments(process.argv.slice(2), { runs: '3', tokens: '32', only: '' });
const program = process.env.QWENC_BIN ?? join(root, 'target/debug/qwenc');
const executablePath = process.env.QWENC_CHROMIUM ?? '/usr/bin/chromium';
const PATIENCE = 300_000;
/** Answers of a loaded model, for each first visit. */
const REPEATS = { wasm: 3, webgpu: 1 };

const version = (/** @type {string} */ path) => JSON.parse(readFileSync(join(here, 'node_modules', path, 'package.json'), 'utf8')).version;
const ort = version('onnxruntime-web');
const transformers = version('@huggingface/transformers');
const CONTESTANTS = [
  { name: 'qwenc, WebGPU', module: 'qwenc.js', device: 'webgpu' },
  { name: 'qwenc, CPU', module: 'qwenc.js', device: 'wasm' },
  { name: `onnxruntime-web ${ort}, WebGPU`, module: 'ort.js', device: 'webgpu' },
  { name: `onnxruntime-web ${ort}, wasm`, module: 'ort.js', device: 'wasm' },
  { name: `transformers.js ${transformers}, WebGPU`, module: 'transformers.js', device: 'webgpu' },
  { name: `transformers.js ${transformers}, wasm`, module: 'transformers.js', device: 'wasm' },
].filter((_, at) => options.only === '' || options.only.split(',').includes(String(at)));

const folder = mkdtempSync(join(tmpdir(), 'qwenc-peers-'));
const bundle = join(folder, 'bundle');
const model = join(root, 'models/nano');
// The same precision for everyone: nano's files have float16 weights.
execFileSync(program, ['compile', model, '-o', bundle, '--no-web', '--quant', 'f16', '--max-context', '512', '--prefill-chunk', '128', '--max-image-patches', '0'], { stdio: 'ignore' });

const golden = readGolden(join(root, 'golden/nano/text.safetensors'));
const server = await startServer({ peers: here, package: join(here, '..'), bundle, model });
const { VK_DRIVER_FILES: _, VK_ICD_FILENAMES: __, ...env } = process.env;
const browser = await chromium.launch({
  env: /** @type {Record<string, string>} */ (env), executablePath, headless: true, chromiumSandbox: false, args: ['--enable-unsafe-webgpu', '--disable-background-networking'],
});

/** The prompt of a golden run: messages, and the tokens that the first call feeds. @param {string} file */
function readGolden(file) {
  const data = readFileSync(file);
  const length = Number(data.readBigUInt64LE(0));
  const header = JSON.parse(data.subarray(8, 8 + length).toString());
  const numbers = (/** @type {string} */ name) => {
    const [start, end] = header[name].data_offsets;
    return Array.from(new BigInt64Array(Uint8Array.from(data.subarray(8 + length + start, 8 + length + end)).buffer), Number);
  };
  return { messages: JSON.parse(header.__metadata__.question), ids: numbers('input_ids').slice(0, numbers('splits')[0]) };
}

const processes = await Processes.of(browser);

/** How many tokens a device decodes. @param {string} device */
const tokensOn = (device) => (device === 'wasm' ? Number(options.tokens) : Math.ceil(Number(options.tokens) / 4));

/** One visit. @param {import('playwright-core').BrowserContext} context @param {(typeof CONTESTANTS)[number]} contestant @param {number} repeats */
async function visit(context, { module, device }, repeats) {
  const before = { ...server.counts };
  await processes.mark();
  const page = await context.newPage();
  const watch = await HeapWatch.start(context, page);
  try {
    const plan = { module, device, messages: golden.messages, ids: golden.ids, tokens: repeats > 0 ? tokensOn(device) : 1, repeats };
    await page.goto(`${server.origin}/peers/page.html#${encodeURIComponent(JSON.stringify(plan))}`);
    const handle = await page.waitForFunction(() => /** @type {any} */ (globalThis).result, undefined, { timeout: PATIENCE, polling: 100 });
    const result = /** @type {any} */ (await handle.jsonValue());
    const resident = await processes.peak();
    return { ...result, resident, heap: watch.stop(), code: server.counts.code - before.code, model: server.counts.model - before.model };
  } catch (error) {
    return { error: String(/** @type {Error} */ (error).message).split('\n')[0] };
  } finally {
    watch.stop();
    await page.close();
  }
}

/** @type {Map<string, {first: any[], second: any[]}>} */
const taken = new Map(CONTESTANTS.map(({ name }) => [name, { first: [], second: [] }]));
for (let run = 0; run < Number(options.runs); run++) {
  for (const contestant of CONTESTANTS) {
    const results = /** @type {{first: any[], second: any[]}} */ (taken.get(contestant.name));
    if (results.first.some(({ error }) => error)) continue;
    const context = await browser.newContext();
    results.first.push(await visit(context, contestant, /** @type {any} */ (REPEATS)[contestant.device]));
    if (!results.first.at(-1).error) results.second.push(await visit(context, contestant, 0));
    await context.close();
    console.error(`${contestant.name}, ${run + 1}: ${JSON.stringify([results.first.at(-1), results.second.at(-1)], (key, value) => (key === 'tokens' ? String(value) : value))}`);
  }
}

const rows = [...taken].map(([name, { first, second }]) => {
  const failed = [...first, ...second].find(({ error }) => error);
  if (failed) return { name, error: failed.error };
  const answers = first.flatMap((visit) => visit.answers);
  return {
    name,
    tokens: answers.reduce((/** @type {number[]} */ longest, answer) => (answer.tokens.length > longest.length ? answer.tokens : longest), []),
    same: answers.every((answer) => String(answer.tokens) === String(answers[0].tokens)),
    codeBytes: summary(first.map(({ code }) => code)), modelBytes: summary(first.map((visit) => visit.model)),
    firstVisitSeconds: summary(first.map((visit) => visit.first / 1000)), secondVisitSeconds: summary(second.map((visit) => visit.first / 1000)),
    loadedSeconds: summary(answers.map((answer) => answer.first / 1000)), tokensPerSecond: summary(answers.map((answer) => answer.tokensPerSecond)),
    heapBytes: summary(first.map(({ heap }) => heap)), processBytes: summary(first.map(({ resident }) => resident)),
  };
});
const machine = { chromium: browser.version(), node: process.version, processor: cpus()[0]?.model, cores: cpus().length, load: loadavg().map((value) => Number(value.toFixed(1))) };
console.log(JSON.stringify({ machine, prompt: golden.ids.length, tokens: Number(options.tokens), runs: Number(options.runs), rows }, null, 2));

const cell = (/** @type {{median: number, min: number, max: number}} */ { median, min, max }, /** @type {number} */ scale, /** @type {number} */ digits) => {
  const [middle, low, high] = [median, min, max].map((value) => (value / scale).toFixed(digits));
  return low === high ? middle : `${middle} (${low}–${high})`;
};
/** An answer ends with this token; everyone goes on after it, so that there is something to time, and need not agree there. */
const { eos_token_id: end } = JSON.parse(readFileSync(join(model, 'generation_config.json'), 'utf8'));
const answerOf = (/** @type {number[]} */ tokens = []) => String(tokens.slice(0, tokens.indexOf(end) + 1 || undefined));
const [expected] = rows.filter(({ tokens }) => tokens).map(({ tokens }) => answerOf(tokens));
console.log(`\n| | code, MB | model, MB | first visit, s | second visit, s | once loaded, s | tokens/s | JS heap, MB | process, MB | tokens |\n|---|---|---|---|---|---|---|---|---|---|`);
for (const row of rows) {
  console.log(row.error !== undefined ? `| ${row.name} | not possible: ${row.error} |` : `| ${row.name} | ${[
    cell(/** @type {any} */ (row).codeBytes, 1e6, 2), cell(/** @type {any} */ (row).modelBytes, 1e6, 2), cell(/** @type {any} */ (row).firstVisitSeconds, 1, 2),
    cell(/** @type {any} */ (row).secondVisitSeconds, 1, 2), cell(/** @type {any} */ (row).loadedSeconds, 1, 3), cell(/** @type {any} */ (row).tokensPerSecond, 1, 1),
    cell(/** @type {any} */ (row).heapBytes, 1e6, 1), cell(/** @type {any} */ (row).processBytes, 1e6, 0), row.same && answerOf(row.tokens) === expected ? 'same' : 'other',
  ].join(' | ')} |`);
}
await browser.close();
server.close();
rmSync(folder, { recursive: true, force: true });
