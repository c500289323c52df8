// The type checker over everything. The engine's JavaScript is generated, and may not be there: its types are those of `core.d.ts`.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** @param {string[]} args */
export function tsc(...args) {
  mkdirSync(join(root, 'dist'), { recursive: true });
  const [file, types] = [join(root, 'dist/qwenc.d.ts'), "export * from '../src/core.js';\nexport { default } from '../src/core.js';\n"];
  // Untouched when it is there: qwenc is compiled again when anything in the folder is newer.
  if (!existsSync(file) || readFileSync(file, 'utf8') !== types) writeFileSync(file, types);
  execFileSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), ...args], { stdio: 'inherit', cwd: root });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) tsc('-p', '.');
