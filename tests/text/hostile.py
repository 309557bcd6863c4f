"""Templates that misbehave. Each must end in a typed error, or in harmless text, at once."""

LOOPS = {
    "nested loops": (
        "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}"
    ),
    "wide print": "{% for i in range(90000) %}{{ 'x' * 90000 }}{% endfor %}",
    "captured doubling": (
        "{% set ns = namespace(s='x') %}{% for i in range(60) %}"
        "{% set ns.s %}{{ ns.s }}{{ ns.s }}{% endset %}{% endfor %}{{ ns.s }}"
    ),
    "printed doubling": (
        "{% set ns = namespace(s='x' * 99999) %}{% for i in range(6) %}"
        "{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}"
    ),
    "endless macro": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "wide format": "{{ '%1000000000d' | format(1) }}",
    "star format": "{{ '%*d' | format(1000000000, 1) }}",
    "wide indent": "{{ 'a\\nb' | indent(1000000000) }}",
    "wide tojson": "{{ messages | tojson(indent=1000000000) }}",
    "wide repeat": "{{ 'x' * 10000000000 }}",
    "wide range": "{{ range(10000000000) | list }}",
    "big power": "{{ 10 ** 10000 }}",
}

REACHES = {
    "class of a string": "{{ ''.__class__.__mro__ }}",
    "class of a message": "{{ messages[0].__class__.__mro__ }}",
    "globals of a function": "{{ raise_exception.__globals__['os'] }}",
    "code of a function": "{{ strftime_now.__code__.co_consts }}",
    "include": "{% include '/etc/passwd' %}",
    "import": "{% import '/etc/passwd' as p %}",
    "extends": "{% extends '/etc/passwd' %}",
    "unknown function": "{{ open('/etc/passwd').read() }}",
    "unknown filter": "{{ 'id' | system }}",
    "debug dump": "{{ debug() }}",
    "missing attribute chain": "{{ messages[0].a.b.c }}",
    "adding nothing": "{{ undefined_thing + 'x' }}",
    "a raise without words": "{{ raise_exception() }}",
}

SYNTAX = {
    "unclosed": "{% for m in messages %}",
    "empty if": "{% if %}x{% endif %}",
    "deep parentheses": "{{ " + "(" * 50_000 + "1" + ")" * 50_000 + " }}",
    "unknown block": "{% exec %}{% endexec %}",
}
