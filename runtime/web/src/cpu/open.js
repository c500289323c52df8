import { CpuDevice, canRunOnCpu } from './device.js';

/** Where the compiler puts the kernels. */
const KERNELS = 'cpu/kernels.wasm';

/**
 * A device that runs a bundle's kernels on the CPU; `undefined` where WebAssembly has no SIMD.
 * @type {import('../host.js').OpenCpu | undefined}
 */
export const openCpu = canRunOnCpu() ? async (_base, _files, read) => CpuDevice.create(await read(KERNELS)) : undefined;
