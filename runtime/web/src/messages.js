// What a caller says, as the engine reads it: messages with places for pictures, and the pictures beside them in order.

import { QwenError } from './errors.js';

/**
 * Anything that a picture can be given as. An address is `data:`, `blob:`, or is fetched.
 * @typedef {Blob | ImageBitmap | ImageData | string | URL
 *   | {data: Uint8Array | Uint8ClampedArray, width: number, height: number}
 *   | HTMLImageElement | HTMLCanvasElement | OffscreenCanvas | HTMLVideoElement} ImageSource
 */

/**
 * A part of a message. `image` without a picture takes the next one of `images`.
 * @typedef {{type: 'text', text: string} | {type: 'image', image?: ImageSource}
 *   | {type: 'image_url', image_url: string | {url: string | Blob | ImageBitmap | ImageData}}} Part
 */

/**
 * A message in the shape of OpenAI's API.
 * @typedef {object} Message
 * @property {'system' | 'developer' | 'user' | 'assistant' | 'tool'} role
 * @property {string | Part[] | null} [content]
 * @property {string} [reasoning_content]
 * @property {{id?: string, type?: string, function: {name: string, arguments: string | object}}[]} [tool_calls]
 * @property {string} [tool_call_id]
 * @property {string} [name]
 */

/** Most messages, pictures and letters of one request: a bound on what a mistake costs. */
const MAX_MESSAGES = 10_000;
const MAX_IMAGES = 64;
const ROLES = new Set(['system', 'user', 'assistant', 'tool']);

/**
 * Separates pictures from messages. Pictures of `images` go where parts of type `image` have none of their own, else to
 * the beginning of the last message of the user.
 * @param {Message[]} messages
 * @param {ImageSource[]} [images]
 * @returns {{messages: object[], images: ImageSource[]}}
 */
export function separate(messages, images = []) {
  if (!Array.isArray(messages) || messages.length === 0) throw invalid('`messages` must be a list of at least one message');
  if (messages.length > MAX_MESSAGES) throw invalid(`there are more than ${MAX_MESSAGES} messages`);
  if (!Array.isArray(images)) throw invalid('`images` must be a list');
  const given = [...images];
  /** @type {ImageSource[]} */
  const found = [];
  const out = messages.map((message, index) => {
    const where = `messages[${index}]`;
    if (typeof message !== 'object' || message === null) throw invalid(`${where} is no message`);
    const role = /** @type {string} */ (message.role) === 'developer' ? 'system' : message.role;
    if (!ROLES.has(role)) throw invalid(`${where}.role is ${JSON.stringify(message.role)}; it must be one of ${[...ROLES].join(', ')}`);
    const { content } = message;
    const parts = Array.isArray(content)
      ? content.map((part, at) => readPart(part, `${where}.content[${at}]`, given, found))
      : content;
    if (parts !== undefined && parts !== null && typeof parts !== 'string' && !Array.isArray(parts)) {
      throw invalid(`${where}.content must be text or a list of parts`);
    }
    return { ...message, role, ...(parts === undefined ? {} : { content: parts }) };
  });
  if (given.length > 0) attach(out, given, found);
  if (found.length > MAX_IMAGES) throw invalid(`there are more than ${MAX_IMAGES} pictures`);
  return { messages: out, images: found };
}

/** @param {any} part @param {string} where @param {ImageSource[]} given @param {ImageSource[]} found */
function readPart(part, where, given, found) {
  switch (part?.type) {
    case 'text':
      if (typeof part.text !== 'string') throw invalid(`${where}.text must be text`);
      return { type: 'text', text: part.text };
    case 'image': {
      const image = part.image ?? given.shift();
      if (image === undefined) throw invalid(`${where} has no picture, and \`images\` has no further one`);
      found.push(image);
      return { type: 'image' };
    }
    case 'image_url': {
      const image = part.image_url?.url ?? part.image_url;
      if (image === undefined) throw invalid(`${where}.image_url has no url`);
      found.push(image);
      return { type: 'image' };
    }
    default:
      throw invalid(`${where}.type is ${JSON.stringify(part?.type)}; it must be text, image or image_url`);
  }
}

/** @param {any[]} messages @param {ImageSource[]} given @param {ImageSource[]} found */
function attach(messages, given, found) {
  if (found.length > 0) throw invalid(`\`images\` has ${given.length} more than there are parts of type image`);
  const last = messages.findLast((message) => message.role === 'user');
  if (!last) throw invalid('`images` need a message of the user');
  const parts = typeof last.content === 'string' ? [{ type: 'text', text: last.content }] : (last.content ?? []);
  last.content = [...given.map(() => ({ type: 'image' })), ...parts];
  found.push(...given);
}

/** @param {string} message */
const invalid = (message) => new QwenError('invalid-request', message);

/**
 * Options of an answer; what is not given is as the model's `generation_config.json` has it.
 * @typedef {object} Sampling
 * @property {number} [maxTokens] most tokens; without it until the model ends, or the context is full
 * @property {number} [temperature] 0 takes the likeliest token
 * @property {number} [topK] choose among the k likeliest; 0 for all
 * @property {number} [topP] choose among the likeliest that have this probability together
 * @property {number} [minP] choose among those of at least this fraction of the largest probability
 * @property {number} [repetitionPenalty]
 * @property {number} [presencePenalty]
 * @property {number | bigint} [seed] the same seed gives the same answer; without it another one every time
 * @property {string | string[]} [stop] texts that end an answer
 * @property {boolean} [thinking] let the model reason before it answers; off without it
 * @property {object[]} [tools] functions in OpenAI's shape
 */

/** What a seed may be: whole, and exact as a number. */
const MAX_SEED = Number.MAX_SAFE_INTEGER;

/**
 * Checks options, and chooses a seed where none is given, so that an answer can be generated again.
 * @param {Sampling} options
 */
export function readSampling(options) {
  const { stop, seed, thinking, tools } = options;
  /** @type {Record<string, unknown>} */
  const out = {};
  for (const name of /** @type {const} */ (['maxTokens', 'temperature', 'topK', 'topP', 'minP', 'repetitionPenalty', 'presencePenalty'])) {
    const value = options[name];
    if (value === undefined || value === null) continue;
    const whole = name === 'maxTokens' || name === 'topK';
    if (typeof value !== 'number' || !Number.isFinite(value) || (whole && (!Number.isInteger(value) || value < 0))) {
      throw invalid(`${name} is ${String(value)}; it must be ${whole ? 'a whole number, 0 or more' : 'a number'}`);
    }
    if (name === 'maxTokens' && value === 0) throw invalid('maxTokens is 0; it must be at least 1');
    // The engine has one more name for it.
    out[name === 'maxTokens' ? 'maxNewTokens' : name] = value;
  }
  const stops = stop === undefined || stop === null ? [] : Array.isArray(stop) ? stop : [stop];
  if (stops.length > 64 || stops.some((text) => typeof text !== 'string' || text === '')) {
    throw invalid('stop must be a text, or a list of at most 64 texts, none of them empty');
  }
  const number = seed === undefined || seed === null ? randomSeed() : Number(seed);
  if (!Number.isInteger(number) || number < 0 || number > MAX_SEED) {
    throw invalid(`seed is ${String(seed)}; it must be a whole number from 0 to ${MAX_SEED}`);
  }
  if (tools !== undefined && !Array.isArray(tools)) throw invalid('tools must be a list');
  return { ...out, stop: stops, seed: number, thinking: thinking === true, ...(tools?.length ? { tools } : {}) };
}

function randomSeed() {
  const [high, low] = crypto.getRandomValues(new Uint32Array(2));
  return (high & 0x1fffff) * 2 ** 32 + low;
}
