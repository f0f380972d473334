#!/usr/bin/env python3
"""Checks that every metric that the documents name is one of the program's: doc_names.py PROGRAM [FILE...].

Without FILE: README, DESIGN, CONTRIBUTING, and all of docs, deploy and config. A name is sluice_ and small letters, where nothing of a name
stands before it; a histogram may have its suffix, and what ends with _ (as in sluice_sink_*) must begin some name."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAME = re.compile(r"(?<![\w.-])sluice_[a-z0-9_]+")
SUFFIXES = ("_bucket", "_sum", "_count")
KINDS = {".md", ".yaml", ".yml", ".json", ".service"}


def known(name, metrics):
    if name.endswith("_"):
        return any(metric.startswith(name) for metric in metrics)
    return name in metrics or any(name.endswith(s) and name[:-len(s)] in metrics for s in SUFFIXES)


def main(program, *files):
    metrics = set(NAME.findall(subprocess.run([program, "--help-metrics"], check=True, capture_output=True, text=True).stdout))
    paths = [Path(f) for f in files] or [ROOT / f for f in ("README.md", "DESIGN.md", "CONTRIBUTING.md")] + [
        path for folder in ("docs", "deploy", "config") for path in sorted((ROOT / folder).rglob("*")) if path.suffix in KINDS]
    wrong = [f"{path}:{number}: {name} is no metric of {program}" for path in paths
             for number, line in enumerate(path.read_text().splitlines(), 1) for name in NAME.findall(line)
             if not known(name, metrics)]
    print("\n".join(wrong) or f"docs: ok, every metric in {len(paths)} files exists", file=sys.stderr if wrong else sys.stdout)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
