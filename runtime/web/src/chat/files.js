// The files of a bundle that turn messages into tokens and back, and say how to choose tokens. They are checked by their hashes, and
// untrusted all the same.

import { QwenError } from '../errors.js';
import { Template } from '../template/template.js';
import { Tokenizer } from '../tokenizer/tokenizer.js';

const TABLE = 'model/tokenizer.bin', TEMPLATE = 'model/chat_template.jinja';
const GENERATION = 'model/generation_config.json', SETTINGS = 'model/tokenizer_config.json';
/** Special tokens that templates may name. */
const NAMED = ['bos_token', 'eos_token', 'unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token'];

/** @param {string} message */
const invalid = (message) => new QwenError('invalid-bundle', message);

/** What answers need of a bundle. */
export class ChatFiles {
  /** @param {Map<string, Uint8Array>} files by their paths */
  constructor(files) {
    const table = files.get(TABLE);
    if (!table) throw invalid('the bundle has no tokenizer; put tokenizer.json (or vocab.json and merges.txt) beside the model, and compile it again');
    this.tokenizer = attempt(TABLE, () => new Tokenizer(table));
    const text = (/** @type {string} */ path) => {
      const bytes = files.get(path);
      return bytes && attempt(path, () => new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    };
    const json = (/** @type {string} */ path) => {
      const value = attempt(path, () => JSON.parse(text(path) ?? '{}'));
      if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid(`${path}: is no object`);
      return value;
    };
    const settings = json(SETTINGS);
    const content = (/** @type {any} */ value) => typeof value === 'string' ? value : typeof value?.content === 'string' ? value.content : undefined;
    /** Names of special tokens, each with its text behind it. */
    this.named = NAMED.filter((name) => content(settings[name]) !== undefined).flatMap((name) => [name, content(settings[name])]);

    const config = json(GENERATION);
    const ids = [config.eos_token_id, this.tokenizer.tokenToId(content(settings.eos_token) ?? '')].flat();
    /** Tokens that end an answer. @type {number[]} */
    this.stopTokens = ids.filter(isCount);
    /** Most tokens of an answer. */
    this.maxNewTokens = isCount(config.max_new_tokens) ? config.max_new_tokens : undefined;
    this.sampling = files.has(GENERATION) ? ownSampling(config) : { ...PLAIN, temperature: 0 };

    const source = text(TEMPLATE) ?? settings.chat_template;
    this.templateFile = files.has(TEMPLATE) ? TEMPLATE : SETTINGS;
    if (typeof source === 'string') {
      this.template = new Template(source);
      const { trouble, line } = this.template;
      if (trouble !== undefined) throw invalid(`${this.templateFile}, line ${line}: the chat template does not compile: ${trouble}`);
    }
  }
}

/** Whether it is a whole number of 32 bits. @param {unknown} value */
export const isCount = (value) => Number.isInteger(value) && /** @type {number} */ (value) >= 0 && /** @type {number} */ (value) < 2 ** 32;

const PLAIN = { temperature: 1, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, presencePenalty: 0 };

/** How a model says to choose: what its file leaves out has the value that transformers gives it. @param {any} config */
function ownSampling(config) {
  const of = (/** @type {string} */ name, /** @type {any} */ otherwise) => {
    const value = config[name] ?? otherwise;
    if (typeof value !== typeof otherwise || (name === 'top_k' && !isCount(value))) throw invalid(`${GENERATION}: ${name} has a wrong type`);
    return value;
  };
  const temperature = of('temperature', 1);
  return {
    temperature: of('do_sample', false) ? temperature : 0,
    topK: of('top_k', 50),
    topP: of('top_p', 1),
    minP: of('min_p', 0),
    repetitionPenalty: of('repetition_penalty', 1),
    presencePenalty: of('presence_penalty', 0),
  };
}

/** @template T @param {string} file @param {() => T} does @returns {T} */
function attempt(file, does) {
  try {
    return does();
  } catch (error) {
    throw invalid(`${file}: ${/** @type {Error} */ (error).message}`);
  }
}
