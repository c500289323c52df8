// The GPU: asking for one that has what a bundle needs, and trying whether it computes right.

import { QwenError, asQwenError } from './errors.js';

/** @typedef {import('./wasm.js').DeviceRequirements} DeviceRequirements */

/**
 * A device that meets the requirements.
 * @param {GPU | undefined} gpu
 * @param {Pick<DeviceRequirements, 'limits' | 'features' | 'optionalFeatures'>} requirements
 * @returns {Promise<GPUDevice>}
 */
export async function openDevice(gpu, requirements) {
  const adapter = await openAdapter(gpu);
  checkLimits(adapter, requirements.limits);
  const missing = requirements.features.filter((feature) => !adapter.features.has(feature));
  if (missing.length > 0) throw new QwenError('missing-feature', `the GPU has no ${missing.join(', ')}`);
  const wanted = [...requirements.features, ...requirements.optionalFeatures.filter((feature) => adapter.features.has(feature))];
  try {
    return await adapter.requestDevice({
      label: 'qwenc',
      requiredLimits: /** @type {any} */ (requirements.limits),
      requiredFeatures: /** @type {any} */ (wanted),
    });
  } catch (error) {
    throw new QwenError('no-webgpu', `the GPU gives no device: ${/** @type {Error} */ (error).message}`, { cause: error });
  }
}

/** @param {GPU | undefined} gpu @returns {Promise<GPUAdapter>} */
export async function openAdapter(gpu) {
  if (!gpu) {
    const insecure = globalThis.isSecureContext === false;
    throw new QwenError('no-webgpu', insecure ? 'WebGPU needs https, or localhost' : 'this browser has no WebGPU',
      insecure ? { remedy: 'Open the page over https, or from localhost.' } : {});
  }
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' }).catch(() => null)
    ?? await gpu.requestAdapter().catch(() => null);
  if (!adapter) {
    throw new QwenError('no-webgpu', 'this browser has WebGPU, but no GPU for it', {
      remedy: 'Turn hardware acceleration on in the browser\'s settings and update the GPU driver. On Linux, Chrome may need ' +
        'the flag --enable-unsafe-webgpu, or --enable-features=Vulkan.',
    });
  }
  return adapter;
}

/** @param {GPUAdapter} adapter @param {Record<string, number>} limits */
function checkLimits(adapter, limits) {
  for (const [name, needed] of Object.entries(limits)) {
    const has = /** @type {any} */ (adapter.limits)[name];
    if (!(has >= needed)) {
      throw new QwenError('missing-limit', `the model needs ${name} = ${needed}, and the GPU has ${has ?? 'none'}`);
    }
  }
}

/** What an adapter is called. @param {{info?: GPUAdapterInfo}} adapter */
export function adapterName({ info }) {
  if (!info) return 'GPU';
  return info.description || [info.vendor, info.architecture, info.device].filter(Boolean).join(' ') || 'GPU';
}

/** Flags of buffers: WebGPU fixes their values, and outside of browsers there may be no global of the name. */
const USAGE = { MAP_READ: 1, COPY_SRC: 4, COPY_DST: 8, STORAGE: 128 };
const LANES = 64;
/** Integers only until the end, all of them exact in f32: every right device gets the same bits. */
const SHADER = `
@group(0) @binding(0) var<storage, read> codes: array<u32>;
@group(0) @binding(1) var<storage, read_write> sums: array<f32>;
var<workgroup> parts: array<f32, ${LANES}>;

@compute @workgroup_size(${LANES})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let word = codes[group.x * ${LANES}u + lane];
  var sum = 0.0;
  for (var at = 0u; at < 8u; at++) {
    sum = fma(f32((word >> (at * 4u)) & 15u) - 8.0, f32(at + 1u), sum);
  }
  parts[lane] = sum;
  workgroupBarrier();
  for (var half = ${LANES / 2}u; half > 0u; half /= 2u) {
    if (lane < half) { parts[lane] += parts[lane + half]; }
    workgroupBarrier();
  }
  if (lane == 0u) { sums[group.x] = parts[0]; }
}`;

/**
 * Runs a kernel of the kind that models are made of (codes of 4 bits, shared memory, barriers), and compares.
 * @param {GPUDevice} device
 * @throws {QwenError} `wrong-result`
 */
export async function checkDevice(device) {
  const groups = 32;
  const codes = Uint32Array.from({ length: groups * LANES }, (_, at) => Math.imul(at + 1, 0x9e3779b1) >>> 0);
  const [input, output, back] = [
    device.createBuffer({ size: codes.byteLength, usage: USAGE.STORAGE | USAGE.COPY_DST }),
    device.createBuffer({ size: groups * 4, usage: USAGE.STORAGE | USAGE.COPY_SRC }),
    device.createBuffer({ size: groups * 4, usage: USAGE.MAP_READ | USAGE.COPY_DST }),
  ];
  try {
    device.queue.writeBuffer(input, 0, codes);
    const module = device.createShaderModule({ code: SHADER });
    const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute: { module, entryPoint: 'main' } });
    const entries = [input, output].map((buffer, binding) => ({ binding, resource: { buffer } }));
    const group = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(groups);
    pass.end();
    encoder.copyBufferToBuffer(output, 0, back, 0, groups * 4);
    device.queue.submit([encoder.finish()]);
    await back.mapAsync(1);
    const sums = new Float32Array(back.getMappedRange().slice(0));
    for (let at = 0; at < groups; at++) {
      const expected = sumOf(codes.subarray(at * LANES, (at + 1) * LANES));
      if (sums[at] !== expected) throw new QwenError('wrong-result', `the GPU computed ${sums[at]} where ${expected} is right`);
    }
  } catch (error) {
    throw asQwenError(error, 'wrong-result');
  } finally {
    for (const buffer of [input, output, back]) buffer.destroy();
  }
}

/** @param {Uint32Array} words */
function sumOf(words) {
  let sum = 0;
  for (const word of words) for (let at = 0; at < 8; at++) sum += (((word >>> (at * 4)) & 15) - 8) * (at + 1);
  return sum;
}
