/* The kinds of sinks that Sluice writes to: one line each. */
#include "sinks/sink.h"

extern const struct sink sink_null, sink_file, sink_kafka;

const struct sink *const sink_list[] = {
    &sink_null, &sink_file, &sink_kafka, NULL,
};
