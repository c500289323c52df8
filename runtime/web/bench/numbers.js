// Numbers of several runs, as the benchmarks report them.

/**
 * Median, extremes and the numbers themselves, in three significant digits more than they deserve.
 * @param {number[]} values
 */
export function summary(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  return { median: round(median), min: round(sorted[0]), max: round(sorted[sorted.length - 1]), runs: values.map(round) };
}

/** @param {number} value */
export function round(value) {
  return Number.isFinite(value) ? Number(value.toPrecision(5)) : value;
}

/**
 * `--name value` pairs, and what is none.
 * @param {string[]} words @param {Record<string, string>} defaults
 */
export function readArguments(words, defaults) {
  /** @type {Record<string, string>} */
  const options = { ...defaults };
  /** @type {string[]} */
  const rest = [];
  for (let at = 0; at < words.length; at++) {
    const name = words[at].startsWith('--') ? words[at].slice(2) : undefined;
    if (name === undefined) {
      rest.push(words[at]);
      continue;
    }
    if (!(name in defaults)) throw new Error(`there is no --${name}; there are ${Object.keys(defaults).map((known) => `--${known}`).join(', ')}`);
    const value = words[++at];
    if (value === undefined) throw new Error(`--${name} needs a value`);
    options[name] = value;
  }
  return { options, rest };
}
