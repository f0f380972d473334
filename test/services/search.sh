#!/bin/sh
# A real Elasticsearch (or OpenSearch) node on 127.0.0.1 for the tests and benchmarks.
#
#   search.sh install DIR       fetch the jars into the cache, prepare DIR
#   search.sh start DIR PORT    start one node: HTTP on PORT, node-to-node transport on PORT + 1
#   search.sh wait DIR          until the node answers and is healthy; WAIT_SECONDS (300) at most
#   search.sh stop DIR          stop it (SEARCH_SIGNAL=KILL: crash it); its data stay in DIR/data
#   search.sh restart DIR       start it again as it was, on the old data
#   search.sh tool DIR PATH ARGS...   ask it with curl, e.g. search.sh tool DIR /_cat/indices -s
#
# SEARCH_ENGINE    elasticsearch (default) or opensearch; start, and the same for the other commands
# SEARCH_EXTRA     lines added to the node's settings, e.g. "thread_pool.write.queue_size: 1"
# SEARCH_CLUSTER   PORT: a cluster that grows; the node whose transport port this is makes it, others join that one
# SEARCH_HEAP      the heap, 512m
# SEARCH_SECURITY  1: HTTPS with DIR/config/ca.pem, and passwords or API keys (Elasticsearch only);
#                  user sluice, password sluice-secret
# SLUICE_CACHE     where downloads are kept, ~/.cache/sluice-services
# Needs a JDK 17 or newer, mvn, curl, openssl.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
[ $# -ge 2 ] || usage
engine=${SEARCH_ENGINE:-elasticsearch}
heap=${SEARCH_HEAP:-512m}
src=$here/$engine
[ -f "$src/pom.xml" ] || die "unknown SEARCH_ENGINE $engine: it is elasticsearch or opensearch"
version=$(sed -n 's#.*<search.version>\(.*\)</search.version>.*#\1#p' "$src/pom.xml")
lib=$cache/$engine-$version

# module NAME CLASS EXTENDED JARS...: a module is its own jars and a descriptor; what it needs besides stays in core
module() {
	m=$lib/modules/$1
	mkdir -p "$m"
	cat >"$m/plugin-descriptor.properties" <<-END
		name=$1
		description=$1
		classname=$2
		extended.plugins=$3
		version=$version
		$engine.version=$version
		java.version=11
		has.native.controller=false
	END
	shift 3
	cp "$@" "$m"
}

# build: lays out in $lib what the vendors' archive would hold: core jars, modules, and our main class
build() {
	fetch_jars "$engine $version" "$src/pom.xml" "$lib/core"
	core=$lib/core
	javac -cp "$core/*" -d "$lib/node" "$src/SearchNode.java" || die "javac could not compile SearchNode.java"
	if [ "$engine" = elasticsearch ]; then
		xpack=org.elasticsearch.xpack
		javac -cp "$core/*" -d "$lib/root" "$src/RootPlugin.java" || die "javac could not compile RootPlugin.java"
		jar cf "$lib/root.jar" -C "$lib/root" .
		module rest-root RootPlugin '' "$lib/root.jar"
		module transport-netty4 org.elasticsearch.transport.netty4.Netty4Plugin '' "$core"/transport-netty4-*.jar
		module x-pack-core $xpack.core.XPackPlugin '' "$core"/x-pack-core-*.jar
		module x-pack-security $xpack.security.Security x-pack-core \
			"$core"/x-pack-security-*.jar "$core"/transport-netty4-*.jar
		rm "$core"/x-pack-core-*.jar "$core"/x-pack-security-*.jar
	else
		module transport-netty4 org.opensearch.transport.Netty4Plugin '' "$core"/transport-netty4-*.jar
	fi
	rm "$core"/transport-netty4-*.jar # a class must not be in core and in a module
}

install() { # DIR
	need java javac jar mvn curl openssl
	mkdir -p "$1/config" "$1/plugins" "$1/tmp"
	once "$lib" build
}

secure() ( # DIR/config: appends to the settings
	cd "$1"
	cat >>elasticsearch.yml <<-'END'
		xpack.security.enabled: true
		xpack.security.http.ssl.enabled: true
		xpack.security.http.ssl.certificate: ca.pem
		xpack.security.http.ssl.key: ca.key
	END
	echo 'sluice:$2a$04$9E3Y7MvK5U2j8dyTjvSSRu9YGJT0VZVfcBCdwV/sc4gzOaYwjRdXq' >users # bcrypt of sluice-secret
	echo 'superuser:sluice' >users_roles
	[ -f ca.pem ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 \
		-keyout ca.key -out ca.pem -subj /CN=sluice-test -addext subjectAltName=DNS:localhost,IP:127.0.0.1 \
		2>openssl.log || die "openssl could not make the certificate: see $1/openssl.log"
)

configure() { # DIR PORT
	ln -sfn "$lib/modules" "$1/modules"
	name=sluice discovery='discovery.type: single-node' first=${SEARCH_CLUSTER:-}
	if [ -n "$first" ]; then
		name=sluice-$(($2 + 1)) discovery="discovery.seed_hosts: 127.0.0.1:$first"
		[ "$first" != $(($2 + 1)) ] || discovery="cluster.initial_master_nodes: $name"
	fi
	cat >"$1/config/$engine.yml" <<-END
		cluster.name: sluice
		node.name: $name
		$discovery
		network.host: 127.0.0.1
		http.port: $2
		transport.port: $(($2 + 1))
		cluster.routing.allocation.disk.threshold_enabled: false
		action.destructive_requires_name: false
	END
	printf '%s\n' "${SEARCH_EXTRA:-}" >>"$1/config/$engine.yml"
	url=http://127.0.0.1:$2
	if [ "${SEARCH_SECURITY:-0}" = 1 ]; then
		[ "$engine" = elasticsearch ] || die "SEARCH_SECURITY needs elasticsearch"
		secure "$1/config"
		url="--cacert $1/config/ca.pem -u sluice:sluice-secret https://127.0.0.1:$2"
	elif [ "$engine" = elasticsearch ]; then
		echo 'xpack.security.enabled: false' >>"$1/config/$engine.yml"
	fi
	cat >"$1/config/log4j2.properties" <<-'END'
		status = error
		appender.c.type = Console
		appender.c.name = c
		appender.c.layout.type = PatternLayout
		appender.c.layout.pattern = %d{ISO8601} %-5p %c{1.} %m%n
		rootLogger.level = info
		rootLogger.appenderRef.c.ref = c
	END
	echo "$url" >"$1/url" # curl's arguments
}

launch() { # DIR
	alive "$1/pid" || spawn "$1/pid" "$1/log" java -Xms"$heap" -Xmx"$heap" -Djava.io.tmpdir="$1/tmp" \
		-Des.path.home="$1" -Dopensearch.path.home="$1" -Dlog4j2.disable.jmx=true \
		-cp "$lib/node:$lib/core/*" SearchNode "$1"
}

healthy() { # DIR
	curl -fs -m 5 -o /dev/null $(cat "$1/url")'/_cluster/health?wait_for_status=yellow&timeout=2s'
}

cmd=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd)
[ -f "$dir/url" ] || case $cmd in
	wait | restart | tool) die "$dir was never started" ;;
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
wait) # a node needs 20 s, and on a busy machine minutes; one that ended is told of at once
	WAIT_SECONDS=${WAIT_SECONDS:-300}
	await "$engine" "$dir/pid" "$dir/log" healthy "$dir"
	;;
stop) halt "$engine" "$dir/pid" "${SEARCH_SIGNAL:-TERM}" ;;
restart) launch "$dir" ;;
tool)
	[ $# -ge 3 ] || usage
	path=$3
	shift 3
	exec curl "$@" $(cat "$dir/url")"$path"
	;;
*) usage ;;
esac
