/* Texts as JSON, for what is written line by line rather than as a tree. */
#ifndef SLUICE_LOAD_TEXT_H
#define SLUICE_LOAD_TEXT_H

#include <stdio.h>
#include <string.h>

#include "gateway/base/json.h"

/* text_json writes text, which is UTF-8, as a JSON string with its quotes. */
static inline void text_json(FILE *out, const char *text)
{
	char escaped[6 * 512];
	fputc('"', out);
	for (size_t len; (len = strnlen(text, 512)) > 0; text += len)
		fwrite(escaped, 1, json_escape(escaped, text, len), out);
	fputc('"', out);
}

#endif
