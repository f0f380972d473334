/* The kinds of sinks that Sluice writes to: one line each. */
#include "gateway/pump/sink.h"

extern const struct sink null_sink, file_sink, kafka_sink, elasticsearch_sink;

const struct sink *const sink_list[] = {
    &file_sink, &kafka_sink, &elasticsearch_sink, &null_sink, NULL,
};
