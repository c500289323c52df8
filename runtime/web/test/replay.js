/**
 * A bundle replayed by a few lines of JavaScript, for tests of the CPU device: what the engine does, without the engine.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** @param {string} file @returns {Map<string, {dtype: string, shape: number[], bytes: Uint8Array}>} */
export function readSafetensors(file) {
  const data = readFileSync(file);
  const length = Number(data.readBigUInt64LE(0));
  const header = JSON.parse(data.subarray(8, 8 + length).toString());
  delete header.__metadata__;
  return new Map(Object.entries(header).map(([name, { dtype, shape, data_offsets: [start, end] }]) =>
    [name, { dtype, shape, bytes: new Uint8Array(data.subarray(8 + length + start, 8 + length + end)) }]));
}

/** @param {any} expr @param {Record<string, number>} symbols @returns {number} */
export function evaluate(expr, symbols) {
  if (typeof expr === 'number') return expr;
  if (typeof expr === 'string') return symbols[expr];
  const [[op, args]] = Object.entries(expr);
  /** @type {number[]} */
  const [a, ...rest] = args.map((/** @type {any} */ arg) => evaluate(arg, symbols));
  switch (op) {
    case 'add': return rest.reduce((x, y) => x + y, a);
    case 'mul': return rest.reduce((x, y) => x * y, a);
    case 'min': return Math.min(a, ...rest);
    case 'max': return Math.max(a, ...rest);
    case 'floor_div': return Math.floor(a / rest[0]);
    case 'ceil_div': return Math.ceil(a / rest[0]);
    case 'mod': return a - Math.floor(a / rest[0]) * rest[0];
    default: throw new Error(`no operator ${op}`);
  }
}

export class Replay {
  /** @param {string} folder @param {import('../src/cpu/device.js').CpuDevice} device */
  constructor(folder, device) {
    this.device = device;
    this.schedule = JSON.parse(readFileSync(join(folder, 'schedule.json'), 'utf8'));
    const shards = new Map();
    this.buffers = this.schedule.buffers.map((/** @type {any} */ buffer) => {
      const address = device.createBuffer(buffer.bytes);
      if (!address) throw new Error('out of memory');
      // What nobody has written must not be read.
      if (buffer.kind === 'arena' || buffer.kind === 'output') device.write(address, new Uint8Array(buffer.bytes).fill(0xff));
      for (const part of buffer.parts ?? []) {
        if (!shards.has(part.shard)) shards.set(part.shard, readSafetensors(join(folder, part.shard)));
        device.write(address + part.at, shards.get(part.shard).get(part.tensor).bytes);
      }
      return address;
    });
  }

  /** @param {string} entry @param {string} name @param {ArrayBufferView} data */
  input(entry, name, data) {
    const slot = this.schedule.entries[entry].inputs[name];
    if (slot) this.device.write(this.buffers[slot.buffer], new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }

  /** @param {string} entry @param {string} name @param {number} count @returns {Float32Array} */
  output(entry, name, count) {
    const slot = this.schedule.entries[entry].outputs[name];
    return new Float32Array(this.device.read(this.buffers[slot.buffer], 4 * count).buffer);
  }

  /** @param {string} entry @param {Record<string, number>} symbols @param {(label: string, run: () => void) => void} [around] */
  run(entry, symbols, around = (_, run) => run()) {
    const step = this.schedule.buffers.findIndex((/** @type {any} */ buffer) => buffer.kind === 'step');
    const words = new Uint32Array(16);
    this.schedule.symbols.forEach((/** @type {any} */ symbol, /** @type {number} */ i) => { words[i] = symbols[symbol.name] ?? 0; });
    this.device.write(this.buffers[step], new Uint8Array(words.buffer));
    for (const command of this.schedule.entries[entry].commands) {
      const value = (/** @type {any} */ expr) => evaluate(expr, symbols);
      const [[kind, facts]] = Object.entries(command);
      switch (kind) {
        case 'dispatch': {
          const addresses = facts.bindings.map((/** @type {any} */ b) => this.buffers[b.buffer] + b.offset);
          const lengths = facts.bindings.map((/** @type {any} */ b) => b.bytes);
          const [x, y, z] = facts.workgroups.map(value);
          around(facts.label, () => this.device.dispatch(facts.pipeline, addresses, lengths, x, y, z));
          break;
        }
        case 'copy':
          this.device.copy(this.buffers[facts.src] + value(facts.src_offset),
            this.buffers[facts.dst] + value(facts.dst_offset), value(facts.bytes));
          break;
        case 'clear':
          this.device.clear(this.buffers[facts.buffer] + value(facts.offset), value(facts.bytes));
          break;
        default: throw new Error(`no command ${kind}`);
      }
    }
  }
}
