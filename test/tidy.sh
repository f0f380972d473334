#!/bin/sh
# clang-tidy over the sources given, as many at once as there are processors. What is checked stands in .clang-tidy.
set -eu
cd "$(dirname "$0")/.."
version=$(cat VERSION)
out=$(mktemp)
trap 'rm -f "$out"' EXIT
echo "tidy: $# files ..."
if printf '%s\n' "$@" | xargs -P "$(nproc)" -n 4 sh -c 'clang-tidy --quiet "$@" -- -std=c17 -D_GNU_SOURCE -I. -DSLUICE_VERSION="\"$0\"" 2>/dev/null' "$version" >"$out"; then
	echo "tidy: well"
else
	cat "$out"
	exit 1
fi
