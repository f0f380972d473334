#!/bin/sh
# A Mosquitto MQTT broker on 127.0.0.1 for the tests and benchmarks.
#
#   mosquitto.sh install DIR       see that mosquitto is there, prepare DIR
#   mosquitto.sh start DIR PORT    listen on PORT
#   mosquitto.sh wait DIR          until it accepts connections
#   mosquitto.sh stop DIR          stop it (MOSQUITTO_SIGNAL=KILL: crash it); retained messages and sessions
#                                  stay in DIR/data
#   mosquitto.sh restart DIR       start it again as it was, on the old data
#
# MOSQUITTO_PASSWORD   only user sluice with this password may connect
# MOSQUITTO_EXTRA      lines added to the configuration, e.g. "max_queued_messages 10"
# Needs the Debian package mosquitto (deploy/install-deps.sh test).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
PATH=$PATH:/usr/sbin:/sbin # Debian keeps daemons there, and not every user looks there

install() { # DIR
	need mosquitto
	mkdir -p "$1/data"
}

configure() { # DIR PORT
	{
		echo "listener $2 127.0.0.1"
		[ "$(id -u)" != 0 ] || echo 'user root'
		if [ -n "${MOSQUITTO_PASSWORD:-}" ]; then
			need mosquitto_passwd
			rm -f "$1/passwords"
			mosquitto_passwd -b -c "$1/passwords" sluice "$MOSQUITTO_PASSWORD" >&2
			echo "password_file $1/passwords"
		else
			echo 'allow_anonymous true'
		fi
		printf '%s\n' 'persistence true' "persistence_location $1/data/" 'log_dest stderr' "${MOSQUITTO_EXTRA:-}"
	} >"$1/mosquitto.conf"
}

launch() { # DIR
	alive "$1/pid" || spawn "$1/pid" "$1/log" mosquitto -c "$1/mosquitto.conf"
}

[ $# -ge 2 ] || usage
cmd=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd)
[ -f "$dir/mosquitto.conf" ] || case $cmd in
	wait | restart) die "$dir was never started" ;;
esac
case $cmd in
install) install "$dir" ;;
start)
	[ $# -eq 3 ] || usage
	install "$dir"
	if ! alive "$dir/pid"; then
		configure "$dir" "$3"
		launch "$dir"
	fi
	;;
wait) await mosquitto "$dir/pid" "$dir/log" grep -qs 'mosquitto version .* running' "$dir/log" ;;
stop) halt mosquitto "$dir/pid" "${MOSQUITTO_SIGNAL:-TERM}" ;;
restart) launch "$dir" ;;
*) usage ;;
esac
