#!/bin/sh
# Runs fuzz targets for a bounded time each, from their committed corpus, and prints one closing line.
#
#   test/run-fuzzers.sh SECONDS PROGRAM...      PROGRAM fuzz_NAME starts from test/fuzz/corpus/NAME
set -u
seconds=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
passed=0 failed=0
for program in "$@"; do
	n=$(basename "$program") name=${n#fuzz_}
	mkdir -p "$out/$name"
	if "$program" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 -print_final_stats=1 -artifact_prefix="$out/" \
	    "$out/$name" "$here/fuzz/corpus/$name" >"$out/$name.log" 2>&1; then
		passed=$((passed + 1))
		echo "fuzz: $name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$out/$name.log") runs"
	else
		failed=$((failed + 1))
		echo "---- fuzz: $program found something; its input in base64:"
		tail -n 40 "$out/$name.log"
		for f in "$out"/crash-* "$out"/timeout-* "$out"/oom-* "$out"/leak-*; do [ ! -f "$f" ] || base64 "$f"; done
	fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
