// How fast the web runtime is on a real GPU without a browser: `node bench/dawn.js BUNDLE`. What runs is what a page runs, from
// `Qwen.load` down, on Dawn, the WebGPU of Chromium (npm `webgpu`). Prints JSON; seconds, tokens per second, bytes.
//
//   --runs 5           repetitions of every measurement
//   --loads 5          how often the bundle is loaded; the last one is measured on
//   --prefill 64,512   lengths of prompts, in tokens
//   --decode 128       tokens decoded after each of these prompts
//   --image 320x240    a picture before a short prompt; `none` for none
//   --adapter NAME     a part of the adapter's name; without it Dawn's choice
//   --dawn A,B         more options of Dawn, such as `backend=vulkan`
//   --webgpu FILE      the package's index.js, where it is not in the repository's xtask/tint/node_modules

import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

import { Qwen } from '../src/index.js';
import { MemoryStore } from '../src/store/memory.js';
import { fetchFile } from './files.js';
import { readArguments, round, summary } from './numbers.js';

const { options, rest: [folder] } = readArguments(process.argv.slice(2), {
  runs: '5', loads: '5', prefill: '64,512', decode: '128', image: '320x240', adapter: '', dawn: '',
  webgpu: new URL('../../../xtask/tint/node_modules/webgpu/index.js', import.meta.url).href,
});
if (!folder) throw new Error('which bundle? node bench/dawn.js BUNDLE');
const runs = Number(options.runs);
const lengths = options.prefill.split(',').map(Number);
const decoded = Number(options.decode);

const { create } = await import(options.webgpu.startsWith('file:') ? options.webgpu : pathToFileURL(resolve(options.webgpu)).href);
// Kept to the end: the addon crashes when it is collected before its devices.
const gpu = create([...(options.adapter ? [`adapter=${options.adapter}`] : []), ...options.dawn.split(',').filter(Boolean)]);
const wasm = await WebAssembly.compile(readFileSync(new URL('../dist/qwenc_bg.wasm', import.meta.url)));
const say = (/** @type {string} */ words) => console.error(words);

/** What JavaScript holds while something happens: objects and array buffers, sampled. */
class Heap {
  constructor() {
    this.start = Heap.now();
    this.peak = this.start;
    this.timer = setInterval(() => { this.peak = Math.max(this.peak, Heap.now()); }, 2);
  }

  static now() {
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    return heapUsed + arrayBuffers;
  }

  /** Most bytes meanwhile. */
  stop() {
    clearInterval(this.timer);
    return Math.max(this.peak, Heap.now());
  }
}

/** @returns {Promise<{model: Qwen, seconds: number, shaders: number, heap: number}>} */
async function load() {
  const heap = new Heap();
  const start = performance.now();
  let uploaded = start;
  const model = await Qwen.load(pathToFileURL(`${resolve(folder)}/`), /** @type {any} */ ({
    gpu, fetch: fetchFile, wasm, device: 'gpu',
    // Nothing is kept: a load reads the disk, and writes the GPU.
    openStore: async () => new MemoryStore(0),
    onProgress: (/** @type {any} */ { phase }) => { if (phase === 'fetch') uploaded = performance.now(); },
  }));
  const end = performance.now();
  return { model, seconds: (end - start) / 1000, shaders: (end - uploaded) / 1000, heap: heap.stop() };
}

/** @type {{seconds: number, shaders: number, heap: number}[]} */ const loads = [];
/** @type {Qwen | undefined} */ let model;
for (let run = 0; run < Number(options.loads); run++) {
  model?.close();
  const { model: loaded, ...facts } = await load();
  model = loaded;
  loads.push(facts);
  say(`load ${run + 1}: ${facts.seconds.toFixed(2)} s, of it ${facts.shaders.toFixed(2)} s waiting for shaders; JavaScript at most ${(facts.heap / 1e6).toFixed(1)} MB`);
}
if (!model) throw new Error('--loads must be at least 1');
const { info, caller } = model;
say(info.device);

/** An answer to a prompt that the template has no part in. @param {string} raw @param {number} tokens @param {object[]} images @returns {Promise<any>} */
async function answer(raw, tokens, images = []) {
  await caller.call('reset');
  const greedy = { raw, maxNewTokens: tokens, temperature: 0, repetitionPenalty: 1, presencePenalty: 0, ignoreEos: true };
  return caller.call('generate', { messages: [], images, options: greedy }, { onEvent: () => {} });
}

/** A text of so many tokens. @param {number} tokens */
async function textOf(tokens) {
  const text = ' a'.repeat(tokens);
  const found = (await /** @type {Qwen} */ (model).tokenize(text)).length;
  if (found !== tokens) throw new Error(`${tokens} words are ${found} tokens of this model`);
  return text;
}

/** Repeats a measurement; the first time warms up and does not count. @param {string} name @param {() => Promise<Record<string, number>>} measure */
async function repeat(name, measure) {
  await measure();
  /** @type {Record<string, number[]>} */
  const taken = {};
  for (let run = 0; run < runs; run++) {
    for (const [key, value] of Object.entries(await measure())) (taken[key] ??= []).push(value);
  }
  const report = Object.fromEntries(Object.entries(taken).map(([key, values]) => [key, summary(values)]));
  say(`${name}: ${Object.entries(report).map(([key, { median, min, max }]) => `${key} ${median} (${min} to ${max})`).join(', ')}`);
  return report;
}

/** @type {Record<string, object>} */ const prefill = {};
/** @type {Record<string, object>} */ const decode = {};
for (const length of lengths.filter((tokens) => tokens + decoded <= info.maxContext)) {
  const text = await textOf(length);
  prefill[length] = await repeat(`prefill of ${length}`, async () => {
    const { usage } = await answer(text, 1);
    return { secondsToFirstToken: usage.firstTokenSeconds, tokensPerSecond: usage.promptTokens / usage.firstTokenSeconds };
  });
  decode[length] = await repeat(`decode after ${length}`, async () => {
    const { usage } = await answer(text, decoded);
    return { tokensPerSecond: usage.tokensPerSecond, tokensPerBatch: usage.generatedTokens / usage.batches };
  });
}

let image;
if (info.hasVision && options.image !== 'none') {
  const [width, height] = options.image.split('x').map(Number);
  const data = Uint8Array.from({ length: width * height * 4 }, (_, at) => (at % 4 === 3 ? 255 : Math.imul(at, 0x9e3779b1) >>> 24));
  const prompt = '<|vision_start|><|image_pad|><|vision_end|> a a a a';
  image = { size: options.image, ...await repeat(`picture of ${options.image}`, async () => {
    const { usage } = await answer(prompt, 1, [{ width, height, data }]);
    return { secondsToFirstToken: usage.firstTokenSeconds, promptTokens: usage.promptTokens };
  }) };
}

let kernels;
if (info.canProfile) {
  const profile = await model.profile(16);
  /** @type {Record<string, {count: number, microseconds: number}>} */
  const families = {};
  for (const { shader, microseconds } of profile.kernels) {
    const family = shader.replace(/^shaders\//, '').replace(/_[0-9a-f]{8,}\.wgsl$/, '');
    const known = families[family] ??= { count: 0, microseconds: 0 };
    known.count += 1;
    known.microseconds = round(known.microseconds + microseconds);
  }
  kernels = { microsecondsPerToken: round(profile.microseconds), families };
}

console.log(JSON.stringify({
  bundle: folder, model: info.name, quantization: info.quantization, device: info.device, node: process.version,
  dispatchesPerToken: info.dispatchesPerToken, pipelines: info.pipelines, gpuBytes: info.memory.peakBytes,
  load: {
    seconds: summary(loads.map(({ seconds }) => seconds)), secondsWaitingForShaders: summary(loads.map(({ shaders }) => shaders)),
    peakJavaScriptBytes: summary(loads.map(({ heap }) => heap)),
  },
  prefill, decode, image, kernels,
}, null, 2));
model.close();
// Dawn keeps node alive otherwise.
process.exit(0);
