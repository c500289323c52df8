// onnxruntime-web on the model's own files: caches and states of the decoder go from its outputs to its inputs, on the GPU they stay there.

/** The decoder's caches: nano has an attention in every fourth of its layers. */
const STATES = Array.from({ length: 8 }, (_, layer) => (layer % 4 === 3
  ? [`past_key_values.${layer}.key`, `past_key_values.${layer}.value`] : [`past_conv.${layer}`, `past_recurrent.${layer}`])).flat();
const outputOf = (/** @type {string} */ name) => name.replace('past_key_values', 'present').replace('past_', 'present_');

/** @param {import('./page.js').Plan} plan @returns {Promise<import('./page.js').Ask>} */
export async function load({ device, ids }) {
  const ort = await import(device === 'wasm' ? 'onnxruntime-web/wasm' : 'onnxruntime-web');
  ort.env.wasm.wasmPaths = '/peers/node_modules/onnxruntime-web/dist/';
  const open = (/** @type {string} */ name, /** @type {object} */ options) => ort.InferenceSession.create(`/model/onnx/${name}.onnx`, {
    externalData: [{ path: `${name}.onnx_data`, data: `/model/onnx/${name}.onnx_data` }], ...options,
  });
  const embedder = await open('embed_tokens', { executionProviders: ['wasm'] });
  const decoder = await open('decoder_model_merged', device === 'wasm'
    ? { executionProviders: ['wasm'] }
    : { executionProviders: ['webgpu'], preferredOutputLocation: Object.fromEntries(STATES.map((name) => [outputOf(name), 'gpu-buffer'])) });
  return answerer(ort, embedder, decoder, ids);
}

/**
 * Greedy decoding after a prompt, with states that go from outputs to inputs.
 * @param {any} ort the library @param {any} embedder a session @param {any} decoder a session @param {number[]} ids the prompt
 * @returns {import('./page.js').Ask}
 */
export function answerer(ort, embedder, decoder, ids) {
  const inputs = decoder.inputMetadata.filter((/** @type {any} */ { name }) => name.startsWith('past'));

  /** @param {any} logits @returns {number} */
  const best = ({ data, dims }) => {
    const row = data.subarray(data.length - dims[dims.length - 1]);
    return row.reduce((/** @type {number} */ at, /** @type {number} */ value, /** @type {number} */ index) => (value > row[at] ? index : at), 0);
  };
  const int64 = (/** @type {number[]} */ values, /** @type {number[]} */ dims) => new ort.Tensor('int64', BigInt64Array.from(values, BigInt), dims);

  return async (tokens, onToken) => {
    /** @type {Record<string, any>} */ let states = {};
    for (const { name, shape } of inputs) {
      // The batch is one, what is known so far is nothing.
      const dims = shape.map((/** @type {any} */ dim, /** @type {number} */ at) => (typeof dim === 'number' ? dim : at === 0 ? 1 : 0));
      states[name] = new ort.Tensor('float32', new Float32Array(dims.reduce((/** @type {number} */ a, /** @type {number} */ b) => a * b, 1)), dims);
    }
    /** @type {number[]} */ const found = [];
    let [feed, past] = [ids, 0];
    while (found.length < tokens) {
      const count = feed.length;
      const { inputs_embeds } = await embedder.run({ input_ids: int64(feed, [1, count]) });
      const places = Array.from({ length: count }, (_, at) => past + at);
      const out = await decoder.run({
        inputs_embeds, ...states,
        attention_mask: int64(Array(past + count).fill(1), [1, past + count]),
        position_ids: int64([...places, ...places, ...places], [3, 1, count]),
      });
      const next = best(out.logits);
      for (const { name } of inputs) {
        states[name].dispose?.();
        states[name] = out[outputOf(name)];
      }
      found.push(next);
      onToken();
      past += count;
      feed = [next];
    }
    for (const state of Object.values(states)) state.dispose?.();
    return found;
  };
}
