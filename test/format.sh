#!/bin/sh
# Lays out C files by .clang-format, or checks that they are.
#
#   test/format.sh check|fix FILE...
#
# Every major version of clang-format lays out a few things its own way; the tree follows Debian 12's, and another
# version would undo it. Where only another is installed (Debian 13), `check` says so and passes: it is left to Debian 12.
# CLANG_FORMAT names the program, if it is neither clang-format-14 nor clang-format.
set -eu
wanted=14
mode=$1
shift
program=${CLANG_FORMAT:-$(command -v clang-format-$wanted || command -v clang-format || :)}
[ -n "$program" ] || { echo "format: clang-format $wanted is not installed (deploy/install-deps.sh test)" >&2; exit 1; }
version=$("$program" --version | sed -n 's/.*version \([0-9][0-9]*\)\..*/\1/p')
if [ "$version" != $wanted ]; then
	echo "format: needs clang-format $wanted, this is ${version:-unknown}: left to Debian 12"
	[ "$mode" = check ]
	exit
fi
case $mode in
fix) exec "$program" -i "$@" ;;
check) "$program" --dry-run -Werror "$@" && echo "format: ok, $# files" ;;
*) echo "format.sh: check or fix, not $mode" >&2; exit 2 ;;
esac
