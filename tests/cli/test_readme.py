"""Every command and program of the README runs, and says what the README says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema

from treadle.cli.run import one_line
from treadle.limits import Limits
from treadle.server.body import decode_body
from treadle.server.convert import chat_request
from treadle.server.wire import ChatBody

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def python(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=240, cwd=ROOT,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_shown_answer_is_valid_and_the_command_answers() -> None:
    schema = json.loads((ROOT / "examples" / "person.schema.json").read_text())
    jsonschema.validate(json.loads(blocks("json")[0]), schema)
    command = next(line for line in blocks("sh")[0].splitlines() if line.startswith("treadle run"))
    done = subprocess.run(
        command.replace("treadle run", f"{sys.executable} -m treadle run", 1),
        shell=True, capture_output=True, text=True, timeout=240, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    jsonschema.validate(json.loads(done.stdout.splitlines()[-1]), schema)


def test_the_curl_body_is_a_request() -> None:
    body = re.search(r"-d '(.*?)'", README, re.DOTALL)
    assert body is not None
    request = chat_request(decode_body(body[1].encode(), ChatBody, Limits()))
    assert request.constraint is not None
    assert request.constraint.value == ["yes", "no"]


def test_the_python_blocks_run() -> None:
    calling, alone = blocks("python")
    assert re.search(r"Sailor\(name='.*', age=-?\d+\)", python(calling))
    prelude = (
        "from treadle.types import TokenKind, TokenTable\n"
        "schema = {'type': 'boolean'}\n"
        "table = TokenTable((b't', b'rue', b'x'), (TokenKind.NORMAL,) * 3, ())\n"
    )
    assert python(f"{prelude}{alone}\nprint(memoryview(rows).cast('B')[0] & 7)").strip() == "1"


def test_one_line_keeps_every_token() -> None:
    text = ' {\n "a b" : [ 1.0 , "\\"  \\\\" ] ,\t"c":null}'
    assert one_line(text) == '{"a b":[1.0,"\\"  \\\\"],"c":null}'
    assert json.loads(one_line(text)) == json.loads(text)
