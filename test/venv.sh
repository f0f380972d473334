#!/bin/sh
# Makes the Python environment of the system tests: build/venv (or DIR), with what test/requirements.txt pins.
#
#   test/venv.sh [DIR]     afterwards DIR/bin/pytest is there; quick when nothing changed
#
# PYTHON is the interpreter to make it with (python3). Needs python3-venv, and pip's package index the first time.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
venv=${1:-$(dirname "$here")/build/venv}
requirements=$here/requirements.txt
python=${PYTHON:-python3}
die() { echo "venv.sh: $*" >&2; exit 1; }

# The copy of the requirements is written last: an installation that was interrupted is done again.
if [ -x "$venv/bin/python" ] && cmp -s "$requirements" "$venv/requirements.txt"; then
	exit 0
fi
echo "installing the Python packages of test/requirements.txt into $venv ..." >&2
rm -rf "$venv"
mkdir -p "$(dirname "$venv")"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
"$python" -m venv "$venv" >"$log" 2>&1 ||
	{ cat "$log" >&2; die "$python -m venv failed: is python3-venv installed? (deploy/install-deps.sh test)"; }
"$venv/bin/python" -m pip install -q --disable-pip-version-check -r "$requirements" >"$log" 2>&1 ||
	{ tail -n 10 "$log" >&2; die "pip could not install test/requirements.txt"; }
cp "$requirements" "$venv/requirements.txt"
