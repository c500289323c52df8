// From messages to the tokens that the engine is fed.

import { QwenError } from '../errors.js';
import { dict, list } from '../template/template.js';
import { parse, plain } from './json.js';

/** Fields of a message, in the order in which a template sees them. */
const FIELDS = ['role', 'content', 'reasoning_content', 'tool_calls', 'tool_call_id', 'name'];

/** @param {string} message */
const invalid = (message) => new QwenError('invalid-request', message);

/**
 * The prompt of a request.
 * @param {import('./files.js').ChatFiles} files
 * @param {string} messagesJson
 * @param {{raw?: string, thinking?: boolean, variables: any, tools: any}} options `variables` and `tools` as `parse` gives them
 * @returns {{ids: number[], stable: number, thinking: boolean}} `stable`: how many tokens at the beginning the prompt of the next turn
 *   will have too; `thinking`: the template has opened reasoning that the answer goes on with
 */
export function promptOf(files, messagesJson, { raw, thinking = false, variables, tools }) {
  const { tokenizer } = files;
  if (raw !== undefined) {
    const ids = tokenizer.encode(raw);
    return { ids, stable: ids.length, thinking: false };
  }
  const messages = readMessages(messagesJson);
  const render = (/** @type {any[]} */ of, /** @type {boolean} */ opening) => rendered(files, [
    ...Object.entries(variables ?? {}).flatMap(([key, value]) => [key.slice(1), plain(value)]),
    ...files.named,
    'messages', list(of),
    'tools', tools?.length ? plain(tools) : null,
    'documents', null,
    'add_generation_prompt', opening,
    'enable_thinking', thinking,
  ]);
  const closed = render(messages, false);
  const text = render(messages, true);
  const ids = tokenizer.encode(text);
  let stable = common(ids, tokenizer.encode(closed));
  // Templates shorten what is history, such as the reasoning before an older question.
  try {
    const later = [['assistant', 'a'], ['user', 'u']].map(([role, content]) => dict(['role', role, 'content', content]));
    stable = Math.min(stable, common(ids, tokenizer.encode(render([...messages, ...later], true))));
  } catch {
    // A template may refuse what never comes.
  }
  const opening = text.startsWith(closed) ? text.slice(closed.length) : '';
  return { ids, stable, thinking: opening.lastIndexOf('<think>') > opening.lastIndexOf('</think>') };
}

/** @param {number[]} a @param {number[]} b */
function common(a, b) {
  let count = 0;
  while (count < a.length && a[count] === b[count]) count++;
  return count;
}

/** @param {import('./files.js').ChatFiles} files @param {any[]} variables */
function rendered({ template, templateFile }, variables) {
  if (!template) {
    throw invalid('the bundle has no chat template; put chat_template.jinja beside the model and compile it again, or give the prompt as the model '
      + 'should read it');
  }
  const text = template.render(dict(variables));
  const { trouble, line, raised } = template;
  if (trouble === undefined) return text;
  throw invalid(raised ? `${trouble} (the chat template says so, ${templateFile}, line ${line})`
    : `${templateFile}, line ${line}: the chat template fails: ${trouble}`);
}

/** @param {string} json */
function readMessages(json) {
  let messages;
  try {
    messages = parse(json);
  } catch (error) {
    throw invalid(`the messages: ${/** @type {Error} */ (error).message}`);
  }
  if (!Array.isArray(messages)) throw invalid('the messages are no list');
  const isText = (/** @type {any} */ value) => typeof value === 'string' && value[0] === 's';
  return messages.map((message, at) => dict(FIELDS.flatMap((field) => {
    const value = message?.[`s${field}`];
    const missing = value === undefined || value === null;
    const listed = Array.isArray(value);
    const good = field === 'role' ? isText(value) : missing || isText(value) && field !== 'tool_calls' || field === 'content' && listed
      || field === 'tool_calls' && listed && value.every((call) => isText(call?.sfunction?.sname) && call.sfunction.sarguments !== undefined);
    if (!good) throw invalid(`the messages: [${at}].${field} is missing, or has a wrong type`);
    if (missing) return field === 'content' && value === null ? [field, null] : [];
    return [field, field === 'tool_calls' ? list(value.map(readCall)) : plain(value)];
  })));
}

/** A call, its arguments as an object where their text is one. @param {any} call */
function readCall({ sid, stype, sfunction }) {
  let { sarguments } = sfunction;
  if (typeof sarguments === 'string' && sarguments[0] === 's') {
    try {
      const parsed = parse(sarguments.slice(1));
      if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)) sarguments = parsed;
    } catch {
      // Then it stays the text that it is.
    }
  }
  const called = dict(['name', plain(sfunction.sname), 'arguments', plain(sarguments)]);
  return dict([...(sid ? ['id', plain(sid)] : []), ...(stype ? ['type', plain(stype)] : []), 'function', called]);
}
