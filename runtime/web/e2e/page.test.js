// The page in Chromium, on SwiftShader: a bundle from `qwenc compile`, served under a sub-path, held against what the native
// program answers. Loading compiles shaders for many seconds, so that one visit is used for many questions.
//
// QWENC_BIN is the program, QWENC_MODEL the model's folder, QWENC_GOLDEN its golden file, QWENC_CHROMIUM the browser,
// QWENC_ADAPTER the driver that the native program runs on;
// QWENC_SHOTS is a folder for screenshots.

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
const model = process.env.QWENC_MODEL ?? join(root, 'models/tiny/genai015');
const golden = process.env.QWENC_GOLDEN ?? join(root, 'golden/tiny/text.safetensors');
const executablePath = process.env.QWENC_CHROMIUM ?? '/usr/bin/chromium';
const shots = process.env.QWENC_SHOTS;
const adapter = process.env.QWENC_ADAPTER;
const run = promisify(execFile);
const picture = join(root, 'docs/picture.png');
const PATIENCE = 400_000;
const TOKENS = 12;

const folder = mkdtempSync(join(tmpdir(), 'qwenc-e2e-'));
const bundle = join(folder, 'out');
/** @type {Awaited<ReturnType<typeof startServer>>} */ let server;
/** @type {import('playwright-core').Browser} */ let browser;
/** @type {import('playwright-core').BrowserContext} */ let context;
/** @type {import('playwright-core').Page} */ let page;
/** @type {string[]} What the console complained about. */ const complaints = [];

// Chromium brings its own driver: those that the native program is shown are not for it.
const { VK_DRIVER_FILES: _, VK_ICD_FILENAMES: __, ...env } = process.env;
const launch = (/** @type {string[]} */ args) => chromium.launch({
  env: /** @type {Record<string, string>} */ (env), executablePath, headless: true, chromiumSandbox: false, args: ['--disable-background-networking', ...args],
});

before(async () => {
  await run(program, ['compile', model, '-o', bundle, '--golden', golden, '--max-context', '512', '--prefill-chunk', '64', '--max-image-patches', '1024']);
  server = await startServer(bundle);
  browser = await launch(['--enable-unsafe-webgpu']);
});
after(async () => {
  await browser?.close();
  server?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** @type {Map<string, Promise<number[]>>} What the native program has answered: each question is asked once. */
const answers = new Map();

/** What the native program answers. @param {string} prompt @param {string[]} more @returns {Promise<number[]>} */
function native(prompt, ...more) {
  const known = answers.get(prompt) ?? run(program, ['generate', bundle, '--prompt', prompt, '--temperature', '0', '--max-new-tokens', String(TOKENS),
    '--json', ...(adapter ? ['--adapter', adapter] : []), ...more]).then(({ stdout }) => JSON.parse(stdout).tokens);
  answers.set(prompt, known);
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

const address = () => `${server.url}?greedy&max=${TOKENS}`;
const ready = (/** @type {import('playwright-core').Page} */ on) => on.waitForSelector('body[data-state=ready]', { timeout: PATIENCE });

/** Asks in a new chat, and gives the tokens of the answer. @param {import('playwright-core').Page} on @param {string} text @param {string} [file] */
async function ask(on, text, file) {
  if (await on.isEnabled('#clear')) await on.click('#clear');
  if (file) await on.setInputFiles('#file', file);
  await on.evaluate(() => delete document.body.dataset.tokens);
  await on.fill('#question', text);
  await on.press('#question', 'Enter');
  await on.waitForSelector('body[data-tokens]', { timeout: PATIENCE, state: 'attached' });
  await ready(on);
  return (await on.evaluate(() => document.body.dataset.tokens ?? '')).split(' ').map(Number);
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
  assert.equal(await page.evaluate(() => /** @type {any} */ (globalThis).qwenc.model.info.store), 'opfs');
});

test('answers a question with the tokens of the native program', { timeout: PATIENCE }, async () => {
  assert.deepEqual(await ask(page, 'What is this?'), await native('What is this?'));
  assert.match(await page.textContent('#stats') ?? '', /tokens\/s.*First token/);
});

test('answers about a picture with the tokens of the native program', { timeout: PATIENCE }, async () => {
  assert.deepEqual(await ask(page, 'What do you see?', picture), await native('What do you see?', '--image', picture));
  await accessible(page, 'conversation');
  await shoot(page, 'page-light');
});

test('the answer of a lost GPU goes on with another one', { timeout: PATIENCE }, async () => {
  const expected = await native('What is this?');
  await page.click('#clear');
  await page.evaluate(() => {
    const { model } = /** @type {any} */ (globalThis).qwenc;
    /** @type {any} */ (globalThis).heard = [];
    for (const type of ['device-lost', 'device-restored']) model.addEventListener(type, () => /** @type {any} */ (globalThis).heard.push(type));
    const answer = model.generate({ messages: [{ role: 'user', content: 'What is this?' }], temperature: 0, maxTokens: 12 });
    /** @type {any} */ (globalThis).told = answer;
    const timer = setInterval(() => {
      if (answer.tokenCount < 1 && !answer.prompt) return;
      clearInterval(timer);
      model.caller.call('loseDevice');
    }, 1);
  });
  const result = await page.evaluate(() => /** @type {any} */ (globalThis).told.result);
  assert.deepEqual(result.tokens, expected);
  assert.deepEqual(await page.evaluate(() => /** @type {any} */ (globalThis).heard), ['device-lost', 'device-restored']);
  assert.equal(await page.evaluate(() => /** @type {any} */ (globalThis).told.tokenCount), expected.length);
});

test('stops on request, and keeps what was said', { timeout: PATIENCE }, async () => {
  const result = await page.evaluate(async () => {
    const answer = /** @type {any} */ (globalThis).qwenc.model.generate({ messages: [{ role: 'user', content: 'Count.' }], temperature: 0, maxTokens: 300 });
    for await (const _ of answer) break;
    return answer.result;
  });
  assert.equal(result.finishReason, 'abort');
  assert.ok(result.tokens.length >= 1 && result.tokens.length < 300, `${result.tokens.length} tokens`);
  const reason = await page.evaluate(async () => {
    const controller = new AbortController();
    const answer = /** @type {any} */ (globalThis).qwenc.model.generate({ messages: [{ role: 'user', content: 'Count.' }], temperature: 0, maxTokens: 300, signal: controller.signal });
    setTimeout(() => controller.abort(), 20);
    return answer.result.then(() => 'an answer', (/** @type {Error} */ error) => error.name);
  });
  assert.equal(reason, 'AbortError');
});

test('the panel tests this device and draws every entry point', { timeout: PATIENCE }, async () => {
  await page.click('#inspect');
  await page.waitForSelector('.ribbon');
  await page.click('#self-test');
  await page.waitForSelector('.test-result.passed', { timeout: PATIENCE });
  assert.match(await page.textContent('.test-result') ?? '', /computes right.*cosine 0\.999|cosine 1\.0/s);
  const names = await page.locator('.ribbon figcaption strong').allTextContents();
  for (const name of ['decode', 'prefill', 'vision', 'Memory']) assert.ok(names.some((one) => one.startsWith(name)), name);
  if (await page.isEnabled('#profile')) {
    await page.click('#profile');
    await page.waitForSelector('.ribbon >> text=measured', { timeout: PATIENCE });
  }
  await accessible(page, 'panel');
  await page.emulateMedia({ colorScheme: 'dark' });
  await accessible(page, 'panel, dark');
  await shoot(page, 'page-dark');
  await page.keyboard.press('Escape');
  assert.equal(await page.evaluate(() => document.activeElement?.id), 'inspect');
  await page.setViewportSize({ width: 390, height: 844 });
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'nothing is wider than a phone');
  await shoot(page, 'page-phone');
  await page.setViewportSize({ width: 1280, height: 800 });
  await page.emulateMedia({ colorScheme: 'light' });
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

test('a second visit needs no network', { timeout: PATIENCE }, async () => {
  await page.evaluate(() => navigator.serviceWorker.ready);
  server.down = true;
  try {
    await page.reload();
    await ready(page);
    assert.equal(await page.evaluate(() => /** @type {any} */ (globalThis).qwenc.model.url), server.url);
    assert.deepEqual(await ask(page, 'What is this?'), await native('What is this?'));
  } finally {
    server.down = false;
    await context.close();
  }
});

test('a damaged shard is refused, and said so', { timeout: PATIENCE }, async () => {
  const { own, made } = await visit();
  server.faults.push({ match: /^weights\//, flip: 5000, times: 2 });
  await made.goto(address());
  await made.waitForSelector('#start .problem', { timeout: PATIENCE });
  assert.match(await made.textContent('#start') ?? '', /did not work.*Upload the bundle again/s);
  await accessible(made, 'problem');
  await own.close();
});

test('a full disk is told, and the model works all the same', { timeout: PATIENCE }, async () => {
  const { own, made } = await visit();
  await made.goto(`${server.url}manifest.json`);
  const session = await own.newCDPSession(made);
  await session.send('Storage.overrideQuotaForOrigin', { origin: server.origin, quotaSize: 300_000 });
  await made.goto(address());
  await made.waitForSelector('#banner:not([hidden])', { timeout: PATIENCE });
  assert.match(await made.textContent('#banner') ?? '', /stores no more/);
  await ready(made);
  assert.deepEqual(await ask(made, 'What is this?'), await native('What is this?'));
  await own.close();
});

test('without a GPU the page says what to do, or runs on the CPU', { timeout: PATIENCE }, async () => {
  const plain = await launch([]);
  try {
    const { made } = await visit(plain);
    await made.goto(address());
    const hasCpu = JSON.parse(readFileSync(join(bundle, 'manifest.json'), 'utf8')).files.some((/** @type {any} */ file) => file.path === 'cpu/kernels.wasm');
    if (hasCpu) {
      await ready(made);
      assert.match(await made.textContent('#banner') ?? '', /runs on the CPU/);
      assert.equal(await made.textContent('#device'), 'CPU');
      assert.deepEqual(await ask(made, 'What is this?'), await native('What is this?'));
    } else {
      await made.waitForSelector('#start .problem', { timeout: PATIENCE });
      assert.match(await made.textContent('#start') ?? '', /cannot use a GPU.*hardware acceleration.*Browsers that can/s);
    }
    await accessible(made, 'without a GPU');
    await shoot(made, 'page-no-gpu');
  } finally {
    await plain.close();
  }
});
