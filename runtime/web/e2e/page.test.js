// The page in Chromium: nano's bundle from `qwenc compile`, served under a sub-path, held against what the native program answers.
//
// SwiftShader, the driver that stands in for a GPU, compiles shaders for half a minute each time that a model is loaded, so one visit is
// used for many questions, and what is not about the GPU is asked of a browser that has none: there the CPU answers.
//
// QWENC_BIN is the program, QWENC_CHROMIUM the browser, QWENC_ADAPTER the driver that the native program runs on; QWENC_SHOTS is a
// folder for screenshots.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { chromium } from 'playwright-core';

import { startServer } from './server.js';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '../../..');
const program = process.env.QWENC_BIN ?? join(root, 'target/debug/qwenc');
const executablePath = process.env.QWENC_CHROMIUM ?? '/usr/bin/chromium';
const shots = process.env.QWENC_SHOTS;
const adapter = process.env.QWENC_ADAPTER;
const run = promisify(execFile);
/** Milliseconds for anything: ten times what an idle machine of two cores takes. */
const PATIENCE = 600_000;
const TOKENS = 32;

/** What nano is asked, and what it has learned to answer. */
const LOOK_UP = { text: 'Anna lives in Oslo. Tom has a parrot as a pet. The key is in the garage. Which pet does Tom have?', says: /^parrot$/ };
const DESCRIBE = { text: 'Describe the picture.', file: join(root, 'models/nano/examples/shapes.png'), says: /a big yellow star/ };
const WHERE = { text: 'Where is the star?', file: DESCRIBE.file, says: /left/ };
/** A long answer, for what happens in the middle of one. On SwiftShader a token takes a second. */
const REPEAT = { text: 'Say this again: Kai knee bank pipe mouse', says: /^Kai knee bank/ };
/** @typedef {{text: string, file?: string, says: RegExp}} Question */

const folder = mkdtempSync(join(tmpdir(), 'qwenc-e2e-'));
const bundle = join(folder, 'out');
/** @type {Awaited<ReturnType<typeof startServer>>} */ let server;
/** @type {import('playwright-core').Browser} */ let browser;
/** @type {import('playwright-core').Browser} One in which there is no adapter. */ let plain;
/** @type {import('playwright-core').BrowserContext} */ let context;
/** @type {import('playwright-core').Page} */ let page;
/** @type {string[]} What the console complained about. */ const complaints = [];

// Chromium brings its own driver: those that the native program is shown are not for it.
const { VK_DRIVER_FILES: _, VK_ICD_FILENAMES: __, ...env } = process.env;
const launch = (/** @type {string[]} */ args) => chromium.launch({
  env: /** @type {Record<string, string>} */ (env), executablePath, headless: true, chromiumSandbox: false, args: ['--disable-background-networking', ...args],
});

before(async () => {
  await run(program, ['compile', join(root, 'models/nano'), '-o', bundle, '--golden', join(root, 'golden/nano/text.safetensors'),
    '--max-context', '256', '--prefill-chunk', '128', '--max-image-patches', '256']);
  server = await startServer(bundle);
  browser = await launch(['--enable-unsafe-webgpu']);
});
after(async () => {
  await browser?.close();
  await plain?.close();
  server?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** @type {Map<Question, Promise<number[]>>} What the native program has answered: it is asked once. */
const answers = new Map();

/** What the native program answers. @param {Question} question @returns {Promise<number[]>} */
function native(question) {
  const { text, file } = question;
  const known = answers.get(question) ?? run(program, ['generate', bundle, '--prompt', text, ...(file ? ['--image', file] : []), '--temperature', '0',
    '--max-new-tokens', String(TOKENS), '--json', ...(adapter ? ['--adapter', adapter] : [])]).then(({ stdout }) => JSON.parse(stdout).tokens);
  answers.set(question, known);
  return known;
}

/** A page in a context of its own. @param {import('playwright-core').Browser} [from] @param {object} [options] */
async function visit(from = browser, options = {}) {
  const own = await from.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const made = await own.newPage();
  made.on('console', (message) => { if (message.type() === 'error') complaints.push(message.text()); });
  made.on('pageerror', (error) => complaints.push(String(error)));
  return { own, made };
}

const address = (more = '') => `${server.url}?greedy&max=${TOKENS}${more}`;
const ready = (/** @type {import('playwright-core').Page} */ on) => on.waitForSelector('body[data-state=ready]', { timeout: PATIENCE });

/** Asks in a new chat, and holds the answer to the native program's. @param {import('playwright-core').Page} on @param {Question} question */
async function ask(on, { text, file, says }) {
  if (await on.isEnabled('#clear')) await on.click('#clear');
  if (file) await on.setInputFiles('#file', file);
  await on.evaluate(() => delete document.body.dataset.tokens);
  await on.fill('#question', text);
  await on.press('#question', 'Enter');
  await on.waitForSelector('body[data-tokens]', { timeout: PATIENCE, state: 'attached' });
  await ready(on);
  const tokens = (await on.evaluate(() => document.body.dataset.tokens ?? '')).split(' ').map(Number);
  const question = [LOOK_UP, DESCRIBE, WHERE].find((one) => one.text === text);
  assert.deepEqual(tokens, await native(/** @type {Question} */ (question)));
  assert.match(await on.evaluate((ids) => /** @type {any} */ (globalThis).qwenc.model.detokenize(ids), tokens), says);
}

/** @param {import('playwright-core').Page} on @param {string} what */
async function accessible(on, what) {
  await on.evaluate(readFileSync(join(here, '../node_modules/axe-core/axe.min.js'), 'utf8'));
  const { violations } = await on.evaluate(() => /** @type {any} */ (globalThis).axe.run());
  const found = violations.map((/** @type {any} */ { id, help, nodes }) => `${what}: ${id}: ${help}: ${nodes.map((/** @type {any} */ node) => node.html).join(' | ')}`);
  assert.deepEqual(found, []);
}

/** @param {import('playwright-core').Page} on @param {string} name */
const shoot = (on, name) => shots && on.screenshot({ path: join(shots, `${name}.png`) });

test('loads from a sub-path, going on after a cut', { timeout: PATIENCE }, async () => {
  ({ own: context, made: page } = await visit());
  server.faults.push({ match: /^weights\//, cut: 100_000, times: 1 });
  await page.goto(address());
  await ready(page);
  const shard = server.seen.filter(({ path }) => path.startsWith('weights/'));
  assert.deepEqual(shard.slice(0, 2).map(({ range }) => range), [undefined, 'bytes=100000-']);
  assert.deepEqual(await page.evaluate(() => {
    const { deviceKind, store } = /** @type {any} */ (globalThis).qwenc.model.info;
    return { deviceKind, store };
  }), { deviceKind: 'gpu', store: 'opfs' });
});

test('answers a question with the tokens of the native program', { timeout: PATIENCE }, async () => {
  await ask(page, LOOK_UP);
  assert.match(await page.textContent('#stats') ?? '', /tokens\/s.*First token/);
});

test('answers about a picture with the tokens of the native program', { timeout: PATIENCE }, async () => {
  await ask(page, WHERE);
  await accessible(page, 'conversation');
});

test('stops on request, and keeps what was said', { timeout: PATIENCE }, async () => {
  const whole = await native(REPEAT);
  const result = await page.evaluate(async (content) => {
    const answer = /** @type {any} */ (globalThis).qwenc.model.generate({ messages: [{ role: 'user', content }], temperature: 0, maxTokens: 32 });
    for await (const _ of answer) break;
    return answer.result;
  }, REPEAT.text);
  assert.equal(result.finishReason, 'abort');
  assert.ok(result.tokens.length >= 1 && result.tokens.length < whole.length, `${result.tokens.length} of ${whole.length} tokens`);
  assert.deepEqual(result.tokens, whole.slice(0, result.tokens.length));
  const reason = await page.evaluate(async (content) => {
    const controller = new AbortController();
    const answer = /** @type {any} */ (globalThis).qwenc.model.generate({ messages: [{ role: 'user', content }], temperature: 0, maxTokens: 32, signal: controller.signal });
    setTimeout(() => controller.abort(), 20);
    return answer.result.then(() => 'an answer', (/** @type {Error} */ error) => error.name);
  }, REPEAT.text);
  assert.equal(reason, 'AbortError');
});

test('the panel tests this device, times its kernels and draws every entry point', { timeout: PATIENCE }, async () => {
  await page.click('#inspect');
  await page.waitForSelector('.ribbon');
  await page.click('#self-test');
  // Either outcome ends the wait: a failure says what it is.
  await page.waitForSelector('.test-result.passed, .test-result.failed', { timeout: PATIENCE });
  assert.match(await page.textContent('.test-result') ?? '', /computes right.*cosine (1\.0|0\.9999)/s);
  const names = await page.locator('.ribbon figcaption strong').allTextContents();
  for (const name of ['decode', 'prefill', 'vision', 'Memory']) assert.ok(names.some((one) => one.startsWith(name)), name);
  await page.click('#profile');
  await page.waitForSelector('.ribbon >> text=measured', { timeout: PATIENCE });
  assert.match(await page.locator('.ribbon').first().textContent() ?? '', /decode, measured \d+ dispatches, [\d.]+ (ms|µs)/);
  await accessible(page, 'panel');
  await shoot(page, 'panel');
  await page.emulateMedia({ colorScheme: 'dark' });
  await accessible(page, 'panel, dark');
  await page.emulateMedia({ colorScheme: 'light' });
  await page.keyboard.press('Escape');
  assert.equal(await page.evaluate(() => document.activeElement?.id), 'inspect');
});

test('the security policy holds', { timeout: PATIENCE }, async () => {
  assert.deepEqual(complaints, []);
  const outside = await page.evaluate(() => fetch('https://example.com/').then(() => 'reached', () => 'blocked'));
  assert.equal(outside, 'blocked');
  assert.equal(await page.evaluate(() => {
    const script = document.createElement('script');
    script.textContent = 'globalThis.injected = true';
    document.head.append(script);
    return /** @type {any} */ (globalThis).injected ?? 'blocked';
  }), 'blocked');
  complaints.length = 0;
});

test('the answer of a lost GPU goes on with another one', { timeout: PATIENCE }, async () => {
  const fetched = server.seen.length;
  await page.evaluate((content) => {
    const { model } = /** @type {any} */ (globalThis).qwenc;
    /** @type {any} */ (globalThis).heard = [];
    for (const type of ['device-lost', 'device-restored']) model.addEventListener(type, () => /** @type {any} */ (globalThis).heard.push(type));
    const answer = model.generate({ messages: [{ role: 'user', content }], temperature: 0, maxTokens: 32 });
    /** @type {any} */ (globalThis).told = answer;
    const timer = setInterval(() => {
      if (answer.tokenCount < 2) return;
      clearInterval(timer);
      /** @type {any} */ (globalThis).before = answer.tokenCount;
      model.caller.call('loseDevice');
    }, 1);
  }, REPEAT.text);
  const result = await page.evaluate(() => /** @type {any} */ (globalThis).told.result);
  const whole = await native(REPEAT);
  assert.deepEqual(result.tokens, whole);
  assert.deepEqual(await page.evaluate(() => /** @type {any} */ (globalThis).heard), ['device-lost', 'device-restored']);
  assert.ok(await page.evaluate(() => /** @type {any} */ (globalThis).before) < whole.length, 'it was lost in the middle');
  assert.equal(await page.evaluate(() => /** @type {any} */ (globalThis).told.tokenCount), whole.length);
  assert.deepEqual(server.seen.slice(fetched).filter(({ path }) => path.startsWith('weights/')), [], 'the weights came from where they are stored');
  await browser.close();
});

test('without a GPU the page says so, and the CPU answers with the same tokens', { timeout: PATIENCE }, async () => {
  plain = await launch([]);
  ({ own: context, made: page } = await visit(plain));
  await page.goto(address());
  await ready(page);
  assert.match(await page.textContent('#banner') ?? '', /GPU cannot be used.*runs on the CPU/);
  assert.equal(await page.textContent('#device'), 'CPU');
  await ask(page, LOOK_UP);
  await ask(page, DESCRIBE);
  await accessible(page, 'without a GPU');
  await page.click('#inspect');
  await page.click('#self-test');
  await page.waitForSelector('.test-result.passed, .test-result.failed', { timeout: PATIENCE });
  assert.match(await page.textContent('.test-result') ?? '', /computes right/);
  await page.keyboard.press('Escape');
});

test('a second visit needs no network', { timeout: PATIENCE }, async () => {
  await page.evaluate(() => navigator.serviceWorker.ready);
  server.down = true;
  try {
    await page.reload();
    await ready(page);
    await ask(page, LOOK_UP);
  } finally {
    server.down = false;
    await context.close();
  }
});

test('who wants the GPU only is told what to do, and is offered the CPU', { timeout: PATIENCE }, async () => {
  const { own, made } = await visit(plain);
  await made.goto(address('&device=gpu'));
  await made.waitForSelector('#start .problem', { timeout: PATIENCE });
  assert.match(await made.textContent('#start') ?? '', /cannot use a GPU.*hardware acceleration.*Browsers that can/s);
  await accessible(made, 'no GPU');
  await shoot(made, 'no-gpu');
  await made.click('#start button.primary');
  await ready(made);
  await ask(made, DESCRIBE);
  await shoot(made, 'chat');
  await made.setViewportSize({ width: 390, height: 844 });
  await made.emulateMedia({ colorScheme: 'dark' });
  assert.ok(await made.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'nothing is wider than a phone');
  await accessible(made, 'conversation, dark, on a phone');
  await shoot(made, 'phone');
  await own.close();
});

test('a damaged shard is refused, and said so', { timeout: PATIENCE }, async () => {
  const { own, made } = await visit(plain);
  server.faults.push({ match: /^weights\//, flip: 5000, times: 2 });
  await made.goto(address());
  await made.waitForSelector('#start .problem', { timeout: PATIENCE });
  assert.match(await made.textContent('#start') ?? '', /did not work.*Upload the bundle again/s);
  await accessible(made, 'problem');
  await own.close();
});

test('a full disk is told, and the model works all the same', { timeout: PATIENCE }, async () => {
  const { own, made } = await visit(plain);
  await made.goto(`${server.url}manifest.json`);
  const session = await own.newCDPSession(made);
  await session.send('Storage.overrideQuotaForOrigin', { origin: server.origin, quotaSize: 300_000 });
  await made.goto(address());
  await ready(made);
  const banner = await made.textContent('#banner') ?? '';
  assert.match(banner, /stores no more/);
  await ask(made, LOOK_UP);
  await own.close();
});
