"""check.py JIDOKA DIR: calls the tools of packages.toml, which `fetch.sh DIR` downloaded, and compares what they say.

Each is called unmodified, by `jidoka call`, with nothing but its own file: no job, no grants, no network. Prints a line for
each tool, and ends with 1 if an answer was another one than expected.
"""

import array
import base64  # noqa: F401 (for `holds`)
import datetime
import json
import math
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import tomllib
import wave as waves
import zlib  # noqa: F401 (for `holds`)

# Seconds for one call; the first of a component compiles it.
CALL_SECONDS = 300


def filled(text, kept):
    """The input of a call, with what earlier calls put out."""

    def part(match):
        name, *path = match[1].split(".")
        value = kept[name]
        for key in path:
            value = value[key]
        return json.dumps(value)

    return re.sub(r"\$\{([a-z0-9.-]+)\}", part, text)


def sound(path):
    """How long a sound is, and how loud at most."""
    with waves.open(str(path)) as file:
        assert file.getsampwidth() == 2, "samples of two bytes"
        samples = array.array("h", file.readframes(file.getnframes()))
        return {"seconds": file.getnframes() / file.getframerate(), "loudest": max(map(abs, samples), default=0)}


def utc(text):
    """Milliseconds since 1970."""
    return round(datetime.datetime.fromisoformat(text).timestamp() * 1000)


def called(jidoka, component, call, kept, work):
    """What is wrong with the answer of one call; None if nothing is."""
    command = [jidoka, "call", component, call["tool"], "-", "--state", work / "state", "--wall-time", "120s"]
    if call.get("files") == "writable":
        (work / "files").mkdir(exist_ok=True)
        command += ["--dir", work / "files", "--write"]
    given = filled(call["input"], kept)
    done = subprocess.run(
        command, input=given, capture_output=True, text=True, timeout=CALL_SECONDS, env={"HOME": str(work)}, check=False
    )
    if "no" in call:
        said = done.stdout + done.stderr
        return None if done.returncode != 0 and call["no"] in said else f"expected a no with {call['no']!r}: {said}"
    if done.returncode != 0:
        return f"ended with {done.returncode}: {done.stderr[-2000:]}{done.stdout[-500:]}"
    output = json.loads(done.stdout)
    if "keep" in call:
        kept[call["keep"]] = output
    if "output" in call:
        expected = json.loads(call["output"])
        return None if output == expected else f"expected {call['output']}, got {done.stdout[:2000]}"
    names = {**globals(), "output": output, "kept": kept, "wave": lambda name: sound(work / "files" / name)}
    # An expression of our own file: what a tool says is a value in it and never code.
    return None if eval(call["holds"], names) else f"{call['holds']} is not so of {done.stdout[:2000]}"


def main():
    jidoka, fetched = sys.argv[1:]
    with open(pathlib.Path(__file__).parent / "packages.toml", "rb") as file:
        tools = tomllib.load(file)["tool"]
    wrong, languages = 0, set()
    with tempfile.TemporaryDirectory() as directory:
        for tool in tools:
            work = pathlib.Path(directory) / tool["name"]
            work.mkdir()
            kept = {"sine": [math.sin(at / 10) for at in range(100)]}
            began, problems = time.monotonic(), []
            for at, call in enumerate(tool["call"], 1):
                problem = called(jidoka, pathlib.Path(fetched) / f"{tool['name']}.wasm", call, kept, work)
                if problem:
                    problems.append(f"    call {at}, {call['tool']}: {problem}")
                    break
            wrong += bool(problems)
            if not problems:
                languages.update(tool["languages"])
            mark = "✗" if problems else "✓"
            words = ", ".join(tool["languages"])
            calls = f"{len(tool['call'])} call" + "s" * (len(tool["call"]) > 1)
            print(f"  {mark} {tool['name']:18}{words:14}{calls:9}{time.monotonic() - began:5.1f}s  {tool['what']}", flush=True)
            print(*problems, sep="\n", end="\n" * bool(problems), flush=True)
    print(f"{len(tools) - wrong} of {len(tools)} tools, in {len(languages)} languages: {', '.join(sorted(languages))}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
