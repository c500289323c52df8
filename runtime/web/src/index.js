// qwenc: Qwen3.5 on WebGPU, compiled ahead of time.

export { Qwen, NoticeEvent } from './qwen.js';
export { QwenError } from './errors.js';
export { Answer } from './answer.js';

/** @typedef {import('./errors.js').ErrorCode} ErrorCode */
/** @typedef {import('./answer.js').Piece} Piece @typedef {import('./answer.js').Result} Result @typedef {import('./answer.js').Usage} Usage */
/** @typedef {import('./messages.js').Message} Message @typedef {import('./messages.js').Part} Part */
/** @typedef {import('./messages.js').ImageSource} ImageSource @typedef {import('./messages.js').Sampling} Sampling */
/** @typedef {import('./loading.js').Progress} Progress */
/** @typedef {import('./qwen.js').LoadOptions} LoadOptions @typedef {import('./qwen.js').Request} Request */
/** @typedef {import('./qwen.js').Info} Info @typedef {import('./qwen.js').Notice} Notice */
