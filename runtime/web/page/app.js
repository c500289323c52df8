// The demo page: loads the bundle that it lies in, and talks.

import { Qwen, QwenError } from '../src/index.js';
import { Composer } from './composer.js';
import { Conversation } from './conversation.js';
import { $, announce, h } from './elements.js';
import { Inspector } from './inspector.js';
import { ProgressView, askToLoad, readFacts, showProblem } from './start.js';
import { Stats } from './stats.js';

// `?bundle=../other/` shows another bundle of the same origin: for development.
const base = new URL(new URLSearchParams(location.search).get('bundle') ?? './', document.baseURI).href;
const conversation = new Conversation();
/** @type {Qwen | undefined} */ let model;
/** @type {import('../src/answer.js').Answer | undefined} */ let current;
/** @type {Stats | undefined} */ let stats;

const composer = new Composer({
  onSend: send,
  onStop: () => current?.stop(),
});
// For tests and the curious: what the page has loaded.
Object.defineProperty(globalThis, 'qwenc', { get: () => ({ model, conversation, Qwen }) });

async function main() {
  if (location.protocol === 'file:') {
    showProblem({ message: 'A page from a file may not load a model.', remedy: 'Serve the folder: qwenc serve <folder>, or any static server.' }, []);
    return;
  }
  let manifest;
  try {
    const response = await fetch(new URL('manifest.json', base), { cache: 'no-cache' });
    if (!response.ok) throw new QwenError('not-found', `manifest.json: the server answered ${response.status}`);
    manifest = await response.json();
  } catch (error) {
    problem(error);
    return;
  }
  const facts = readFacts(manifest);
  document.title = `${facts.name} · qwenc`;
  $('model-name').textContent = facts.name;
  const inspector = new Inspector(base, manifest);
  if (!facts.isChat) {
    showProblem({ message: `${facts.name} is no chat model: this page can only show how it is made.`, remedy: 'Run it with `qwenc run`, or from an app.' }, []);
    return;
  }
  composer.setTakesPictures(facts.hasVision);
  $('clear').addEventListener('click', () => clear(facts, manifest));
  keepPage();
  await askToLoad(facts, await Qwen.stored(base).catch(() => ({ complete: false, bytes: 0 })));
  await load(facts, manifest, inspector, /** @type {any} */ (new URLSearchParams(location.search).get('device') ?? 'auto'));
}

/**
 * @param {import('./start.js').Facts} facts @param {any} manifest @param {Inspector} inspector @param {'auto' | 'gpu' | 'cpu'} device
 */
async function load(facts, manifest, inspector, device) {
  const stopper = new AbortController();
  const view = new ProgressView(facts, () => stopper.abort(new QwenError('aborted', 'What has arrived is kept.')));
  try {
    model = await Qwen.load(base, { device, signal: stopper.signal, onProgress: (progress) => view.show(progress), onNotice: notice });
  } catch (error) {
    const again = { label: 'Try again', run: () => load(facts, manifest, inspector, device) };
    const code = error instanceof QwenError ? error.code : 'internal';
    const slow = { label: 'Run on the CPU', run: () => load(facts, manifest, inspector, 'cpu') };
    if (code === 'aborted') again.label = 'Go on';
    problem(error, facts.hasCpu && device !== 'cpu' && code !== 'aborted' ? [slow, again] : [again]);
    return;
  }
  // The browser may then not remove it when the disk gets full.
  navigator.storage?.persist?.().catch(() => {});
  inspector.attach(model);
  $('device').textContent = model.info.deviceKind === 'cpu' ? 'CPU' : model.info.device;
  $('device').title = model.info.deviceKind === 'cpu' ? 'Runs on the CPU: slow, but right' : 'The GPU that it runs on';
  $('device').hidden = false;
  stats = new Stats(model.info);
  $('start').hidden = true;
  $('composer').hidden = false;
  $('conversation').hidden = false;
  await examples(facts, manifest);
  announce(`${facts.name} is ready.`);
  document.body.dataset.state = 'ready';
  $('question').focus();
}

/** @param {string} text @param {{file: Blob, url: string, name: string}[]} pictures @param {boolean} thinking */
async function send(text, pictures, thinking) {
  if (!model) return;
  document.querySelector('.examples')?.remove();
  conversation.ask(text, pictures);
  composer.setBusy(true);
  document.body.dataset.state = 'answering';
  $('clear').disabled = false;
  try {
    current = model.generate({ messages: conversation.messages, thinking, ...seedFromAddress() });
    stats?.follow(current).catch(() => {});
    const result = await conversation.show(current);
    document.body.dataset.tokens = result.tokens.join(' ');
  } catch (error) {
    conversation.fail(/** @type {any} */ (error));
  } finally {
    current = undefined;
    composer.setBusy(false);
    document.body.dataset.state = 'ready';
    $('question').focus();
  }
}

/** `?greedy` and `?seed=1` make answers that can be compared. */
function seedFromAddress() {
  const query = new URLSearchParams(location.search);
  return {
    ...(query.has('greedy') ? { temperature: 0 } : {}),
    ...(query.has('seed') ? { seed: Number(query.get('seed')) } : {}),
    ...(query.has('max') ? { maxTokens: Number(query.get('max')) } : {}),
  };
}

/** @param {import('./start.js').Facts} facts @param {any} manifest */
async function clear(facts, manifest) {
  current?.stop();
  await current?.result.catch(() => {});
  conversation.clear();
  await model?.reset();
  $('clear').disabled = true;
  await examples(facts, manifest);
  $('question').focus();
  announce('New chat.');
}

/** Questions to begin with: the bundle's own, or some that suit any model. @param {import('./start.js').Facts} facts @param {any} manifest */
async function examples(facts, manifest) {
  /** @type {{text: string, image?: string}[]} */
  let list = [{ text: 'What can you do?' }, { text: 'Write a haiku about the sea.' }, { text: 'Explain gravity to a child.' }];
  if (manifest.files.some((/** @type {any} */ file) => file.path === 'web/examples.json')) {
    const own = await fetch(new URL('web/examples.json', base)).then((response) => response.json()).catch(() => undefined);
    if (Array.isArray(own)) list = own.filter((one) => typeof one?.text === 'string').slice(0, 6);
  }
  const buttons = list.map(({ text, image }) => {
    const url = image === undefined ? undefined : new URL(image, new URL('web/', base));
    return h('button', {
      type: 'button', className: 'example',
      onclick: async () => {
        const file = url && await fetch(url).then((response) => response.blob()).catch(() => undefined);
        send(text, file ? [{ file, url: URL.createObjectURL(file), name: 'Example picture' }] : [], composer.thinking);
      },
    }, url && h('img', { src: url.href, alt: '' }), h('span', {}, text));
  });
  $('conversation').append(h('div', { className: 'examples' },
    h('h2', {}, facts.hasVision ? 'Ask something, or show a picture' : 'Ask something'),
    h('p', { className: 'note' }, 'Everything stays on this device.'),
    h('div', { className: 'example-list' }, ...buttons)));
}

/** What happens besides answers. @param {import('../src/qwen.js').Notice} notice */
function notice({ type, message, remedy, device }) {
  const words = {
    'not-stored': `This browser stores no more: the model works, and is fetched anew next time. ${remedy ?? ''}`,
    'fallback': `The GPU cannot be used (${message}). The model runs on the CPU: slower, with the same answers.`,
    'device-lost': 'The GPU was lost. The model is being loaded again, and the answer goes on.',
    'device-restored': `The GPU is back (${device}).`,
    'progress': '',
  }[type];
  if (!words) return;
  $('banner').textContent = words;
  $('banner').hidden = false;
  if (type === 'device-restored') setTimeout(() => { $('banner').hidden = true; }, 4000);
}

/** @param {unknown} error @param {{label: string, run: () => void}[]} [actions] */
function problem(error, actions = [{ label: 'Try again', run: () => location.reload() }]) {
  document.body.dataset.state = 'problem';
  const { message, remedy, code } = /** @type {any} */ (error);
  showProblem({ message: message || String(error), remedy, code }, actions);
}

/** The page itself for visits without a network. Without it everything works, online. */
function keepPage() {
  if (base !== new URL('./', document.baseURI).href) return;
  navigator.serviceWorker?.register('sw.js', { scope: './' }).catch(() => {});
}

main().catch(problem);
