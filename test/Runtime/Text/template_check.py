#!/usr/bin/env python3
"""Compares the template engine with Jinja2 set up as transformers does. Usage: template_check.py PATH/m1-template-render

Each template runs on several conversations. Where Jinja2 raises, the engine must report an error too; where it prints, the same text.
Exit code 77 (skipped) without Jinja2."""
import datetime
import json
import os
import subprocess
import sys

try:
    import jinja2
    import jinja2.ext
    import jinja2.sandbox
except ImportError:
    print("python3-jinja2 is not installed")
    sys.exit(77)

NOW = 1732400000
os.environ["TZ"] = "UTC"


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                                       extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda f: datetime.datetime.utcfromtimestamp(NOW).strftime(f)
    return env


TOOL = {"type": "function", "function": {"name": "add", "description": "Adds \"numbers\" <b>&é数", "parameters": {
    "type": "object", "properties": {"a": {"type": "number"}, "b": {"type": ["number", "null"]}}, "required": ["a"], "limits": [0.5, 1e20, -3]}}}
CALL = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 2.5}}}]}
CONVERSATIONS = {
    "single": [{"role": "user", "content": "What is 2+2?"}],
    "system": [{"role": "system", "content": "  Be brief.\n"}, {"role": "user", "content": "Hi \u00e9\u6570 <b>'x'</b>"}],
    "turns": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "<think>\nlong\n</think>\n\n b "}, {"role": "user", "content": "c\n"}],
    "tools": [{"role": "user", "content": "add 1, 2.5"}, CALL, {"role": "tool", "content": "3.5"}, {"role": "tool", "content": "ok"},
              {"role": "assistant", "content": "It is 3.5"}],
    "wrong": [{"role": "assistant", "content": "first"}, {"role": "assistant", "content": None}],
    "empty": [],
}
VARIABLES = [
    {"add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>", "tools": None, "documents": None},
    {"add_generation_prompt": False, "bos_token": "<s>", "eos_token": "</s>", "tools": [TOOL, TOOL], "date_string": "26 Jul 2024",
     "enable_thinking": False, "documents": None, "custom_tools": [TOOL]},
]

# Whole templates in the manner of the published ones.
TEMPLATES = {
    "llama3": """{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|header|>' + message['role'] + '<|end|>

'+ message['content'] | trim + '<|eot|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|header|>assistant<|end|>

' }}{% endif %}""",
    "llama31": """{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not tools_in_user_message is defined %}
    {%- set tools_in_user_message = true %}
{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}

{#- The system message comes first, so that it can be moved. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|h|>system<|e|>\\n\\n" }}
{%- if builtin_tools is defined or tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{%- if builtin_tools is defined %}
    {{- "Tools: " + builtin_tools | reject('equalto', 'code_interpreter') | join(", ") + "\\n\\n"}}
{%- endif %}
{{- "Today Date: " + date_string + "\\n\\n" }}
{%- if tools is not none and not tools_in_user_message %}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot|>" }}
{%- if tools_in_user_message and not tools is none %}
    {%- if messages | length != 0 %}
        {%- set first_user_message = messages[0]['content']|trim %}
        {%- set messages = messages[1:] %}
    {%- else %}
        {{- raise_exception("Cannot put tools in the first user message when there's no first user message!") }}
{%- endif %}
    {{- '<|h|>user<|e|>\\n\\n' -}}
    {{- "Given the following functions, answer with a JSON call.\\n\\n" }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
    {{- first_user_message + "<|eot|>"}}
{%- endif %}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|h|>' + message['role'] + '<|e|>\\n\\n'+ message['content'] | trim + '<|eot|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {%- if builtin_tools is defined and tool_call.name in builtin_tools %}
            {%- for arg_name, arg_val in tool_call.arguments | items %}
                {{- arg_name + '="' + arg_val + '"' }}
                {%- if not loop.last %}
                    {{- ", " }}
                {%- endif %}
            {%- endfor %}
        {%- else  %}
            {{- '{"name": "' + tool_call.name + '", ' }}
            {{- '"parameters": ' }}
            {{- tool_call.arguments | tojson }}
            {{- "}" }}
        {%- endif %}
        {{- "<|eot|>" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|h|>ipython<|e|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|h|>assistant<|e|>\\n\\n' }}
{%- endif %}
""",
    "qwen25": """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- else %}
        {{- 'Please reason step by step, and put your final answer within \\\\boxed{}.' }}
    {%- endif %}
    {{- "\\n\\n# Tools\\n\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools>\\n\\n{\\"name\\": <function-name>, \\"arguments\\": <args-json-object>}\\n<|im_end|>\\n" }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>system\\nPlease reason step by step.<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}
            {{- '\\n' + message.content }}
        {%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}
                {%- set tool_call = tool_call.function %}
            {%- endif %}
            {{- '\\n<tool_call>\\n{"name": "' }}
            {{- tool_call.name }}
            {{- '", "arguments": ' }}
            {{- tool_call.arguments | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' }}
        {{- message.content }}
        {{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
""",
    "deepseek": """{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% set ns = namespace(is_first=false, is_tool=false, is_output_first=true, system_prompt='') %}{%- for message in messages %}{%- if message['role'] == 'system' %}{% set ns.system_prompt = message['content'] %}{%- endif %}{%- endfor %}{{bos_token}}{{ns.system_prompt}}{%- for message in messages %}{%- if message['role'] == 'user' %}{%- set ns.is_tool = false -%}{{'<｜User｜>' + message['content']}}{%- endif %}{%- if message['role'] == 'assistant' and message['content'] is none %}{%- set ns.is_tool = false -%}{%- for tool in message['tool_calls']%}{%- if not ns.is_first %}{{'<｜Assistant｜><｜calls｜>' + tool['type'] + '<｜sep｜>' + tool['function']['name'] + '\\n' + '```json' + '\\n' + tool['function']['arguments'] + '\\n' + '```' + '<｜end｜>'}}{%- set ns.is_first = true -%}{%- else %}{{'\\n' + tool['type']}}{%- endif %}{%- endfor %}{%- endif %}{%- if message['role'] == 'assistant' and message['content'] is not none %}{%- if ns.is_tool %}{{'<｜outputs end｜>' + message['content'] + '<｜eos｜>'}}{%- set ns.is_tool = false -%}{%- else %}{% set content = message['content'] %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}{{'<｜Assistant｜>' + content + '<｜eos｜>'}}{%- endif %}{%- endif %}{%- if message['role'] == 'tool' %}{%- set ns.is_tool = true -%}{%- if ns.is_output_first %}{{'<｜outputs｜><｜out｜>' + message['content'] + '<｜out end｜>'}}{%- set ns.is_output_first = false %}{%- else %}{{'\\n<｜out｜>' + message['content'] + '<｜out end｜>'}}{%- endif %}{%- endif %}{%- endfor -%}{% if ns.is_tool %}{{'<｜outputs end｜>'}}{% endif %}{% if add_generation_prompt and not ns.is_tool %}{{'<｜Assistant｜><think>\\n'}}{% endif %}""",
    "thinking": """{%- set ns = namespace(multi_step=true, last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- set reasoning = '' %}
    {%- if message.reasoning_content is string %}
        {%- set reasoning = message.reasoning_content %}
    {%- elif '</think>' in content %}
        {%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
        {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
    {%- endif %}
    {%- if loop.index0 > ns.last and (loop.last or (not loop.last and reasoning)) %}
        {{- message.role ~ ':\\n<think>\\n' ~ reasoning.strip('\\n') ~ '\\n</think>\\n\\n' ~ content.lstrip('\\n') }}
    {%- else %}
        {{- message.role + ':' + content }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- 'assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}""",
    "alternating": """{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{% generation %}{{ message['content'] + eos_token}}{% endgeneration %}{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}""",
    "macros": """
{%- macro part(role, content, end='<|e|>') -%}
    <|{{ role }}|>{{ content | trim }}{{ end }}
{%- endmacro -%}
{%- macro type_of(p) %}{% if p.type is string %}{{ p.type }}{% elif p.type is iterable %}{{ p.type | join('|') }}{% else %}any{% endif %}{% endmacro %}
{%- for t in tools or [] %}
{{ t.function.name }}({% for name, p in t.function.parameters.properties.items() %}{{ name }}: {{ type_of(p) }}{% if name not in t.function.parameters.required %}?{% endif %}{{ ", " if not loop.last }}{% endfor %})
{% endfor %}
{%- for m in messages if m.content is not none -%}
{{ part(m.role, m.content, end='\\n') }}{{ part(content=m.content | upper, role=m.role) }}
{%- else -%}
nothing
{%- endfor -%}
""",
}

# Single features: expressions, then whitespace and statements.
EXPRESSIONS = """missing | int ; missing | int(3) ; missing | float(1) ; messages[0].q | int ; missing | last ; missing | first | upper ; 3.0 is odd ; -3.0 is odd ; 4.0 is even ; 2.5 is even ; missing is odd
1 + 2 * 3 - 4 / 2 ; 7 // 2 ; -7 // 2 ; 7 % 3 ; -7 % 3 ; 7.5 % 2 ; 2 ** 10 ; 2 ** -1 ; -2 ** 2 ; 1 / 3 ; 10 / 5 ; 1e3 ; 1.5e-7 ; 1e16 ; 123456789.125 ; 1_000
'a' ~ 1 ~ none ~ true ~ 2.0 ; 'a' 'b' ; "q'q" ; 'a\\n\\tb\\x41\\u00e9\\\\' ; 'ab' * 3 ; [1] + [2, 3] ; (1, 2) + (3,) ; ()
[1, 'two', 3.0, none, true, {'k': [1]}] ; {'a': 1, "b": {'c': "d'e"}} ; (1,) ; ['a"b', "a'b", 'a\\nb']
1 == 1.0 ; 1 == true ; 'a' == 'a' ; [1, 2] == [1, 2] ; {'a': 1} == {'a': 1} ; none == none ; 1 != 2 ; 1 < 2 < 3 ; 1 < 3 > 2 ; 3 < 2 < 1 ; 'a' < 'b' ; [1, 2] < [1, 3]
1 in [1, 2] ; 'a' in 'cat' ; 'k' in {'k': 1} ; 3 not in [1] ; not 1 in [1] ; not true or true ; true and 'x' ; '' or 'y' ; none and x.y ; 'x' if 1 else 'y' ; 'x' if 0 ; 'x' if 0 else 'y' if 0 else 'z'
missing ; missing is defined ; missing | default('d') ; '' | default('d') ; '' | default('d', true) ; none | default('d', boolean=true) ; missing | d ; missing or 'x' ; missing ~ 'x' ; missing == none ; missing == nothing
missing.x ; missing[0] ; missing + 1 ; messages.x ; messages.x.y ; messages[99] ; messages[99].x ; 'abc'.x ; -missing ; missing < 1 ; missing | length ; missing | list ; missing | trim ; missing in [1] ; 1 in missing ; missing()
'  a b '.strip() ~ '|' ; '  a'.lstrip() ; 'a  '.rstrip() ~ '|' ; 'xxaxx'.strip('x') ; 'abcab'.strip('ab') ; 'a,b,,c'.split(',') ; ' a  b '.split() ; 'a b c'.split(' ', 1) ; 'a b c'.rsplit(' ', 1) ; 'a b c '.split(none, 1) ; 'a\\nb\\r\\nc\\n'.splitlines()
'abc'.startswith('ab') ; 'abc'.endswith(('x', 'c')) ; 'abc'.upper() ; 'ÄÖß'.lower() ; 'straße'.upper() ; 'ΑΣ'.lower() ; "they're bill's".title() ; 'hELLO wORLD'.capitalize() ; 'aXbX'.replace('X', '-') ; 'aXbX'.replace('X', '-', 1) ; 'ab'.replace('', '-') ; 'abcb'.find('b') ; 'éab'.find('b') ; 'abcb'.rfind('b') ; 'abc'.find('z') ; 'abab'.count('ab')
', '.join(['a', 'b']) ; ', '.join('abc') ; '12'.isdigit() ; ''.isdigit() ; 'a1'.isalpha() ; ' '.isspace() ; 'AB1'.isupper() ; 'ab1'.islower() ; 'aB'.islower() ; 'a1'.isalnum() ; 'prefix-x'.removeprefix('prefix-') ; 'x.py'.removesuffix('.py') ; '{} and {}'.format(1, 'b') ; '{1}{0}{{}}'.format(1, 2) ; '{a}'.format(a=3) ; '7'.zfill(3) ; '-7'.zfill(4)
'héllo'[1] ; 'héllo'[-1] ; 'héllo'[1:3] ; 'héllo'[::-1] ; 'héllo'[::2] ; [1, 2, 3, 4][1:] ; [1, 2, 3, 4][:-1] ; [1, 2, 3, 4][-2:] ; [1, 2, 3, 4][3:0:-1] ; [1, 2, 3][5:] ; [1, 2, 3][-10:2] ; 'abc'[10] ; [1, 2][0] ; (1, 2)[1] ; [1, 2].0 ; [[1, 2], [3]][0][1]
{'a': 1}.a ; {'a': 1}['a'] ; {'a': 1}.get('a') ; {'a': 1}.get('b') ; {'a': 1}.get('b', 2) ; {'a': 1, 'b': 2}.items() | list ; {'a': 1}.keys() | list ; {'a': 1}.values() | list ; {'items': 5}['items'] ; {1: 'x'}[1] ; {'a': 1}.b ; {'a': 1}['b']
'a b' | title ; 'foo-bar (baz)' | title ; 'hello WORLD' | capitalize ; 'x' | upper ; 'X' | lower ; ' x ' | trim ~ '|' ; 'xax' | trim('x') ; 'abc' | length ; [1, 2] | count ; 'abc' | first ; [1, 2] | last ; [] | first ; 'abc' | list ; 'abc' | reverse ; [1, 2, 3] | reverse | list ; 'abc' | replace('b', 'x') ; 5 | string ~ 'x'
[3, 1, 2] | sort ; ['b', 'A', 'c'] | sort ; ['b', 'A', 'c'] | sort(case_sensitive=true) ; [3, 1, 2] | sort(reverse=true) ; [{'n': 2}, {'n': 1}] | sort(attribute='n') ; [1, 2, 1, 'a', 'A'] | unique | list ; [1, 2, 3] | sum ; [{'n': 2}, {'n': 1}] | sum('n') ; [1, 5, 2] | max ; [1, 5, 2] | min ; [] | max
[1, 2, 3] | join ; [1, 2, 3] | join(', ') ; [{'n': 2}, {'n': 1}] | join('-', attribute='n') ; messages | map(attribute='role') | join(',') ; ['a', 'b'] | map('upper') | list ; ['a', 'b'] | map('replace', 'a', 'x') | list ; [1, 2, 3, 4] | select('odd') | list ; [0, 1, ''] | select | list ; [1, 2, 3] | reject('eq', 2) | list ; messages | selectattr('role', 'equalto', 'user') | list | length ; messages | rejectattr('role', '==', 'user') | list | length ; messages | selectattr('content') | list | length ; [1, 2, 3] | select('in', [1, 3]) | list ; [1, 2, 3] | select('>', 1) | list
'12' | int ; '12.7' | int ; 'x' | int ; 'x' | int(7) ; 12.9 | int ; none | int ; '1.5' | float ; 'x' | float ; 3 | float ; -3 | abs ; 2.567 | round(2) ; 2.5 | round ; 3 | round ; 2.1 | round(0, 'ceil') ; 2.19 | round(1, 'floor')
{'b': 1, 'a': [1, 2.5, none, true, "x\\"é\\n\\u0001"]} | tojson ; {'b': 1, 'a': [1, {}]} | tojson(indent=2) ; [] | tojson(indent=2) ; {'b': 1, 'a': 2} | tojson(sort_keys=true) ; 'é数😀' | tojson ; 'é😀' | tojson(ensure_ascii=true) ; [1, 2] | tojson(separators=(',', ':')) ; missing | tojson ; 1e100 | tojson ; (1, 2) | tojson ; {1: 2, none: 3, true: 4} | tojson
{'b': 2, 'a': 1} | dictsort ; {'b': 1, 'a': 2} | dictsort(by='value') ; {'b': 2, 'a': 1} | items | list ; {'a': 1} | length ; 'a\\nb\\n\\nc' | indent ; 'a\\nb' | indent(2, true) ; 'a\\nb' | indent('> ') ; 'a\\n\\nb' | indent(2, blank=true) ; missing | indent ; none | indent ; 1 | indent ; [] | indent(2) ; '<a href="x">&\\'' | e ; 'a' | safe ; 'one two, three' | wordcount
1 is odd ; 2 is even ; 4 is divisibleby 2 ; 4 is divisibleby(3) ; 'a' is string ; 1 is number ; true is number ; true is integer ; 1 is integer ; 1.0 is float ; true is boolean ; true is true ; 1 is true ; false is false ; none is none ; {} is mapping ; [] is iterable ; 'a' is iterable ; 1 is iterable ; [] is sequence ; {} is sequence ; missing is iterable ; 'A' is upper ; 'a' is lower ; 1 is eq 1 ; 1 is ne 1 ; 1 is lt 2 ; 1 is in [1] ; 1 is not in [1] ; range is callable ; 'x' is not none ; not x is defined ; 'trim' is filter ; 1 is not defined ; 2 is gt(1) and 1 is le 1
range(5) | list ; range(2, 10, 3) | list ; range(3, 0, -1) | list ; dict(a=1, b='x') ; namespace(a=1).a ; (1, 2) | last ; [1, 2, 3] is sequence and true ; 1 if messages else 2 ; messages | length > 1 ; -1 | abs ; -[1, 2] | length ; +1 ; not not 1 ; 'a' + 'b' | upper ; ('a' + 'b') | upper ; 1 + 1 | string ; [1, 2] | map('string') | join('+') ; 'a' if 'b' in 'abc' and not false else 'c' ; messages[0]['role'] ; messages[-1].role ; messages[:1] | length ; strftime_now('%Y-%m-%d') ; loop ; 1 + 'a' ; 'a' + 1 ; 'a' + none ; none | length ; 5 | length ; none.x ; none + 1 ; none < 1 ; 'abc' in 5 ; 1 in 'abc' ; 'a'.split('') ; [1].index(2) ; [1, 2].index(2) ; [1, 1].count(1) ; 1 / 0 ; {}['x'].y ; raise_exception('no') ; {'a': 1}.update({'b': 2}) ; [].append(1) ; 'x'() ; {[1]: 2} | length
[1, 2, 3, 4, 5] | batch(2) | list ; [1, 2, 3] | batch(2, 'x') | list ; [] | batch(2) | list ; [1, 2] | batch(2) | list ; none is sameas none ; true is sameas true ; 1 is sameas true ; missing is sameas false ; [1, 2] * 2 ; 2 * (1,) ; [1] * 0 ; [1] * -1 ; '1_000' | int ; '1__0' | int ; '_1' | int ; '1_0.5' | float ; ' 1_0 ' | int ; 'inf' | int ; 'nan' | int
'%s-%r' % ('a', 'b') ; '%s' % none ; '%s' % [1, 2] ; '%s' % {'a': 1} ; '%s' % missing ; '%d%%' % 5 ; '%5d|%-5d|%05d|%+d|% d|%i' % (1, -2, -3, 4, 5, 6) ; '%d' % 3.9 ; '%d' % true ; '%x %X %4x %04X' % (255, 255, 10, -10) ; '%.3d' % 7 ; '%f %.2f %8.3f %-8.1f| %08.2f' % (1, 2.345, 3.14159, 4.25, -5.5) ; '%e %g %G' % (12345.678, 0.00001234, 1e20) ; '%6s|%-6s|%.2s|%05s' % ('aé', 'é', 'héllo', 'x') ; '%(a)s %(b)03d' % {'a': 'x', 'b': 7} ; 'a' % () ; 'a' % [1] ; 'a' % 1 ; 'a' % missing ; '%s' % () ; '%s %s' % 'a' ; '%s %s' % ('a',) ; '%s' % ('a', 'b') ; '%d' % 'a' ; '%x' % 1.5 ; '%f' % none ; '%(a)s' % {'b': 1} ; '%(a)s' % 1 ; '%(a)s %s' % {'a': 1} ; '%' % 1 ; '%q' % 1 ; '%5' % 1 ; 7 % 'a' ; '%05f' % ('inf' | float)
'%s is %d' | format('a', 3) ; '%(x)s' | format(x=2) ; '%s' | format ; 'a' | format ; '%s' | format('a', x=1) ; 'ab' | center(7) ~ '|' ; 'abc' | center(6) ~ '|' ; 5 | center(4) ~ '|' ; 'x' | center ~ '|' ; 'ab'.center(5, '*') ; 'é'.ljust(3, '·') ; 'ab'.rjust(4) ; 'abc'.center(1) ; 'a'.ljust(3, 'xy')
messages | groupby('role') | map('first') | list ; messages | groupby('role') | map(attribute='grouper') | list ; [{'k': 'B', 'v': 1}, {'k': 'a', 'v': 2}, {'k': 'b', 'v': 3}] | groupby('k') ; [{'k': 'B'}, {'k': 'a'}, {'k': 'b'}] | groupby('k', case_sensitive=true) | map(attribute='list') | map('length') | list ; [{'a': 1}, {}] | groupby('a', default=0) | list ; [{'a': 1}, {}] | groupby('a') | list ; [{'a': {'b': 2}}, {'a': {'b': 1}}] | groupby('a.b') | list ; [] | groupby('a') ; ([{'k': 1}] | groupby('k'))[0] == (1, [{'k': 1}]) ; (1, 2).grouper ; messages | groupby
'a' | attr('upper') is callable ; {'a': 1} | attr('a') ; {'a': 1} | attr('get') is callable ; namespace(a=1) | attr('a') ; 'a' | attr('nothing') ; missing | attr('a')
[1, 2, 3, 4, 5, 6, 7] | slice(3) | list ; [1, 2, 3, 4] | slice(3, 'x') | list ; [] | slice(2) | list ; [1] | slice(3) | list ; 'abcd' | slice(2) | list ; [1] | slice(0) | list ; none | map('upper') | list ; none | select('string') | list ; none | selectattr('a') | list ; 0 | reject | list
1 is integer is true ; 1 is divisibleby(1) is true ; 'x' is not string is true ; range(*[1, 4]) | list ; range(*[1], *[4]) | list ; dict(**{'a': 1}) ; dict(a=1, **{'b': 2}) ; dict(**{'b': 2}, a=1) ; range(*[1], 4) | list ; '{}{a}'.format(*['x'], a=2) ; dict(a=1, **{'a': 2}) ; dict(**5) ; range(*5) ; 'a b c'.split(*[' ', 1]) ; 1 * 2 ** 3
'straße ßa' | title ; 'ßa ßb'.title() ; 'ßa' | capitalize ; 'ßa'.capitalize() ; 'ﬁx'.title() ; 'ǆa ΑΣ ΑΣ.'.title() ; 'ŉa ᾳa ᾲa ᾀa'.title() ; '数a a数b'.title() ; '²①'.isdigit() ; '½'.isdigit() ; 'Ⅳ'.isdigit() ; '²½Ⅳa'.isalnum() ; '٣'.isdigit()
'<'|e|e ; '<'|safe|e ; ('<'|e) + '<' ; '<' + ('a'|safe) ; ('<'|e) ~ '<' ; ('<'|e) | string | e ; '%s' | safe | format('<') ; ('%s%s'|safe) % ('<', 1) ; ('%(a)s'|safe) | format(a='<') ; ['<'|e] ; '<' | safe | trim | lower | e ; ('a'|safe).join(['<', 'b'|safe]) ; ('<b>'|safe)[0] | e ; ('<b>'|safe)[1:] | e ; ('<b>'|safe).split('b') ; ('<b>'|safe).replace('b', '>') ; ('<b>'|safe).startswith('<') ; ('<'|safe) * 2 | e ; '<' | safe | forceescape ; ('<'|e) == '&lt;' ; {'<'|safe: 1}['<'] ; ('{}'|safe).format('<') ; ['<'|e, '<'] | join('>')
range(3) ; range(1, 9, 2) ; [range(3)] ; range(3) ~ '' ; range(3) | string ; range(3) | tojson ; range(5)[1:3] ; range(9)[::-2] ; range(0, 20, 3)[1:4:2] | list ; range(5)[7:] | list ; range(3) == [0, 1, 2] ; range(3) == (0, 1, 2) ; range(3) == range(0, 3) ; range(3) + [1] ; range(3) + (1,) ; range(2) * 2 ; range(2) < range(3) ; '%s' % range(3) ; range(5)[-1] ; range(2) is sequence ; range(2) in [range(2)] ; range(100000) | length ; range(100001)""".replace("\n", " ; ").split(" ; ")

SNIPPETS = [
    "a\n  {% if true %}\n  b\n  {% endif %}\nc\n", "a\n  {%- if true -%}\n  b\n  {%- endif -%}\nc\n", "  {% set x = 1 %}  {{ x }}  \n\n", "\t{# c #}\n x {# y #}\n{#- z -#}\n w\n\n",
    "{%+ if true %}\n a {%+ endif +%}\nb", "  {%+ if true -%}  a  {%- endif %}\nb", "x {{- 1 -}} y", "x\n{{ 1 }}\ny", "{{ 1 }}\n{{ 2 -}}\n\n 3", "a {% raw %}{{ x }} {% y %}{% endraw %} b", "a\n {%- raw -%}  x {% endraw %}\nb\n",
    "{% raw %}\n  {{ x }}\n  {% endraw %}\nz", "{# multi\nline #}{{ 1 }}\n\n", "{{ {'a': {'b': 1}}['a']['b'] }}", "{{ {'a': {'b': 1}}}}", "{{ '}}' }}{{ \"{%\" }}", "a\r\nb\rc{{ 1 }}\r\n", "\n\n{% if 1 %}\n\nx\n\n{% endif %}\n\n",
    "{% for i in range(3) %}{{ i }}{% if not loop.last %},{% endif %}{% endfor %}", "{% for i in [] %}x{% else %}none{% endfor %}", "{% for i in [1, 2] %}{{ i }}{% break %}{% else %}none{% endfor %}",
    "{% for i in [1, 2] %}{{ i }}{% if i == 2 %}{% break %}{% endif %}{% else %}none{% endfor %}{% for i in [1, 2] %}{{ i }}{% continue %}{% else %}none{% endfor %}", "{% for i in range(6) if i is even %}{{ loop.index }}/{{ loop.length }}:{{ i }} {% endfor %}",
    "{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k in {'a': 1, 'b': 2} %}{{ k }}{% endfor %}", "{% for c in 'héy' %}[{{ c }}]{% endfor %}", "{% for (a, b) in [(1, 2), [3, 4]] %}{{ a }}{{ b }}{% endfor %}", "{% for a, (b, c) in [(1, (2, 3))] %}{{ a + b + c }}{% endfor %}",
    "{% for i in range(3) %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle('a', 'b') }}{{ loop.depth }}{{ loop.changed(i // 2) }} {% endfor %}",
    "{% for i in range(2) %}{% for j in range(2) %}{{ loop.depth }}{{ loop.index }}{% endfor %}{{ loop.index }} {% endfor %}", "{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}", "{% for i in range(2) %}{% for j in range(3) %}{% if j %}{% break %}{% endif %}{{ i }}{{ j }} {% endfor %}{% endfor %}",
    "{% set x = 1 %}{% for i in range(2) %}{% set x = x + 1 %}{{ x }}{% endfor %}{{ x }}", "{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}", "{% set ns = namespace(n=0) %}{% for i in range(4) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}{{ ns.none }}", "{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a + ns.b }}{{ ns['a'] }}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set a = 1, 2 %}{{ a }}", "{% set x %}  hi {{ 1 }} {% endset %}[{{ x }}]", "{% set x | trim | upper %}  hi {% endset %}[{{ x }}]", "{% filter upper %}abc{{ 'd' }}{% endfilter %}", "{% filter replace('a', 'b') | trim %} aaa {% endfilter %}",
    "{% macro f(a, b=2) %}{{ a }}-{{ b }};{% endmacro %}{{ f(1) }}{{ f(1, 3) }}{{ f(b=5, a=4) }}{{ f() }}", "{% macro f(x) %}{{ x }}{% if x > 0 %}{{ f(x - 1) }}{% endif %}{% endmacro %}{{ f(3) }}", "{% set y = 1 %}{% macro f() %}{{ y }}{% endmacro %}{% set y = 2 %}{{ f() }}", "{% macro f(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ f(1) }}",
    "{% macro f() %}x{% endmacro %}{{ f() | upper }}{{ f() ~ f() }}{{ (f() + 'y') | length }}", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, 2) }}", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(c=2) }}", "{% macro f() %}{{ messages | length }}{{ bos_token }}{% endmacro %}{{ f() }}",
    "{% if 0 %}a{% elif 1 %}b{% else %}c{% endif %}", "{% if missing %}a{% elif none %}b{% else %}c{% endif %}", "{% if messages and messages[0].role == 'system' %}s{% else %}n{% endif %}", "{% if 'a' is string and not 'a' is none %}y{% endif %}", "{% if x is not defined or x %}y{% endif %}", "{% set messages = messages[1:] %}{{ messages | length }}",
    "{% for m in messages %}{{ m.role }}{% if m.content is string %}:{{ m.content }}{% else %}:?{% endif %}\n{% endfor %}", "{% for m in messages %}{{ m | tojson }}\n{% endfor %}", "{{ messages }}", "{% for m in messages[::-1] %}{{ loop.index }}{{ m['role'] }} {% endfor %}", "{% for m in messages[-2:] %}{{ m.get('content', 'x') }}{% endfor %}",
    "{% generation %}a{% set z = 1 %}{% endgeneration %}", "{{ caller }}", "{% set x = {'a': 1} %}{% for k, v in x | items %}{{ k }}{{ v }}{% endfor %}{{ x.a }}", "{% for x in 5 %}{% endfor %}", "{% for a, b in [(1, 2, 3)] %}{% endfor %}", "{% for x in none %}{% endfor %}", "{% set loop = 5 %}{{ loop }}", "{% for i in range(2) %}{% set loop = 7 %}{{ i }}{% endfor %}",
    "{% for m in [] %}{% else %}{% set x = 1 %}{{ x }}{% endfor %}{{ x is defined }}", "{{ 'a' if true }}{{ 'a' if false }}", "{{ [1, 2, 3,] }}{{ {'a': 1,} }}{{ (1, 2,) }}", "{{ 1, 2 }}", "{{ true }}{{ True }}{{ none }}{{ None }}{{ false }}", "{{ 5 is divisibleby 5 }}", "{{ x.y if x is defined else 'z' }}", "{% if not (a is defined and a) %}q{% endif %}", "{{ 'it''s' }}", "{{ \"a\\\nb\" }}", "{{-1}}", "{{ - 1 }}", "{{ 3-1 }}{{ 3 -1 }}",
    "{% macro f(a) %}<{{ a }}>{{ caller() }}</{{ a }}>{% endmacro %}{% call f('x') %} in {{ bos_token }} {% endcall %}{% call f(a='y') %}{% call f(2) %}z{% endcall %}{% endcall %}", "{% macro each(xs) %}{% for x in xs %}{{ caller(x, loop.index) }};{% endfor %}{% endmacro %}{% call(m, i=0) each(messages) %}{{ i }}{{ m.role }}{% endcall %}", "{% macro f() %}{{ caller() if caller else 'none' }}{% endmacro %}{{ f() }}{% call f() %}c{% endcall %}",
    "{% macro f() %}{{ caller is defined }}{{ caller() }}{% endmacro %}{{ f() }}", "{% macro f() %}x{% endmacro %}{% call f() %}c{% endcall %}", "{% macro f() %}{{ caller() }}{% endmacro %}{% macro g() %}{% call f() %}{{ caller() }}{% endcall %}{% endmacro %}{% call g() %}c{% endcall %}", "{% macro f(caller=none) %}{{ caller }}{% endmacro %}{{ f() }}", "{% macro f(caller) %}{% endmacro %}", "{% macro f(caller) %}{{ caller }}{% endmacro %}", "{% call 5 %}{% endcall %}", "{% call f()|upper %}{% endcall %}", "{% macro f() %}{{ caller(1, 2) }}{% endmacro %}{% call(a) f() %}{{ a }}{% endcall %}", "{% set x = 1 %}{% macro f() %}{% set x = 2 %}{{ caller() }}{% endmacro %}{% call f() %}{{ x }}{% endcall %}",
    "{% macro f(a, b=2) %}{{ a }}{{ b }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1) }}{{ f(1, 3, 4, 5, z=6) }}{{ f(*[1, 2, 3], **{'k': 1}) }}", "{% macro f(a) %}{{ a }}{{ kwargs }}{% endmacro %}{{ f(1, a=2) }}{{ f(1, 2) }}", "{% macro f() %}{% for v in varargs %}{{ v }}{% endfor %}{% endmacro %}{{ f(1, 2) }}{{ f() }}{{ f(a=1) }}", "{% macro f(a, a) %}{% endmacro %}", "{% macro f(a=1, b) %}{% endmacro %}", "{{ varargs }}{{ kwargs is defined }}",
    "{% for k, v in {'a': {'b': {'c': {}}}, 'd': {}}.items() recursive %}{{ loop.depth }}{{ loop.depth0 }}{{ k }}{% if v %}({{ loop(v.items()) }}){% endif %}{% else %}-{% endfor %}", "{% for x in [[1, [2]], 3] recursive %}{% if x is iterable %}[{{ loop(x) }}]{% else %}{{ x }}{{ loop.last }}{% endif %}{% endfor %}", "{% for x in [1, 2, 3] if x > 1 recursive %}{{ x }}{% if x == 3 %}{{ loop([0, 2]) }}{% endif %}{% endfor %}", "{% for x in [1] %}{{ loop([2]) }}{% endfor %}", "{% for x in [1] recursive %}{{ loop(5) }}{% endfor %}",
    "{% set j = joiner() %}{% for m in messages %}{{ j() }}{{ m.role }}{% endfor %}{% set k = joiner('|') %}{{ k() }}{{ k() }}{{ j is callable }}", "{% set c = cycler('a', 'b', 3) %}{% for i in range(5) %}{{ c.current }}{{ c.next() }}{{ c.pos }} {% endfor %}{{ c.reset() }}{{ c.next() }}{{ c is callable }}{{ c.items }}", "{{ cycler() }}", "{{ joiner(1, 2) }}", "{% for g in messages | groupby('role') %}{{ g.grouper }}{{ g.list | length }}{{ g[0] }}{% endfor %}{% for r, ms in messages | groupby('role') %}{{ r }}{% for m in ms %}{{ m.content }}{% endfor %}{% endfor %}", "{% call f() %}", "{% endcall %}",
    "{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a }}", "{% with %}{% set a = 5 %}{{ a }}{% endwith %}{{ a is defined }}", "{% set a = 1 %}{% with a = a + 1, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}", "{% for i in range(3) %}{% with j = i %}{% if j == 1 %}{% break %}{% endif %}{{ j }}{% endwith %}{% endfor %}", "{% with a = 1 %}", "{% with a %}{% endwith %}", "{% endwith %}",
]


def main():
    env = environment()
    cases = []
    for name, source in TEMPLATES.items():
        for conversation, messages in CONVERSATIONS.items():
            for variables in VARIABLES:
                cases.append((f"{name} on {conversation}", source, dict(variables, messages=messages)))
    for expression in EXPRESSIONS:
        for conversation in ("single", "turns"):
            cases.append((expression, "{{ " + expression + " }}", dict(VARIABLES[0], messages=CONVERSATIONS[conversation])))
    for snippet in SNIPPETS:
        for conversation in ("system", "tools", "empty"):
            cases.append((snippet, snippet, dict(VARIABLES[0], messages=CONVERSATIONS[conversation])))
    shared = os.environ.get("M1_SHARED", os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../../shared"))
    config = os.path.join(shared, "tokenizer/llama3.1/tokenizer_config.json")
    if os.path.exists(config):
        for conversation, messages in CONVERSATIONS.items():
            cases.append((f"shared llama3.1 on {conversation}", json.load(open(config))["chat_template"], dict(VARIABLES[0], messages=messages)))
    lines = "".join(json.dumps({"template": source, "variables": variables, "now": NOW}) + "\n" for _, source, variables in cases)
    run = subprocess.run([sys.argv[1]], input=lines, capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"{sys.argv[1]} failed: {run.stderr}")
    failures = 0
    for (name, source, variables), line in zip(cases, run.stdout.splitlines()):
        got = json.loads(line)
        try:
            expected = {"text": env.from_string(source).render(**json.loads(json.dumps(variables)))}
        except Exception as e:
            expected = {"error": f"{type(e).__name__}: {e}"}
        if ("text" in got) != ("text" in expected) or got.get("text") != expected.get("text"):
            failures += 1
            print(f"{name}\n  Jinja2: {expected}\n  engine: {got}")
    print(f"{len(cases)} cases, {failures} differ")
    sys.exit(1 if failures or len(run.stdout.splitlines()) != len(cases) else 0)


main()
