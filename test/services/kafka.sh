#!/bin/sh
# A real Apache Kafka (KRaft) on 127.0.0.1 for the tests and benchmarks.
#
#   kafka.sh install DIR         fetch the jars into the cache, prepare DIR
#   kafka.sh start DIR PORT      start KAFKA_NODES brokers (1; 3 make a replicated cluster)
#   kafka.sh wait DIR            until every broker serves
#   kafka.sh stop DIR [NODE]     stop all brokers, or only NODE (KAFKA_SIGNAL=KILL: crash it)
#   kafka.sh restart DIR [NODE]  start them, or NODE, again on the old data
#   kafka.sh tool CLASS ARGS...  run a command-line class, e.g. org.apache.kafka.tools.TopicCommand
#
# The base port B of broker 1, 2, ... is PORT, PORT + 10, ...; it listens on
#   B PLAINTEXT, B+1 controller, B+2 SSL, B+3 SASL_SSL, B+4 SASL_PLAINTEXT.
# SASL: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512; user sluice, password sluice-secret.
# TLS: DIR/tls/ca.pem verifies the brokers; client.pem and client.key are a client's certificate.
#
# KAFKA_VERSION  4.3.1; 3.9.2 works too
# KAFKA_HEAP     a broker's heap, 512m
# KAFKA_EXTRA    lines added to server.properties
# SLUICE_CACHE   where downloads are kept, ~/.cache/sluice-services
# Needs a JDK 17 or newer, mvn, openssl.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
version=${KAFKA_VERSION:-4.3.1}
lib=$cache/kafka-$version
heap=${KAFKA_HEAP:-512m}

nodes() { seq "$(cat "$1/nodes")"; }

certificates() ( # DIR
	cd "$1"
	ec='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650'
	openssl req -x509 $ec -keyout ca.key -out ca.pem -subj /CN=sluice-test-ca
	printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\n' >san
	for name in broker client; do
		openssl req $ec -keyout $name.key -out $name.csr -subj /CN=$name
		openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -extfile san -out $name.crt
	done
	mv client.crt client.pem
	cat broker.key broker.crt >broker.tmp
	mv broker.tmp broker.pem
)

install() { # DIR
	need java mvn openssl
	mkdir -p "$1/tls"
	once "$lib" fetch_jars "Kafka $version" "$here/kafka/pom.xml" "$lib" -Dkafka.version="$version"
	[ -f "$1/tls/broker.pem" ] || certificates "$1/tls" >"$1/tls/log" 2>&1 ||
		die "openssl could not make the certificates: see $1/tls/log"
}

properties() { # DIR PORT NODE COUNT
	base=$(($2 + 10 * ($3 - 1))) voters='' insync=1
	for i in $(seq "$4"); do voters=$voters${voters:+,}$i@127.0.0.1:$(($2 + 10 * (i - 1) + 1)); done
	[ "$4" -lt 3 ] || insync=2
	cat <<-END
		process.roles=broker,controller
		node.id=$3
		controller.quorum.voters=$voters
		controller.listener.names=CONTROLLER
		listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,SASL_PLAINTEXT:SASL_PLAINTEXT
		listeners=PLAINTEXT://127.0.0.1:$base,CONTROLLER://127.0.0.1:$((base + 1)),SSL://127.0.0.1:$((base + 2)),SASL_SSL://127.0.0.1:$((base + 3)),SASL_PLAINTEXT://127.0.0.1:$((base + 4))
		log.dirs=$1/n$3/data
		num.partitions=3
		default.replication.factor=$4
		min.insync.replicas=$insync
		offsets.topic.replication.factor=$4
		transaction.state.log.replication.factor=$4
		transaction.state.log.min.isr=$insync
		share.coordinator.state.topic.replication.factor=$4
		share.coordinator.state.topic.min.isr=$insync
		group.initial.rebalance.delay.ms=0
		broker.heartbeat.interval.ms=500
		broker.session.timeout.ms=3000
		ssl.keystore.type=PEM
		ssl.keystore.location=$1/tls/broker.pem
		ssl.truststore.type=PEM
		ssl.truststore.location=$1/tls/ca.pem
		ssl.client.auth=requested
		sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
	END
	security=org.apache.kafka.common.security
	for listener in sasl_ssl sasl_plaintext; do
		p=listener.name.$listener
		echo "$p.plain.sasl.jaas.config=$security.plain.PlainLoginModule required user_sluice=\"sluice-secret\";"
		for bits in 256 512; do
			echo "$p.scram-sha-$bits.sasl.jaas.config=$security.scram.ScramLoginModule required;"
		done
	done
	printf '%s\n' "${KAFKA_EXTRA:-}"
}

configure() { # DIR PORT NODE COUNT
	d=$1/n$3
	mkdir -p "$d"
	properties "$@" >"$d/server.properties"
	cat >"$d/log4j2.properties" <<-'END'
		status=error
		appender.c.type=Console
		appender.c.name=c
		appender.c.layout.type=PatternLayout
		appender.c.layout.pattern=%d{ISO8601} %-5p %c{1} %m%n
		rootLogger.level=warn
		rootLogger.appenderRef.c.ref=c
		logger.k.name=kafka.server.KafkaRaftServer
		logger.k.level=info
	END
	cat >"$d/log4j.properties" <<-'END' # Kafka 3 reads this one
		log4j.rootLogger=WARN,c
		log4j.logger.kafka.server.KafkaRaftServer=INFO
		log4j.appender.c=org.apache.log4j.ConsoleAppender
		log4j.appender.c.layout=org.apache.log4j.PatternLayout
		log4j.appender.c.layout.ConversionPattern=%d{ISO8601} %-5p %c{1} %m%n
	END
	[ -f "$d/data/meta.properties" ] || java -Xmx256m -cp "$lib/*" kafka.tools.StorageTool format \
		-c "$d/server.properties" -t c2x1aWNlLXRlc3QtMDAwMA \
		--add-scram 'SCRAM-SHA-256=[name=sluice,password=sluice-secret]' \
		--add-scram 'SCRAM-SHA-512=[name=sluice,password=sluice-secret]' >"$d/format.log" 2>&1 ||
		die "the storage could not be formatted: see $d/format.log"
}

launch() { # DIR NODE
	d=$1/n$2
	alive "$d/pid" || spawn "$d/pid" "$d/log" java -Xms"$heap" -Xmx"$heap" \
		-Dlog4j2.configurationFile="$d/log4j2.properties" -Dlog4j.configuration="file:$d/log4j.properties" \
		-cp "$lib/*" kafka.Kafka "$d/server.properties"
}

[ $# -ge 2 ] || usage
cmd=$1
shift
if [ "$cmd" = tool ]; then
	[ -f "$lib/.complete" ] || die "run install first"
	exec java -Xmx512m -cp "$lib/*" "$@"
fi
mkdir -p "$1"
dir=$(cd "$1" && pwd)
[ -f "$dir/nodes" ] || case $cmd in
	stop) exit 0 ;;
	wait | restart) die "$dir was never started" ;;
esac
case $cmd in
install) install "$dir" ;;
start)
	[ $# -eq 2 ] || usage
	install "$dir"
	count=${KAFKA_NODES:-1}
	echo "$count" >"$dir/nodes"
	for n in $(nodes "$dir"); do alive "$dir/n$n/pid" || configure "$dir" "$2" "$n" "$count"; done
	for n in $(nodes "$dir"); do launch "$dir" "$n"; done
	;;
wait)
	for n in $(nodes "$dir"); do
		await "Kafka broker $n" "$dir/n$n/pid" "$dir/n$n/log" grep -qs 'Kafka Server started' "$dir/n$n/log"
	done
	;;
stop)
	# All are told before the first is waited for: a broker that lost its quorum cannot leave in order.
	for n in ${2:-$(nodes "$dir")}; do ! alive "$dir/n$n/pid" || kill -"${KAFKA_SIGNAL:-TERM}" "$pid"; done
	for n in ${2:-$(nodes "$dir")}; do halt "Kafka broker $n" "$dir/n$n/pid" "${KAFKA_SIGNAL:-TERM}"; done
	;;
restart) for n in ${2:-$(nodes "$dir")}; do launch "$dir" "$n"; done ;;
*) usage ;;
esac
