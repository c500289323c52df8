// Without a GPU: nano on the processor alone, by qwenc (on lavapipe, and the kernels in WebAssembly), ONNX Runtime and onnxruntime-web.
// `cargo xtask peers --cpu`, or `node peers/cpu.js` with QWENC_BIN. Contestants take turns, each visit a process of its own; prints JSON
// and the table of docs/performance.md.
//
//   --runs 5       visits of each
//   --threads 1,2  how many threads; WebAssembly has one with qwenc
//   --prompt 128   tokens of the prompt
//   --tokens 32    tokens decoded after it
//   --only NAME    contestants whose name has this part
// QWENC_PYTHON names a python with onnxruntime (else `python3`), VK_DRIVER_FILES lavapipe's manifest.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { readArguments, round, summary } from '../bench/numbers.js';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '../../..');
const { options } = readArguments(process.argv.slice(2), { runs: '5', threads: '1,2', prompt: '128', tokens: '32', only: '' });
const [prompt, tokens] = [Number(options.prompt), Number(options.tokens)];
const program = process.env.QWENC_BIN ?? join(root, 'target/debug/qwenc');
const python = process.env.QWENC_PYTHON ?? 'python3';
const model = join(root, 'models/nano');
const folder = mkdtempSync(join(tmpdir(), 'qwenc-cpu-'));
/** The token of " a". */
const word = Number(JSON.parse(readFileSync(join(model, 'tokenizer.json'), 'utf8')).model.vocab['Ġa']);
const context = String(prompt + 4 * tokens + 64);

/** What a visit measured: tokens per second, and the tokens, where they are told. @typedef {{prefill: number, decode: number, tokens?: number[]}} Speed */

/** @param {string} file @param {string[]} args @param {Record<string, string>} [env] */
const ask = (file, args, env = {}) => JSON.parse(execFileSync(file, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 1 << 26 }).toString());

/** @param {{prefill: number, decode: number[], tokens: number[]}} times in seconds @returns {Speed} */
const speedOf = (times) => ({ prefill: prompt / times.prefill, decode: times.decode.length / times.decode.reduce((a, b) => a + b, 0), tokens: times.tokens });

/** @param {string} who @param {string} files @param {number} threads @returns {Speed} */
const underNode = (who, files, threads) => speedOf(ask(process.execPath, [join(here, 'cpu-visit.js'), JSON.stringify({ who, folder: files, threads, word, prompt, tokens })]));

/** @param {string} bundle @param {number} threads @returns {Speed} */
function onLavapipe(bundle, threads) {
  const sizes = ['--prefill', String(prompt), '--decode', String(prompt), '--tokens', String(tokens), '--runs', '1', '--kernels', '0', '--picture', '0'];
  const report = ask(program, ['bench', bundle, '--json', '--adapter', 'llvmpipe', ...sizes], { LP_NUM_THREADS: String(threads) });
  const of = (/** @type {string} */ name) => report.results.find((/** @type {any} */ result) => result.name === name).median;
  return { prefill: of(`prefill ${prompt}`), decode: of(`decode at ${prompt}, greedy`) };
}

/** @param {number} threads @returns {Speed} */
const onnxRuntime = (threads) => speedOf(ask(python, [join(root, 'models/scripts/ort_speed.py'), model, '--threads', String(threads), '--word', String(word), '--prompt', String(prompt), '--tokens', String(tokens)]));

/** @param {string} quant */
function compile(quant) {
  const out = join(folder, quant);
  execFileSync(program, ['compile', model, '-o', out, '--no-web', '--quant', quant, '--max-context', context, '--max-image-patches', '0'], { stdio: 'ignore' });
  return out;
}

const bundles = { f16: compile('f16'), q4: compile('q4') };
/** @type {{name: string, threads: number, visit: () => Speed}[]} */
const contestants = options.threads.split(',').map(Number).flatMap((threads) => [
  ...Object.entries(bundles).flatMap(([quant, bundle]) => [
    { name: `qwenc ${quant}, lavapipe`, threads, visit: () => onLavapipe(bundle, threads) },
    ...(threads === 1 ? [{ name: `qwenc ${quant}, WebAssembly in node`, threads, visit: () => underNode('qwenc', bundle, 1) }] : []),
  ]),
  { name: 'ONNX Runtime, CPU', threads, visit: () => onnxRuntime(threads) },
  { name: 'onnxruntime-web, WebAssembly in node', threads, visit: () => underNode('ort', model, threads) },
]).filter(({ name }) => name.includes(options.only));

/** @type {Speed[][]} */ const taken = contestants.map(() => []);
/** @type {(string | undefined)[]} */ const failures = contestants.map(() => undefined);
for (let run = 0; run < Number(options.runs); run++) {
  for (const [at, { name, threads, visit }] of contestants.entries()) {
    if (failures[at] !== undefined) continue;
    try {
      const speed = visit();
      taken[at].push(speed);
      console.error(`${run + 1}: ${name}, ${threads}: prefill ${speed.prefill.toFixed(1)}, decode ${speed.decode.toFixed(1)} tok/s; load ${loadavg()[0].toFixed(1)}`);
    } catch (error) {
      const said = /** @type {any} */ (error).stderr?.toString().trim().split('\n').at(-1);
      failures[at] = said || String(/** @type {any} */ (error).message).split('\n')[0];
      console.error(`${name}, ${threads}: ${failures[at]}`);
    }
  }
}
rmSync(folder, { recursive: true, force: true });

const rows = contestants.map(({ name, threads }, at) => ({
  name, threads, error: failures[at], prefill: summary(taken[at].map(({ prefill }) => prefill)), decode: summary(taken[at].map(({ decode }) => decode)), tokens: taken[at][0]?.tokens,
}));
const version = (/** @type {string} */ name) => JSON.parse(readFileSync(join(here, 'node_modules', name, 'package.json'), 'utf8')).version;
const machine = { processor: cpus()[0]?.model, cores: cpus().length, node: process.version, onnxruntimeWeb: version('onnxruntime-web'), load: loadavg().map(round) };
console.log(JSON.stringify({ machine, prompt, tokens, rows }, null, 2));
console.log('\n| | threads | prefill, tok/s | decode, tok/s |\n|---|---|---|---|');
const cell = (/** @type {{median: number, min: number, max: number}} */ { median, min, max }) => `${median.toFixed(1)} (${min.toFixed(1)}–${max.toFixed(1)})`;
for (const { name, threads, error, prefill, decode } of rows) {
  console.log(error === undefined ? `| ${name} | ${threads} | ${cell(prefill)} | ${cell(decode)} |` : `| ${name} | ${threads} | not possible: ${error} | |`);
}
if (failures.some((failure) => failure !== undefined)) process.exitCode = 1;
