// The little markdown that models write, as elements: paragraphs, headings, lists, code, bold, italic. Anything else stays
// text. Links are shown, not followed: a model's addresses are often none.

import { h } from './elements.js';

/** @param {string} text @returns {Node[]} */
export function markdown(text) {
  /** @type {Node[]} */
  const blocks = [];
  const lines = text.split('\n');
  for (let at = 0; at < lines.length;) {
    const line = lines[at];
    const fence = /^\s*(```+|~~~+)\s*([\w+#-]*)/.exec(line);
    if (fence) {
      const end = lines.findIndex((other, index) => index > at && other.trim() === fence[1]);
      const stop = end < 0 ? lines.length : end;
      blocks.push(codeBlock(lines.slice(at + 1, stop).join('\n'), fence[2]));
      at = stop + 1;
      continue;
    }
    if (line.trim() === '') {
      at += 1;
      continue;
    }
    const heading = /^(#{1,6})\s+(.*)$/.exec(line);
    if (heading) {
      // The page has headings of its own above.
      blocks.push(h('p', { className: `heading heading-${Math.min(3, heading[1].length)}` }, ...inline(heading[2])));
      at += 1;
      continue;
    }
    const item = marker(line);
    if (item) {
      const list = h(item.ordered ? 'ol' : 'ul', item.ordered && item.start > 1 ? { start: item.start } : {});
      for (let next = marker(lines[at] ?? ''); next && next.ordered === item.ordered; next = marker(lines[at] ?? '')) {
        list.append(h('li', {}, ...inline(next.text)));
        at += 1;
        while ((lines[at] ?? '').trim() === '' && marker(lines[at + 1] ?? '')?.ordered === item.ordered) at += 1;
      }
      blocks.push(list);
      continue;
    }
    const paragraph = [line];
    for (at += 1; at < lines.length && lines[at].trim() !== '' && !marker(lines[at]) && !/^\s*(```|~~~|#{1,6}\s)/.test(lines[at]); at += 1) paragraph.push(lines[at]);
    blocks.push(h('p', {}, ...inline(paragraph.join('\n'))));
  }
  return blocks;
}

/** @param {string} line */
function marker(line) {
  const match = /^\s*(?:([-*+])|(\d{1,9})[.)])\s+(.*)$/.exec(line);
  return match && { ordered: match[2] !== undefined, start: Number(match[2] ?? 1), text: match[3] };
}

/** @param {string} code @param {string} language */
function codeBlock(code, language) {
  // Scrolls sideways, so the keyboard must reach it.
  const label = language ? `Code, ${language}` : 'Code';
  return h('pre', { tabIndex: 0, role: 'group', 'aria-label': label }, h('code', {}, code));
}

const INLINE = /(`+)([^`]|[^`][\s\S]*?[^`])\1(?!`)|\*\*(?=\S)([\s\S]*?\S)\*\*|(?<![\w*])\*(?=[^\s*])([^*\n]*?[^\s*])\*(?!\w)/;

/** @param {string} text @returns {(Node | string)[]} */
function inline(text) {
  const match = INLINE.exec(text);
  if (!match) return text === '' ? [] : [text];
  const [whole, , code, bold, italic] = match;
  const node = code !== undefined ? h('code', {}, code) : bold !== undefined ? h('strong', {}, ...inline(bold)) : h('em', {}, ...inline(italic));
  return [...inline(text.slice(0, match.index)), node, ...inline(text.slice(match.index + whole.length))];
}
