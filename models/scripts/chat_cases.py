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
    # Loops and scopes
    ("{% for i in x %}{{ loop.previtem }}<{{ i }}>{{ loop.nextitem }} {{ loop.cycle('a', 'b') }} {{ loop.changed(i % 2) }} {{ loop.revindex0 }};{% endfor %}", {"x": [1, 3, 4]}),
    ("{% set a = 1 %}{% for i in [1, 2] %}{{ a }}{% set a = a + i %}{{ a }};{% endfor %}{{ a }}{% if true %}{% set a = 9 %}{% endif %}{{ a }}", {}),
    ("{% for a, b in x %}{{ a }}{{ b }}{% endfor %}{% for (a, b) in x %}{{ b }}{% endfor %}{% set c, d = x[0] %}{{ d }}{{ c }}", {"x": [[1, 2], [3, 4]]}),
    ("{% for i in [1, 2] %}{% set outer = loop %}{% for j in 'ab' %}{{ outer.index }}{{ j }}{{ loop.depth }} {% endfor %}{% endfor %}", {}),
    ("{% for i in x | reverse %}{{ i }}{% else %}none{% endfor %}{% for i in [] %}{{ i }}{% else %}none{% endfor %}{{ loop is defined }}", {"x": [1, 2]}),
    ("{% for m in x recursive %}{{ loop.depth }}{{ loop.depth0 }}{{ m.n }}{{ loop(m.c) if m.c }}{% endfor %}", {"x": [{"n": 1, "c": [{"n": 2, "c": [{"n": 3}]}]}, {"n": 4}]}),
    ("{% for i in nothing %}{{ i }}{% else %}none{% endfor %}", {}),
    ("{% for i in range(10) if i % 2 %}{% if loop.last %}{% break %}{% endif %}{{ i }}{{ loop.length }} {% endfor %}", {}),
    ("{% for k, v in {'a': 1, 'b': [2]}.items() %}{% if not loop.first %}, {% endif %}{{ k }}: {{ v }}{% endfor %}", {}),
    ("{% set n = namespace({'a': 1}, b=2) %}{% set n.c = 3 %}{{ n.a }}{{ n['b'] }}{{ n.c }}{{ n.d is defined }}", {}),
    ("{% with a = 1, b = 2 %}{{ a + b }}{% with %}{% set a = 5 %}{{ a }}{% endwith %}{{ a }}{% endwith %}", {}),
    ("{% generation %}a{{ x }}{% endgeneration %}b", {"x": 1}),
    # Macros
    ("{% macro m(a, b=a, c='z') %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, 2) }} {{ m(c=3, a=4) }} {{ m() }}", {}),
    ("{% set g = 'global' %}{% macro m() %}{{ g }}{{ i is defined }}{% endmacro %}{% for i in [1] %}{{ m() }}{% endfor %}", {}),
    ("{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(4) }}", {}),
    ("{% macro t(x) %} {{ x }} {% endmacro %}[{{ t('a') | trim }}][{{ t('a') + 'b' }}]", {}),
    ("{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}", {}),
    ("{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=2) }}", {}),
    # White space
    ("a\n\n{%- for i in [1, 2] -%}\n  {{ i }}\n{%- endfor %}\n\nb\n", {}),
    ("{% if true %}\n  a\n  {%- if true %}\n  b\n  {%- endif %}\n{% endif %}\n  c", {}),
    ("\t{# one #}\n x {#- two -#} y {#+ three #}\nz", {}),
    ("{% raw -%}\n a {{ b }} {%- endraw -%}\n c", {}),
    ("a{{ 1 }}\n{{ 2 }}\n{% if 1 %}{% endif %}\nb {% if 1 %} c {% endif %}  \nd", {}),
    ("{%- set x -%}\n  a\n{%- endset -%}[{{ x }}]{% set y | upper %}b{% endset %}{{ y }}", {}),
    ("{{- 1 -}} {{ 2 -}}\n\n{{ '{{' }} {{ \"{% x %}\" }} {{ '}' }}", {}),
    # Expressions
    ("{{ 1 + 2 * 3 - 4 // 2 }} {{ (1 + 2) * 3 }} {{ 2 ** 3 ** 1 }} {{ -2 ** 2 }} {{ 10 % 4 * 2 }} {{ 'a' ~ 1 + 1 }}", {}),
    ("{{ 1.5 * 2 }} {{ 1e3 }} {{ 3 // 2.0 }} {{ -7.5 % 2 }} {{ 1_000 }} {{ +3 }} {{ - 3 }} {{ 0.1 + 0.2 }} {{ 2 ** -1 if false }}", {}),
    ("{{ true + 1 }} {{ true and 'a' }} {{ 0 or 'b' }} {{ '' or none }} {{ not 0 and 1 }} {{ 1 if 0 else 2 if 0 else 3 }}", {}),
    ("{{ 1 < 2 <= 2 != 3 }} {{ 3 > 2 > 2 }} {{ 'a' not in 'bc' }} {{ not 1 in [2] }} {{ [1, 'a'] == [1, 'a'] }} {{ (1,) == [1] }} {{ {'a': 1} == {'a': 1.0} }} {{ none == x }}", {}),
    ("{{ [1, 2] < [1, 3] }} {{ 'Z' < 'a' }} {{ x.y == none }} {{ x.y is none }} {{ x.y }}|{{ x['y'] is undefined }}", {"x": {}}),
    ("{{ x[0] }}{{ x[-1] }}{{ x[9] }}{{ x.0 }}{{ x[1]['a'] }}{{ x[1].a }}{{ x[1]['b'] is defined }}", {"x": ["é", {"a": 1}, [2]]}),
    ("{{ 'a' 'b' }} {{ \"\\x41\\u00e9\\U0001f44d\\n\\q\" }} {{ 'it''s' }}", {}),
    ("{{ [1, 2,] }} {{ {'a': 1, 'b': [2,],} }} {{ () }} {{ 1, 2 }} {{ {1: 2, 'a': none, true: 3} }} {{ [] }} {{ {} }}", {}),
    ("{{ x[1:3] }} {{ x[:-1] }} {{ x[::-2] }} {{ x[-100:2] }} {{ x[3:0:-1] }} {{ x[none:2] }} {{ (1, 2, 3)[1:] }}", {"x": [0, 1, 2, 3]}),
    ("{{ 'a' if x is defined and x }}{{ x is not none }}{{ x is not defined }}{{ not x is defined }}{{ x is defined == true }}", {"x": 1}),
    ("{{ 3 is odd }}{{ 3 is even }}{{ 6 is divisibleby 3 }}{{ 6 is divisibleby(4) }}{{ 1 is eq 1 }}{{ 1 is in [1] }}{{ 'a' is lower }}{{ 'A' is upper }}{{ 2 is gt 1 }}{{ 2 is sameas 2 }}", {}),
    ("{{ 1 is integer }}{{ 1.0 is integer }}{{ 1.0 is float }}{{ true is integer }}{{ false is false }}{{ 0 is false }}{{ none is number }}{{ u is iterable }}{{ u is sequence }}{{ u is string }}{{ 1 is iterable }}{{ range is callable }}", {}),
    ("{{ 9223372036854775807 }} {{ x }} {{ x | string | length }} {{ -9223372036854775807 }}", {"x": 18446744073709551615}),
    # Filters
    ("{{ x | map(attribute='a') | list }} {{ x | map(attribute='b', default='-') | join('|') }} {{ x | map(attribute='c.d') | list }}", {"x": [{"a": 1, "b": 2, "c": {"d": 3}}, {"a": 4, "c": {"d": 5}}]}),
    ("{{ x | selectattr('a') | list }} {{ x | rejectattr('a', 'gt', 1) | map(attribute='a') | list }} {{ x | selectattr('b', 'defined') | list | length }}", {"x": [{"a": 0}, {"a": 1, "b": 0}, {"a": 2}]}),
    ("{{ [3, 1, 2] | sort }} {{ ['b', 'A', 'c'] | sort }} {{ ['b', 'A'] | sort(case_sensitive=true) }} {{ [3, 1] | sort(reverse=true) }} {{ x | sort(attribute='a') | map(attribute='b') | list }}", {"x": [{"a": 2, "b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 3}]}),
    ("{{ x | dictsort }} {{ x | dictsort(by='value') }} {{ x | dictsort(true) }} {{ x | dictsort(reverse=true) }}", {"x": {"b": 1, "A": 3, "c": 2}}),
    ("{{ [1, 2, 1, 'a', 'A'] | unique | list }} {{ [3, 1, 2] | min }} {{ [3, 1, 2] | max }} {{ [1, 2.5] | sum }} {{ x | sum(attribute='a') }} {{ [] | min }}|", {"x": [{"a": 1}, {"a": 2}]}),
    ("{{ [0, 1, 2] | select | list }} {{ [0, 1] | reject | list }} {{ [1, 2, 3] | select('odd') | list }} {{ [1, 2, 3] | reject('equalto', 2) | list }}", {}),
    ("{{ '3' | int }} {{ ' 4 ' | int }} {{ '5.9' | int }} {{ 'x' | int }} {{ 'x' | int(7) }} {{ 3.9 | int }} {{ -3.9 | int }} {{ true | int }} {{ none | int }} {{ '2.5' | float }} {{ 'x' | float }} {{ 1 | float }}", {}),
    ("{{ -3 | abs }} {{ 2.5 | round }} {{ 3.5 | round }} {{ 2.345 | round(1) }} {{ 2.1 | round(method='ceil') }} {{ 2.9 | round(0, 'floor') }} {{ 2 | round }}", {}),
    ("{{ 'hello world foo-bar' | title }} {{ 'HELLO' | capitalize }} {{ \"it's\" | title }} {{ \"it's 3rd\".title() }} {{ 'éa' | upper }} {{ 'ÀB' | lower }}", {}),
    ("{{ 'a\nb\n\nc' | indent }}|{{ 'a\nb' | indent(2, true) }}|{{ 'a\n\nb' | indent(2, blank=true) }}|{{ 'a\nb' | indent('> ') }}", {}),
    ("{{ 'aXbXc' | replace('X', '-') }} {{ 'aXbXc' | replace('X', '-', 1) }} {{ 123 | replace('2', 'x') }} {{ 'ab'.replace('', '-') }} {{ 'aaa'.replace('a', 'b', 2) }}", {}),
    ("{{ [1, [2]] | first }} {{ 'abc' | first }} {{ 'abc' | last }} {{ [] | first }}| {{ 'abc' | list }} {{ 'abc' | reverse }} {{ {'a': 1} | list }} {{ 'abc' | length }} {{ (1, 2) | count }}", {}),
    ("{{ [1, none, 'a', true, 1.5] | join(' ') }} {{ x | join(', ', attribute='a') }} {{ 'abc' | join('-') }} {{ ', '.join(['a', 'b']) }}", {"x": [{"a": 1}, {"a": 2}]}),
    ("{{ x | default('d') | upper }} {{ none | default('d') }} {{ none | default('d', true) }} {{ y.z | default(1) }} {{ false | d(2, boolean=true) }}", {"y": {}}),
    ("{{ '%s is %d%%' | format('x', 3.7) }} {{ '%s' % 'a' }} {{ '%s-%s' % ('a', [1]) }} {{ '%r' % 'a' }} {{ '{1}{0}{a}'.format('x', 'y', a=1) }} {{ '{{}}'.format() }}", {}),
    ("{{ {'a': 1, 'b': 2}.values() | list }} {{ {'a': 1}.items() | list }} {{ {'a': {'b': 1}}.get('a').get('b') }} {{ {'items': 1}['items'] }} {{ x.get('q', {}) }}", {"x": {}}),
    ("{{ [1, 2, 3, 4, 5] | batch(2) | list }} {{ [1, 2, 3] | batch(2, '-') | list }} {% for k, g in x | groupby('a') %}{{ k }}{{ g | map(attribute='b') | list }}{% endfor %}", {"x": [{"a": 2, "b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 3}]}),
    ("{{ x | tojson(indent=4) }}{{ x | tojson(separators=(',', ':')) }}{{ 'a' | tojson }}{{ none | tojson }}{{ [true, 1.0, (1, 2)] | tojson }}{{ x | tojson | length }}", {"x": {"a": [], "b": {"c": ["d", {}]}}}),
    ("{{ x | safe }} {{ 'a' | string ~ 1 }} {{ '<a>' | e }} {{ x | attr('b') is defined }}", {"x": "<b>"}),
    # Methods of strings
    ("{{ 'a,b,c'.split(',') }} {{ 'a,b,c'.rsplit(',', 1) }} {{ ' a b '.split(' ') }} {{ 'a b  c d'.split(none, 2) }} {{ ''.split() }} {{ ''.split(',') }} {{ 'abc'.split('abc') }} {{ 'a\nb\r\nc\n'.splitlines() }} {{ 'a\nb'.splitlines(true) }}", {}),
    ("{{ 'Hello'.lower() }}{{ 'Hello'.upper() }}{{ 'hELLO'.capitalize() }}{{ 'a'.isalpha() }}{{ '1'.isdigit() }}{{ 'a1'.isalnum() }}{{ ' '.isspace() }}{{ ''.isalpha() }}{{ 'A1'.isupper() }}{{ '1'.islower() }}{{ 'é'.isascii() }}", {}),
    ("{{ 'abcb'.find('b') }} {{ 'abcb'.rfind('b') }} {{ 'éb'.find('b') }} {{ 'a'.find('x') }} {{ 'abab'.count('ab') }} {{ 'xax'.strip('x') }} {{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('x', 'c')) }} {{ 'abc'.removeprefix('ab') }} {{ 'abc'.removesuffix('c') }} {{ [1, 2, 1].count(1) }} {{ ['a', 'b'].index('b') }}", {}),
    ("{{ '<think>x</think>\n\ny'.split('</think>')[-1].lstrip('\n') }}{{ ('a' ~ '\n').rstrip('\n') }}|{{ 'x</s>'.rstrip('</s>') }}", {}),
    # Errors
    ("{{ x.nothing() }}", {"x": "a"}),
    ("{{ x is nothing }}", {"x": "a"}),
    ("{{ y.z.a }}", {"y": {}}),
    ("{{ y + 'a' }}", {}),
    ("{{ 1 // 0 }}", {}),
    ("{{ none < 1 }}", {}),
    ("{{ 'a' + 1 }}", {}),
    ("{{ none | length }}", {}),
    ("{{ [1][::0] }}", {}),
    ("{{ 1 is in }}", {}),
    ("{% for %}{% endfor %}", {}),
    ("{% endif %}", {}),
    ("{% if 1 %}", {}),
    ("{{ 1", {}),
    ("{{ 'a }}", {}),
    ("{{ (1 }}", {}),
    ("{{ a b }}", {}),
    ("{% unknown %}", {}),
    ("{% set 1 = 2 %}", {}),
    ("{{ raise_exception('a') if x else raise_exception('b' ~ 1) }}", {"x": False}),
    ("{% for i in 5 %}{% endfor %}", {}),
    ("{% set a, b = [1] %}", {}),
]


def render(template, messages, **arguments):
    """What `apply_chat_template` does once it knows the template."""
    try:
        texts, _ = render_jinja_template([messages], chat_template=template, **arguments)
        return {"text": texts[0]}
    except (jinja2.exceptions.TemplateError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
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
