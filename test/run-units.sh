#!/bin/sh
# Runs unit test programs, at most as many at once as there are processors, and prints what failed and one closing line.
#
#   test/run-units.sh LABEL PROGRAM...
set -u
label=$1
shift
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
printf '%s\n' "$@" | xargs -P "$(nproc)" -I{} sh -c 'n=$(basename "{}"); timeout 300 "{}" >"$0/$n.log" 2>&1; echo $? >"$0/$n.code"' "$out"
passed=0 failed=0
for program in "$@"; do
	n=$(basename "$program")
	p=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$out/$n.log" | tail -n 1)
	# cmocka 1.1.5 writes `[  FAILED  ] 2 test(s)`, 1.1.7 `[  FAILED  ] tests: 2 test(s)`.
	f=$(sed -n 's/^\[  FAILED  \] \(tests: \)\{0,1\}\([0-9][0-9]*\) test.*/\2/p' "$out/$n.log" | head -n 1)
	code=$(cat "$out/$n.code" 2>/dev/null || echo 127)
	passed=$((passed + ${p:-0}))
	# A program that ended badly without saying which test failed (a sanitizer's report, a crash, no test at all) counts as one.
	if [ "$code" -ne 0 ] || [ "${p:-0}" -eq 0 ]; then
		[ "${f:-0}" -gt 0 ] || f=1
		failed=$((failed + f))
		echo "---- $label: $program ended with $code"
		grep -v '^\[ *\(RUN\|OK\) *\]' "$out/$n.log" | tail -n 60
	fi
done
echo "$label: $# programs"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
