/* What the operator is told about the Kafka sink: see kafka_health.h. */
#include "sinks/kafka/kafka_health.h"

#include <stdio.h>
#include <string.h>

#define CAUSE_MS 60000 /* the library repeats an error after 30 s at the earliest */

void kafka_health_ail(struct kafka_health *h, enum kafka_ailment ailment, const char *text)
{
	if (h->is == ailment)
		return;
	h->is = ailment;
	sink_report_health(h->host, text);
}

void kafka_health_topic(struct kafka_health *h, const char *topic, rd_kafka_resp_err_t err)
{
	char text[640];
	static const char missing[] = "does not exist and the broker does not make it",
	                  forbidden[] = "is forbidden to this user", unusable[] = "cannot be used";
	const char *what = unusable;
	const char *remedy = "";
	if (err == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC || err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) {
		what = missing;
		remedy = ": create it";
	} else if (err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) {
		what = forbidden;
		remedy = ": allow Write and Describe on it";
	}
	if (h->is == KAFKA_NO_TOPIC && h->topic_what != what)
		h->is = KAFKA_WELL; /* another trouble than the one that was told: another remedy */
	h->topic_what = what;
	snprintf(text, sizeof(text), "topic %s %s (%s)%s; trying again", topic, what, rd_kafka_err2str(err), remedy);
	kafka_health_ail(h, KAFKA_NO_TOPIC, text);
}

void kafka_health_fatal(struct kafka_health *h, const char *text)
{
	char state[640];
	snprintf(
	    state, sizeof(state),
	    "the Kafka producer ended by a fatal error (%.440s): it is rebuilt, and what was in flight is sent again",
	    text);
	h->is = KAFKA_WELL;
	kafka_health_ail(h, KAFKA_NO_PRODUCER, state);
}

static void ail_brokers(struct kafka_health *h, enum kafka_ailment ailment)
{
	static const char *const texts[] = {
	    [KAFKA_UNREACHABLE] = "no broker can be reached",
	    [KAFKA_NO_LOGIN] = "the brokers refuse the login (see security, mechanism, username, password)",
	    [KAFKA_NO_TLS] = "TLS with the brokers fails (see security, ca_file)",
	};
	char text[5120];
	snprintf(text, sizeof(text), "%s: %s: %s; trying again", texts[ailment], h->brokers,
	         h->cause[0] ? h->cause : "every connection ended");
	kafka_health_ail(h, ailment, text);
}

void kafka_health_error(struct kafka_health *h, int code, const char *text, bool waiting, int64_t now_ms)
{
	if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
		/* A broker hangs up on an idle client: with nothing to send that is no news, unless the next record finds
		 * it gone (kafka_health_watch). Until the first record it is. */
		h->all_down = true;
		if (waiting || stat_get(&h->host->stats->delivered) == 0)
			ail_brokers(h, h->cause_kind == KAFKA_WELL ? KAFKA_UNREACHABLE : h->cause_kind);
		return;
	}
	h->cause_kind = code == RD_KAFKA_RESP_ERR__AUTHENTICATION ? KAFKA_NO_LOGIN
	                : code == RD_KAFKA_RESP_ERR__SSL          ? KAFKA_NO_TLS
	                                                          : KAFKA_UNREACHABLE;
	snprintf(h->cause, sizeof(h->cause), "%s", text);
	h->cause_ms = now_ms;
	h->cause_is_address = code == RD_KAFKA_RESP_ERR__RESOLVE || strstr(text, "Connect to ");
	if (h->cause_kind != KAFKA_UNREACHABLE)
		ail_brokers(h, h->cause_kind);
}

void kafka_health_well(struct kafka_health *h)
{
	if (h->is == KAFKA_WELL)
		return;
	h->is = h->cause_kind = KAFKA_WELL;
	sink_report_health(h->host, NULL);
}

/* The bootstrap address answers, and names brokers by what they advertise: that is the commonest fault of a new cluster. */
static void ail_stalled(struct kafka_health *h, int64_t now_ms, int64_t patience_ms)
{
	char text[1024];
	bool known = h->cause[0] && now_ms - h->cause_ms < CAUSE_MS;
	int seconds = (int)(patience_ms / 1000);
	if (known && h->cause_is_address) {
		snprintf(text, sizeof(text),
		         "nothing was acknowledged for %d s, and a broker that the cluster names cannot be reached: "
		         "%s. Is it "
		         "running, and can this machine reach what its advertised.listeners say? Still trying",
		         seconds, h->cause);
		kafka_health_ail(h, KAFKA_NO_LEADER, text);
		return;
	}
	snprintf(text, sizeof(text),
	         "nothing was acknowledged for %d s%s%s: are the brokers overloaded, or is a partition without leader "
	         "or below "
	         "min.insync.replicas? Still trying",
	         seconds, known ? "; librdkafka says " : "", known ? h->cause : "");
	kafka_health_ail(h, KAFKA_STALLED, text);
}

/* Too few replicas in sync, no leader, a broker that hangs: the library says nothing. */
void kafka_health_watch(struct kafka_health *h, bool heard, int64_t now_ms, int64_t patience_ms)
{
	if (heard)
		h->heard_ms = now_ms;
	if (now_ms - h->heard_ms <= patience_ms || (h->is != KAFKA_WELL && h->is != KAFKA_STALLED))
		return;
	if (h->all_down) {
		ail_brokers(h, h->cause_kind == KAFKA_WELL ? KAFKA_UNREACHABLE : h->cause_kind);
		return;
	}
	ail_stalled(h, now_ms, patience_ms);
}
