// The options of an answer: `GenerateOptions` of wasm.d.ts.

import { QwenError } from '../errors.js';
import { isCount } from './files.js';
import { parse } from './json.js';

/** What parameters of sampling are called. */
const SAMPLING = ['temperature', 'topK', 'topP', 'minP', 'repetitionPenalty', 'presencePenalty', 'seed'];
const COUNTS = ['maxNewTokens', 'topK', 'minBatch', 'maxBatch'];
const OTHERS = ['stop', 'ignoreEos', 'thinking', 'tools', 'templateVariables', 'raw'];
/** Most stop strings, and their longest. */
const MAX_STOPS = 64, MAX_STOP = 4096;
const MAX_BATCH = 16;

/** @param {string} message @returns {never} */
const refuse = (message) => {
  throw new QwenError('invalid-request', `the options: ${message}`);
};

/**
 * Reads options, and puts them over the model's own.
 * @param {string} json @param {import('./files.js').ChatFiles} files
 */
export function readOptions(json, files) {
  /** @type {any} */
  let given, marked;
  try {
    [given, marked] = [JSON.parse(json), parse(json)];
  } catch (error) {
    refuse(/** @type {Error} */ (error).message);
  }
  if (typeof given !== 'object' || given === null || Array.isArray(given)) refuse('are no object');
  for (const [name, value] of Object.entries(given)) {
    if (![...SAMPLING, ...COUNTS, ...OTHERS].includes(name)) refuse(`there is no ${name}`);
    if (value === null) delete given[name];
    else if (COUNTS.includes(name) ? !isCount(value) : SAMPLING.includes(name) && typeof value !== 'number') refuse(`${name} must be a number`);
  }
  const { stop = [], ignoreEos = false, thinking = false, tools = [], templateVariables, raw, seed = Math.floor(Math.random() * 2 ** 52) } = given;
  if (!Array.isArray(stop) || stop.length > MAX_STOPS || !stop.every((text) => typeof text === 'string' && text !== '' && text.length <= MAX_STOP)) {
    refuse(`at most ${MAX_STOPS} stop strings, each of 1 to ${MAX_STOP} characters`);
  }
  if (!Number.isSafeInteger(seed) || seed < 0) refuse('seed must be a whole number from 0 to 2^53 - 1');
  if (!Array.isArray(tools) || (raw !== undefined && typeof raw !== 'string') || [ignoreEos, thinking].some((is) => typeof is !== 'boolean')) {
    refuse('tools, raw, ignoreEos or thinking has a wrong type');
  }
  const own = files.sampling;
  // Who narrows the choice, or gives a seed, wants one: a model that is greedy by itself then has temperature 1.
  const chooses = ['topK', 'topP', 'minP', 'seed'].some((name) => given[name] !== undefined);
  const temperature = chooses && own.temperature === 0 ? 1 : own.temperature;
  const chosen = Object.fromEntries(Object.entries({ ...own, temperature }).map(([name, value]) => [name, given[name] ?? value]));
  const variables = typeof templateVariables === 'object' && !Array.isArray(templateVariables) ? marked.stemplateVariables : undefined;
  return {
    prompt: { raw, thinking, tools: tools.length ? marked.stools : undefined, variables },
    stop,
    /** For the engine. @type {import('../core.js').Request} */
    request: /** @type {any} */ ({
      ...chosen,
      seed,
      maxNewTokens: given.maxNewTokens ?? files.maxNewTokens ?? Infinity,
      stopTokens: ignoreEos ? [] : files.stopTokens,
      minBatch: given.minBatch ?? 1,
      maxBatch: given.maxBatch ?? MAX_BATCH,
    }),
  };
}
