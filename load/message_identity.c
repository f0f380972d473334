/* Finding the identity of a message in a record: by its bytes, without a tree, since millions are looked at. A quote
 * inside a JSON string is escaped, so `"load":` cannot stand in one. */
#include "load/message_identity.h"

#include <string.h>

#include "gateway/base/json.h"

struct identity_text {
	const char *at, *end;
};

static void skip_space(struct identity_text *t)
{
	while (t->at < t->end && (*t->at == ' ' || *t->at == '\t' || *t->at == '\n' || *t->at == '\r'))
		t->at++;
}

static bool take(struct identity_text *t, char c)
{
	skip_space(t);
	if (t->at == t->end || *t->at != c)
		return false;
	t->at++;
	return true;
}

/* A string, unescaped and terminated. */
static bool take_string(struct identity_text *t, char out[MESSAGE_IDENTITY_MAX], size_t *len)
{
	if (!take(t, '"'))
		return false;
	const char *start = t->at;
	while (t->at < t->end && *t->at != '"')
		t->at += *t->at == '\\' ? 2 : 1;
	if (t->at >= t->end || t->at - start >= MESSAGE_IDENTITY_MAX)
		return false;
	*len = json_unescape(out, start, (size_t)(t->at - start));
	out[*len] = '\0';
	t->at++;
	return true;
}

static bool take_number(struct identity_text *t, uint64_t *out)
{
	uint64_t v = 0;
	skip_space(t);
	const char *start = t->at;
	while (t->at < t->end && *t->at >= '0' && *t->at <= '9' && t->at - start < 19)
		v = v * 10 + (uint64_t)(*t->at++ - '0');
	*out = v;
	return t->at > start;
}

static bool take_identity(struct identity_text t, struct message_identity *out)
{
	unsigned have = 0;
	if (!take(&t, ':') || !take(&t, '{'))
		return false;
	do {
		char key[MESSAGE_IDENTITY_MAX];
		size_t len;
		if (!take_string(&t, key, &len) || !take(&t, ':'))
			return false;
		if (strcmp(key, "run") == 0 && take_string(&t, out->run, &out->run_len))
			have |= 1;
		else if (strcmp(key, "device") == 0 && take_string(&t, out->device, &out->device_len))
			have |= 2;
		else if (strcmp(key, "seq") == 0 && take_number(&t, &out->seq))
			have |= 4;
		else
			return false;
	} while (take(&t, ','));
	return have == 7 && take(&t, '}');
}

bool message_identity_find(const char *text, size_t len, struct message_identity *out)
{
	static const char key[] = "\"load\"";
	const char *end = text + len;
	while ((text = memmem(text, (size_t)(end - text), key, sizeof(key) - 1))) {
		text += sizeof(key) - 1;
		if (take_identity((struct identity_text){text, end}, out))
			return true;
	}
	return false;
}
