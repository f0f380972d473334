#!/bin/sh
# clang-tidy over the sources given, as many at once as there are processors. What is checked stands in .clang-tidy.
set -eu
cd "$(dirname "$0")/.."
command -v clang-tidy >/dev/null || { echo "tidy: clang-tidy is not installed (deploy/install-deps.sh test)" >&2; exit 1; }
SLUICE_VERSION=$(cat VERSION)
export SLUICE_VERSION
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
echo "tidy: $# files, by clang-tidy$(clang-tidy --version | sed -n 's/.*\( [0-9][0-9]*\)\.[0-9].*/\1/p' | head -n 1) ..."
# Several at once: each writes to a file of its own, or findings would cut into one another.
if printf '%s\n' "$@" | xargs -P "$(nproc)" -n 4 sh -c 'clang-tidy --quiet "$@" -- -std=c17 -D_GNU_SOURCE -I. \
	-DSLUICE_VERSION="\"$SLUICE_VERSION\"" >"$0/$$.found" 2>"$0/$$.log"' "$out"; then
	echo "tidy: ok"
else
	cat "$out"/*.found
	grep -hv '^[0-9]* warnings\{0,1\}\( and [0-9]* errors\{0,1\}\)\{0,1\} generated\.$' "$out"/*.log >&2 || :
	exit 1
fi
