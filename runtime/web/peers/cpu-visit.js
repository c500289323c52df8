// One way to run nano on the processor alone, under node: prints the seconds of a prompt and of each token after it, and the tokens.
//
//   node peers/cpu-visit.js '{"who": "qwenc", "folder": "bundle/", "threads": 1, "word": 263, "prompt": 128, "tokens": 32}'
//   who: qwenc (the CPU device of a bundle) or ort (onnxruntime-web's wasm, of a model's folder)

import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

/** @type {{who: 'qwenc' | 'ort', folder: string, threads: number, word: number, prompt: number, tokens: number}} */
const plan = JSON.parse(process.argv[2] ?? '{}');

/** @typedef {{prefill: number, decode: number[], tokens: number[]}} Times in seconds; the first token is the prompt's */

/** @returns {Promise<() => Promise<Times>>} */
async function qwenc() {
  const { Qwen } = await import('../src/index.js');
  const { fetchFile } = await import('../bench/files.js');
  const wasm = await WebAssembly.compile(readFileSync(new URL('../dist/qwenc_bg.wasm', import.meta.url)));
  const options = { wasm, fetch: fetchFile, store: 'memory', device: 'cpu' };
  const model = await Qwen.load(pathToFileURL(`${resolve(plan.folder)}/`), /** @type {any} */ (options));
  const raw = ' a'.repeat(plan.prompt);
  const ids = await model.tokenize(raw);
  if (ids.length !== plan.prompt || ids[0] !== plan.word) throw new Error('not the prompt of the others');
  return async () => {
    await model.caller.call('reset');
    /** @type {number[]} */ const times = [];
    const onEvent = (/** @type {any} */ { type }) => { if (type === 'token') times.push(performance.now()); };
    const start = performance.now();
    const greedy = { raw, maxNewTokens: plan.tokens + 1, temperature: 0, repetitionPenalty: 1, presencePenalty: 0, ignoreEos: true };
    const { tokens } = /** @type {any} */ (await model.caller.call('generate', { messages: [], images: [], options: greedy }, { onEvent }));
    return timesOf(start, times, tokens);
  };
}

/** @returns {Promise<() => Promise<Times>>} */
async function ort() {
  const library = await import('onnxruntime-web');
  const { answerer } = await import('./ort.js');
  library.env.wasm.numThreads = plan.threads;
  const open = (/** @type {string} */ name) => {
    const [graph, data] = [`${name}.onnx`, `${name}.onnx_data`].map((file) => new Uint8Array(readFileSync(join(plan.folder, 'onnx', file))));
    return library.InferenceSession.create(graph, { executionProviders: ['wasm'], externalData: [{ path: `${name}.onnx_data`, data }] });
  };
  const ask = answerer(library, await open('embed_tokens'), await open('decoder_model_merged'), Array(plan.prompt).fill(plan.word));
  return async () => {
    /** @type {number[]} */ const times = [];
    const start = performance.now();
    const tokens = await ask(plan.tokens + 1, () => times.push(performance.now()));
    return timesOf(start, times, tokens);
  };
}

/** @param {number} start @param {number[]} times @param {number[]} tokens @returns {Times} */
function timesOf(start, times, tokens) {
  const steps = times.map((time, at) => (time - (at > 0 ? times[at - 1] : start)) / 1000);
  return { prefill: steps[0], decode: steps.slice(1), tokens };
}

const run = await { qwenc, ort }[plan.who]();
// What is new is compiled and allocated in the first two, which do not count.
await run();
await run();
console.log(JSON.stringify(await run()));
process.exit(0);
