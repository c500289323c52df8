// What the compiler made, drawn: the commands of an entry point as a ribbon, memory as a bar.

import { h, s, size } from './elements.js';

/** Colours of kernel families, by what they do; the style gives each its light and dark form. */
const FAMILIES = ['linear', 'attention', 'delta', 'conv', 'norm', 'rope', 'sample', 'gather', 'elementwise', 'other'];

/** @typedef {{family: string, label: string, weight: number}} Command */

/** The family of a shader by its path, `shaders/<family>_<hash>.wgsl`. @param {string} shader */
export function familyOf(shader) {
  return shader.replace(/^shaders\//, '').replace(/_[0-9a-f]{8,}\.wgsl$/, '');
}

/** @param {string} family */
function group(family) {
  if (/gemm|gemv|matmul|linear/.test(family)) return 'linear';
  return FAMILIES.find((name) => family.includes(name)) ?? (/rows/.test(family) ? 'gather' : /copy|fill/.test(family) ? 'elementwise' : 'other');
}

/**
 * The dispatches of an entry point in their order, each as wide as its weight: equal ones, or the times that were measured.
 * @param {string} title @param {Command[]} commands @param {boolean} timed microseconds
 */
export function ribbon(title, commands, timed) {
  const [width, height] = [720, 44];
  const total = commands.reduce((sum, { weight }) => sum + weight, 0) || 1;
  let at = 0;
  const bars = commands.map(({ family, label, weight }) => {
    const wide = (weight / total) * width;
    const bar = s('rect', { x: at.toFixed(2), y: 0, width: Math.max(0.4, wide - (commands.length < 300 ? 0.6 : 0)).toFixed(2), height, class: `family ${group(family)}` },
      s('title', {}, `${label}${timed ? `, ${weight.toFixed(1)} µs` : ''}`));
    at += wide;
    return bar;
  });
  const words = `${commands.length} dispatches${timed ? `, ${format(total)}` : ''}`;
  return h('figure', { className: 'ribbon' },
    h('figcaption', {}, h('strong', {}, title), ` ${words}`),
    /** @type {any} */ (s('svg', { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': `${title}: ${words}` }, ...bars)));
}

/** Families of all commands with how many and how long. @param {Command[]} commands @param {boolean} timed */
export function legend(commands, timed) {
  /** @type {Map<string, {count: number, weight: number}>} */
  const groups = new Map();
  for (const { family, weight } of commands) {
    const known = groups.get(group(family)) ?? { count: 0, weight: 0 };
    groups.set(group(family), { count: known.count + 1, weight: known.weight + weight });
  }
  const rows = [...groups].sort(([, a], [, b]) => b.weight - a.weight);
  return h('ul', { className: 'legend' }, ...rows.map(([name, { count, weight }]) => h('li', {},
    /** @type {any} */ (s('svg', { viewBox: '0 0 10 10', width: 12, height: 12, 'aria-hidden': 'true' }, s('rect', { width: 10, height: 10, rx: 2, class: `family ${name}` }))),
    h('span', {}, NAMES[name] ?? name), h('span', { className: 'numbers' }, `${count}×${timed ? `, ${format(weight)}` : ''}`))));
}

/** @type {Record<string, string>} */
const NAMES = {
  linear: 'Matrix products', attention: 'Attention', delta: 'Delta rule', conv: 'Convolution', norm: 'Norms', rope: 'Rotary positions',
  sample: 'Choosing the token', gather: 'Lookups', elementwise: 'Pointwise', other: 'Other',
};

/** @param {number} microseconds */
const format = (microseconds) => (microseconds >= 1000 ? `${(microseconds / 1000).toFixed(2)} ms` : `${microseconds.toFixed(0)} µs`);

/** GPU memory by purpose. @param {{weightBytes: number, arenaBytes: number, stateBytes: number, ioBytes: number, peakBytes: number}} memory */
export function memoryBar(memory) {
  const parts = /** @type {[string, string, number][]} */ ([
    ['weights', 'Weights', memory.weightBytes], ['states', 'States: what was said', memory.stateBytes],
    ['arena', 'Temporaries', memory.arenaBytes], ['io', 'Inputs and outputs', memory.ioBytes],
  ]);
  const [width, height] = [720, 22];
  let at = 0;
  const bars = parts.map(([name, label, bytes]) => {
    const wide = (bytes / (memory.peakBytes || 1)) * width;
    const bar = s('rect', { x: at.toFixed(2), y: 0, width: Math.max(0.5, wide - 1).toFixed(2), height, class: `memory ${name}` }, s('title', {}, `${label}: ${size(bytes)}`));
    at += wide;
    return bar;
  });
  const words = parts.map(([, label, bytes]) => `${label} ${size(bytes)}`).join(', ');
  return h('figure', { className: 'ribbon' },
    h('figcaption', {}, h('strong', {}, 'Memory'), ` ${size(memory.peakBytes)} in all`),
    /** @type {any} */ (s('svg', { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': words }, ...bars)),
    h('ul', { className: 'legend' }, ...parts.map(([name, label, bytes]) => h('li', {},
      /** @type {any} */ (s('svg', { viewBox: '0 0 10 10', width: 12, height: 12, 'aria-hidden': 'true' }, s('rect', { width: 10, height: 10, rx: 2, class: `memory ${name}` }))),
      h('span', {}, label), h('span', { className: 'numbers' }, size(bytes))))));
}
