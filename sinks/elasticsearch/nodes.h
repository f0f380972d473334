/* The nodes of a search cluster: requests go round; a node that fails rests, longer each time, while others are there.
 * One thread. */
#ifndef SLUICE_SINKS_ELASTICSEARCH_NODES_H
#define SLUICE_SINKS_ELASTICSEARCH_NODES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/error.h"
#include "gateway/base/settings.h"

#define NODE_REST_FIRST_MS 1000
#define NODE_REST_MOST_MS 60000

struct search_node {
	char *url;             /* owned: "https://10.0.0.5:9200/prefix", without a slash at its end */
	unsigned failures;     /* since it worked last */
	int64_t rest_until_ms; /* 0: it does not rest */
};
struct nodes {
	struct search_node *items; /* owned */
	size_t count, next;
};

/* nodes_check_url judges a URL: http or https, a host, perhaps a port and a path; no user (that would be shown in
 * logs), query or fragment. GW_OK | GW_CONFIG | GW_NOMEM. */
enum gw_err nodes_check_url(const char *url, struct why *why);

/* nodes_init takes URLs that nodes_check_url found good. GW_OK | GW_NOMEM; nodes_fini in any case. */
enum gw_err nodes_init(struct nodes *n, const struct string_list *urls);
void nodes_fini(struct nodes *n);

/* nodes_take returns the next node that does not rest; if all do, the one whose rest ends first. Never NULL.
 *   now_ms  monotonic */
struct search_node *nodes_take(struct nodes *n, int64_t now_ms);
/* Whether another node than this one could be asked now. */
bool nodes_other(const struct nodes *n, const struct search_node *node, int64_t now_ms);
void nodes_failed(struct search_node *node, int64_t now_ms);
void nodes_worked(struct search_node *node);

#endif
