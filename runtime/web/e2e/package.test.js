// The npm package as a developer meets it: what is in it, its types, and an app that Vite builds with it, in Chromium.
//
// QWENC_BIN and QWENC_CHROMIUM as in page.test.js.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
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
const model = join(root, 'models/nano');
const executablePath = process.env.QWENC_CHROMIUM ?? '/usr/bin/chromium';
const run = promisify(execFile);
const folder = mkdtempSync(join(tmpdir(), 'qwenc-package-'));
const app = join(folder, 'app');
/** @type {string[]} */ let packed = [];

before(async () => {
  const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', folder], { cwd: join(here, '..') });
  // What scripts say comes before.
  const [{ filename, files }] = JSON.parse(stdout.slice(stdout.indexOf('[\n')));
  packed = files.map((/** @type {any} */ file) => file.path);
  cpSync(join(here, '../example-vite'), app, { recursive: true, filter: (path) => !/node_modules|example-vite\/dist/.test(path) });
  const manifest = JSON.parse(readFileSync(join(app, 'package.json'), 'utf8'));
  manifest.dependencies.qwenc = `file:${join(folder, filename)}`;
  writeFileSync(join(app, 'package.json'), JSON.stringify(manifest));
  await run('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: app });
});
after(() => rmSync(folder, { recursive: true, force: true }));

test('the package has what its exports name, and nothing else', () => {
  const { exports } = JSON.parse(readFileSync(join(app, 'node_modules/qwenc/package.json'), 'utf8'));
  const named = Object.values(exports).flatMap((target) => (typeof target === 'string' ? [target] : Object.values(/** @type {object} */ (target))));
  for (const path of named) assert.ok(packed.includes(String(path).replace('./', '')), `${path} is not packed`);
  for (const path of ['README.md', 'LICENSE-MIT', 'LICENSE-APACHE', 'src/worker.js', 'dist/qwenc.js']) assert.ok(packed.includes(path), `${path} is not packed`);
  const foreign = packed.filter((path) => !/^(src|types)\/|^dist\/qwenc(\.js|_bg\.wasm)$|^(package\.json|README\.md|LICENSE-\w+)$/.test(path) || /fake|test/.test(path));
  assert.deepEqual(foreign, []);
  const { dependencies } = JSON.parse(readFileSync(join(app, 'node_modules/qwenc/package.json'), 'utf8'));
  assert.equal(dependencies, undefined);
});

test('its types serve a strict program that has none of WebGPU', async () => {
  writeFileSync(join(app, 'use.ts'), `
    import { Qwen, QwenError, type Progress } from 'qwenc';
    import { promptApi } from 'qwenc/language-model';
    import { qwenc } from 'qwenc/ai-sdk';
    const model: Qwen = await Qwen.load('/m/', { onProgress: (progress: Progress) => console.log(progress.phase, progress.shard?.path) });
    for await (const text of model.generate({ messages: [{ role: 'user', content: 'x' }] })) console.log(text.length);
    const whole = await model.chat.completions.create({ messages: [{ role: 'user', content: 'x' }] });
    console.log(whole.choices[0]?.message.content?.length);
    for await (const chunk of await model.chat.completions.create({ messages: [], stream: true })) console.log(chunk.choices[0]?.delta.content);
    console.log(await (await promptApi(model).create()).prompt('a'), qwenc(model).provider);
    export const remedy = (error: unknown) => error instanceof QwenError && error.code === 'network' ? error.remedy : '';
    // @ts-expect-error: there is no such option
    await Qwen.load('/m/', { onProgres: () => {} });
  `);
  await run(process.execPath, [join(here, '../node_modules/typescript/bin/tsc'), '--noEmit', '--target', 'es2022', '--module', 'nodenext', '--strict',
    '--skipLibCheck', 'false', '--lib', 'es2022,dom,dom.iterable', 'use.ts'], { cwd: app }).catch((error) => assert.fail(error.stdout));
});

test('an app that Vite builds loads a bundle and answers', { timeout: 400_000 }, async () => {
  await run('npx', ['vite', 'build'], { cwd: app, env: { ...process.env, VITE_MODEL: './model/' } });
  const built = readdirSync(join(app, 'dist/assets'));
  assert.equal(built.filter((name) => name.endsWith('.wasm')).length, 1, 'the engine is there once');
  await run(program, ['compile', model, '-o', join(app, 'dist/model'), '--no-web', '--max-context', '256', '--max-image-patches', '0']);
  const server = await startServer(join(app, 'dist'));
  const { VK_DRIVER_FILES: _, VK_ICD_FILENAMES: __, ...env } = process.env;
  // Without an adapter: the CPU answers, at once, where SwiftShader would compile shaders first.
  const browser = await chromium.launch({ env: /** @type {Record<string, string>} */ (env), executablePath, headless: true, chromiumSandbox: false, args: ['--disable-background-networking'] });
  try {
    const page = await browser.newPage();
    await page.goto(server.url);
    await page.waitForSelector('button:not([disabled])', { timeout: 350_000 });
    await page.fill('#question', 'Tom has a parrot as a pet. The key is in the garage. Which pet does Tom have?');
    await page.click('button');
    await page.waitForSelector('output[data-done]', { timeout: 100_000 });
    assert.equal(await page.textContent('output'), 'parrot');
  } finally {
    await browser.close();
    server.close();
  }
});
