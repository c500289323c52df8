// transformers.js on the model's folder, as from a hub: `Qwen3_5ForConditionalGeneration`, text only.

import { AutoTokenizer, Qwen3_5ForConditionalGeneration, env } from '@huggingface/transformers';

/** @param {import('./page.js').Plan} plan @returns {Promise<import('./page.js').Ask>} */
export async function load({ device, messages, ids }) {
  env.allowLocalModels = false;
  env.remoteHost = `${location.origin}/`;
  env.remotePathTemplate = '{model}/';
  /** @type {any} */ (env.backends.onnx).wasm.wasmPaths = '/peers/node_modules/@huggingface/transformers/node_modules/onnxruntime-web/dist/';
  const tokenizer = await AutoTokenizer.from_pretrained('model');
  const model = await Qwen3_5ForConditionalGeneration.from_pretrained('model', /** @type {any} */ ({ device, dtype: 'fp32', use_external_data_format: true }));
  // Newer exports have it in a file of its own, which this version does not look for.
  const template = await (await fetch('/model/chat_template.jinja')).text();
  const inputs = /** @type {any} */ (tokenizer.apply_chat_template(/** @type {any} */ (messages), /** @type {any} */ ({
    chat_template: template, add_generation_prompt: true, return_dict: true, enable_thinking: false,
  })));
  const prompt = Array.from(inputs.input_ids.data, Number);
  if (String(prompt) !== String(ids)) throw new Error(`the prompt is ${prompt.length} other tokens`);
  return async (tokens, onToken) => {
    let prompted = false;
    const streamer = {
      put: () => {
        if (prompted) onToken();
        prompted = true;
      },
      end: () => {},
    };
    const output = /** @type {any} */ (await model.generate(/** @type {any} */ ({
      ...inputs, max_new_tokens: tokens, do_sample: false, streamer, eos_token_id: 1 << 30,
    })));
    return Array.from(output.data, Number).slice(ids.length);
  };
}
