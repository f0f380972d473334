#!/bin/sh
# Runs stages of `make test`, each a target of the Makefile, one after the other whatever becomes of the one before, and
# ends with a summary: how long each took, and what failed in it. 0: all went through; 1: not.
#
#   [MAKE=make] [LOGS=DIR] test/run-stages.sh STAGE...      the output of each is kept as LOGS/stage-NAME.log; LOGS: build/log
set -u
logs=${LOGS:-build/log}
make=${MAKE:-make}
mkdir -p "$logs"
# What a stage builds is built on all processors, unless the caller has said on how many.
case " ${MAKEFLAGS:-}" in
*\ -j* | *--jobserver*) jobs= ;;
*) jobs=-j$(nproc) ;;
esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkfifo "$work/pipe"

# A signal ends the stage that runs, which stops what it has started, and then this.
pid=
stop() { # SIGNAL CODE
	[ -z "$pid" ] || { kill -s "$1" "$pid" 2>/dev/null; wait "$pid"; }
	exit "$2"
}
trap 'stop INT 130' INT
trap 'stop TERM 143' TERM

# run STAGE: its exit code. In the background, since the shell minds signals only while it waits; env gives the stage back
# the interrupt that a shell takes from what is in the background.
run() {
	tee -i "$logs/stage-$1.log" <"$work/pipe" &
	out=$!
	# shellcheck disable=SC2086
	env --default-signal=INT,QUIT $make $jobs --no-print-directory -k "$1" >"$work/pipe" 2>&1 &
	pid=$!
	wait "$pid"
	code=$?
	pid=
	wait "$out"
	return "$code"
}

# what_failed LOG: the lines that name it: of run-units.sh and run-fuzzers.sh (----), pytest (FAILED, ERROR), image.sh
# (FAIL), torture.py (FAILED:), compilers and checkers; and the targets that make gave up.
what_failed() {
	grep -aE -e '^---- |^(FAILED|ERROR) |^FAIL  |^item [0-9]+, .*: FAILED:' \
		-e '^[^ :]+:[0-9]+(:[0-9]+)?: (fatal )?(error|warning):' -e '^(direction|format|tidy|docs|image\.sh): ' "$1" |
		grep -aEv '^[a-z]+: ok|\.\.\.$' | sort -u | head -n 50
	sed -n -e 's/^make.*\*\*\* \[\(.*: \)\{0,1\}\([^]]*\)\] .*/make: \2/p' \
		-e 's/^make.*\*\*\* \(No rule.*\)/make: \1/p' "$1" | sort -u | head -n 20
}

count=0 bad=
: >"$work/summary"
for stage in "$@"; do
	echo "==== $stage"
	began=$(date +%s)
	state=ok
	run "$stage" || state=FAILED
	took=$(($(date +%s) - began))
	echo "==== $stage: $state, $took s"
	count=$((count + 1))
	printf '%-6s %6d s  %s\n' $state "$took" "$stage" >>"$work/summary"
	[ $state = FAILED ] || continue
	bad="$bad $stage"
	what_failed "$logs/stage-$stage.log" | cut -c 1-300 | sed 's/^/                   /' >>"$work/summary"
	echo "                   log: $logs/stage-$stage.log" >>"$work/summary"
done
echo "==== summary"
cat "$work/summary"
[ -z "$bad" ] || { echo "test: failed:$bad"; exit 1; }
echo "test: ok, $count stages"
