/* Strict checking of one JSON document (RFC 8259) in one pass over its bytes: no tree, no allocation, no recursion.
 *
 * A value is either a scalar, which is checked whole, or opens a container. Which kind the open containers are is one
 * bit each, so that the deepest document costs 128 bytes of stack. The loop in check_document alternates between two
 * steps:
 *
 *	value_begin  opens containers (and reads a key in each object) until one scalar or one empty container has been met
 *	value_end    closes what ends here, then steps over one comma, and in an object over the next key
 *
 * The position travels by value through inlined steps and so stays in a register; NULL says that check_fail was called.
 *
 * This is the version that says what is valid and where it stops being so. Where the processor has vector instructions,
 * valid documents are passed by json_vector.h, twice to six times as fast, and come here only if that has doubts.
 * test/bench/bench_validator.c measures them all. Look-ups and escapes: json_find.c, times: json_time.c. */
#include "gateway/base/json.h"

#include "gateway/base/json_parts.h"
#include "gateway/base/scan.h"

#define JSON_DEPTH_MAX 1024 /* what max_depth is cut down to */

struct check {
	const uint8_t *end;
	const uint8_t *at;  /* set by check_fail */
	const char *reason; /* set by check_fail */
};

/* The containers that are open, the innermost in `object`, the others as bits. */
struct nest {
	unsigned depth, max;
	bool object;
	uint64_t outer[JSON_DEPTH_MAX / 64];
};

/* Kept out of line, so that the many ways to fail do not fill the instruction cache. */
static __attribute__((noinline, cold)) const uint8_t *check_fail(struct check *c, const uint8_t *at, const char *reason)
{
	c->at = at;
	c->reason = at == c->end ? "unexpected end" : reason;
	return NULL;
}

static inline const uint8_t *skip_space(const uint8_t *p, const uint8_t *end)
{
	while (p < end && *p <= ' ' && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
		p++;
	return p;
}

static inline bool is_digit(uint8_t b)
{
	return (uint8_t)(b - '0') < 10;
}

static inline const uint8_t *skip_digits(const uint8_t *p, const uint8_t *end)
{
	while (p < end && is_digit(*p))
		p++;
	return p;
}

/* Reads the four hexadecimal digits at p into *unit. */
static const uint8_t *check_hex4(struct check *c, const uint8_t *p, unsigned *unit)
{
	*unit = 0;
	for (int i = 0; i < 4; i++, p++) {
		if (p == c->end)
			return check_fail(c, p, NULL);
		uint8_t lower = *p | 0x20;
		if (is_digit(*p))
			*unit = *unit << 4 | (unsigned)(*p - '0');
		else if (lower >= 'a' && lower <= 'f')
			*unit = *unit << 4 | (unsigned)(lower - 'a' + 10);
		else
			return check_fail(c, p, "not a hexadecimal digit");
	}
	return p;
}

/* p: after "\u". A high surrogate must be followed by the escape of a low one (RFC 8259 section 7): a lone one names no
 * character and could not be written as UTF-8. */
static const uint8_t *check_unicode(struct check *c, const uint8_t *p)
{
	const uint8_t *escape = p - 2;
	unsigned unit;
	p = check_hex4(c, p, &unit);
	if (!p || unit < 0xd800 || unit > 0xdfff)
		return p;
	if (unit > 0xdbff)
		return check_fail(c, escape, "lone surrogate");
	if (c->end - p < 2 || p[0] != '\\' || p[1] != 'u')
		return check_fail(c, escape, "lone surrogate");
	p = check_hex4(c, p + 2, &unit);
	return !p || (unit >= 0xdc00 && unit <= 0xdfff) ? p : check_fail(c, escape, "lone surrogate");
}

/* p: at the backslash. */
static const uint8_t *check_escape(struct check *c, const uint8_t *p)
{
	if (++p == c->end)
		return check_fail(c, p, NULL);
	switch (*p) {
	case '"':
	case '\\':
	case '/':
	case 'b':
	case 'f':
	case 'n':
	case 'r':
	case 't': return p + 1;
	case 'u': return check_unicode(c, p + 1);
	default: return check_fail(c, p, "invalid escape");
	}
}

/* p: at a byte of SCAN_SPECIAL that is not the closing quote. */
static __attribute__((noinline)) const uint8_t *check_special(struct check *c, const uint8_t *p)
{
	if (*p < 0x20)
		return check_fail(c, p, "control character in string");
	if (*p < 0x80)
		return check_escape(c, p);
	size_t len = scan_utf8(p, c->end);
	return len > 0 ? p + len : check_fail(c, p, "invalid UTF-8");
}

const uint8_t *json_escape_end(const uint8_t *p, const uint8_t *end)
{
	struct check c = {.end = end};
	return check_escape(&c, p);
}

/* p: after the opening quote. */
static inline const uint8_t *check_string(struct check *c, const uint8_t *p)
{
	while (p) {
		p = scan_to(p, c->end, SCAN_SPECIAL);
		if (p == c->end)
			return check_fail(c, p, NULL);
		if (*p == '"')
			return p + 1;
		p = check_special(c, p);
	}
	return NULL;
}

static inline const uint8_t *check_digits(struct check *c, const uint8_t *p)
{
	if (p == c->end || !is_digit(*p))
		return check_fail(c, p, "expected a digit");
	return skip_digits(p + 1, c->end);
}

static const uint8_t *check_exponent(struct check *c, const uint8_t *p)
{
	if (p < c->end && (*p == '+' || *p == '-'))
		p++;
	return check_digits(c, p);
}

/* p: at '-' or a digit. RFC 8259 section 6. */
static inline const uint8_t *check_number(struct check *c, const uint8_t *p)
{
	if (*p == '-')
		p++;
	if (p < c->end && *p == '0') {
		p++;
		if (p < c->end && is_digit(*p))
			return check_fail(c, p, "leading zero in number");
	} else {
		p = check_digits(c, p);
	}
	if (p && p < c->end && *p == '.')
		p = check_digits(c, p + 1);
	if (p && p < c->end && (*p | 0x20) == 'e')
		p = check_exponent(c, p + 1);
	return p;
}

static const uint8_t *check_literal(struct check *c, const uint8_t *p, const char *word)
{
	for (; *word; word++, p++) {
		if (p == c->end || *p != (uint8_t)*word)
			return check_fail(c, p, "expected true, false or null");
	}
	return p;
}

static const uint8_t *check_no_value(struct check *c, const uint8_t *p)
{
	if (c->end - p >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0)
		return check_fail(c, p, "byte order mark");
	return check_fail(c, p, "expected a value");
}

/* Steps over white space, a key and its colon. */
static inline const uint8_t *check_key(struct check *c, const uint8_t *p)
{
	p = skip_space(p, c->end);
	if (p == c->end || *p != '"')
		return check_fail(c, p, "expected a key in quotes");
	p = check_string(c, p + 1);
	if (!p)
		return NULL;
	p = skip_space(p, c->end);
	if (p == c->end || *p != ':')
		return check_fail(c, p, "expected ':' after the key");
	return p + 1;
}

static inline bool nest_push(struct nest *n, bool object)
{
	if (n->depth >= n->max)
		return false;
	uint64_t *word = &n->outer[n->depth / 64];
	unsigned shift = n->depth % 64;
	uint64_t below = shift == 0 ? 0 : *word & ~(UINT64_C(1) << shift); /* a word is not set before its first bit */
	*word = below | (uint64_t)n->object << shift;
	n->object = object;
	n->depth++;
	return true;
}

static inline void nest_pop(struct nest *n)
{
	n->depth--;
	n->object = n->outer[n->depth / 64] >> (n->depth % 64) & 1;
}

/* p: where a value is due. Returns the end of the first scalar, or the closing bracket of the first empty container. */
static inline const uint8_t *value_begin(struct check *c, struct nest *n, const uint8_t *p)
{
	while (p) {
		p = skip_space(p, c->end);
		if (p == c->end)
			return check_fail(c, p, NULL);
		switch (*p) {
		case '"': return check_string(c, p + 1);
		case '-':
		case '0':
		case '1':
		case '2':
		case '3':
		case '4':
		case '5':
		case '6':
		case '7':
		case '8':
		case '9': return check_number(c, p);
		case 't': return check_literal(c, p, "true");
		case 'f': return check_literal(c, p, "false");
		case 'n': return check_literal(c, p, "null");
		case '{':
		case '[': break;
		default: return check_no_value(c, p);
		}
		if (!nest_push(n, *p == '{'))
			return check_fail(c, p, "nested too deeply");
		p = skip_space(p + 1, c->end);
		if (p < c->end && *p == (n->object ? '}' : ']'))
			return p;
		if (n->object)
			p = check_key(c, p);
	}
	return NULL;
}

/* p: after a scalar or at the closing bracket of an empty container. Returns where the next value is due, or with
 * n->depth == 0 the end of the document's value. */
static inline const uint8_t *value_end(struct check *c, struct nest *n, const uint8_t *p)
{
	while (n->depth > 0) {
		p = skip_space(p, c->end);
		if (p == c->end)
			return check_fail(c, p, NULL);
		if (*p == ',')
			return n->object ? check_key(c, p + 1) : p + 1;
		if (*p != (n->object ? '}' : ']'))
			return check_fail(c, p, n->object ? "expected ',' or '}'" : "expected ',' or ']'");
		nest_pop(n);
		p++;
	}
	return p;
}

static const uint8_t *check_document(struct check *c, const uint8_t *p, unsigned max_depth)
{
	struct nest n; /* `outer` is written before it is read: clearing it would cost as much as a short document */
	n.depth = 0;
	n.max = max_depth < JSON_DEPTH_MAX ? max_depth : JSON_DEPTH_MAX;
	n.object = false;
	do {
		p = value_begin(c, &n, p);
		if (p)
			p = value_end(c, &n, p);
	} while (p && n.depth > 0);
	return p;
}

struct json_result json_check_scalar(const char *text, size_t len, unsigned max_depth)
{
	const uint8_t *bytes = (const uint8_t *)text;
	if (len == 0)
		return (struct json_result){.reason = "empty"};
	struct check c = {.end = bytes + len};
	const uint8_t *start = skip_space(bytes, c.end);
	if (start == c.end)
		return (struct json_result){.offset = len, .reason = "empty"};
	const uint8_t *stop = check_document(&c, start, max_depth);
	if (stop) {
		const uint8_t *rest = skip_space(stop, c.end);
		if (rest < c.end)
			stop = check_fail(&c, rest, "bytes after the document");
	}
	if (!stop)
		return (struct json_result){.offset = (size_t)(c.at - bytes), .reason = c.reason};
	return (struct json_result){.type = json_type_of(*start),
	                            .start = (size_t)(start - bytes),
	                            .end = (size_t)(stop - bytes),
	                            .newline = json_has_newline((const char *)start, (size_t)(stop - start))};
}

size_t json_versions(struct json_version out[JSON_VERSIONS_MAX])
{
	size_t count = 0;
	out[count++] = (struct json_version){"scalar", json_check_scalar};
#if defined(__x86_64__)
	__builtin_cpu_init();
	bool product = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("popcnt");
	if (product && __builtin_cpu_supports("sse4.2"))
		out[count++] = (struct json_version){"sse4.2", json_check_sse42};
	if (product && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
	    __builtin_cpu_supports("bmi2"))
		out[count++] = (struct json_version){"avx2", json_check_avx2};
	if (product && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("bmi") &&
	    __builtin_cpu_supports("bmi2"))
		out[count++] = (struct json_version){"avx512", json_check_avx512};
#elif defined(__aarch64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	out[count++] = (struct json_version){"neon", json_check_neon};
#endif
	return count;
}

/* Set before main and never again: read without ordering by every thread. */
static struct json_result (*chosen)(const char *text, size_t len, unsigned max_depth) = json_check_scalar;

__attribute__((constructor)) static void json_init(void)
{
	struct json_version versions[JSON_VERSIONS_MAX];
	chosen = versions[json_versions(versions) - 1].check;
}

struct json_result json_check(const char *text, size_t len, unsigned max_depth)
{
	return chosen(text, len, max_depth);
}

bool json_has_newline(const char *text, size_t len)
{
	return len > 0 && (memchr(text, '\n', len) || memchr(text, '\r', len));
}

static void replace_all(char *text, size_t len, char old)
{
	const char *end = text + len;
	for (char *p = text; p < end && (p = memchr(p, old, (size_t)(end - p))) != NULL; p++)
		*p = ' ';
}

size_t json_copy_line(char *out, const char *text, size_t len)
{
	if (len == 0)
		return 0;
	memcpy(out, text, len);
	replace_all(out, len, '\n');
	replace_all(out, len, '\r');
	return len;
}
