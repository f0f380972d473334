# What kafka.sh, search.sh and mosquitto.sh share; read by them with `.`, not run.
#
# A server is a directory: its data, its log, and a pid file with the process's number and its start time. The start time
# tells our server from a stranger that got the same number later: nothing is ever signalled that we did not start.

me=$(basename "$0")
cache=${SLUICE_CACHE:-${HOME:-/tmp}/.cache/sluice-services}

say() { echo "$me: $*" >&2; }
die() { say "$@"; exit 1; }
usage() { sed -n '2,${/^#/!q;s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
need() { for c in "$@"; do command -v "$c" >/dev/null || die "$c is not installed (deploy/install-deps.sh test)"; done; }

# start_time PID: in clock ticks since boot, proc(5) field 22, counted from behind the name, which may hold spaces;
# nothing for a process that has ended and only waits to be reaped (state Z)
start_time() { sed -n 's/.*) [^Z] //p' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 19; }

# spawn PIDFILE LOG COMMAND...: starts a server in the background
spawn() {
	pidfile=$1 log=$2
	shift 2
	nohup "$@" >"$log" 2>&1 </dev/null &
	echo "$! $(start_time $!)" >"$pidfile"
}

# alive PIDFILE: is the process we started still there? Sets pid.
alive() {
	[ -s "$1" ] || return 1
	read -r pid started <"$1"
	[ -n "$started" ] && [ "$(start_time "$pid")" = "$started" ]
}

# await WHAT PIDFILE LOG READY...: until the server is there and the command READY succeeds; WAIT_SECONDS (90) at most
await() {
	what=$1 pidfile=$2 log=$3 begun=$(date +%s) told=
	shift 3
	while :; do
		alive "$pidfile" || { tail -n 5 "$log" >&2; die "$what is not running: see $log"; }
		! "$@" || return 0
		now=$(date +%s)
		[ $((now - begun)) -lt "${WAIT_SECONDS:-90}" ] || { tail -n 5 "$log" >&2; die "$what is not ready: see $log"; }
		[ -n "$told" ] || [ $((now - begun)) -lt 2 ] || { say "waiting for $what ..."; told=1; }
		sleep 0.1
	done
}

# halt WHAT PIDFILE SIGNAL: sends the signal, and KILL when it took more than 30 seconds; then the process is gone
halt() {
	if alive "$2"; then
		begun=$(date +%s) told=
		kill -"$3" "$pid"
		while alive "$2"; do
			now=$(date +%s)
			[ -n "$told" ] || [ $((now - begun)) -lt 2 ] || { say "stopping $1 ..."; told=1; }
			[ $((now - begun)) -lt 30 ] || kill -KILL "$pid" 2>/dev/null || :
			sleep 0.1
		done
	fi
	rm -f "$2"
}

# fetch_jars NAME POM DIRECTORY [OPTION...]: a server's jars, from Maven's central repository into the cache
fetch_jars() {
	say "fetching $1 jars ..."
	pom=$2 out=$3 name=$1
	shift 3
	mvn -B -q -Dstyle.color=never -f "$pom" -Dmaven.repo.local="$cache/m2" dependency:copy-dependencies \
		-DincludeScope=runtime -DoutputDirectory="$out" "$@" >&2 || die "mvn could not fetch the $name jars"
}

# once DIRECTORY COMMAND...: makes DIRECTORY of the cache by COMMAND, unless it is there whole; one process at a time
once() {
	[ ! -f "$1/.complete" ] || return 0
	mkdir -p "$cache"
	(
		flock 9
		if [ ! -f "$1/.complete" ]; then
			made=$1
			rm -rf "$made"
			shift
			"$@" 9>&-
			touch "$made/.complete"
		fi
	) 9>"$cache/.lock"
}
