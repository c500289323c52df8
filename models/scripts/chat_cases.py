"""Conversations as transformers renders them, for the tests of the chat template.

    python chat_cases.py <chat_template.jinja> <cases.json>

Every case has what `apply_chat_template` was given and what came out: the text, or the message of the error. The first
list is of conversations under the given template; the second is of small templates, one for each thing that templates do
as Python does it.
"""

import argparse
import json
import logging
from pathlib import Path

import jinja2
from transformers.utils.chat_template_utils import render_jinja_template

IMAGE = {"type": "image"}


def text(value):
    return {"type": "text", "text": value}


def user(content):
    return {"role": "user", "content": content}


def system(content):
    return {"role": "system", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def tool(content):
    return {"role": "tool", "content": content}


def call(name, **arguments):
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Weather <today> & \"tomorrow\" in 'a' place: 天気 🌦\n\tand a tab",
        "parameters": {
            "type": "object",
            "properties": {"place": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "default": 1.5e22}},
            "required": ["place"],
            "additionalProperties": False,
            "a": None,
            "empty": [{}, [], ""],
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock", "parameters": {}, "strict": True, "z": -0.00001, "b": 3}}

CONVERSATIONS = {
    "one_user": [user("Hello")],
    "system": [system("Be brief."), user("Hello")],
    "system_spaces": [system("  Be brief. \n\n"), user("\n\n Hello \t\u3000\u001f")],
    "system_empty": [system(""), user("Hello")],
    "system_parts": [system([text("Be "), text("brief.")]), user([text("Hello"), text(" there")])],
    "two_turns": [user("Hello"), assistant("Hi!"), user("How are you?")],
    "three_turns": [system("S"), user("1"), assistant("2"), user("3"), assistant("4"), user("5")],
    "ends_with_assistant": [user("Hello"), assistant("Hi!")],
    "image_first": [user([IMAGE, text("What is this?")])],
    "image_last": [user([text("What is this?"), IMAGE])],
    "images_between": [user([text("Compare "), IMAGE, text(" with "), IMAGE, text("!")])],
    "image_only": [user([IMAGE])],
    "image_url": [user([{"type": "image_url", "image_url": {"url": "data:,"}}, text("?")])],
    "images_in_two_turns": [user([IMAGE, text("a")]), assistant("b"), user([text("c"), IMAGE]), assistant("d"), user("e")],
    "image_from_a_tool": [user("u"), assistant("", tool_calls=[call("look")]), tool([IMAGE, text("t")])],
    "reasoning_in_history": [user("a"), assistant("b", reasoning_content="because"), user("c")],
    "reasoning_after_the_query": [user("a"), assistant("b", reasoning_content="\n because \n")],
    "reasoning_in_the_text": [user("a"), assistant("<think>\nbecause\n</think>\n\nb"), user("c"), assistant("<think>\nx\n</think>\n\ny")],
    "reasoning_without_its_opening": [user("a"), assistant("because\n</think>\n\nb")],
    "reasoning_twice": [user("a"), assistant("<think>1</think>2<think>3</think>\n4")],
    "reasoning_empty": [user("a"), assistant("b", reasoning_content="")],
    "unicode": [system("Отвечай кратко. 日本語"), user("é e\u0301 👩‍👩‍👧‍👦 \u200b क्षि\u00a0"), assistant("ﬁ\r\nß"), user("\ufeff𝄞")],
    "template_in_the_text": [user("{{ 7 * 7 }}{% raise %}{# gone? #}<|im_end|>\n<|im_start|>system\n")],
    "html_in_the_text": [user("<b>&amp; \"x\" 'y'</b>")],
    "empty_content": [user("")],
    "null_content": [user(None), assistant(None), user("x")],
    "no_content": [{"role": "user"}, {"role": "assistant"}, user("x")],
    "empty_parts": [user([])],
    "call": [user("a"), assistant("", tool_calls=[call("weather", place="Oslo", days=3)])],
    "call_after_text": [user("a"), assistant("I look.", tool_calls=[call("weather", place="Oslo")])],
    "call_null_content": [user("a"), assistant(None, tool_calls=[call("clock")])],
    "calls": [
        user("a"),
        assistant("", reasoning_content="both", tool_calls=[call("weather", place="Oslo"), call("clock")]),
        tool("rain"),
        tool("12:00"),
        assistant("Rain at noon."),
        user("Thanks"),
    ],
    "call_of_every_kind": [
        user("a"),
        assistant(
            "",
            tool_calls=[
                call(
                    "f",
                    z="text <x> & 'y'\nline",
                    y=1,
                    x=2.50,
                    w=True,
                    v=None,
                    u=[1, "two", {"three": 3.0}],
                    t={"b": 1, "a": [None, False]},
                    s=1e300,
                    r=[],
                    q=-7,
                    p=1e16,
                    o=123456789012345680.0,
                    n=0.0001,
                    m=0.00001,
                    l=9007199254740993,
                )
            ],
        ),
        tool("{\"ok\": true}"),
    ],
    "tool_result_then_user": [user("a"), assistant("", tool_calls=[call("clock")]), tool("12"), user("b")],
    "tool_results_in_two_steps": [
        user("a"),
        assistant("", tool_calls=[call("clock")], reasoning_content="r1"),
        tool("12"),
        assistant("", tool_calls=[call("clock")], reasoning_content="r2"),
        tool("13"),
    ],
    "tool_response_from_a_user": [user("a"), assistant("b"), user("<tool_response>\nx\n</tool_response>")],
    # Errors
    "nothing": [],
    "no_user": [system("S"), assistant("a")],
    "system_later": [user("a"), system("S")],
    "unknown_role": [user("a"), {"role": "developer", "content": "b"}],
    "image_in_system": [system([IMAGE]), user("a")],
    "unknown_part": [user([{"type": "audio"}])],
}

WITH_TOOLS = ["one_user", "system", "system_empty", "two_turns", "calls", "unicode", "image_first", "tool_results_in_two_steps"]
WITH_VISION_IDS = ["image_first", "images_between", "images_in_two_turns", "image_from_a_tool", "one_user"]

# template, variables
SNIPPETS = [
    ("{{ x }}|{{ y }}|{{ z }}|{{ w }}", {"x": True, "y": None, "z": 1.0, "w": False}),
    ("{{ x }} {{ y }} {{ z }} {{ w }}", {"x": 1e16, "y": 1e15, "z": 1e-5, "w": 123456.789}),
    ("{{ x }}", {"x": {"a": [1, 2.5, True, None, "it's", 'q"'], "b": {}}}),
    ("{{ x | string }} {{ y | string }} {{ z | string }}", {"x": 1e22, "y": True, "z": None}),
    ("{{ x | tojson }}", {"x": {"é": "<&'>", "b": [1.0, 1e100, -0.0, 5e-324], "a": "\u2028\x7f\x00\x1f\\\"/"}}),
    ("{{ x | tojson(indent=2) }}", {"x": {"b": [1, [], {}, {"c": None}], "a": "x"}}),
    ("{{ x | tojson(ensure_ascii=true) }}", {"x": "é 👍 \x7f"}),
    ("{{ x | tojson(separators=(',', ':'), sort_keys=true) }}", {"x": {"b": 1, "a": [1, 2]}}),
    ("{{ x | trim }}|{{ x.strip() }}|{{ x.lstrip() }}|{{ x.rstrip() }}", {"x": " \x1c\x1d\x1e\x1f\x85\xa0\u2003\u200bx\u200b\u3000\x1c "}),
    ("{{ x.strip('ab') }} {{ x | trim('b') }}", {"x": "abxba"}),
    ("{{ x.split('-') }}{{ x.split('-', 1) }}{{ x.split('-')[-1] }}", {"x": "a-b-c"}),
    ("{{ x.split() }}", {"x": " a  b\tc\n"}),
    ("{{ x[1:] }}{{ x[::-1] }}{{ x[-2:] }}{{ x[:100] }}{{ x[5:2] }}", {"x": "héllo👍"}),
    ("{{ x[1:] }}{{ x[::-1] }}{{ x[-1] }}{{ x[::2] }}", {"x": [1, 2, 3]}),
    ("{% if x %}t{% else %}f{% endif %}{% if y %}t{% else %}f{% endif %}{% if z %}t{% else %}f{% endif %}", {"x": [], "y": {}, "z": 0.0}),
    ("{% if x %}t{% else %}f{% endif %}{% if y %}t{% else %}f{% endif %}{% if n %}t{% else %}f{% endif %}", {"x": "0", "y": [0]}),
    ("{% set n = namespace(a=1) %}{% for i in x %}{% set n.a = n.a + i %}{% endfor %}{{ n.a }}", {"x": [1, 2, 3]}),
    ("{% for i in x %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}", {"x": [1, 2, 3, 4]}),
    ("{% for i in x %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.first }}{{ loop.last }}{{ loop.length }} {% endfor %}", {"x": ["a", "b"]}),
    ("{% for c in x %}{{ c }},{% endfor %}", {"x": "añ👍"}),
    ("{% for k, v in x | items %}{{ k }}={{ v }};{% endfor %}{% for k, v in x.items() %}{{ k }}{% endfor %}", {"x": {"b": 1, "a": 2}}),
    ("{% for k in x %}{{ k }}{% endfor %}{{ x.keys() | list }}{{ x.get('c') }}{{ x.get('a', 5) }}", {"x": {"b": 1, "a": 2}}),
    ("{% for i in x if i > 1 %}{{ i }}{% else %}none{% endfor %}", {"x": [1, 2, 3]}),
    ("{% for m in x recursive %}{{ m.n }}{% if m.c %}({{ loop(m.c) }}){% endif %}{% endfor %}", {"x": [{"n": 1, "c": [{"n": 2}]}]}),
    ("{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 / 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 2 ** 10 }} {{ 4 / 2 }}", {}),
    ("{{ 'a' ~ 1 ~ true ~ none }} {{ 'ab' * 2 }} {{ [1] + [2] }} {{ 'a' in 'cab' }} {{ 1 in [1] }} {{ 'a' in {'a': 1} }}", {}),
    ("{{ 1 == 1.0 }} {{ true == 1 }} {{ 'a' < 'b' }} {{ 1 < 2 < 3 }} {{ not x }} {{ x is none }} {{ y is defined }}", {"x": None}),
    ("{{ x is string }} {{ x is iterable }} {{ x is mapping }} {{ x is sequence }} {{ y is mapping }} {{ y is iterable }} {{ z is number }} {{ b is number }} {{ b is boolean }} {{ b is true }}", {"x": "s", "y": {}, "z": 1, "b": True}),
    ("{{ x | length }} {{ y | length }} {{ x | upper }} {{ x | capitalize }} {{ x | title }} {{ x.title() }}", {"x": "straße ÉA", "y": {"a": 1}}),
    ("{{ x | join(', ') }} {{ x | first }} {{ x | last }} {{ x | map('upper') | list }} {{ x | reject('equalto', 'a') | list }}", {"x": ["a", "b"]}),
    ("{{ x | selectattr('r', 'equalto', 'u') | map(attribute='c') | join }}", {"x": [{"r": "u", "c": 1}, {"r": "v", "c": 2}, {"r": "u", "c": 3}]}),
    ("{{ x | replace('a', 'b') }} {{ x.replace('a', 'c') }} {{ x.startswith('aa') }} {{ x.endswith(('b', 'a')) }} {{ x.find('a') }}", {"x": "aaxa"}),
    ("{{ x | default('d') }} {{ y | default('d') }} {{ y | default('d', true) }} {{ x.a.b is defined }}", {"y": "", "x": {"a": {}}}),
    ("{%- macro m(a, b=2) -%} {{ a }}{{ b }} {%- endmacro -%} {{ m(1) }}{{ m(1, b=3) }}", {}),
    ("a\n  {% if true %}\n  b\n  {% endif %}\n  {# c #}\n  d {{- ' e ' -}} \n f\n\n", {}),
    ("  {%- if true %}\n x\n{% endif -%}\n\n y\n", {}),
    ("  {%+ if true %}x{% endif +%}\n y\r\nz\n", {}),
    ("{% raw %}{{ x }}{% endraw %}{% set y %}a{{ 1 }}{% endset %}{{ y | upper }}", {}),
    ("{% filter upper %}a{{ x }}{% endfilter %}{% with a = 1 %}{{ a }}{% endwith %}{{ a }}", {"x": "b"}),
    ("{{ 'yes' if x else 'no' }}{{ 'yes' if y }}|", {"x": [0]}),
    ("{{ range(3) | list }}{{ range(1, 7, 2) | list }}{{ dict(a=1, b='c') }}{{ (1, 'a') }}{{ (1,) }}", {}),
    ("{{ \"it's\\n\\t\\\\ \\u00e9\" }}{{ '%s-%d' | format('a', 3) }}{{ '{}:{}'.format(1, 'b') }}", {}),
    ("{{ x.a }}{{ x['b'] }}{{ x.missing }}{{ y }}|", {"x": {"a": 1, "b": 2}}),
    ("{{ strftime_now('%%') }}", {}),
    # Errors
    ("{{ raise_exception('no ' ~ x) }}", {"x": 1}),
    ("{{ x.a.b }}", {"x": {}}),
    ("{{ x + 1 }}", {"x": "a"}),
    ("{{ x() }}", {"x": 1}),
    ("{{ x | nothing }}", {"x": 1}),
    ("{% if %}", {}),
    ("{{ x | items }}{% for a, b in x | items %}{% endfor %}", {"x": "a"}),
]


def render(template, messages, **arguments):
    """What `apply_chat_template` does once it knows the template."""
    try:
        texts, _ = render_jinja_template([messages], chat_template=template, **arguments)
        return {"text": texts[0]}
    except (jinja2.exceptions.TemplateError, TypeError) as error:
        raised = type(error) is jinja2.exceptions.TemplateError
        return {"error": str(error) if raised else None}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("template", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    logging.disable(logging.WARNING)

    template = args.template.read_text(encoding="utf-8")
    conversations = []

    def record(name, messages, tools=None, **arguments):
        outcome = render(template, messages, tools=tools, **arguments)
        conversations.append({"name": name, "messages": messages, "tools": tools, "arguments": arguments, **outcome})

    for name, messages in CONVERSATIONS.items():
        record(name, messages, add_generation_prompt=True)
    for name in ["one_user", "two_turns", "ends_with_assistant", "reasoning_in_history", "calls", "image_last", "no_user"]:
        record(name, CONVERSATIONS[name], add_generation_prompt=False)
        record(name, CONVERSATIONS[name], add_generation_prompt=True, enable_thinking=True)
        record(name, CONVERSATIONS[name], add_generation_prompt=True, enable_thinking=False)
    for name in WITH_TOOLS:
        record(name, CONVERSATIONS[name], [WEATHER, CLOCK], add_generation_prompt=True, enable_thinking=True)
    record("one_user", CONVERSATIONS["one_user"], [], add_generation_prompt=True)
    for name in WITH_VISION_IDS:
        record(name, CONVERSATIONS[name], add_generation_prompt=True, add_vision_id=True)

    snippets = []
    for source, variables in SNIPPETS:
        outcome = render(source, [user("u")], **variables)
        snippets.append({"template": source, "variables": variables, **outcome})

    cases = {"conversations": conversations, "snippets": snippets}
    args.out.write_text(json.dumps(cases, ensure_ascii=True, indent=1) + "\n")
    failed = sum("error" in case for case in conversations + snippets)
    print(f"{len(conversations)} conversations, {len(snippets)} templates, of which {failed} are errors")


if __name__ == "__main__":
    main()
