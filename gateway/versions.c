/* Versions of the libraries as they are linked, and what is known to be wrong with some of them. */
#include <cjson/cJSON.h>
#include <coap3/coap.h>
#include <curl/curl.h>
#include <event2/event.h>
#include <librdkafka/rdkafka.h>
#include <microhttpd.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <yaml.h>
#include <zlib.h>

#include "gateway/gateway.h"

/* The allocator, where the program is linked with it (Makefile). */
__attribute__((weak)) int mallctl(const char *name, void *old, size_t *old_len, void *new, size_t new_len);

static const char *allocator_version(void)
{
	const char *text = NULL;
	size_t size = sizeof(text);
	if (!mallctl || mallctl("version", (void *)&text, &size, NULL, 0) || !text)
		return "none";
	return text;
}

struct version {
	const char *name, *label, *text;
};

#define LIBRARIES 10
static void collect(struct version v[LIBRARIES])
{
	const struct version all[LIBRARIES] = {
	    {"libmicrohttpd", "libmicrohttpd", MHD_get_version()},
	    {"libcoap", "libcoap", coap_package_version()},
	    {"librdkafka", "librdkafka", rd_kafka_version_str()},
	    {"libcurl", "libcurl", curl_version_info(CURLVERSION_NOW)->version},
	    {"OpenSSL", "openssl", OpenSSL_version(OPENSSL_VERSION_STRING)},
	    {"libevent", "libevent", event_get_version()},
	    {"cJSON", "cjson", cJSON_Version()},
	    {"libyaml", "libyaml", yaml_get_version_string()},
	    {"zlib", "zlib", zlibVersion()},
	    {"jemalloc", "jemalloc", allocator_version()},
	};
	for (int i = 0; i < LIBRARIES; i++)
		v[i] = all[i];
}

void versions_write(FILE *out)
{
	struct version v[LIBRARIES];
	collect(v);
	fprintf(out, "sluice %s\n", SLUICE_VERSION);
	for (int i = 0; i < LIBRARIES; i++)
		fprintf(out, "%s %s\n", v[i].name, v[i].text);
	if (rd_kafka_version() < 0x02030000)
		fputs("known fault: librdkafka before 2.3.0 can end in a fatal error after a lost connection (its "
		      "issue 4438); Sluice then makes a new handle and "
		      "sends again, so records may come twice\n",
		      out);
	if (MHD_get_version()[0] == '0')
		fputs("known fault: libmicrohttpd before 1.0 hides ambiguously framed requests (docs/http.md); do not "
		      "put it behind a proxy that reuses "
		      "connections for several clients\n",
		      out);
}

void versions_labels(char *out, size_t size)
{
	struct version v[LIBRARIES];
	collect(v);
	int used = snprintf(out, size, "version=\"%s\"", SLUICE_VERSION);
	for (int i = 0; i < LIBRARIES && used > 0 && (size_t)used < size; i++)
		used += snprintf(out + used, size - (size_t)used, ",%s=\"%s\"", v[i].label, v[i].text);
}
