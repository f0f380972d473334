/* Reading back an index, alias or data stream of Elasticsearch or OpenSearch: refreshed first, then walked with the scroll
 * API, which both have. Of the documents only what is called "load" is asked for. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#include "gateway/base/json.h"
#include "load/readback.h"

#define PAGE "5000"
#define TIMEOUT_S 60L

struct search_answer {
	char *text; /* owned, terminated */
	size_t len, room;
};

struct search {
	CURL *curl;
	struct curl_slist *headers;
	struct search_answer answer;
	char base[512], index[512]; /* "http://host:9200", "telemetry-*" */
};

static size_t gather(const char *data, size_t size, size_t count, void *context)
{
	struct search_answer *a = context;
	size_t len = size * count;
	if (a->len + len + 1 > a->room) {
		size_t room = 2 * (a->len + len + 1);
		char *more = realloc(a->text, room);
		if (!more)
			return 0;
		a->text = more;
		a->room = room;
	}
	memcpy(a->text + a->len, data, len);
	a->len += len;
	a->text[a->len] = '\0';
	return len;
}

/* One request; the answer is in s->answer. */
static enum gw_err ask(struct search *s, const char *path, const char *body, struct why *why)
{
	char url[1200], text[CURL_ERROR_SIZE] = "";
	long status = 0;
	snprintf(url, sizeof(url), "%s/%s", s->base, path);
	s->answer.len = 0;
	gather("", 1, 0, &s->answer); /* an answer without a body is an empty text */
	if (!s->answer.text)
		return why_set(why, GW_NOMEM, "%s: out of memory", url);
	curl_easy_setopt(s->curl, CURLOPT_URL, url);
	curl_easy_setopt(s->curl, CURLOPT_POSTFIELDS, body);
	curl_easy_setopt(s->curl, CURLOPT_ERRORBUFFER, text);
	CURLcode code = curl_easy_perform(s->curl);
	curl_easy_setopt(s->curl, CURLOPT_ERRORBUFFER, NULL);
	if (code != CURLE_OK)
		return why_set(why, GW_IO, "%s: %s", url, *text ? text : curl_easy_strerror(code));
	curl_easy_getinfo(s->curl, CURLINFO_RESPONSE_CODE, &status);
	if (status != 200)
		return why_set(why, status == 404 ? GW_CONFIG : GW_IO, "%s: status %ld: %.300s", url, status,
		               s->answer.text);
	return GW_OK;
}

/* Hands over each document; returns how many there were. */
static size_t take_documents(const struct search_answer *a, readback_take *take, void *context)
{
	static const char key[] = "\"_source\":";
	const char *end = a->text + a->len, *at = memmem(a->text, a->len, key, sizeof(key) - 1);
	size_t count = 0;
	while (at) {
		const char *start = at + sizeof(key) - 1;
		at = memmem(start, (size_t)(end - start), key, sizeof(key) - 1);
		take(context, start, (size_t)((at ? at : end) - start));
		count++;
	}
	return count;
}

/* What a pointer leads to, in an answer that is JSON; JSON_INVALID: nothing. */
static struct json_value find(const struct search_answer *a, const char *pointer)
{
	struct json_pointer p;
	struct json_value v = {0};
	if (!json_check(a->text, a->len, 100).type || !json_pointer_init(&p, pointer))
		return v;
	v = json_find(a->text, a->len, &p);
	json_pointer_fini(&p);
	return v;
}

static bool is_text(struct json_value v, const char *text)
{
	return v.len == strlen(text) && memcmp(v.text, text, v.len) == 0;
}

/* A status of 200 does not mean that all shards answered: what is not in a part of an answer would be told as missing, or
 * a part taken for the whole. */
static enum gw_err whole(const struct search *s, struct why *why)
{
	struct json_value failed = find(&s->answer, "/_shards/failed"), late = find(&s->answer, "/timed_out");
	if (!failed.type)
		return why_set(why, GW_IO, "%s/%s: not the answer of a search server (no _shards): %.200s", s->base,
		               s->index, s->answer.text);
	if (!is_text(failed, "0"))
		return why_set(
		    why, GW_IO,
		    "%s/%s: an incomplete answer, %.*s shards failed: see _cluster/health, and try again when "
		    "the index is whole",
		    s->base, s->index, (int)failed.len, failed.text);
	if (is_text(late, "true"))
		return why_set(why, GW_IO, "%s/%s: an incomplete answer, the search timed out: try again", s->base,
		               s->index);
	return GW_OK;
}

static bool scroll_id(const struct search_answer *a, char *out, size_t size)
{
	struct json_value v = find(a, "/_scroll_id");
	if (v.type != JSON_STRING || v.len - 2 >= size)
		return false;
	snprintf(out, size, "%.*s", (int)(v.len - 2), v.text + 1);
	return true;
}

static enum gw_err walk(struct search *s, readback_take *take, void *context, struct why *why)
{
	char path[1024], id[8192] = "", body[8400];
	snprintf(path, sizeof(path), "%s/_refresh", s->index);
	enum gw_err err = ask(s, path, "", why);
	if (!err)
		err = whole(s, why);
	snprintf(path, sizeof(path), "%s/_search?scroll=2m", s->index);
	if (!err)
		err = ask(s, path, "{\"size\":" PAGE ",\"sort\":[\"_doc\"],\"_source\":[\"load\",\"*.load\"]}", why);
	while (!err) {
		if (!scroll_id(&s->answer, id, sizeof(id)))
			return why_set(why, GW_IO, "%s: an answer without _scroll_id", s->base);
		if ((err = whole(s, why)) || take_documents(&s->answer, take, context) == 0)
			break;
		snprintf(body, sizeof(body), "{\"scroll\":\"2m\",\"scroll_id\":\"%s\"}", id);
		err = ask(s, "_search/scroll", body, why);
	}
	if (*id) {
		struct why ignored;
		curl_easy_setopt(s->curl, CURLOPT_CUSTOMREQUEST, "DELETE");
		snprintf(body, sizeof(body), "{\"scroll_id\":\"%s\"}", id);
		ask(s, "_search/scroll", body, &ignored);
	}
	return err;
}

static enum gw_err read_source(const char *source, readback_take *take, void *context, struct why *why)
{
	struct search s = {0};
	const char *host = strstr(source, "://") + 3, *slash = strchr(host, '/');
	if (!slash || !slash[1] || (size_t)(slash - source) >= sizeof(s.base) || strlen(slash) >= sizeof(s.index))
		return why_set(why, GW_CONFIG, "%s: must be %s", source, readback_search.form);
	snprintf(s.base, sizeof(s.base), "%.*s", (int)(slash - source), source);
	snprintf(s.index, sizeof(s.index), "%s", slash + 1);
	s.curl = curl_easy_init();
	s.headers = curl_slist_append(NULL, "Content-Type: application/json");
	if (!s.curl || !s.headers)
		return why_set(why, GW_NOMEM, "%s: out of memory", source);
	curl_easy_setopt(s.curl, CURLOPT_HTTPHEADER, s.headers);
	curl_easy_setopt(s.curl, CURLOPT_WRITEFUNCTION, gather);
	curl_easy_setopt(s.curl, CURLOPT_WRITEDATA, &s.answer);
	curl_easy_setopt(s.curl, CURLOPT_TIMEOUT, TIMEOUT_S);
	curl_easy_setopt(s.curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(s.curl, CURLOPT_NOSIGNAL, 1L);
	enum gw_err err = walk(&s, take, context, why);
	curl_easy_cleanup(s.curl);
	curl_slist_free_all(s.headers);
	free(s.answer.text);
	return err;
}

static bool mine(const char *source)
{
	return strncmp(source, "http://", strlen("http://")) == 0 ||
	       strncmp(source, "https://", strlen("https://")) == 0;
}

const struct readback readback_search = {
    .form = "http[s]://[USER:PASSWORD@]HOST:PORT/INDEX", .ordered = false, .mine = mine, .read = read_source};
