#!/bin/sh
# Runs unit test programs, at most as many at once as there are processors, and prints what failed, why, and one closing
# line. The whole output of each program is kept as LOGS/LABEL-NAME.log; NAME is its path below test/unit, with _ for each
# slash, since two folders may have a test of the same name.
#
#   [LOGS=DIR] test/run-units.sh LABEL PROGRAM...      LOGS: build/log
set -u
label=$1
shift
logs=${LOGS:-build/log}
mkdir -p "$logs"
rm -f "$logs/$label"-*.log
codes=$(mktemp -d)
trap 'rm -rf "$codes"' EXIT

# name_of PROGRAM: what its log is called by
name_of() {
	case $1 in
	*test/unit/*) echo "${1##*test/unit/}" | tr / _ ;;
	*) basename "$1" ;;
	esac
}

for program in "$@"; do printf '%s %s\n' "$program" "$(name_of "$program")"; done |
	xargs -P "$(nproc)" -L 1 sh -c 'timeout 600 "$2" >"$0-$3.log" 2>&1
	echo $? >"$1/$3"' "$logs/$label" "$codes"

# A log may hold any bytes: without -a, grep says "binary file matches" instead of the reason.
# failed_tests LOG: the names of the tests that failed. The last one that ran, if the program ended in the middle of it.
failed_tests() {
	grep -a '^\[ *\(RUN\|OK\|FAILED\|SKIPPED\) *\] [A-Za-z_]' "$1" | grep -av '\] tests: ' |
		awk '{ state = $0; sub(/^\[ */, "", state); sub(/ *\].*/, "", state); name = $NF }
		     state == "RUN" { running = name; next }
		     { running = "" }
		     state == "FAILED" && !seen[name]++ { print name }
		     END { if (running != "") print running }'
}

passed=0 failed=0
for program in "$@"; do
	n=$(name_of "$program")
	log=$logs/$label-$n.log
	p=$(grep -ac '^\[ *OK *\] ' "$log")
	code=$(cat "$codes/$n" 2>/dev/null || echo 127)
	passed=$((passed + p))
	# A program that ended badly without saying which test failed (a sanitizer's report, a crash, no test at all) counts as one.
	if [ "$code" -ne 0 ] || [ "$p" -eq 0 ]; then
		names=$(failed_tests "$log" | paste -s -d ' ')
		f=$(echo "$names" | wc -w)
		[ "$f" -gt 0 ] || f=1
		failed=$((failed + f))
		echo "---- $label: $n: ${names:+failed: $names; }exit code $code, log in $log"
		grep -av '^\[ *\(RUN\|OK\) *\]' "$log" | tail -n 60
	fi
done
echo "$label: $# programs, logs in $logs/$label-*.log"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
