/* The kinds of sinks that Sluice writes to: one line each. */
#include "gateway/pump/sink.h"

extern const struct sink sink_null, sink_file, sink_kafka, sink_elasticsearch;

const struct sink *const sink_list[] = {
    &sink_file, &sink_kafka, &sink_elasticsearch, &sink_null, NULL,
};
