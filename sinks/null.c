/* The null sink counts and forgets: for measuring what the way up to the sinks costs. */
#include "gateway/pump/sink.h"

struct null_sink {
	bool nothing; /* it has no settings */
};

static const struct setting null_settings[] = {SETTINGS_END};

static enum gw_err null_open(void *self, struct sink_host *host, struct why *why)
{
	(void)self, (void)host, (void)why;
	return GW_OK;
}

static enum gw_err null_submit(void *self, struct batch *b)
{
	(void)self;
	batch_done_all(b);
	batch_finish(b);
	return GW_OK;
}

static void null_close(void *self)
{
	(void)self;
}

const struct sink null_sink = {
    .name = "null",
    .help = "Counts records and forgets them.",
    .size = sizeof(struct null_sink),
    .settings = null_settings,
    .open = null_open,
    .submit = null_submit,
    .close = null_close,
};
