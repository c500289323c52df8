// The checker's own test: a check that accepted everything would be worth nothing. Run by `cargo xtask tint`.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));

/** Runs the checker; a status of null means that it hung or crashed, and no test expects that. */
function check(paths) {
  const options = { cwd: here, encoding: 'utf8', timeout: 60_000 };
  return spawnSync(process.execPath, ['check.mjs', ...paths], options);
}

/** What the checker must say about each shader of fixtures/bad. */
const REFUSALS = {
  'barrier_after_return.wgsl': /:12:5: error: 'workgroupBarrier' must only be called from uniform control flow/,
  'barrier_on_stored_data.wgsl': /:11:9: error: 'workgroupBarrier' must only be called from uniform control flow/,
  'nine_storage_buffers.wgsl': /error: pipeline for 'main': The number of storage buffers \(9\)/,
  'unknown_name.wgsl': /:6:15: error: unresolved value 'y'/,
  'workgroup_memory.wgsl': /error: pipeline for 'main': The total use of workgroup storage/,
};

test('a shader with uniform barriers is accepted', () => {
  const { status, stdout, stderr } = check(['fixtures/good']);
  assert.equal(status, 0, stdout + stderr);
  assert.match(stdout, /1 shaders accepted, 0 refused/);
});

test('every bad fixture has an expectation', () => {
  assert.deepEqual(readdirSync(join(here, 'fixtures/bad')).sort(), Object.keys(REFUSALS).sort());
});

for (const [file, expected] of Object.entries(REFUSALS)) {
  test(`${file} is refused`, () => {
    const { status, stdout, stderr } = check([`fixtures/bad/${file}`]);
    assert.equal(status, 1, stdout + stderr);
    assert.match(stdout, expected);
  });
}

test('one bad shader among good ones fails the whole run', () => {
  const { status, stdout } = check(['fixtures']);
  assert.equal(status, 1);
  assert.match(stdout, /1 shaders accepted, 5 refused \(6 files, 6 distinct\)/);
});

test('nothing to check is an error, not a success', () => {
  assert.equal(check([]).status, 2);
  assert.equal(check(['fixtures/missing.wgsl']).status, 2);
  const empty = mkdtempSync(join(tmpdir(), 'qwenc-tint-'));
  try {
    assert.equal(check([empty]).status, 2);
  } finally {
    rmSync(empty, { recursive: true });
  }
});
