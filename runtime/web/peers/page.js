// One way to run the model, measured from the inside: from the navigation to the first token, then once it is loaded.

/**
 * @typedef {object} Plan
 * @property {string} module file of the contestant
 * @property {string} device
 * @property {object[]} messages
 * @property {number[]} ids the prompt, as the model reads it
 * @property {number} tokens how many to decode
 * @property {number} repeats answers of a loaded model
 * @typedef {{tokens: number[], first: number, tokensPerSecond: number}} Answer
 * @typedef {(tokens: number, onToken: () => void) => Promise<number[]>} Ask decodes so many tokens, and tells of each as it comes
 */

/** @type {Plan} */
const plan = JSON.parse(decodeURIComponent(location.hash.slice(1)));

/** @param {Ask} ask @returns {Promise<Answer>} */
async function time(ask) {
  const start = performance.now();
  /** @type {number[]} */ const times = [];
  const tokens = await ask(plan.tokens, () => times.push(performance.now()));
  const [first, last] = [times[0], times[times.length - 1]];
  return { tokens, first: first - start, tokensPerSecond: (times.length - 1) / ((last - first) / 1000) };
}

async function main() {
  const { load } = await import(`./${plan.module}`);
  /** @type {Ask} */ const ask = await load(plan);
  let first = 0;
  await ask(1, () => { first ||= performance.now(); });
  const answers = [];
  for (let run = 0; run < plan.repeats; run++) answers.push(await time(ask));
  return { first, answers };
}

main().then(
  (result) => { /** @type {any} */ (globalThis).result = result; },
  (error) => { /** @type {any} */ (globalThis).result = { error: String(error?.message ?? error).slice(0, 400) }; },
);
