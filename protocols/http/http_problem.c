/* The table of problems; see http_problem.h. */
#include "protocols/http/http_problem.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "gateway/base/json.h"

#define CLOSE true
#define STAY false
#define RETRY true
#define FINAL false
#define COUNTED (-1)

const struct http_problem_row http_problem_rows[HTTP_PROBLEMS] = {
    [HTTP_BAD_FRAMING] = {400, CLOSE, FINAL, REFUSED_PROTOCOL, "bad-framing", "Ambiguous framing",
                          "Where this request ends is not clear: send one decimal Content-Length, or "
                          "Transfer-Encoding: chunked, not both and neither twice."},
    [HTTP_BAD_HOST] = {400, CLOSE, FINAL, REFUSED_PROTOCOL, "bad-host", "Bad Host header",
                       "An HTTP/1.1 request has exactly one Host header."},
    [HTTP_BAD_HEADER] = {400, CLOSE, FINAL, REFUSED_PROTOCOL, "bad-header", "Bad header",
                         "A header has a name or value that is not allowed, or one that may stand once stands twice."},
    [HTTP_HEAD_TOO_LARGE] = {431, CLOSE, FINAL, REFUSED_TOO_LARGE, "head-too-large", "Head too large",
                             "The request line and the headers are over max_head."},
    [HTTP_BAD_TARGET] = {400, CLOSE, FINAL, REFUSED_PROTOCOL, "bad-target", "Bad request target",
                         "The path has control characters, a bad percent-encoding, a dot segment, an empty segment, a "
                         "#, or is too long."},
    [HTTP_NOT_FOUND] = {404, STAY, FINAL, REFUSED_UNSUPPORTED, "not-found", "Not found",
                        "Telemetry goes to POST /v1/telemetry/{device}, /v1/telemetry/{device}/{channel...}, or "
                        "/v1/telemetry for batches."},
    [HTTP_MISDIRECTED] = {421, STAY, FINAL, REFUSED_UNSUPPORTED, "misdirected", "Misdirected request",
                          "The target has another scheme than http, and this listener speaks plain HTTP."},
    [HTTP_BAD_METHOD] = {405, STAY, FINAL, REFUSED_UNSUPPORTED, "bad-method", "Method not allowed",
                         "Telemetry is sent with POST or PUT."},
    [HTTP_BAD_EXPECT] = {417, CLOSE, FINAL, REFUSED_UNSUPPORTED, "bad-expect", "Expectation failed",
                         "Only Expect: 100-continue is understood."},
    [HTTP_NO_LENGTH] = {411, STAY, FINAL, REFUSED_PAYLOAD, "no-length", "Length required",
                        "There is no body: send one with Content-Length or Transfer-Encoding: chunked."},
    [HTTP_EMPTY] = {400, STAY, FINAL, REFUSED_PAYLOAD, "empty", "Empty body",
                    "The body is empty: there is no message in it."},
    [HTTP_TOO_SLOW] = {408, CLOSE, FINAL, REFUSED_TIMEOUT, "too-slow", "Request timeout",
                       "The request did not arrive in time."},
    [HTTP_BODY_TOO_LARGE] = {413, CLOSE, FINAL, REFUSED_TOO_LARGE, "body-too-large", "Body too large",
                             "The body is over max_body or max_payload."},
    [HTTP_UNPACKED_TOO_LARGE] = {413, STAY, FINAL, REFUSED_TOO_LARGE, "unpacked-too-large", "Unpacked body too large",
                                 "The body unpacks to more than max_unpacked or max_payload."},
    [HTTP_PAYLOAD_TOO_LARGE] = {413, STAY, FINAL, COUNTED, "payload-too-large", "Payload too large",
                                "The payload is over max_payload."},
    [HTTP_TOO_MANY_LINES] = {413, STAY, FINAL, REFUSED_TOO_LARGE, "too-many-lines", "Too many messages in one batch",
                             "The batch has more messages than max_batch_lines; nothing was taken."},
    [HTTP_BAD_TYPE] = {415, STAY, FINAL, REFUSED_UNSUPPORTED, "bad-type", "Unsupported media type",
                       "Content-Type is none that is taken here (see Accept); the setting accept_types adds others."},
    [HTTP_BAD_CODING] = {415, STAY, FINAL, REFUSED_UNSUPPORTED, "bad-coding", "Unsupported content coding",
                         "Content-Encoding may be gzip or deflate, once."},
    [HTTP_BAD_PACKING] = {400, STAY, FINAL, REFUSED_PAYLOAD, "bad-packing", "Body does not unpack",
                          "The body is not what Content-Encoding says."},
    [HTTP_BAD_KEY] = {400, STAY, FINAL, REFUSED_PROTOCOL, "bad-idempotency-key", "Bad Idempotency-Key",
                      "An Idempotency-Key is 1 to 128 printable ASCII characters."},
    [HTTP_KEY_BUSY] = {409, STAY, RETRY, COUNTED, "idempotency-key-in-use", "Request with this key is on its way",
                       "A request with this Idempotency-Key is not settled yet: ask again with the same key."},
    [HTTP_KEY_REUSED] = {422, STAY, FINAL, REFUSED_PROTOCOL, "idempotency-key-reused", "Idempotency-Key used before",
                         "This Idempotency-Key came with another request before; nothing was taken. Every request "
                         "needs a key of its own."},
    [HTTP_BAD_PAYLOAD] = {400, STAY, FINAL, COUNTED, "invalid-payload", "Invalid payload",
                          "The payload is not valid JSON."},
    [HTTP_NO_DEVICE] = {400, STAY, FINAL, COUNTED, "no-device", "No device",
                        "No device identifier: put it into the path, into the payload where the listener looks for it, "
                        "or into X-Sluice-Device."},
    [HTTP_BAD_DEVICE] = {400, STAY, FINAL, COUNTED, "invalid-device", "Invalid device",
                         "The device identifier is not allowed."},
    [HTTP_BAD_CHANNEL] = {400, STAY, FINAL, COUNTED, "invalid-channel", "Invalid channel",
                          "The channel is not allowed."},
    [HTTP_NOTHING_TAKEN] = {400, STAY, FINAL, COUNTED, "nothing-taken", "No message of the batch was taken",
                            "Every message of the batch was refused."},
    [HTTP_PEER_LIMIT] = {429, CLOSE, RETRY, REFUSED_CONNECTIONS, "too-many-connections",
                         "Too many connections from this address",
                         "This address has as many connections as max_per_address allows."},
    [HTTP_CONNECTION_LIMIT] = {503, CLOSE, RETRY, REFUSED_CONNECTIONS, "connection-limit", "Too many connections",
                               "The listener has as many connections as it may have (max_connections, or open files)."},
    [HTTP_FULL] = {503, STAY, RETRY, REFUSED_FULL, "full", "No room",
                   "There is no room for the message now; nothing was taken."},
    [HTTP_LATE] =
        {503, STAY, RETRY, COUNTED, "late", "Not safe in time",
         "The message is not known to be safe yet; send it again, with the same Idempotency-Key if it has one."},
    [HTTP_NO_MEMORY] = {503, STAY, RETRY, REFUSED_MEMORY, "no-memory", "No memory for the body",
                        "Too many bodies are on their way at once; nothing was taken."},
    [HTTP_STOPPING] = {503, CLOSE, RETRY, REFUSED_FULL, "stopping", "Stopping",
                       "The gateway is stopping; nothing was taken."},
};

/* Text of ours, but names in it may come from the configuration: escaped all the same. */
static size_t put_string(char *out, const char *text)
{
	size_t len = strnlen(text, 256);
	out[0] = '"';
	size_t n = 1 + json_escape(out + 1, text, len);
	out[n++] = '"';
	return n;
}

size_t http_problem_write(char *out, size_t size, enum http_problem problem, const char *detail, long long offset,
                          const char *report)
{
	assert(problem > HTTP_FINE && problem < HTTP_PROBLEMS && size >= HTTP_PROBLEM_TEXT);
	const struct http_problem_row *row = &http_problem_rows[problem];
	char told[256 * 6 + 2];
	size_t told_len = put_string(told, detail ? detail : row->detail);
	if (told_len > 600) /* only text full of escapes, which ours is not */
		told_len = put_string(told, row->detail);
	int n =
	    snprintf(out, size, "{\"type\":\"urn:sluice:problem:%s\",\"title\":\"%s\",\"status\":%u,\"detail\":%.*s",
	             row->slug, row->title, row->status, (int)told_len, told);
	assert(n > 0 && (size_t)n + 64 < size);
	size_t len = (size_t)n;
	if (offset >= 0)
		len += (size_t)snprintf(out + len, size - len, ",\"offset\":%lld", offset);
	if (report && strlen(report) + len + 3 < size)
		len += (size_t)snprintf(out + len, size - len, ",%s", report);
	len += (size_t)snprintf(out + len, size - len, "}\n");
	return len;
}

enum http_problem http_problem_of(enum refusal_reason reason)
{
	switch (reason) {
	case REFUSED_NO_DEVICE: return HTTP_NO_DEVICE;
	case REFUSED_DEVICE: return HTTP_BAD_DEVICE;
	case REFUSED_CHANNEL: return HTTP_BAD_CHANNEL;
	case REFUSED_TOO_LARGE: return HTTP_PAYLOAD_TOO_LARGE;
	default: return HTTP_BAD_PAYLOAD;
	}
}

int http_problem_reported(enum http_problem problem)
{
	int reason = http_problem_rows[problem].reason;
	switch (problem) {
	case HTTP_BAD_PAYLOAD: return REFUSED_PAYLOAD;
	case HTTP_NO_DEVICE: return REFUSED_NO_DEVICE;
	case HTTP_BAD_DEVICE: return REFUSED_DEVICE;
	case HTTP_BAD_CHANNEL: return REFUSED_CHANNEL;
	case HTTP_PAYLOAD_TOO_LARGE: return REFUSED_TOO_LARGE;
	default: return reason == REFUSED_FULL ? -1 : reason;
	}
}
