/* Requests by libcurl: see http_pool.h.
 *
 * Each request has an easy handle for life; the connections belong to the multi handle, so any request may go on any
 * idle one. No redirects, no proxies or passwords from the environment or files, HTTP/1.1 and nothing older: what
 * happens is what the configuration says. */
#include "sinks/elasticsearch/http_pool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ANSWER_FIRST 4096u
#define UPLOAD_BUFFER (256L << 10) /* bytes per send: fewer system calls than libcurl's 64 KiB */
#define CA_CACHE_S 60L             /* a ca_file that was replaced is read again */

#ifndef SLUICE_VERSION
#define SLUICE_VERSION "unknown"
#endif

static size_t write_answer(char *data, size_t size, size_t count, void *own)
{
	struct http_pool_request *r = own;
	size_t len = size * count;
	if (len > r->answer_max - r->answer_len) {
		r->too_long = true;
		return 0;
	}
	if (r->answer_len + len + 1 > r->answer_room) {
		size_t room = r->answer_room ? r->answer_room : ANSWER_FIRST;
		while (room < r->answer_len + len + 1)
			room *= 2;
		char *more = realloc(r->answer, room);
		if (!more)
			return 0;
		r->answer = more;
		r->answer_room = room;
	}
	memcpy(r->answer + r->answer_len, data, len);
	r->answer_len += len;
	r->answer[r->answer_len] = '\0';
	return len;
}

/* -- set up -- */

static CURLcode set_up_tls(CURL *c, const struct http_plan *plan)
{
	CURLcode e = curl_easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (!e)
		e = curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, plan->verify ? 1L : 0L);
	if (!e)
		e = curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, plan->verify ? 2L : 0L);
	if (!e && plan->ca_file) /* that one alone: without its directory the system's are not trusted as well */
		e = curl_easy_setopt(c, CURLOPT_CAINFO, plan->ca_file);
	if (!e && plan->ca_file)
		e = curl_easy_setopt(c, CURLOPT_CAPATH, NULL);
	if (!e && plan->cert_file)
		e = curl_easy_setopt(c, CURLOPT_SSLCERT, plan->cert_file);
	if (!e && plan->key_file)
		e = curl_easy_setopt(c, CURLOPT_SSLKEY, plan->key_file);
	if (!e)
		curl_easy_setopt(c, CURLOPT_CA_CACHE_TIMEOUT, CA_CACHE_S); /* not every TLS library has it */
	return e;
}

static CURLcode set_up_login(CURL *c, const struct http_plan *plan)
{
	if (!plan->username)
		return CURLE_OK;
	CURLcode e = curl_easy_setopt(c, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
	if (!e)
		e = curl_easy_setopt(c, CURLOPT_USERNAME, plan->username);
	if (!e)
		e = curl_easy_setopt(c, CURLOPT_PASSWORD, plan->password ? plan->password : "");
	return e;
}

static CURLcode set_up(struct http_pool_request *r, const struct http_plan *plan)
{
	CURL *c = r->easy;
	const struct {
		CURLoption option;
		long value;
	} longs[] = {
	    {CURLOPT_NOSIGNAL, 1},
	    {CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1},
	    {CURLOPT_FOLLOWLOCATION, 0},
	    {CURLOPT_TCP_KEEPALIVE, 1},
	    {CURLOPT_UPLOAD_BUFFERSIZE, UPLOAD_BUFFER},
	    {CURLOPT_CONNECTTIMEOUT_MS, (long)plan->connect_timeout_ms},
	    {CURLOPT_TIMEOUT_MS, (long)plan->request_timeout_ms},
	};
	const struct {
		CURLoption option;
		void *value;
	} others[] = {
	    {CURLOPT_PRIVATE, r},
	    {CURLOPT_WRITEDATA, r},
	    {CURLOPT_ERRORBUFFER, r->error},
	    {CURLOPT_PROXY, (void *)""},
	    {CURLOPT_PROTOCOLS_STR, (void *)"http,https"},
	    {CURLOPT_USERAGENT, (void *)"sluice/" SLUICE_VERSION},
	};
	CURLcode e = curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, write_answer);
	for (size_t i = 0; i < sizeof(longs) / sizeof(*longs) && !e; i++)
		e = curl_easy_setopt(c, longs[i].option, longs[i].value);
	for (size_t i = 0; i < sizeof(others) / sizeof(*others) && !e; i++)
		e = curl_easy_setopt(c, others[i].option, others[i].value);
	if (!e)
		e = set_up_tls(c, plan);
	return e ? e : set_up_login(c, plan);
}

/* Adds a header to a list; false: out of memory (the list stays as it was). */
static bool header_add(struct curl_slist **list, const char *text)
{
	struct curl_slist *more = curl_slist_append(*list, text);
	if (more)
		*list = more;
	return more != NULL;
}

static bool headers_make(struct curl_slist **list, const char *type, bool gzip, const char *key_header)
{
	return header_add(list, type) && header_add(list, "Expect:") && /* no "100-continue": one round trip less */
	       (!gzip || header_add(list, "Content-Encoding: gzip")) && (!key_header || header_add(list, key_header));
}

static enum gw_err all_headers_make(struct http_pool *p, const struct http_plan *plan)
{
	static const char key_name[] = "Authorization: ApiKey ";
	char *key_header = NULL;
	if (plan->api_key) {
		size_t len = sizeof(key_name) + strlen(plan->api_key);
		if (!(key_header = malloc(len)))
			return GW_NOMEM;
		snprintf(key_header, len, "%s%s", key_name, plan->api_key);
	}
	bool made = headers_make(&p->bulk, "Content-Type: application/x-ndjson", false, key_header) &&
	            headers_make(&p->packed, "Content-Type: application/x-ndjson", true, key_header) &&
	            headers_make(&p->json, "Content-Type: application/json", false, key_header);
	free(key_header);
	return made ? GW_OK : GW_NOMEM;
}

/* What libcurl would tell only with the first connection. */
static enum gw_err files_check(const struct http_plan *plan, struct why *why)
{
	const char *const files[] = {plan->ca_file, plan->cert_file, plan->key_file};
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
		if (files[i] && access(files[i], R_OK) != 0)
			return why_set(why, GW_CONFIG, "%s: %s", files[i], strerror(errno));
	return GW_OK;
}

enum gw_err http_pool_open(struct http_pool *p, const struct http_plan *plan, http_done_fn *done, void *context,
                           struct why *why)
{
	*p = (struct http_pool){.done = done, .context = context};
	enum gw_err err = files_check(plan, why);
	if (err)
		return err;
	if (curl_global_init(CURL_GLOBAL_DEFAULT))
		return why_set(why, GW_NOMEM, "libcurl cannot be initialised");
	p->initialised = true;
	p->multi = curl_multi_init();
	p->requests = calloc(plan->requests, sizeof(*p->requests));
	if (!p->multi || !p->requests || all_headers_make(p, plan))
		return why_set(why, GW_NOMEM, "out of memory");
	curl_multi_setopt(p->multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
	curl_multi_setopt(p->multi, CURLMOPT_MAXCONNECTS, (long)plan->requests * 4); /* idle ones, over all nodes */
	for (; p->count < plan->requests; p->count++) {
		struct http_pool_request *r = &p->requests[p->count];
		r->easy = curl_easy_init();
		CURLcode e = r->easy ? set_up(r, plan) : CURLE_OUT_OF_MEMORY;
		if (e) {
			curl_easy_cleanup(r->easy);
			return why_set(why, e == CURLE_OUT_OF_MEMORY ? GW_NOMEM : GW_CONFIG, "libcurl %s: %s",
			               curl_version_info(CURLVERSION_NOW)->version, curl_easy_strerror(e));
		}
	}
	return GW_OK;
}

void http_pool_close(struct http_pool *p)
{
	for (size_t i = 0; i < p->count; i++) {
		struct http_pool_request *r = &p->requests[i];
		if (r->busy)
			curl_multi_remove_handle(p->multi, r->easy);
		curl_easy_cleanup(r->easy);
		free(r->answer);
	}
	free(p->requests);
	curl_multi_cleanup(p->multi);
	curl_slist_free_all(p->bulk);
	curl_slist_free_all(p->packed);
	curl_slist_free_all(p->json);
	if (p->initialised)
		curl_global_cleanup();
	*p = (struct http_pool){0};
}

/* -- requests -- */

enum gw_err http_pool_start(struct http_pool *p, struct http_pool_request *r, const struct http_pool_call *call)
{
	struct curl_slist *const headers[] = {
	    [HTTP_NONE] = p->json, [HTTP_BULK] = p->bulk, [HTTP_BULK_GZIP] = p->packed, [HTTP_JSON] = p->json};
	CURL *c = r->easy;
	r->status = 0;
	r->answer_len = 0;
	r->answer_max = call->answer_max;
	r->retry_after_ms = 0;
	r->location = NULL;
	r->error[0] = '\0';
	r->too_long = false;
	if (r->answer)
		r->answer[0] = '\0';
	CURLcode e = curl_easy_setopt(c, CURLOPT_URL, call->url);
	if (!e)
		e = call->kind == HTTP_NONE ? curl_easy_setopt(c, CURLOPT_HTTPGET, 1L)
		                            : curl_easy_setopt(c, CURLOPT_POST, 1L);
	if (!e && call->kind != HTTP_NONE)
		e = curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->len);
	if (!e && call->kind != HTTP_NONE)
		e = curl_easy_setopt(c, CURLOPT_POSTFIELDS, call->body);
	if (!e)
		e = curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, call->kind == HTTP_NONE ? NULL : call->method);
	if (!e)
		e = curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers[call->kind]);
	if (e || curl_multi_add_handle(p->multi, c))
		return GW_NOMEM;
	r->busy = true;
	return GW_OK;
}

static enum http_result result_of(struct http_pool_request *r, CURLcode code)
{
	curl_off_t sent_at = 0;
	if (code == CURLE_OK ||
	    r->status == 413) /* a server that refuses a long body may hang up before it has read it all */
		return HTTP_ANSWERED;
	if (!r->error[0])
		strncpy(r->error, curl_easy_strerror(code), sizeof(r->error) - 1);
	curl_easy_getinfo(r->easy, CURLINFO_PRETRANSFER_TIME_T, &sent_at);
	switch (code) {
	case CURLE_OPERATION_TIMEDOUT: return sent_at > 0 ? HTTP_SILENT : HTTP_UNREACHABLE;
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_CONNECT: return HTTP_UNREACHABLE;
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CIPHER:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_ISSUER_ERROR: return HTTP_UNTRUSTED;
	case CURLE_WRITE_ERROR: return r->too_long ? HTTP_TOO_LONG : HTTP_BROKEN;
	default: return HTTP_BROKEN;
	}
}

static void request_done(struct http_pool *p, CURL *easy, CURLcode code)
{
	struct http_pool_request *r = NULL;
	long status = 0;
	curl_off_t seconds = 0;
	curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&r);
	curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &seconds);
	curl_easy_getinfo(easy, CURLINFO_REDIRECT_URL, &r->location);
	r->status = (int)status;
	r->retry_after_ms = seconds > 0 && seconds < 1000000 ? (uint64_t)seconds * 1000 : 0;
	enum http_result result = result_of(r, code);
	curl_multi_remove_handle(p->multi, easy);
	r->busy = false;
	p->done(p->context, r, result);
}

static size_t take_done(struct http_pool *p)
{
	CURLMsg *m;
	int left;
	size_t done = 0;
	while ((m = curl_multi_info_read(p->multi, &left))) {
		if (m->msg != CURLMSG_DONE)
			continue;
		request_done(p, m->easy_handle, m->data.result);
		done++;
	}
	return done;
}

size_t http_pool_poll(struct http_pool *p, int wake_fd, int timeout_ms)
{
	struct curl_waitfd wake = {.fd = wake_fd, .events = CURL_WAIT_POLLIN};
	int running = 0, ready;
	curl_multi_perform(p->multi, &running);
	size_t done = take_done(p);
	if (done > 0 || timeout_ms <= 0)
		return done;
	curl_multi_poll(p->multi, &wake, 1, timeout_ms, &ready);
	curl_multi_perform(p->multi, &running);
	return take_done(p);
}
