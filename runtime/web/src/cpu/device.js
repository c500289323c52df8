/**
 * A device without a GPU: the bundle's own kernels, which the compiler has made into WebAssembly (`cpu/kernels.wasm`,
 * see docs/bundle.md), over one WebAssembly memory. One thread; no COOP/COEP, no code but the module's, so that
 * `script-src 'self' 'wasm-unsafe-eval'` is enough. It is the `CpuDevice` of `../wasm.d.ts`.
 *
 * Memory from address 0 on is the kernels' own (workgroup memory, and what invocations remember at barriers); buffers lie
 * behind it. A kernel can reach nothing but this memory, and the memory has nothing but this bundle's buffers.
 */

/** Bytes of a page of WebAssembly memory. */
const PAGE = 65536;
/** Buffers start on multiples of this, as bindings on a GPU. */
const ALIGNMENT = 256;
/** What 32-bit addresses reach, less a page, so that no end is 2^32. */
const MAX_BYTES = 65535 * PAGE;

/**
 * Whether this engine runs the kernels: WebAssembly with SIMD and bulk memory. Asks by compiling the smallest module that
 * has both.
 * @returns {boolean}
 */
export function canRunOnCpu() {
  // (module (memory 1) (func i32.const 0 i32.const 0 i32.const 0 memory.fill i32.const 0 i8x16.splat drop))
  const probe = new Uint8Array([
    0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 5, 3, 1, 0, 1, 10, 18, 1, 16, 0, 65, 0, 65, 0, 65, 0, 252,
    11, 0, 65, 0, 253, 15, 26, 11,
  ]);
  return typeof WebAssembly === 'object' && WebAssembly.validate(probe);
}

/** @typedef {import('../wasm.js').CpuDevice} Device */

/** @implements {Device} */
export class CpuDevice {
  /** @readonly */
  kind = /** @type {const} */ ('cpu');
  /** @readonly */
  name = 'CPU (WebAssembly)';
  /** @type {WebAssembly.Memory} */
  #memory;
  /** @type {Uint8Array} */
  #bytes;
  /** By index of the pipeline. @type {Function[]} */
  #kernels = [];
  /** Addresses of buffers, and their sizes as given. @type {Map<number, number>} */
  #buffers = new Map();
  /** Free room between buffers: `[address, bytes]`, sorted, never adjacent. @type {[number, number][]} */
  #free = [];
  /** Where memory is not used yet. */
  #end;
  /** The arguments of a kernel; kept, so that a dispatch allocates nothing. @type {number[]} */
  #arguments = [];

  /**
   * @param {BufferSource | WebAssembly.Module} kernels the bundle's `cpu/kernels.wasm`
   * @param {{maxBytes?: number}} [options] most bytes of memory, kernels' and buffers' together; as much as can be had by default
   * @returns {Promise<CpuDevice>} rejects with `WebAssembly.CompileError` where there is no SIMD
   */
  static async create(kernels, { maxBytes = MAX_BYTES } = {}) {
    const module = kernels instanceof WebAssembly.Module ? kernels : await WebAssembly.compile(/** @type {any} */ (kernels));
    const memory = new WebAssembly.Memory({ initial: 1, maximum: Math.floor(Math.min(maxBytes, MAX_BYTES) / PAGE) });
    const instance = await WebAssembly.instantiate(module, { env: { memory } });
    return new CpuDevice(memory, instance.exports, maxBytes);
  }

  /**
   * @param {WebAssembly.Memory} memory
   * @param {WebAssembly.Exports} exports
   * @param {number} maxBytes
   */
  constructor(memory, exports, maxBytes) {
    this.#memory = memory;
    this.#bytes = new Uint8Array(memory.buffer);
    for (let kernel; typeof (kernel = exports[`k${this.#kernels.length}`]) === 'function'; ) this.#kernels.push(kernel);
    const scratch = /** @type {WebAssembly.Global} */ (exports.scratch).value;
    this.#end = align(scratch);
    this.maxBytes = Math.max(0, Math.min(maxBytes, MAX_BYTES) - this.#end);
    if (!this.#reach(this.#end)) throw new RangeError(`no memory for the ${scratch} bytes that kernels need`);
  }

  /**
   * A new buffer of zeros.
   * @param {number} bytes
   * @returns {number} its address, or 0 when memory does not suffice
   */
  createBuffer(bytes) {
    const room = align(Math.max(bytes, 1));
    const at = this.#free.findIndex(([, size]) => size >= room);
    let address;
    if (at >= 0) {
      const free = this.#free[at];
      address = free[0];
      if (free[1] === room) this.#free.splice(at, 1);
      else this.#free[at] = [address + room, free[1] - room];
      this.#bytes.fill(0, address, address + room);
    } else {
      address = this.#end;
      if (!this.#reach(address + room)) return 0;
      this.#end = address + room;
    }
    this.#buffers.set(address, bytes);
    return address;
  }

  /** @param {number} address */
  destroyBuffer(address) {
    const bytes = this.#buffers.get(address);
    if (bytes === undefined) return;
    this.#buffers.delete(address);
    this.#free.push([address, align(Math.max(bytes, 1))]);
    this.#free.sort((a, b) => a[0] - b[0]);
    this.#free = this.#free.reduce((/** @type {[number, number][]} */ merged, [start, size]) => {
      const last = merged.at(-1);
      if (last && last[0] + last[1] === start) last[1] += size;
      else merged.push([start, size]);
      return merged;
    }, []);
  }

  /**
   * @param {number} address
   * @param {Uint8Array} data
   */
  write(address, data) {
    this.#bytes.set(data, address);
  }

  /**
   * @param {number} address
   * @param {number} bytes
   * @returns {Uint8Array} a copy
   */
  read(address, bytes) {
    return this.#bytes.slice(address, address + bytes);
  }

  /**
   * @param {number} from
   * @param {number} to
   * @param {number} bytes
   */
  copy(from, to, bytes) {
    this.#bytes.copyWithin(to, from, from + bytes);
  }

  /**
   * @param {number} address
   * @param {number} bytes
   */
  clear(address, bytes) {
    this.#bytes.fill(0, address, address + bytes);
  }

  /**
   * @param {number} index
   * @returns {boolean}
   */
  hasPipeline(index) {
    return index in this.#kernels;
  }

  /**
   * Runs a pipeline; done when it returns.
   * @param {number} index the pipeline's index in the schedule
   * @param {Uint32Array | number[]} addresses where every binding starts, in order
   * @param {Uint32Array | number[]} lengths their bytes
   * @param {number} x workgroups
   * @param {number} y
   * @param {number} z
   */
  dispatch(index, addresses, lengths, x, y, z) {
    const kernel = this.#kernels[index];
    const args = this.#arguments;
    args.length = 3 + 2 * addresses.length;
    if (kernel?.length !== args.length) {
      throw new RangeError(`pipeline ${index} has no kernel of ${addresses.length} bindings`);
    }
    args[0] = x;
    args[1] = y;
    args[2] = z;
    for (let i = 0; i < addresses.length; i++) {
      args[3 + 2 * i] = addresses[i];
      args[4 + 2 * i] = lengths[i];
    }
    kernel.apply(null, args);
  }

  /** Lets the thread hear its messages, such as a wish to stop. @returns {Promise<void>} */
  idle() {
    return new Promise((resolve) => {
      // A timer would wait for 4 ms.
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => {
        port1.close();
        resolve();
      };
      port2.postMessage(undefined);
    });
  }

  /** Gives the memory back; nothing can be run afterwards. */
  destroy() {
    this.#kernels = [];
    this.#buffers.clear();
    this.#free = [];
    this.#memory = new WebAssembly.Memory({ initial: 0, maximum: 0 });
    this.#bytes = new Uint8Array(0);
  }

  /**
   * Makes memory reach to `end`.
   * @param {number} end
   * @returns {boolean} whether it does
   */
  #reach(end) {
    const missing = end - this.#bytes.byteLength;
    if (missing <= 0) return true;
    try {
      this.#memory.grow(Math.ceil(missing / PAGE));
    } catch {
      return false;
    }
    this.#bytes = new Uint8Array(this.#memory.buffer);
    return true;
  }
}

/** @param {number} bytes */
function align(bytes) {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}
