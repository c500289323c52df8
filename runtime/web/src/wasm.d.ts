/**
 * The contract between the package and its engine, which is `model.js` around the WebAssembly module of `core.d.ts`. The package fetches and stores files; the engine checks them, owns the GPU's objects and
 * generates. All of it runs in one thread, usually a worker's; none of it is reentrant: one call of an instance at a time.
 *
 * Everything here throws `EngineError`s, or rejects with them. A WebAssembly trap (a bug) is a `WebAssembly.RuntimeError`;
 * the module instance is unusable after one.
 *
 * ```js
 * const { Loader } = await loadEngine();
 * const loader = new Loader(manifestBytes);
 * for (const file of loader.files().filter((f) => f.kind === 'small')) loader.put(file.path, await fetchAll(file));
 * const device = await adapter.requestDevice(descriptorFor(loader.requirements()));
 * await loader.prepare(device, tuning);                      // buffers; every pipeline starts to compile
 * for (const file of loader.files().filter((f) => f.kind === 'weights')) {
 *   loader.shardBegin(file.path);
 *   for await (const chunk of stream(file)) await loader.shardWrite(chunk);
 *   await loader.shardEnd();                         // hash checked; `integrity` when wrong: call shardBegin again
 * }
 * const model = await loader.finish(seconds);               // waits for the pipelines
 * const result = await model.generate(JSON.stringify(messages), images, '{"maxNewTokens":64}', onEvent, signal);
 * ```
 */

/** Codes of `EngineError`; a part of `ErrorCode` in `errors.js`. */
export type EngineErrorCode =
  | 'missing-limit' | 'missing-feature' | 'out-of-memory' | 'device-lost' | 'integrity' | 'invalid-bundle'
  | 'invalid-request' | 'context-full' | 'aborted' | 'closed' | 'internal';

/** What the engine throws. */
export interface EngineError extends Error {
  name: 'EngineError';
  code: EngineErrorCode;
}

/** A file of the bundle. */
export interface BundleFile {
  /** Plain relative path. */
  path: string;
  bytes: number;
  /** 64 lower-case hexadecimal digits. */
  sha256: string;
  /**
   * `small`: needed whole, by `put`, before `prepare` (schedule, `shaders.txt`, `model/*`). `weights`: a shard, for `shardBegin`.
   * `golden`: for `Model.selfTest`. `other`: not for the engine (the web page, kernels of the CPU back end).
   */
  kind: 'small' | 'weights' | 'golden' | 'other';
}

/** What the device must have: `requiredLimits` and `requiredFeatures` of `requestDevice`, under WebGPU's names. */
export interface DeviceRequirements {
  limits: {
    maxStorageBuffersPerShaderStage: number;
    maxStorageBufferBindingSize: number;
    maxBufferSize: number;
    maxComputeWorkgroupStorageSize: number;
    maxComputeInvocationsPerWorkgroup: number;
    maxComputeWorkgroupSizeX: number;
  };
  /** WebGPU features without which the bundle does not run. */
  features: string[];
  /** WebGPU features that are used when the device has them: ask for those that the adapter has. */
  optionalFeatures: string[];
  /** Bytes of all GPU buffers. */
  gpuBytes: number;
}

/** Facts of the manifest, known before anything is loaded. */
export interface BundleFacts {
  name: string;
  licence: string | null;
  generator: string;
  vocabSize: number;
  maxContext: number;
  hasVision: boolean;
  layers: number;
  hiddenSize: number;
  /** The recipe of the weights, such as `q4`. */
  quantization: string;
  entries: string[];
  variants: string[];
  memory: MemoryFacts;
}

/** Bytes of GPU memory by purpose. */
export interface MemoryFacts {
  weightBytes: number;
  arenaBytes: number;
  stateBytes: number;
  ioBytes: number;
  /** The sum. */
  peakBytes: number;
}

/** Takes a bundle onto a device. The small files are released when `finish` has resolved. */
export class Loader {
  /** @param manifest the bytes of `manifest.json`; `invalid-bundle` when they are not a valid one */
  constructor(manifest: Uint8Array);
  /** Every file but the manifest: `small` ones first, then `weights` in the order to upload them. */
  files(): BundleFile[];
  facts(): BundleFacts;
  requirements(): DeviceRequirements;
  /** A small file, whole. `integrity` when size or hash are not the manifest's; it can then be put again. */
  put(path: string, bytes: Uint8Array): void;
  /**
   * Checks the schedule, creates every buffer, and starts all pipelines; resolves when the buffers are there, while
   * pipelines still compile. `missing-limit`, `missing-feature`, `out-of-memory`, `invalid-bundle`.
   * After an error the loader can only be freed.
   * @param tuning what `Model.tuning` gave on such a device, or an empty string
   */
  prepare(device: GPUDevice | CpuDevice, tuning: string): Promise<void>;
  /** Begins a shard, or begins it anew. Bytes of a shard that turns out to be wrong may be on the GPU, but are not used. */
  shardBegin(path: string): void;
  /** The next bytes of the shard, in pieces of any size; not kept. Awaiting it bounds the memory that uploads take. */
  shardWrite(chunk: Uint8Array): Promise<void>;
  /** The shard is complete: `integrity` when size or hash are wrong. */
  shardEnd(): Promise<void>;
  /** Pipelines that are compiled, of how many. */
  pipelines(): { done: number; total: number };
  /**
   * Waits for the pipelines. `invalid-bundle` when a shard is missing or a shader is refused. Consumes the loader's content.
   * @param tuningSeconds how long variants of kernels are tried; 0 takes those that were chosen, or the usual ones
   */
  finish(tuningSeconds: number): Promise<Model>;
  free(): void;
}

/** Pixels as a canvas gives them: RGBA (4 bytes a pixel, laid over white where transparent) or RGB (3 bytes). */
export interface Pixels {
  width: number;
  height: number;
  rgba?: Uint8Array | Uint8ClampedArray;
  rgb?: Uint8Array;
}

/** JSON of the third argument of `Model.generate`. What is left out is as the model's `generation_config.json` has it. */
export interface GenerateOptions {
  /** Most tokens; without it until the model ends the answer or the context is full. */
  maxNewTokens?: number;
  temperature?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  repetitionPenalty?: number;
  presencePenalty?: number;
  /** A whole number from 0 to 2^53 - 1. Without one every answer has another. The result tells it. */
  seed?: number;
  /** Texts that end the answer. */
  stop?: string[];
  /** Do not end at the model's own end-of-text tokens: for measuring. */
  ignoreEos?: boolean;
  /** `enable_thinking` of the template; false by default. */
  thinking?: boolean;
  /** Functions that the model may call, in OpenAI's shape. */
  tools?: object[];
  /** Other variables of the template. */
  templateVariables?: Record<string, unknown>;
  /** The prompt as the model reads it, special tokens and all, in place of the messages (which are `[]` then). */
  raw?: string;
  /**
   * Most tokens decoded before the first of them is looked at, 1 to 16; 16 by default. Fewer are, where bringing them back
   * takes little time.
   */
  maxBatch?: number;
  /** Fewest of them; 1 by default. */
  minBatch?: number;
}

export type GenerateEvent =
  /** The prompt is on its way: so many positions, of which so many were known from the call before. */
  | { type: 'prompt'; tokens: number; reused: number }
  /** A token was chosen. Its text may come later, or never. */
  | { type: 'token'; id: number }
  /** A piece of text. Tool calls come with their marks. */
  | { type: 'piece'; kind: 'answer' | 'reasoning' | 'tool_call'; text: string };

export interface GenerateResult {
  /** The answer, tool calls included as text. */
  text: string;
  reasoning: string;
  /** The tool calls, each with its marks `<tool_call>…</tool_call>`. */
  toolCalls: string[];
  /** The tokens, without the one that ended the answer. */
  tokens: number[];
  /** `cancelled`: the signal fired. */
  finishReason: 'stop' | 'length' | 'cancelled';
  seed: number;
  usage: {
    promptTokens: number;
    /** Positions of the prompt that need not be computed. */
    reusedTokens: number;
    generatedTokens: number;
    firstTokenSeconds: number;
    seconds: number;
    /** After the first token; 0 when there are fewer than two. */
    tokensPerSecond: number;
    /** How often tokens came back from the device. */
    batches: number;
  };
}

export interface SelfTest {
  /** Every position that the golden run checks. */
  positions: { position: number; cosine: number; maxAbs: number; argmaxAgrees: boolean; passed: boolean }[];
  worstCosine: number;
  minCosine: number;
  /** Where the expected numbers come from. */
  source: string | null;
  passed: boolean;
}

/** Time on the GPU of every dispatch of an entry point. */
export interface Profile {
  entry: string;
  /** The median of all kernels together. */
  microseconds: number;
  kernels: {
    /** What it computes: the family and the node. */
    label: string;
    shader: string;
    /** Workgroups along x, y and z. */
    workgroups: [number, number, number];
    /** The median of the steps. */
    microseconds: number;
  }[];
}

/** A model on a device. */
export interface Model {
  /** The variants of kernels that were found the fastest while it was loaded; empty when none were tried. */
  tuning(): string;
  info(): BundleFacts & {
    device: string;
    /** Dispatches of one decoded token, sampling included. */
    dispatchesPerToken: number;
    pipelines: number;
    /** `profile` works: the device has `timestamp-query`. */
    canProfile: boolean;
  };
  /**
   * Generates an answer. Messages have the shape of OpenAI's API; every `image` and `image_url` part of theirs takes the next
   * of `images`. When `signal` has fired, it ends after the running batch with `finishReason: 'cancelled'`, or, when that
   * was before the first token, rejects with `aborted`. What was fed is kept, so that a next call that begins the same need
   * not compute it again. `context-full`, `invalid-request`, `device-lost`, `out-of-memory`.
   */
  generate(
    messagesJson: string,
    images: Pixels[],
    optionsJson: string,
    onEvent: (event: GenerateEvent) => void,
    signal?: { readonly aborted: boolean },
  ): Promise<GenerateResult>;
  /** Positions that `generate` would feed for these arguments. */
  countTokens(messagesJson: string, images: Pixels[], optionsJson: string): number;
  /** Ids of a text; special tokens in it are recognised. */
  tokenize(text: string): Uint32Array;
  /** Text of ids; special tokens are left out unless wanted. */
  detokenize(ids: Uint32Array, special?: boolean): string;
  /** Forgets what was fed. */
  reset(): void;
  /** Replays the bundle's golden run (the content of the file of kind `golden`) on this device, and compares. Forgets what was fed. */
  selfTest(golden: Uint8Array): Promise<SelfTest>;
  /** Times every dispatch of one decoded token, over several. Forgets what was fed. */
  profile(steps: number): Promise<Profile>;
  /** Destroys buffers and memory. A running call then rejects with `closed`. The device itself stays the caller's. */
  free(): void;
}

/**
 * A device without a GPU: kernels that the compiler made into WebAssembly, driven by the same engine. Addresses are bytes in
 * the device's own memory. Everything is done when a method returns.
 */
export interface CpuDevice {
  readonly kind: 'cpu';
  /** For people. */
  readonly name: string;
  /** Bytes that buffers can take together. */
  readonly maxBytes: number;
  /** A new buffer of zeros: its address, or 0 when memory does not suffice. */
  createBuffer(bytes: number): number;
  destroyBuffer(address: number): void;
  write(address: number, data: Uint8Array): void;
  /** A copy of the bytes. */
  read(address: number, bytes: number): Uint8Array;
  copy(from: number, to: number, bytes: number): void;
  clear(address: number, bytes: number): void;
  /** Lets the worker hear its messages; awaited before each `read`. */
  idle?(): Promise<void>;
  /** Whether pipeline `index` of the schedule has a kernel; the engine asks for all of them in `prepare`. */
  hasPipeline(index: number): boolean;
  /**
   * Runs pipeline `index` of the schedule. Binding i is `lengths[i]` bytes at `addresses[i]`; both arrays are views of the
   * engine's memory, valid during the call.
   */
  dispatch(index: number, addresses: Uint32Array, lengths: Uint32Array, x: number, y: number, z: number): void;
}
