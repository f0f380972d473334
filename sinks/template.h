/* Templates: the name of a topic or an index, made from a record's fields and its time.
 *
 *	sluice.telemetry                 the same for every record
 *	telemetry-{yyyy.MM.dd}           the record's @timestamp in UTC: yyyy MM dd HH mm ss, with '.', '-' or '_' between
 *	                                 them
 *	site.{payload.site}.{device.id}  fields of the record (docs/record.md) by dotted path, or ...
 *	{/payload/a.b}                   ... by JSON pointer
 *	{payload.site|none}              with what to take when the record has no such text, number or boolean
 *
 * Text from the record comes from devices. It is escaped so that a name is legal whatever it holds, and so that
 * different texts give different names: each byte that is not `plain` becomes the mark and two hexadecimal digits; the
 * mark itself is never plain. Several fields stay distinct together when what separates them is not plain ('.' in
 * Kafka). */
#ifndef SLUICE_SINKS_TEMPLATE_H
#define SLUICE_SINKS_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/base/error.h"

#define TEMPLATE_NAME_MAX 255u /* longest name that any rules may allow */

/* What the far end allows as a name. */
struct template_rules {
	const char *what;                            /* "Kafka topic", for errors */
	size_t max_len;                              /* bytes of a name; at most TEMPLATE_NAME_MAX */
	bool (*literal)(unsigned char c);            /* legal in the template's own text; '{' '}' and '|' never are */
	bool (*plain)(unsigned char c);              /* stays as it is in text from a record */
	char mark;                                   /* starts an escape; literal, not plain */
	bool (*legal)(const char *name, size_t len); /* what only the whole name can tell; NULL: nothing */
};

struct template_part;
struct template
{
	const struct template_rules *rules;
	struct template_part *parts; /* owned */
	size_t count;
	bool has_time;  /* a part is a time */
	bool has_field; /* a part comes from the record's JSON: devices have a say in the name */
};

/* template_init compiles a template. rules is borrowed until template_fini.
 * GW_OK | GW_CONFIG (why tells the place and what is allowed) | GW_NOMEM; after an error there is nothing to free. */
enum gw_err template_init(struct template *t, const char *text, const struct template_rules *rules, struct why *why);
void template_fini(struct template *t); /* also after zeroing alone */

/* Whether all records get the same name. */
static inline bool template_constant(const struct template *t)
{
	return !t->has_time && !t->has_field;
}

/* template_render writes the name for an entry (gateway/journal/record.h) to out, terminated, and returns its length.
 * 0: there is no legal name (a field is missing, empty, no scalar, or the name would be too long): the caller takes its
 * fallback. Any thread. */
size_t template_render(const struct template *t, const uint8_t *entry, char out[TEMPLATE_NAME_MAX + 1]);

#endif
