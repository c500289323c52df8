// The panel that shows what the compiler made, tests it on this device, and times it.

import { familyOf, legend, memoryBar, ribbon } from './charts.js';
import { $, announce, h, icon, size } from './elements.js';

/** What each entry point is for. @type {Record<string, string>} */
const PURPOSES = {
  prefill: 'reads a chunk of the prompt', decode: 'one token', head: 'hidden state to logits', sample: 'chooses the token on the GPU',
  vision: 'encodes a picture', main: 'the graph',
};

export class Inspector {
  /** @param {string} base of the bundle @param {any} manifest */
  constructor(base, manifest) {
    this.base = base;
    this.manifest = manifest;
    /** @type {any} Of the bundle, once it is wanted. */
    this.schedule = undefined;
    /** @type {HTMLElement | undefined} Of the last test. */ this.result = undefined;
    /** @type {import('../src/qwen.js').Qwen | undefined} */ this.model = undefined;
    /** @type {import('../src/wasm.js').Profile | undefined} */ this.profile = undefined;
    this.panel = $('inspector');
    this.opener = $('inspect');
    $('inspector-close').append(icon('close'));
    this.opener.addEventListener('click', () => (this.panel.hidden ? this.open() : this.close()));
    $('inspector-close').addEventListener('click', () => this.close());
    this.panel.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
      if (event.key === 'Escape') this.close();
    });
  }

  /** @param {import('../src/qwen.js').Qwen} model */
  attach(model) {
    this.model = model;
    if (!this.panel.hidden) this.draw();
  }

  async open() {
    this.panel.hidden = false;
    this.opener.setAttribute('aria-expanded', 'true');
    document.body.classList.add('inspecting');
    await this.draw();
    this.panel.focus();
  }

  close() {
    this.panel.hidden = true;
    this.opener.setAttribute('aria-expanded', 'false');
    document.body.classList.remove('inspecting');
    this.opener.focus();
  }

  async draw() {
    const body = $('inspector-body');
    try {
      this.schedule ??= await (await fetch(new URL('schedule.json', this.base))).json();
    } catch (error) {
      body.replaceChildren(h('p', { className: 'problem' }, `The schedule cannot be read: ${/** @type {Error} */ (error).message}`));
      return;
    }
    const { manifest, model, profile } = this;
    const entries = /** @type {[string, any][]} */ (Object.entries(this.schedule.entries));
    const commands = (/** @type {any} */ entry) => entry.commands.flatMap((/** @type {any} */ command) => this.dispatch(command));
    const order = ['decode', 'prefill', 'head', 'sample', 'vision', 'main'];
    entries.sort(([a], [b]) => order.indexOf(a) - order.indexOf(b));
    const shaders = manifest.files.filter((/** @type {any} */ file) => file.path.startsWith('shaders/'));
    const weights = manifest.files.filter((/** @type {any} */ file) => file.path.startsWith('weights/'));
    const sum = (/** @type {any[]} */ files) => files.reduce((total, file) => total + file.bytes, 0);
    const timed = profile ? profile.kernels.map(({ label, shader, microseconds }) => ({ family: familyOf(shader), label, weight: microseconds })) : undefined;
    const decode = this.schedule.entries.decode ?? this.schedule.entries.main;
    body.replaceChildren(
      h('dl', { className: 'facts' }, ...[
        ['Entry points', String(entries.length)], ['Shaders', `${shaders.length}, ${size(sum(shaders))}`],
        ['Weights', `${size(sum(weights))} in ${weights.length} ${weights.length === 1 ? 'file' : 'files'}`],
        ['Quantization', manifest.quantization.recipe], ['Pipelines', String(this.schedule.pipelines.length)],
        ['Made by', manifest.generator],
      ].map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value)))),
      h('div', { className: 'actions' }, this.selfTestButton(), this.profileButton()),
      this.result ?? h('div', { className: 'test-result', role: 'status' }),
      h('h3', {}, 'Every dispatch of every entry point'),
      ...(timed && profile ? [ribbon(`${profile.entry}, measured`, timed, true), legend(timed, true), slowest(profile)] : []),
      ...entries.map(([name, entry]) => ribbon(`${name}: ${PURPOSES[name] ?? ''}`, commands(entry), false)),
      ...(timed || !decode ? [] : [legend(commands(decode), false)]),
      h('h3', {}, this.model?.info.deviceKind === 'cpu' ? 'Memory' : 'GPU memory'),
      memoryBar(model?.info.memory ?? {
        weightBytes: manifest.memory.weight_bytes, arenaBytes: manifest.memory.arena_bytes, stateBytes: manifest.memory.state_bytes,
        ioBytes: manifest.memory.io_bytes, peakBytes: manifest.memory.peak_bytes,
      }),
    );
  }

  /** @param {any} command */
  dispatch(command) {
    const dispatch = command.dispatch ?? (command.pipeline !== undefined ? command : undefined);
    if (!dispatch) return [];
    const pipeline = this.schedule.pipelines[dispatch.pipeline];
    return [{ family: familyOf(pipeline?.shader ?? ''), label: dispatch.label ?? pipeline?.shader ?? '', weight: 1 }];
  }

  selfTestButton() {
    const carries = this.manifest.files.some((/** @type {any} */ file) => file.path === 'golden.safetensors');
    return h('button', {
      type: 'button', className: 'primary', id: 'self-test', disabled: !this.model || !carries,
      title: carries ? '' : 'This bundle carries no golden run (compile with --golden)',
      onclick: () => this.run('Replaying the golden run…', async () => {
        const test = await /** @type {any} */ (this.model).selfTest();
        return h('div', { className: `test-result ${test.passed ? 'passed' : 'failed'}`, role: 'status' },
          h('p', {}, h('strong', {}, test.passed ? 'This device computes right.' : 'This device computes something else.'),
            ` Smallest cosine ${test.worstCosine.toFixed(6)} over ${test.positions.length} positions; at least ${test.minCosine} is asked for.`),
          test.source && h('p', { className: 'note' }, `Expected numbers: ${test.source}`));
      }),
    }, 'Self-test');
  }

  profileButton() {
    const can = this.model?.info.canProfile === true;
    return h('button', {
      type: 'button', className: 'quiet', id: 'profile', disabled: !can, title: can ? '' : 'This device has no timestamps',
      onclick: () => this.run('Timing every kernel…', async () => {
        // One step first: a device that takes half a second for it has no noise to take medians of, and nobody waits for eight.
        this.profile = await /** @type {any} */ (this.model).profile(1);
        if (/** @type {any} */ (this.profile).microseconds < 500_000) this.profile = await /** @type {any} */ (this.model).profile(8);
        return undefined;
      }),
    }, 'Time the kernels');
  }

  /** @param {string} words @param {() => Promise<HTMLElement | undefined>} task */
  async run(words, task) {
    const focused = document.activeElement?.id;
    const before = this.result;
    this.result = h('div', { className: 'test-result', role: 'status' }, words);
    await this.draw();
    for (const id of ['self-test', 'profile']) $(id).disabled = true;
    try {
      this.result = await task() ?? before;
    } catch (error) {
      const { message, remedy } = /** @type {any} */ (error);
      this.result = h('div', { className: 'test-result failed', role: 'alert' }, h('p', {}, message), remedy && h('p', {}, remedy));
    }
    await this.draw();
    // The button is another one now.
    if (focused) $(focused)?.focus();
    announce(this.result?.textContent ?? 'Done.');
  }
}

/** @param {import('../src/wasm.js').Profile} profile */
function slowest({ kernels }) {
  const rows = [...kernels].sort((a, b) => b.microseconds - a.microseconds).slice(0, 8);
  return h('details', {}, h('summary', {}, 'The slowest kernels'), h('div', { className: 'scroll', tabIndex: 0, role: 'group', 'aria-label': 'The slowest kernels' }, h('table', {},
    h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Kernel'), h('th', { scope: 'col' }, 'Workgroups'), h('th', { scope: 'col' }, 'µs'))),
    h('tbody', {}, ...rows.map(({ label, workgroups, microseconds }) => h('tr', {}, h('td', {}, label), h('td', {}, workgroups.join('×')), h('td', { className: 'numbers' }, microseconds.toFixed(1))))))));
}
