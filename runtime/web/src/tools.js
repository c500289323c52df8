// Calls of tools, from the text that the model wrote: `<function=name><parameter=key>value…` as Qwen3.5 writes them, or a
// JSON object as its elders do.

/** @typedef {{id: string, type: 'function', function: {name: string, arguments: string}}} ToolCall */

const FUNCTION = /<function=([^>\n]+)>([\s\S]*?)(?:<\/function>|$)/;
const PARAMETER = /<parameter=([^>\n]+)>\n?([\s\S]*?)\n?(?:<\/parameter>|(?=<parameter=)|$)/g;

/**
 * The calls in OpenAI's shape. A text that is no call is left out.
 * @param {string[]} texts with their marks
 * @param {object[]} [tools] what may be called; types of parameters come from there
 * @returns {ToolCall[]}
 */
export function readToolCalls(texts, tools = []) {
  /** @type {ToolCall[]} */
  const calls = [];
  for (const text of texts) {
    const body = text.replace(/^\s*<tool_call>/, '').replace(/<\/tool_call>\s*$/, '').trim();
    const call = readTagged(body, tools) ?? readJson(body);
    if (call) calls.push({ id: `call_${calls.length}`, type: 'function', function: call });
  }
  return calls;
}

/** @param {string} body @param {object[]} tools */
function readTagged(body, tools) {
  const match = FUNCTION.exec(body);
  if (!match) return undefined;
  const name = match[1].trim();
  const known = tools.map((tool) => /** @type {any} */ (tool)?.function ?? tool).find((tool) => tool?.name === name);
  const types = known?.parameters?.properties ?? {};
  /** @type {Record<string, unknown>} */
  const values = {};
  for (const [, key, text] of match[2].matchAll(PARAMETER)) values[key.trim()] = typed(text, types[key.trim()]?.type);
  return { name, arguments: JSON.stringify(values) };
}

/** A parameter's text is a text, unless the tool says that it is something else. @param {string} text @param {unknown} type */
function typed(text, type) {
  if (type === undefined || type === 'string') return text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** @param {string} body */
function readJson(body) {
  try {
    const { name, arguments: given = {} } = JSON.parse(body);
    if (typeof name !== 'string') return undefined;
    return { name, arguments: typeof given === 'string' ? given : JSON.stringify(given) };
  } catch {
    return undefined;
  }
}
