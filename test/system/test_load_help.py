"""What sluice-load says of itself: the man page and the help have the same options, and every example of theirs works."""

import os
import re
import shlex
import subprocess
from pathlib import Path

LOAD = Path(os.environ.get("SLUICE_BIN", Path(__file__).parents[2] / "build/sluice")).with_name("sluice-load")
PAGE = Path(__file__).parents[2] / "load/sluice-load.1"
COMMANDS = ["run", "find", "verify", "compare", "merge", "self-test"]
OPTION = re.compile(r"  (?:-(\w), |    )--([a-z-]+)(?: ([A-Z]\S*))?(?:  +(.*))?$")
CONFIG = {"listeners": {"tcp": {"reply": "count", "device": ["/device"]}}}
SMALL = {"run": ["-t", "300ms", "--warmup", "0s"], "find": ["-t", "300ms", "--warmup", "0s", "--most", "1k"]}


def help_of(command):
    return subprocess.run([LOAD, command, "--help"], capture_output=True, text=True, check=True, timeout=60).stdout


def helped(command):
    """Options by name, as --help tells them: letter, value and text."""
    options, last = {}, None
    for line in help_of(command).splitlines():
        if match := OPTION.match(line):
            letter, last, value, text = match.groups()
            options[last] = (letter, value, text or "")
        elif last and line.startswith(" " * 34):
            letter, value, text = options[last]
            options[last] = (letter, value, f"{text} {line.strip()}".strip())
        else:
            last = None
    options.pop("help", None)
    return options


def paged(section):
    """The same, as a section of the man page tells them."""
    lines = PAGE.read_text().replace("\\-", "-").replace("\\(aq", "'").splitlines()
    start = lines.index(f".SH OPTIONS OF {section}")
    end = next(i for i, line in enumerate(lines[start + 1:], start + 1) if line.startswith(".SH"))
    options = {}
    for i in range(start, end):
        match = re.match(r'\.BR (?:-(\w) ", " )?--([a-z-]+)(?: " \\fI(\S+)\\fR")?$', lines[i])
        if match:
            letter, name, value = match.groups()
            options[name] = (letter, value, lines[i + 1])
    return options


def test_the_man_page_has_the_options_of_the_help():
    run = helped("run")
    assert len(run) > 40 and paged("RUN") == run
    find = helped("find")
    refused = {"rate", "ramp", "step", "burst", "every", "jitter", "storm", "idle", "count", "ledger"}
    assert set(run) - set(find) == {"html", "csv", "hdr", "fail-if", "quiet", "progress"} | refused
    for name in sorted(refused - {"jitter"}):  # what the help leaves out is what it does not take
        value = [] if name == "idle" else ["1k:2k:1s" if name in ("ramp", "step") else "1k:1s" if name == "burst" else "1s"
                                           if name == "every" else "10"]
        done = subprocess.run([LOAD, "find", "tcp://127.0.0.1:1", f"--{name}", *value], capture_output=True, text=True, timeout=20)
        assert done.returncode == 2 and "without" in done.stderr, (name, done.stderr)
    assert paged("FIND") == {name: told for name, told in find.items() if run.get(name) != told}
    assert paged("VERIFY") == helped("verify")
    assert paged("COMPARE AND MERGE") == helped("compare") == helped("merge")
    assert paged("SELF-TEST") == helped("self-test")


def examples():
    text = PAGE.read_text().replace("\\-", "-").replace("\\(aq", "'")
    lines = text[text.index(".SH EXAMPLES"):].splitlines()
    for command in COMMANDS:
        lines += re.findall(r"^  (sluice-load \S+://.*|sluice-load find .*)$", help_of(command), re.M)
    return sorted({re.split(r"\s{2,}", line)[0] if "://" in line else line for line in lines
                   if line.startswith("sluice-load ") and "verify" not in line and "TARGET" not in line})


def smaller(words):
    """The example with less to do: what stands last holds."""
    command = words[0] if words[0] in COMMANDS else "run"
    small = {"-c": "4", "-n": "100", "-r": "500", "-e": "100ms", "--storm": "20"}
    return words + SMALL[command] + [word for name, value in small.items() if name in words for word in (name, value)]


def test_every_example_of_the_help_and_the_man_page_works(sluice, tmp_path):
    gateway = sluice(CONFIG)
    lines = examples()
    assert len(lines) >= 8
    for line in lines:
        words = [re.sub(r"^(\w+)://127\.0\.0\.1(:\d+)?", lambda m: "{}://{}:{}".format(m[1], *gateway.address(m[1])), word)
                 for word in shlex.split(line)[1:]]
        done = subprocess.run([LOAD, *smaller(words)], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, (line, done.stdout + done.stderr)
