/* Settings: each module declares what can be configured of it in one table; from the table come parsing, defaults,
 * `sluice --help-config`, the reference page docs/configuration.md, and the errors. config/ reads YAML by these tables.
 *
 * A module's settings are the members of a struct of its own; each row names the member's offset. The parser fills
 * the struct: first every default, then what the file says. Strings and lists are owned by the configuration, which
 * lives until the program ends; modules borrow them.
 *
 *	static const struct setting tcp_settings[] = {
 *		SETTING(struct tcp, max_line, SETTING_BYTES, "64KiB", 64, 16 << 20, "longest line that is accepted"),
 *		...
 *		SETTINGS_END,
 *	};
 */
#ifndef SLUICE_GATEWAY_BASE_SETTINGS_H
#define SLUICE_GATEWAY_BASE_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Type      member                  what a file may say
 * BOOL      bool                    true | false
 * INT       int64_t                 decimal integer within min..max
 * BYTES     uint64_t, bytes         65536, 64KiB, 16MiB, 1GiB, 10kB
 * DURATION  uint64_t, microseconds  500us, 20ms, 5s, 2m, 1h, 7d; 0
 * PERCENT   double, 0..100          5%
 * STRING    char *                  text; NULL when it is empty and the default is NULL
 * SECRET    char *                  text, or {file: PATH} whose first line is taken; never printed
 * ADDRESS   struct address          127.0.0.1:1883, [::]:1883, localhost:80
 * CHOICE    int                     one of choices; the member is its index
 * LIST      struct string_list      a scalar or a sequence of scalars
 * MAP       struct string_map       a mapping of scalars to scalars
 * GROUP     a nested struct         a mapping, read by the table in `group` */
enum setting_type {
	SETTING_END = 0, /* the end of a table */
	SETTING_BOOL,
	SETTING_INT,
	SETTING_BYTES,
	SETTING_DURATION,
	SETTING_PERCENT,
	SETTING_STRING,
	SETTING_SECRET,
	SETTING_ADDRESS,
	SETTING_CHOICE,
	SETTING_LIST,
	SETTING_MAP,
	SETTING_GROUP,
};

struct address {
	char host[256]; /* numeric IPv4, IPv6 without brackets, or a name; never empty */
	char port[8];   /* decimal; "0" lets the kernel choose */
};

struct string_list {
	char **items;
	size_t count;
};

struct string_map {
	char **keys;
	char **values;
	size_t count;
};

struct setting {
	const char *name; /* its key in the file, behind the last dot: `stream.listen` is `listen` */
	enum setting_type type;
	size_t offset;               /* of the member in the module's struct */
	const char *def;             /* default as a file would say it (lists: comma-separated); NULL: see `required` */
	double min, max;             /* for INT, BYTES, DURATION (us), PERCENT; no range when both are 0 */
	const char *const *choices;  /* for CHOICE; ends with NULL */
	const struct setting *group; /* for GROUP */
	bool required;               /* must be given (only without default) */
	const char *help;            /* one or two sentences: what it does, its unit, when to change it */
};

#define SETTING(st, member, setting_kind, dflt, lo, hi, text)                                                          \
	{                                                                                                              \
		.name = #member, .type = (setting_kind), .offset = offsetof(st, member), .def = (dflt), .min = (lo),   \
		.max = (hi), .help = (text)                                                                            \
	}
/* The same for a member of an embedded struct: the key is its last name. */
#define SETTING_AS(st, key, member, setting_kind, dflt, lo, hi, text)                                                  \
	{                                                                                                              \
		.name = (key), .type = (setting_kind), .offset = offsetof(st, member), .def = (dflt), .min = (lo),     \
		.max = (hi), .help = (text)                                                                            \
	}
#define SETTING_CHOICES(st, member, dflt, list, text)                                                                  \
	{                                                                                                              \
		.name = #member, .type = SETTING_CHOICE, .offset = offsetof(st, member), .def = (dflt),                \
		.choices = (list), .help = (text)                                                                      \
	}
#define SETTING_NESTED(st, member, table, text)                                                                        \
	{                                                                                                              \
		.name = #member, .type = SETTING_GROUP, .offset = offsetof(st, member), .group = (table),              \
		.help = (text)                                                                                         \
	}
#define SETTING_REQUIRED(st, member, setting_kind, text)                                                               \
	{                                                                                                              \
		.name = #member, .type = (setting_kind), .offset = offsetof(st, member), .required = true,             \
		.help = (text)                                                                                         \
	}
#define SETTINGS_END                                                                                                   \
	{                                                                                                              \
		.type = SETTING_END                                                                                    \
	}

#endif
