// Before the model is there: what it is, what it takes, how far it is.

import { $, announce, duration, h, size } from './elements.js';

/** Below this a model is fetched without asking. */
const SMALL = 30 << 20;

/** @typedef {{name: string, bytes: number, gpuBytes: number, licence: string | null, quantization: string, hasVision: boolean, layers?: number, hasCpu: boolean, isChat: boolean}} Facts */

/**
 * What the manifest says, for people.
 * @param {any} manifest @returns {Facts}
 */
export function readFacts(manifest) {
  const needed = /^(schedule\.json$|shaders\/|model\/|weights\/)/;
  return {
    name: manifest.model.name,
    bytes: manifest.files.filter((/** @type {any} */ file) => needed.test(file.path)).reduce((/** @type {number} */ sum, /** @type {any} */ file) => sum + file.bytes, 0),
    gpuBytes: manifest.memory.peak_bytes,
    licence: typeof manifest.licence === 'string' && manifest.licence.length < 60 ? manifest.licence : null,
    quantization: manifest.quantization.recipe,
    hasVision: manifest.model.vision !== undefined,
    layers: manifest.model.decoder?.layers,
    hasCpu: manifest.files.some((/** @type {any} */ file) => file.path === 'cpu/kernels.wasm'),
    isChat: manifest.model.decoder !== undefined && manifest.files.some((/** @type {any} */ file) => file.path === 'model/tokenizer.bin'),
  };
}

/**
 * Says what will be loaded, and waits until the user wants it; a small model, or one that is stored already, is loaded at once.
 * @param {Facts} facts @param {{complete: boolean, bytes: number}} stored
 */
export async function askToLoad(facts, stored) {
  if (stored.complete || facts.bytes - stored.bytes < SMALL) return;
  const left = facts.bytes - stored.bytes;
  await new Promise((resolve) => {
    const button = h('button', { type: 'button', className: 'primary large', onclick: resolve },
      stored.bytes > 0 ? `Download the remaining ${size(left)}` : `Download ${size(left)} and start`);
    $('start').replaceChildren(...intro(facts), button,
      h('p', { className: 'note' }, 'Once. It stays on this device, and works without a network from then on.'));
    button.focus();
  });
}

/** @param {Facts} facts */
function intro(facts) {
  return [
    h('h2', { id: 'start-title' }, facts.name),
    h('p', { className: 'lead' }, facts.hasVision
      ? 'A language model that sees. It runs on this device: nothing that you write or show leaves it.'
      : 'A language model that runs on this device: nothing that you write leaves it.'),
    h('dl', { className: 'facts' },
      ...fact('To fetch', size(facts.bytes)), ...fact('GPU memory', size(facts.gpuBytes)), ...fact('Weights', facts.quantization === 'keep' ? 'as published' : facts.quantization),
      ...(facts.layers ? fact('Layers', String(facts.layers)) : []), ...(facts.licence ? fact('Licence', facts.licence) : [])),
  ];
}

/** @param {string} name @param {string} value */
const fact = (name, value) => [h('div', {}, h('dt', {}, name), h('dd', {}, value))];

/** Shows how loading goes. */
export class ProgressView {
  /** @param {Facts} facts @param {() => void} onStop */
  constructor(facts, onStop) {
    this.bar = h('progress', { max: 1, value: 0, 'aria-label': 'Loading the model' });
    this.phase = h('strong', {}, 'Starting');
    this.detail = h('span', { className: 'numbers' });
    $('start').replaceChildren(...intro(facts),
      h('div', { className: 'loading' }, this.bar, h('p', { className: 'loading-line' }, this.phase, this.detail)),
      h('button', { type: 'button', className: 'quiet', onclick: onStop }, 'Pause'));
    /** @type {{time: number, loaded: number}[]} Of the last seconds. */
    this.samples = [];
  }

  /** @param {import('../src/loading.js').Progress} progress */
  show({ phase, loaded, total, stored = 0, shard }) {
    if (phase === 'compile') {
      this.phase.textContent = 'Preparing the GPU';
      this.detail.textContent = `${loaded} of ${total} kernels compiled`;
      this.bar.value = total > 0 ? loaded / total : 1;
      return;
    }
    if (phase === 'ready') {
      this.bar.value = 1;
      return;
    }
    const now = performance.now();
    this.samples.push({ time: now, loaded });
    while (this.samples.length > 2 && now - this.samples[0].time > 5000) this.samples.shift();
    const [first] = this.samples;
    const speed = now > first.time ? (loaded - first.loaded) / ((now - first.time) / 1000) : 0;
    this.bar.value = total > 0 ? loaded / total : 1;
    this.phase.textContent = stored === loaded && loaded > 0 ? 'Reading what is stored' : 'Fetching the model';
    const left = speed > 0 && total > loaded ? `, ${duration((total - loaded) / speed)} left` : '';
    this.detail.textContent = `${size(loaded)} of ${size(total)}${speed > 0 ? `, ${size(speed)}/s` : ''}${left}${shard ? ` · file ${shard.index + 1} of ${shard.count}` : ''}`;
  }
}

/**
 * An error in place of the model, with what can be done.
 * @param {{message: string, remedy?: string, code?: string}} error
 * @param {{label: string, run: () => void}[]} actions
 */
export function showProblem({ message, remedy, code }, actions) {
  const noGpu = code === 'no-webgpu' || code === 'missing-limit' || code === 'missing-feature' || code === 'wrong-result';
  $('start').hidden = false;
  $('start').replaceChildren(h('div', { className: 'start-problem' },
    h('h2', { id: 'start-title' }, noGpu ? 'This browser cannot use a GPU for it' : code === 'aborted' ? 'Paused' : 'That did not work'),
    h('div', { className: 'problem', role: 'alert' }, h('p', {}, message), remedy && h('p', {}, remedy)),
    noGpu && h('details', {}, h('summary', {}, 'Browsers that can'), h('ul', {},
      ...['Chrome and Edge 113 or newer on Windows, macOS, ChromeOS and Android 12; on Linux, where the GPU is supported',
        'Safari 26 or newer on macOS, iOS and iPadOS', 'Firefox 141 or newer on Windows, 145 or newer on macOS'].map((line) => h('li', {}, line)))),
    h('div', { className: 'actions' }, ...actions.map(({ label, run }, index) => h('button', { type: 'button', className: index === 0 ? 'primary' : 'quiet', onclick: run }, label)))));
  announce(message);
}
