// What a package has that the repository has elsewhere, or not at all: types, made of the comments, and the licences.

import { copyFileSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { tsc } from './check.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
for (const file of ['dist/qwenc.js', 'dist/qwenc_bg.wasm']) {
  if (!existsSync(join(root, file))) throw new Error(`${file} is missing: build it with \`cargo xtask web\``);
}
rmSync(join(root, 'types'), { recursive: true, force: true });
tsc('-p', 'tsconfig.types.json');
for (const face of ['wasm', 'core']) copyFileSync(join(root, `src/${face}.d.ts`), join(root, `types/${face}.d.ts`));
// Who has no types of WebGPU needs none: the names are declared, and merge with the real ones where there are any.
const NAMES = ['GPU', 'GPUAdapter', 'GPUAdapterInfo', 'GPUDevice', 'GPUDeviceLostInfo'];
writeFileSync(join(root, 'types/webgpu.d.ts'), `declare global {\n${NAMES.map((name) => `  interface ${name} {}\n`).join('')}}\nexport {};\n`);
for (const entry of ['index', 'language-model', 'ai-sdk']) {
  const file = join(root, `types/${entry}.d.ts`);
  writeFileSync(file, `/// <reference path="./webgpu.d.ts" />\n${readFileSync(file, 'utf8')}`);
}
for (const licence of ['LICENSE-MIT', 'LICENSE-APACHE']) copyFileSync(join(root, '../..', licence), join(root, licence));
