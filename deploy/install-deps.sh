#!/bin/sh
# Installs the Debian packages that a goal needs and that are not there yet; quick and silent when nothing is missing.
#
#   deploy/install-deps.sh GOAL [GOAL...]
#
#   build   compiler and libraries: what `make` needs
#   run     the same: what `make run` needs (it builds first)
#   unit    build, and what `make unit` needs
#   test    build, and the tools, clients and servers of `make test`
#   bench   build, and what the programs of test/bench compare with
#   peers   bench, and the programs that `make bench-peers` runs beside Sluice (Telegraf needs Go besides)
#   torture test, and what `make torture` injects faults with: network namespaces, packet filters, a balancer
#   image   what test/image.sh needs to make and run the container image
#
# Works on Debian 12 and 13 and their relatives. Packages are installed by apt-get, as root or through sudo.
# Services that come along (mosquitto, prometheus, rsyslog, haproxy) are neither started nor enabled: mosquitto would take Sluice's
# port 1883.
set -eu

die() { echo "install-deps.sh: $*" >&2; exit 1; }

# One word per package. a|b: whichever the release has (Debian 12's name first). a?cmd: only where no cmd is on the
# PATH.
build_packages='gcc make pkg-config|pkgconf libc6-dev libmicrohttpd-dev libcoap3-dev|libcoap-dev librdkafka-dev
	libcjson-dev libssl-dev libyaml-dev libevent-dev libcurl4-openssl-dev libjemalloc-dev zlib1g-dev'
unit_packages='libcmocka-dev'
test_packages='libcmocka-dev clang clang-format clang-tidy mosquitto mosquitto-clients libcoap3-bin|libcoap-bin
	netcat-openbsd curl openssl ca-certificates maven?mvn default-jdk-headless?javac python3?python3 python3-venv
	prometheus?promtool strace wrk jq chromium?chromium'
bench_packages='mosquitto g++?g++ libck-dev libsimdjson-dev maven?mvn default-jdk-headless?javac python3?python3 python3-venv openssl'
peers_packages='mosquitto mosquitto-clients rsyslog?rsyslogd rsyslog-kafka rsyslog-elasticsearch'
torture_packages='haproxy nftables?nft iproute2?ip util-linux btrfs-progs?mkfs.btrfs e2fsprogs?mkfs.ext4'
image_packages='buildah debootstrap iproute2 util-linux ca-certificates curl netcat-openbsd mosquitto-clients
	libcoap3-bin|libcoap-bin python3?python3 python3-venv'

# The sanitizers' runtime is a package of its own, named after the release's clang: libclang-rt-14-dev, ...
clang_runtime() { # reads what clang depends on
	sed -n 's/^Depends:.*clang-\([0-9][0-9]*\).*/libclang-rt-\1-dev/p' | head -n 1
}

[ $# -ge 1 ] || { sed -n '2,17s/^# \{0,1\}//p' "$0" >&2; exit 2; }
wanted=
for goal in "$@"; do
	case $goal in
	build | run) wanted="$wanted $build_packages" ;;
	unit) wanted="$wanted $build_packages $unit_packages" ;;
	test) wanted="$wanted $build_packages $test_packages libclang-rt" ;;
	bench) wanted="$wanted $build_packages $bench_packages" ;;
	peers) wanted="$wanted $build_packages $bench_packages $peers_packages" ;;
	torture) wanted="$wanted $build_packages $test_packages libclang-rt $torture_packages" ;;
	image) wanted="$wanted $image_packages" ;;
	*) die "unknown goal $goal: it is build, run, unit, test, bench, peers, torture or image" ;;
	esac
done
command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
	die "this system has no apt; install by hand the equivalents of:" $(for want in $wanted; do want=${want%%\?*}; echo "${want%%|*}"; done)

PATH=$PATH:/usr/sbin:/sbin
# One dpkg-query answers for all: it is what makes the usual run quick.
installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' 2>/dev/null | sed -n 's/^installed //p' | tr '\n' ' ')
installed=" $installed"
has() { case $installed in *" $1 "*) ;; *) return 1 ;; esac; }

missing=
for want in $wanted; do
	case " $missing " in *" ${want%\?*} "*) continue ;; esac
	case $want in
	libclang-rt) runtime=$(dpkg-query -W -f 'Depends: ${Depends}\n' clang 2>/dev/null | clang_runtime)
		[ -n "$runtime" ] && has "$runtime" || missing="$missing $want" ;;
	*\?*) command -v "${want#*\?}" >/dev/null || has "${want%\?*}" || missing="$missing ${want%\?*}" ;;
	*\|*) has "${want%|*}" || has "${want#*|}" || missing="$missing $want" ;;
	*) has "$want" || missing="$missing $want" ;;
	esac
done
[ -n "$missing" ] || exit 0

# What is missing, as names that apt knows: of alternatives the first.
first_names() { for want in $missing; do printf ' %s' "${want%%|*}"; done; }

if [ "$(id -u)" = 0 ]; then
	root=
elif command -v sudo >/dev/null; then
	root=sudo
else
	die "these packages are missing, and installing them needs root (or sudo):$(first_names)"
fi

# Before anything else, so that a refusal is not taken for a fault of the package mirror.
[ -z "$root" ] || $root true ||
	die "sudo refuses. As root: deploy/install-deps.sh $*; or have these packages installed:$(first_names)"

echo "installing$(first_names); on a new machine that takes some minutes ..." >&2
log=$(mktemp)
policy=/usr/sbin/policy-rc.d
made_policy=
finish() {
	[ -z "$made_policy" ] || $root rm -f "$policy"
	rm -f "$log"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
fail() {
	tail -n 15 "$log" >&2
	die "$1"
}

$root apt-get update -q >"$log" 2>&1 || fail "apt-get update failed: is the package mirror reachable?"
names=
for want in $missing; do
	case $want in
	*\|*)
		name=${want%|*}
		apt-cache show "$name" >/dev/null 2>&1 || name=${want#*|}
		;;
	libclang-rt) name=$(apt-cache show --no-all-versions clang | clang_runtime) ;;
	*) name=$want ;;
	esac
	names="$names $name"
done

if [ ! -e "$policy" ]; then
	made_policy=1
	printf '#!/bin/sh\nexit 101\n' | $root tee "$policy" >/dev/null
	$root chmod 755 "$policy"
fi
$root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $names >"$log" 2>&1 ||
	fail "apt-get could not install$names"
if [ -d /run/systemd/system ]; then
	for name in $names; do
		case $name in
		mosquitto | prometheus | rsyslog | haproxy | nftables) $root systemctl disable --quiet "$name" 2>/dev/null || : ;;
		esac
	done
fi
echo "installed$names" >&2
