/**
 * The face of the WebAssembly module (`dist/qwenc.js`, `dist/qwenc_bg.wasm`, which `cargo xtask web` builds): `wasm.d.ts` without
 * text. `model.js` makes one of the other.
 */

import type { GenerateResult, Loader as Whole, Model as Talking, Pixels } from './wasm.js';

/** Instantiates the module. Further calls return at once. */
export default function init(input: { module_or_path: BufferSource | WebAssembly.Module }): Promise<unknown>;

/** `GenerateOptions` without texts, and with nothing left out. */
export interface Request {
  /** `Infinity` for as many as fit. */
  maxNewTokens: number;
  /** Tokens that end the answer. */
  stopTokens: number[];
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  repetitionPenalty: number;
  presencePenalty: number;
  seed: number;
  minBatch: number;
  maxBatch: number;
}

export type Step = { type: 'prompt'; tokens: number; reused: number } | { type: 'token'; id: number };

/** A picture of a golden run: pixels, or patches as an image processor made them. */
export type GoldenPicture = Pixels | { t: number; h: number; w: number; values: Float32Array };

/** A model on a device. */
export interface Model extends Pick<Talking, 'tuning' | 'info' | 'reset' | 'profile' | 'free'> {
  /**
   * Generates an answer. The prompt has the model's image token once for each image.
   * @param stable tokens at the beginning of the prompt that the next turn's will have too
   * @param onStep true ends the answer with this token
   */
  generate(
    prompt: Uint32Array,
    stable: number,
    images: Pixels[],
    request: Request,
    onStep: (step: Step) => boolean,
    signal?: { readonly aborted: boolean },
  ): Promise<Pick<GenerateResult, 'tokens' | 'finishReason' | 'usage'>>;
  /** Positions of a prompt: images take several. */
  promptLength(prompt: Uint32Array, images: Pixels[]): number;
  /**
   * Feeds tokens and as many of the pictures as they have places for, and gives rows of logits. What was fed for answers is forgotten.
   * @param wanted places in `ids`, ascending
   * @param first nothing was fed before
   */
  feed(ids: Uint32Array, pictures: GoldenPicture[], wanted: Uint32Array, first: boolean): Promise<{ logits: Float32Array[]; pictures: number }>;
}

export class Loader {
  constructor(manifest: Uint8Array);
  files(): ReturnType<Whole['files']>;
  facts(): ReturnType<Whole['facts']>;
  requirements(): ReturnType<Whole['requirements']>;
  put(...of: Parameters<Whole['put']>): void;
  prepare(...of: Parameters<Whole['prepare']>): Promise<void>;
  shardBegin(path: string): void;
  shardWrite(chunk: Uint8Array): Promise<void>;
  shardEnd(): Promise<void>;
  pipelines(): ReturnType<Whole['pipelines']>;
  finish(tuningSeconds: number): Promise<Model>;
  free(): void;
}
