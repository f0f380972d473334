#!/bin/sh
# Builds Telegraf, with no more plugins than `make bench-peers` compares with, by Go from its module: DIR/telegraf. Quick
# when it is there.
#
#   test/bench/telegraf.sh DIR
#
# TELEGRAF_VERSION  v1.37.0
# Exits with 1, and says why, where there is no Go that is new enough (1.21 or later fetches the one it needs). The first
# time it takes some minutes.
set -eu
[ $# -eq 1 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
version=${TELEGRAF_VERSION:-v1.37.0}
mkdir -p "$1"
dir=$(cd "$1" && pwd)
[ ! -x "$dir/telegraf" ] || [ "$(cat "$dir/telegraf.version" 2>/dev/null)" != "$version" ] || exit 0
command -v go >/dev/null || { echo "telegraf.sh: Telegraf is not installed: there is no Go (1.21 or later)" >&2; exit 1; }
tags=custom
for plugin in inputs.socket_listener inputs.http_listener_v2 outputs.discard outputs.file outputs.kafka \
	outputs.elasticsearch parsers.json serializers.json; do
	tags=$tags,$plugin
done
echo "building Telegraf $version into $dir ..." >&2
GOBIN=$dir CGO_ENABLED=0 nice go install -tags "$tags" \
	-ldflags "-s -w -X github.com/influxdata/telegraf/internal.Version=${version#v}" \
	"github.com/influxdata/telegraf/cmd/telegraf@$version" >"$dir/telegraf.log" 2>&1 || {
	tail -n 5 "$dir/telegraf.log" >&2
	echo "telegraf.sh: Telegraf $version could not be built: see $dir/telegraf.log" >&2
	exit 1
}
echo "$version" >"$dir/telegraf.version"
