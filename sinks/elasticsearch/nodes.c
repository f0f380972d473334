/* A search cluster's nodes: see nodes.h. */
#include "sinks/elasticsearch/nodes.h"

#include <assert.h>
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

static bool has_part(CURLU *u, CURLUPart part)
{
	char *text = NULL;
	bool has = curl_url_get(u, part, &text, 0) == CURLUE_OK;
	curl_free(text);
	return has;
}

enum gw_err nodes_check_url(const char *url, struct why *why)
{
	CURLU *u = curl_url();
	if (!u)
		return why_set(why, GW_NOMEM, "out of memory");
	enum gw_err err = GW_OK;
	bool scheme = !strncmp(url, "http://", 7) || !strncmp(url, "https://", 8);
	if (scheme && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK) {
		if (has_part(u, CURLUPART_USER) || has_part(u, CURLUPART_PASSWORD)) /* not repeated: it is a secret */
			err = why_set(why, GW_CONFIG, "a URL with a user in it: use username and password, or api_key");
		else if (has_part(u, CURLUPART_QUERY) || has_part(u, CURLUPART_FRAGMENT))
			err = why_set(why, GW_CONFIG, "\"%s\": a query or fragment has no place here", url);
	} else {
		err = why_set(why, GW_CONFIG,
		              "\"%s\" is not a URL like http://127.0.0.1:9200 or https://search.example:443/path", url);
	}
	curl_url_cleanup(u);
	return err;
}

enum gw_err nodes_init(struct nodes *n, const struct string_list *urls)
{
	*n = (struct nodes){.items = calloc(urls->count ? urls->count : 1, sizeof(*n->items))};
	if (!n->items)
		return GW_NOMEM;
	for (; n->count < urls->count; n->count++) {
		char *url = strdup(urls->items[n->count]);
		if (!url)
			return GW_NOMEM;
		for (size_t len = strlen(url); len > 0 && url[len - 1] == '/'; len--)
			url[len - 1] = '\0';
		n->items[n->count].url = url;
	}
	return GW_OK;
}

void nodes_fini(struct nodes *n)
{
	for (size_t i = 0; i < n->count; i++)
		free(n->items[i].url);
	free(n->items);
	*n = (struct nodes){0};
}

struct search_node *nodes_take(struct nodes *n, int64_t now_ms)
{
	struct search_node *best = NULL;
	assert(n->count > 0);
	for (size_t i = 0; i < n->count; i++) {
		struct search_node *node = &n->items[(n->next + i) % n->count];
		if (!best || node->rest_until_ms < best->rest_until_ms)
			best = node;
		if (node->rest_until_ms <= now_ms) {
			best = node;
			break;
		}
	}
	n->next = ((size_t)(best - n->items) + 1) % n->count;
	return best;
}

bool nodes_other(const struct nodes *n, const struct search_node *node, int64_t now_ms)
{
	for (size_t i = 0; i < n->count; i++)
		if (&n->items[i] != node && n->items[i].rest_until_ms <= now_ms)
			return true;
	return false;
}

void nodes_failed(struct search_node *node, int64_t now_ms)
{
	if (node->rest_until_ms > now_ms)
		return; /* another request of the same moment said so */
	int64_t rest = NODE_REST_FIRST_MS;
	for (unsigned i = 0; i < node->failures && rest < NODE_REST_MOST_MS; i++)
		rest *= 2;
	node->failures++;
	node->rest_until_ms = now_ms + (rest < NODE_REST_MOST_MS ? rest : NODE_REST_MOST_MS);
}

void nodes_worked(struct search_node *node)
{
	node->failures = 0;
	node->rest_until_ms = 0;
}
