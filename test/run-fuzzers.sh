#!/bin/sh
# Runs fuzz targets for a bounded time each, from their committed corpus, as many at a time as there are processors, and
# prints one closing line.
#
#   test/run-fuzzers.sh SECONDS PROGRAM...      PROGRAM fuzz_NAME starts from test/fuzz/corpus/NAME
set -u
here=$(cd "$(dirname "$0")" && pwd)

# What is freed is kept for longer than a run takes, but not in 256 MB: fetching fresh pages all the time costs up to a third.
export ASAN_OPTIONS="${ASAN_OPTIONS:-quarantine_size_mb=16:allocator_release_to_os_interval_ms=-1}"

# One target: its line is printed when it ends, and DIR/NAME.failed is there if it found something.
if [ "$1" = --one ]; then
	out=$2 seconds=$3 program=$4
	n=$(basename "$program") name=${n#fuzz_}
	mkdir -p "$out/$name"
	if "$program" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 -print_final_stats=1 \
	    -artifact_prefix="$out/$name." "$out/$name" "$here/fuzz/corpus/$name" >"$out/$name.log" 2>&1; then
		echo "fuzz: $name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$out/$name.log") runs"
	else
		{
			echo "---- fuzz: $program found something; its input in base64:"
			tail -n 40 "$out/$name.log"
			for f in "$out/$name".crash-* "$out/$name".timeout-* "$out/$name".oom-* "$out/$name".leak-*; do
				[ ! -f "$f" ] || base64 "$f"
			done
		} >"$out/$name.failed"
		cat "$out/$name.failed"
	fi
	exit 0
fi

seconds=$1
shift
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
printf '%s\n' "$@" | xargs -P "$(nproc)" -I {} "$0" --one "$out" "$seconds" {}
failed=$(find "$out" -maxdepth 1 -name '*.failed' | wc -l)
echo "$(($# - failed)) passed, $failed failed"
[ "$failed" -eq 0 ]
