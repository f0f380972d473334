/* Compiling texts with holes; see payload.h. What stretches wander is made beforehand in VARIANTS versions, so that no
 * number is printed while it is sent. payload_put.c puts messages together. */
#include "load/payload.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/json.h"
#include "load/payload_parts.h"

#define VARIANTS 1024u
#define POOL_MAX (4u << 20) /* bytes of variants of one stretch; longer ones get fewer variants, 16 at least */

static double chance(uint64_t *state)
{
	return (double)(payload_mix(*state += UINT64_C(0x9e3779b97f4a7c15)) >> 11) * 0x1p-53;
}

/* -- holes: what stands between { and } -- */

struct hole {
	char name[16];
	const char *args; /* behind the colon; "": none */
	size_t args_len;
	size_t len; /* of the whole, braces included */
};

static const struct {
	const char *name;
	enum payload_part_kind kind;
} simple_holes[] = {
    {"device", PART_DEVICE}, {"seq", PART_SEQ}, {"time", PART_TIME}, {"connection", PART_CONNECTION}, {"n", PART_N}};

/* {name} or {name:args}; no other { is a hole. */
static bool hole_at(const char *text, size_t len, struct hole *h)
{
	const char *end = len > 2 && text[0] == '{' ? memchr(text, '}', len) : NULL;
	size_t n = 0;
	if (!end)
		return false;
	while (text[1 + n] >= 'a' && text[1 + n] <= 'z' && n + 1 < sizeof(h->name)) {
		h->name[n] = text[1 + n];
		n++;
	}
	h->name[n] = 0;
	if (n == 0 || (text[1 + n] != ':' && text[1 + n] != '}'))
		return false;
	h->args = text + 1 + n + (text[1 + n] == ':');
	h->args_len = (size_t)(end - h->args);
	h->len = (size_t)(end - text) + 1;
	return true;
}

struct range {
	double low, high;
	int decimals;
};

static int decimals_of(const char *text, size_t len)
{
	const char *point = memchr(text, '.', len);
	return point ? (int)(text + len - point - 1) : 0;
}

static bool read_range(const char *args, size_t len, struct range *r)
{
	const char *colon = memchr(args, ':', len);
	char copy[64], *end;
	if (!colon || len >= sizeof(copy))
		return false;
	memcpy(copy, args, len);
	copy[len] = 0;
	r->low = strtod(copy, &end);
	if (end == copy || *end != ':')
		return false;
	char *second = end + 1;
	r->high = strtod(second, &end);
	int a = decimals_of(args, (size_t)(colon - args)), b = decimals_of(second, strlen(second));
	r->decimals = a > b ? a : b;
	return end != second && *end == 0 && r->low <= r->high && r->decimals <= 15;
}

/* -- stretches that wander -- */

struct wander {
	enum { WANDER_TEXT, WANDER_WALK, WANDER_RANDOM, WANDER_CHOICE, WANDER_HEX } kind;
	const char *text; /* text; choice: a|b|c */
	size_t len;       /* of text; hex: digits */
	struct range range;
	double now;
};

static bool wander_read(const struct hole *h, struct wander *w)
{
	bool walk = !strcmp(h->name, "walk");
	if (!walk && strcmp(h->name, "random") != 0)
		return false;
	*w = (struct wander){.kind = walk ? WANDER_WALK : WANDER_RANDOM, .text = h->args, .len = h->args_len};
	if (read_range(h->args, h->args_len, &w->range)) {
		w->now = (w->range.low + w->range.high) / 2;
		return true;
	}
	if (walk)
		return false;
	if (h->args_len > 4 && !memcmp(h->args, "hex:", 4)) {
		w->kind = WANDER_HEX;
		w->len = strtoul(h->args + 4, NULL, 10);
		return w->len >= 1 && w->len <= 1u << 20;
	}
	w->kind = WANDER_CHOICE;
	return memchr(h->args, '|', h->args_len);
}

static size_t put_choice(const struct wander *w, uint8_t *out, double at)
{
	size_t choices = 1, start = 0;
	for (size_t i = 0; i < w->len; i++)
		choices += w->text[i] == '|';
	for (size_t left = (size_t)(at * (double)choices); left > 0; left--)
		start = (size_t)((const char *)memchr(w->text + start, '|', w->len - start) - w->text) + 1;
	const char *end = memchr(w->text + start, '|', w->len - start);
	size_t len = end ? (size_t)(end - w->text) - start : w->len - start;
	memcpy(out, w->text + start, len);
	return len;
}

static size_t put_wander(struct wander *w, uint8_t *out, uint64_t *state)
{
	double width = w->range.high - w->range.low;
	switch (w->kind) {
	case WANDER_TEXT: memcpy(out, w->text, w->len); return w->len;
	case WANDER_CHOICE: return put_choice(w, out, chance(state));
	case WANDER_HEX:
		for (size_t i = 0; i < w->len; i++)
			out[i] = (uint8_t) "0123456789abcdef"[(unsigned)(chance(state) * 16)];
		return w->len;
	case WANDER_RANDOM: w->now = w->range.low + width * chance(state); break;
	case WANDER_WALK:
		w->now += width * (chance(state) - 0.5) / 25;
		w->now = fmin(w->range.high, fmax(w->range.low, w->now));
		break;
	}
	return (size_t)snprintf((char *)out, 64, "%.*f", w->range.decimals, w->now);
}

static size_t wander_most(const struct wander *w)
{
	return w->kind == WANDER_WALK || w->kind == WANDER_RANDOM ? 64 : w->len;
}

/* Makes the variants of `count` wanders that stand side by side. */
static bool make_variants(struct payload *p, struct payload_part *part, struct wander *w, size_t count)
{
	size_t most = 1, at = 0;
	uint64_t state = payload_mix(p->seed + p->part_count + 1);
	for (size_t i = 0; i < count; i++)
		most += wander_most(&w[i]);
	part->variants = VARIANTS;
	while (part->variants > 16 && part->variants * most > POOL_MAX)
		part->variants /= 2;
	part->kind = PART_VARIED;
	part->pool = calloc(1, part->variants * most + PAYLOAD_SLACK);
	part->starts = malloc((part->variants + 1) * sizeof(*part->starts));
	if (!part->pool || !part->starts)
		return false;
	for (uint32_t v = 0; v < part->variants; v++) {
		part->starts[v] = (uint32_t)at;
		for (size_t i = 0; i < count; i++)
			at += put_wander(&w[i], part->pool + at, &state);
		if (at - part->starts[v] > part->len)
			part->len = (uint32_t)(at - part->starts[v]);
	}
	part->starts[part->variants] = (uint32_t)at;
	return true;
}

/* -- compiling -- */

struct compile {
	struct payload *p;
	struct wander wanders[PAYLOAD_PARTS_MAX];
	size_t wander_count;
	bool varied; /* one of the wanders is more than text */
	struct why *why;
};

/* Turns the wanders so far into a part. */
static enum gw_err flush(struct compile *c)
{
	struct payload *p = c->p;
	if (c->wander_count == 0)
		return GW_OK;
	if (p->part_count == PAYLOAD_PARTS_MAX)
		return why_set(c->why, GW_CONFIG, "payload: more than %d parts", PAYLOAD_PARTS_MAX);
	struct payload_part *part = &p->parts[p->part_count];
	if (c->varied) {
		if (!make_variants(p, part, c->wanders, c->wander_count)) {
			p->part_count++;
			return why_set(c->why, GW_NOMEM, "payload: out of memory");
		}
	} else {
		*part = (struct payload_part){.kind = PART_PLAIN,
		                              .bytes = (const uint8_t *)c->wanders[0].text,
		                              .len = (uint32_t)c->wanders[0].len};
	}
	p->longest += part->len;
	p->part_count++;
	c->wander_count = 0;
	c->varied = false;
	return GW_OK;
}

static enum gw_err add_text(struct compile *c, const char *text, size_t len)
{
	if (len == 0)
		return GW_OK;
	if (c->wander_count == PAYLOAD_PARTS_MAX)
		return why_set(c->why, GW_CONFIG, "payload: more than %d holes", PAYLOAD_PARTS_MAX);
	c->wanders[c->wander_count++] = (struct wander){.kind = WANDER_TEXT, .text = text, .len = len};
	return GW_OK;
}

static enum gw_err add_hole(struct compile *c, const struct hole *h, size_t at)
{
	enum gw_err err;
	for (size_t i = 0; i < sizeof(simple_holes) / sizeof(simple_holes[0]); i++)
		if (!strcmp(h->name, simple_holes[i].name) && h->args_len == 0) {
			if ((err = flush(c)))
				return err;
			if (c->p->part_count == PAYLOAD_PARTS_MAX)
				return why_set(c->why, GW_CONFIG, "payload: more than %d parts", PAYLOAD_PARTS_MAX);
			c->p->parts[c->p->part_count++].kind = simple_holes[i].kind;
			return GW_OK;
		}
	struct wander w;
	if (!wander_read(h, &w))
		return why_set(c->why, GW_CONFIG,
		               "payload: byte %zu: %.*s: there are {device} {seq} {run} {time} {connection} {n} "
		               "{walk:MIN:MAX} {random:MIN:MAX} {random:a|b|c} {random:hex:N}",
		               at, (int)(h->len < 60 ? h->len : 60), h->args - strlen(h->name) - 1 - (h->args_len > 0));
	if (c->wander_count == PAYLOAD_PARTS_MAX)
		return why_set(c->why, GW_CONFIG, "payload: more than %d holes", PAYLOAD_PARTS_MAX);
	c->wanders[c->wander_count++] = w;
	c->varied = true;
	return GW_OK;
}

static enum gw_err compile(struct payload *p, const char *text, size_t len, struct why *why)
{
	struct compile c = {.p = p, .why = why};
	struct hole h;
	enum gw_err err = GW_OK;
	size_t from = 0;
	for (size_t at = 0; at < len && !err;) {
		if (text[at] != '{' || !hole_at(text + at, len - at, &h)) {
			at++;
			continue;
		}
		if (!(err = add_text(&c, text + from, at - from)))
			err = add_hole(&c, &h, at);
		from = at += h.len;
	}
	if (!err)
		err = add_text(&c, text + from, len - from);
	return err ? err : flush(&c);
}

/* -- the text before it is compiled -- */

/* Replaces {run}, which is the same in all messages. */
static void put_run(char *text, size_t *len, const char *run)
{
	size_t out = 0, run_len = strlen(run);
	char *copy = strndup(text, *len);
	for (size_t at = 0; copy && at < *len;)
		if (*len - at >= 5 && !memcmp(copy + at, "{run}", 5)) {
			memcpy(text + out, run, run_len);
			out += run_len;
			at += 5;
		} else {
			text[out++] = copy[at++];
		}
	if (copy)
		*len = out;
	free(copy);
}

/* A message as it will be, to see what kind of text it is. */
static enum gw_err sample(const char *text, size_t len, char **out, size_t *out_len, struct why *why)
{
	struct payload p = {0};
	static const char x[PAYLOAD_SLACK + 1] = "x";
	struct payload_facts f = {.device = x, .device_len = 1, .time = x, .time_len = 1};
	enum gw_err err = compile(&p, text, len, why);
	*out = NULL;
	if (!err && (*out = malloc(payload_max(&p, 1))))
		*out_len = payload_put(&p, &f, (uint8_t *)*out);
	else if (!err)
		err = why_set(why, GW_NOMEM, "payload: out of memory");
	for (unsigned i = 0; i < p.part_count; i++) {
		free(p.parts[i].pool);
		free(p.parts[i].starts);
	}
	return err;
}

static bool has_device(const char *json, size_t len)
{
	struct json_pointer pointer;
	bool has = json_pointer_init(&pointer, "/device") && json_find(json, len, &pointer).type != JSON_INVALID;
	json_pointer_fini(&pointer);
	return has;
}

/* Puts the identity behind the first brace. */
static char *identify(const char *text, size_t *len, const char *run, bool device_too, bool empty)
{
	size_t brace = (size_t)((const char *)memchr(text, '{', *len) - text) + 1;
	char *out = calloc(1, *len + 160 + PAYLOAD_SLACK), *at = out;
	if (!out)
		return NULL;
	memcpy(at, text, brace);
	at += brace;
	at += sprintf(at, "%s\"load\":{\"run\":\"%.31s\",\"device\":\"{device}\",\"seq\":{seq}}%s",
	              device_too ? "\"device\":\"{device}\"," : "", run, empty ? "" : ",");
	memcpy(at, text + brace, *len - brace);
	*len += (size_t)(at - out) - brace;
	return out;
}

/* What a message of the text looks like. */
struct payload_sample {
	struct json_result json;
	char *text; /* owned */
	size_t len;
};

/* What the plan wants of a text and this one is not. */
static enum gw_err check_kind(const struct payload_plan *plan, const struct payload_sample *look, struct why *why)
{
	const struct json_result *json = &look->json;
	if (plan->identity && json->type != JSON_OBJECT)
		return why_set(
		    why, GW_CONFIG,
		    "payload: is no JSON object (byte %zu: %s), so it cannot carry who sent it; --raw sends it as it "
		    "is, and verify cannot know it then",
		    json->offset, json->reason ? json->reason : "another type");
	if (plan->one_line && json->type == JSON_INVALID && memchr(look->text, '\n', look->len))
		return why_set(why, GW_CONFIG, "payload: has a line end, which would end the message, and is no JSON");
	return GW_OK;
}

static enum gw_err add_identity(struct payload *p, size_t *len, const char *run, const struct payload_sample *look,
                                struct why *why)
{
	size_t first = look->json.start + 1;
	while (first < look->len && strchr(" \t\r\n", look->text[first]))
		first++;
	char *with = identify(p->text, len, run, !has_device(look->text, look->len), look->text[first] == '}');
	if (!with)
		return why_set(why, GW_NOMEM, "payload: out of memory");
	free(p->text);
	p->text = with;
	return GW_OK;
}

static enum gw_err shape_text(struct payload *p, const struct payload_plan *plan, size_t *len,
                              const struct payload_sample *look, struct why *why)
{
	bool object = look->json.type == JSON_OBJECT;
	enum gw_err err = check_kind(plan, look, why);
	if (err)
		return err;
	p->json = look->json.type != JSON_INVALID;
	if (plan->one_line)
		json_copy_line(p->text, p->text, *len);
	while ((plan->identity || plan->size) && object && p->text[*len - 1] != '}')
		--*len; /* white space at the end: padding goes before the last brace */
	if (plan->identity && (err = add_identity(p, len, plan->run ? plan->run : "", look, why)))
		return err;
	if (plan->size) {
		p->pad = object ? PAD_JSON : PAD_RAW;
		*len -= object; /* the last brace comes behind the padding */
	}
	return GW_OK;
}

static enum gw_err prepare(struct payload *p, const struct payload_plan *plan, size_t *len, struct why *why)
{
	struct payload_sample look = {.text = NULL};
	const char *run = plan->run ? plan->run : "";
	*len = plan->len;
	p->text = calloc(1, plan->len * (strlen(run) + 1) + PAYLOAD_SLACK);
	if (!p->text)
		return why_set(why, GW_NOMEM, "payload: out of memory");
	memcpy(p->text, plan->text, plan->len);
	put_run(p->text, len, run);
	enum gw_err err = sample(p->text, *len, &look.text, &look.len, why);
	if (err)
		return err;
	look.json = json_check(look.text, look.len, 64);
	err = shape_text(p, plan, len, &look, why);
	free(look.text);
	return err;
}

static enum gw_err read_sizes(struct payload *p, const char *text, struct why *why)
{
	char *end;
	for (const char *at = text;;) {
		unsigned long v = strtoul(at, &end, 10);
		if (end == at || v > 16u << 20 || p->size_count == PAYLOAD_SIZES_MAX)
			break;
		p->sizes[p->size_count++] = (uint32_t)v;
		if (*end == 0 && (!p->size_range || (p->size_count == 2 && p->sizes[0] <= p->sizes[1])))
			return GW_OK;
		if (*end == '-' && p->size_count == 1)
			p->size_range = true;
		else if (*end != ',' || p->size_range)
			break;
		at = end + 1;
	}
	return why_set(why, GW_CONFIG, "size: %s is none: 190, 100-2000, or 64,256,1024 (bytes, at most 16 MiB)", text);
}

enum gw_err payload_open(struct payload **out, const struct payload_plan *plan, struct why *why)
{
	struct payload *p = calloc(1, sizeof(*p));
	enum gw_err err = GW_OK;
	size_t len;
	if (!p)
		return why_set(why, GW_NOMEM, "payload: out of memory");
	p->seed = plan->seed;
	if (plan->size)
		err = read_sizes(p, plan->size, why);
	if (!err && !(err = prepare(p, plan, &len, why)))
		err = compile(p, p->text, len, why);
	if (err) {
		payload_close(p);
		return err;
	}
	*out = p;
	return GW_OK;
}

void payload_close(struct payload *p)
{
	if (!p)
		return;
	for (unsigned i = 0; i < p->part_count; i++) {
		free(p->parts[i].pool);
		free(p->parts[i].starts);
	}
	free(p->text);
	free(p);
}
