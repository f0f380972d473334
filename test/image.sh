#!/bin/sh
# Builds the Dockerfile and tries the image, without a Docker daemon and without a registry.
#
#   test/image.sh          as root; needs deploy/install-deps.sh image; ends with `N passed, N failed`
#
# The base image is made with debootstrap from the Debian mirror in apt's sources (about 20 seconds, kept in the cache),
# the image is built by buildah. The container then runs as a runtime would run it: the image's user, entry point and
# command, read-only root file system, no capabilities, no new privileges, a data volume; in a network of its own, so
# that the ports of the image are free and nothing outside can reach them.
#
# SLUICE_CACHE    where the base and buildah's storage are kept, ~/.cache/sluice-services
# SLUICE_IMAGE_KEEP=1   leave the scratch directory (log, data) behind
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
suite=trixie
cache=${SLUICE_CACHE:-${HOME:-/tmp}/.cache/sluice-services}

say() { echo "image.sh: $*" >&2; }
die() { say "$@"; exit 1; }
images() { buildah --root "$cache/$driver" --runroot "$cache/$driver-run" --storage-driver "$driver" "$@"; }

# ---- building ------------------------------------------------------------------------------------------------------

# Overlay keeps layers as differences and is quick; where the kernel or the file system of the cache refuses it
# (an overlay on an overlay), vfs copies each layer whole and works everywhere.
choose_driver() {
	driver=overlay
	if c=$(images from scratch 2>/dev/null) && images mount "$c" >/dev/null 2>&1; then
		images rm "$c" >/dev/null
	else
		driver=vfs
	fi
}

apt_uris() { sed -n 's/^URIs: *//p; s/^deb  *\(\[[^]]*\] *\)\{0,1\}\([^ ]*\) .*/\2/p' /etc/apt/sources.list \
	/etc/apt/sources.list.d/debian.sources /etc/apt/sources.list.d/debian.list 2>/dev/null || :; }

base() {
	tag=docker.io/library/debian:$suite-slim
	! images inspect --type image "$tag" >/dev/null 2>&1 || return 0
	mirror=$(apt_uris | grep -v security | head -n 1)
	security=$(apt_uris | grep security | head -n 1)
	[ -n "$mirror" ] || die "no Debian mirror in apt's sources"
	if [ ! -f "$cache/$suite/.complete" ]; then
		say "making the base image debian:$suite-slim from $mirror ..."
		rm -rf "${cache:?}/$suite"
		debootstrap --variant=minbase "$suite" "$cache/$suite" "$mirror" >"$work/debootstrap.log" 2>&1 ||
			{ tail -n 5 "$work/debootstrap.log" >&2; die "debootstrap failed"; }
		[ -z "$security" ] ||
			echo "deb $security $suite-security main" >>"$cache/$suite/etc/apt/sources.list"
		rm -rf "$cache/$suite"/var/lib/apt/lists/* "$cache/$suite"/var/cache/apt/*
		touch "$cache/$suite/.complete"
	fi
	c=$(images from scratch)
	images add -q "$c" "$cache/$suite" / >/dev/null
	images run --isolation chroot "$c" -- rm -f /.complete
	images commit -q --rm "$c" "$tag" >/dev/null
}

build() {
	say "building the image ..."
	# docker format: the OCI one has no HEALTHCHECK
	images build --isolation chroot --pull-never --format docker --layers -t sluice \
		--build-arg VERSION="$(cat "$root/VERSION")" \
		--build-arg REVISION="$(git -C "$root" rev-parse HEAD 2>/dev/null || echo unknown)" \
		"$root" >"$work/build.log" 2>&1 || { tail -n 30 "$work/build.log" >&2; die "the image could not be built"; }
	images rmi --prune >/dev/null 2>&1 || : # what earlier builds left
}

# ---- running ---------------------------------------------------------------------------------------------------------

config() { images inspect --type image --format "$1" sluice; }

# in_container COMMAND...: with the image's user and root, as a container runtime confines it
in_container() {
	exec env -i PATH=/usr/local/bin:/usr/bin:/bin HOME=/ /usr/sbin/chroot "$top" \
		setpriv --reuid "${user%:*}" --regid "${user#*:}" --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all \
		"$@"
}

start() {
	(cd / && in_container $command) >"$work/log" 2>&1 </dev/null &
	pid=$!
}

# until SECONDS COMMAND...: true as soon as the command succeeds
until_true() {
	end=$(($(date +%s) + $1))
	shift
	while ! "$@"; do
		[ "$(date +%s)" -lt $end ] && kill -0 "$pid" 2>/dev/null || return 1
		sleep 0.1
	done
}
ready() { curl -fs -m 2 -o /dev/null http://127.0.0.1:9480/readyz; }

# check NAME COMMAND...: one test
check() {
	name=$1
	shift
	if "$@" >"$work/check" 2>&1; then
		passed=$((passed + 1))
		echo "ok    $name"
	else
		failed=$((failed + 1))
		echo "FAIL  $name"
		sed 's/^/      /' "$work/check" | tail -n 15
	fi
}

recorded() {
	until_true 10 grep -qs "$1" "$volume/telemetry.ndjson" && return 0
	echo "no record with $1 in the file sink"
	return 1
}
by_mqtt() { mosquitto_pub -V mqttv311 -h "$1" -p 1883 -q 1 -i "$2" -t telemetry -m "{\"mark\":\"$2\"}" && recorded "$2"; }
by_coap() { "$coap" -m post -t 50 -B 5 -e "{\"mark\":\"$2\"}" "coap://$1/t/$2/telemetry" && recorded "$2"; }
by_tcp() { printf '{"device":"%s","mark":"%s"}\n' "$2" "$2" | timeout 5 nc -N "$1" 5170 && recorded "$2"; }
by_http() {
	code=$(curl -s -m 5 -o /dev/null -w '%{http_code}' -H 'Content-Type: application/json' -d "{\"mark\":\"$2\"}" \
		"http://$1:8080/v1/telemetry/$2") && [ "$code" = 204 ] && recorded "$2" || { echo "status $code"; return 1; }
}
healthy() { (in_container $health); }
metrics() { curl -fs -m 5 'http://[::1]:9480/metrics' | grep '^sluice_build_info'; }
user_is_the_images() { [ "$(stat -c %u:%g "/proc/$pid")" = "$user" ]; }
no_capabilities() { grep -q '^CapEff:[[:space:]]*0*$' "/proc/$pid/status"; }
root_is_read_only() { ! (in_container /usr/bin/touch /usr/bin/x /tmp/x /etc/x) && [ ! -e "$top/tmp/x" ]; }
framing() {
	SLUICE_HTTP_URL=http://127.0.0.1:8080 "$root/build/venv/bin/pytest" -q -k framing "$here/system" -p no:cacheprovider
}
stops() {
	kill -TERM "$pid"
	end=$(($(date +%s) + 15))
	while kill -0 "$pid" 2>/dev/null && [ "$(date +%s)" -lt $end ]; do sleep 0.1; done
	code=0
	! kill -0 "$pid" 2>/dev/null || kill -KILL "$pid"
	wait "$pid" || code=$?
	[ $code = 0 ] || { echo "exit code $code"; tail -n 10 "$work/log"; return 1; }
}
unhealthy() { ! (in_container $health); }
again() { start && until_true 15 ready && healthy && grep -q image-http "$volume/telemetry.ndjson"; }

# The second half, in namespaces of its own for network and mounts: what is mounted here is gone with it.
try() {
	work=$1 top=$2 user=$3 command=$4 health=$5 volume=$1/data pid= passed=0 failed=0
	ip link set lo up
	mount --bind "$top" "$top"
	mkdir -p "$volume"
	chown "$user" "$volume"
	mount --bind "$volume" "$top/var/lib/sluice"
	mount -t proc -o ro proc "$top/proc"
	mount -t tmpfs -o size=64k,mode=755 tmpfs "$top/dev"
	for d in null zero random urandom; do
		: >"$top/dev/$d"
		mount --bind "/dev/$d" "$top/dev/$d"
	done
	mount -o remount,bind,ro "$top"
	for coap in coap-client-notls coap-client-openssl coap-client; do ! command -v $coap >/dev/null || break; done

	trap 'kill -KILL "$pid" 2>/dev/null || :' EXIT
	start
	until_true 20 ready || { cat "$work/log" >&2; die "the container is not ready"; }
	check 'runs as the user of the image' user_is_the_images
	check 'has no capabilities' no_capabilities
	check 'has a read-only root file system' root_is_read_only
	check 'takes a message by MQTT' by_mqtt 127.0.0.1 image-mqtt
	check 'takes a message by CoAP' by_coap 127.0.0.1 image-coap
	check 'takes a message by TCP' by_tcp 127.0.0.1 image-tcp
	check 'takes a message by HTTP' by_http 127.0.0.1 image-http
	check 'takes a message by MQTT over IPv6' by_mqtt ::1 image6-mqtt
	check 'takes a message by CoAP over IPv6' by_coap '[::1]' image6-coap
	check 'takes a message by TCP over IPv6' by_tcp ::1 image6-tcp
	check 'takes a message by HTTP over IPv6' by_http '[::1]' image6-http
	check 'is healthy' healthy
	check 'serves metrics' metrics
	check 'refuses ambiguous HTTP framing' framing
	check 'stops at SIGTERM with exit code 0' stops
	check 'is not healthy when stopped' unhealthy
	check 'starts again on its volume' again
	check 'stops again' stops
	echo "$passed passed, $failed failed"
	[ $failed = 0 ]
}

if [ "${1:-}" = --try ]; then
	shift
	try "$@"
	exit
fi
[ $# = 0 ] || { sed -n '2,${/^#/!q;s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
[ "$(id -u)" = 0 ] || die "needs root: debootstrap and chroot do"
for c in buildah debootstrap unshare setpriv ip mosquitto_pub curl nc; do
	command -v $c >/dev/null || die "$c is not installed (deploy/install-deps.sh image)"
done
"$here/venv.sh"
mkdir -p "$cache"
work=$(mktemp -d)
chmod 755 "$work"
container=
finish() {
	[ -z "$container" ] || images rm "$container" >/dev/null || :
	[ "${SLUICE_IMAGE_KEEP:-0}" = 1 ] && say "see $work" || rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

choose_driver
base
build
container=$(images from --pull-never sluice)
top=$(images mount "$container")
say "running it ..."
user=$(config '{{.Docker.Config.User}}')
command=$(config '{{range .Docker.Config.Entrypoint}}{{.}} {{end}}{{range .Docker.Config.Cmd}}{{.}} {{end}}')
health=$(config '{{range .Docker.Config.Healthcheck.Test}}{{.}} {{end}}')
unshare --net --mount "$0" --try "$work" "$top" "$user" "$command" "${health#CMD }"
