// Holds WGSL files against Tint, the shader compiler of Chromium, through Dawn for node.
//
//   node check.mjs PATH...        each PATH a .wgsl file or a folder (searched to the bottom)
//
// naga, which validates every shader when it is generated, accepts barriers in non-uniform control flow; browsers do
// not. So every shader is compiled as a module here, and every compute entry point is made into a pipeline on a device
// with WebGPU's default limits (8 storage buffers a stage, 16 KiB of workgroup memory, 256 invocations).
//
// The device is Dawn's null back end: it needs no driver, and all that Tint and Dawn have to say against a shader they say
// before a back end sees it. Machine code for hundreds of shaders would take a software driver minutes, and the tests run
// them all anyway.
//
// Exit code: 0 every shader accepted; 1 a shader was refused, or drew a warning; 2 the check itself could not run
// (nothing to check, unreadable path, Dawn not installed).

import { createHash } from 'node:crypto';
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';

const ACCEPTED = 0;
const REFUSED = 1;
const CANNOT_RUN = 2;

/** Features a shader variant may ask for. */
const FEATURES = ['shader-f16', 'subgroups'];

/** Dawn's objects: the addon crashes when the collector takes the instance before its devices are done. */
const keepAlive = [];

class CannotRun extends Error {}

/** All .wgsl files at or below the paths, sorted; a path that holds none is an error, since it would check nothing. */
function collect(paths) {
  const files = [];
  for (const path of paths) {
    let found;
    try {
      found = statSync(path).isDirectory()
        ? readdirSync(path, { recursive: true }).filter((name) => name.endsWith('.wgsl')).map((name) => join(path, name))
        : [path];
    } catch (error) {
      throw new CannotRun(`${path}: ${error.message}`);
    }
    if (found.length === 0) throw new CannotRun(`${path}: no .wgsl file in this folder`);
    files.push(...found);
  }
  return files.sort();
}

/** Bundles leave out what naga does not take and browsers want; the runtime puts it in front, and so does this. */
function prelude(source) {
  return source.includes('subgroup') && !source.includes('enable subgroups') ? `enable subgroups;\n${source}` : source;
}

/** One entry per distinct source: bundles share most of their shaders. */
function distinct(files) {
  const bySource = new Map();
  for (const file of files) {
    const source = prelude(readFileSync(file, 'utf8'));
    const hash = createHash('sha256').update(source).digest('hex');
    if (!bySource.has(hash)) bySource.set(hash, { file: relative(process.cwd(), file) || file, source });
  }
  return [...bySource.values()];
}

/** Names of the compute entry points, read from the source without its comments. */
function entryPoints(source) {
  const code = source.replace(/\/\/[^\n]*/g, '').replace(/\/\*[\s\S]*?\*\//g, '');
  return [...code.matchAll(/@compute\b[^;{}]*?\bfn\s+([\p{XID_Start}_]\p{XID_Continue}*)/gu)].map((match) => match[1]);
}

/** What Tint and Dawn say against one shader, as `file:line:column: kind: text` lines. */
async function complaints(device, { file, source }) {
  device.pushErrorScope('validation');
  const module = device.createShaderModule({ code: source });
  const { messages } = await module.getCompilationInfo();
  await device.popErrorScope();

  const said = messages
    .filter(({ type }) => type === 'error' || type === 'warning')
    .map(({ type, lineNum, linePos, message }) => `${file}:${lineNum}:${linePos}: ${type}: ${message}`);
  if (messages.some(({ type }) => type === 'error')) return said;

  const entries = entryPoints(source);
  if (entries.length === 0) said.push(`${file}:1:1: error: no compute entry point`);
  for (const entryPoint of entries) {
    try {
      await device.createComputePipelineAsync({ layout: 'auto', compute: { module, entryPoint } });
    } catch (error) {
      const reason = error.message.split('\n', 1)[0].replace(/ This adapter supports a higher.*/, '');
      said.push(`${file}:1:1: error: pipeline for '${entryPoint}': ${reason}`);
    }
  }
  return said;
}

async function openDevice() {
  const { create, globals } = await import('webgpu').catch((error) => {
    throw new CannotRun(`npm package 'webgpu' does not load (${error.message}); run \`cargo xtask setup\``);
  });
  Object.assign(globalThis, globals);
  const gpu = create(['backend=null']);
  const adapter = await gpu.requestAdapter();
  if (!adapter) throw new CannotRun("Dawn has no null back end; is another version of npm's `webgpu` installed?");
  const device = await adapter.requestDevice({ requiredFeatures: FEATURES });
  keepAlive.push(gpu, adapter, device);
  return device;
}

async function main(paths) {
  if (paths.length === 0) throw new CannotRun('usage: node check.mjs PATH... (.wgsl files or folders)');
  const files = collect(paths);
  const shaders = distinct(files);
  const device = await openDevice();

  let refused = 0;
  for (const shader of shaders) {
    const said = await complaints(device, shader);
    if (said.length > 0) refused += 1;
    for (const line of said) console.log(line);
  }
  device.destroy();
  console.log(
    `Tint: ${shaders.length - refused} shaders accepted, ${refused} refused ` +
      `(${files.length} files, ${shaders.length} distinct)`,
  );
  return refused === 0 ? ACCEPTED : REFUSED;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  console.error(error instanceof CannotRun ? `tint check: ${error.message}` : error);
  process.exitCode = CANNOT_RUN;
}
