// qwenc: the bundle at /bundle/, on the GPU or on the CPU.

import { Qwen } from '/package/src/index.js';

/** @param {import('./page.js').Plan} plan @returns {Promise<import('./page.js').Ask>} */
export async function load({ device, messages }) {
  const model = await Qwen.load('/bundle/', { device: device === 'wasm' ? 'cpu' : 'gpu' });
  return async (tokens, onToken) => {
    await model.reset();
    const options = { maxNewTokens: tokens, temperature: 0, ignoreEos: true };
    const onEvent = (/** @type {any} */ { type }) => { if (type === 'token') onToken(); };
    return (await model.caller.call('generate', { messages, images: [], options }, { onEvent })).tokens;
  };
}
