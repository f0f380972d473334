/* Any bytes as a journal on disk, found at start. The input is a byte that says what is done with it (modulo COURSES) and a list
 * of pieces of which segments and cursors are made: as raw bytes alone hardly any would have a checksum that holds, and
 * everything behind the checksum would stay untried.
 *
 * A piece is a byte that says what it is, and what follows:
 *	0 GENERATION FIRST VERSION	a new file: a segment header
 *	1 GENERATION FIRST COUNT	a block with a good checksum, of COUNT entries, each LENGTH (8 bytes each) and so many
 *					bytes as they come: only its size is put right
 *	2 GENERATION FIRST COUNT	a block of good records of their numbers; COUNT above 128: a checkpoint
 *	3 AT AT BITS			one byte of the file changed
 *	4 AT AT				the file cut there
 *	5 SEQUENCE AT BITS		a cursor, with one byte changed
 *	6				a new file of zeros: a spare
 *	7 LENGTH			so many bytes as they come, at the end of the file
 * Numbers are single bytes, but AT.
 *
 * Held to: it opens or says why not; what is read back has checksums that hold, in ascending order, inside what the journal
 * says it has; a look from outside (inspection.h) ends; a repair ends, and where it says that all is whole, a look finds nothing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/base/bytes.h"
#include "gateway/base/crc32c.h"
#include "gateway/base/log.h"
#include "gateway/commands/cmd_journal.h"
#include "gateway/journal/journal.h"
#include "gateway/journal/record.h"
#include "gateway/journal/segment.h"
#include "gateway/journal/state_store.h"

#include "test/fuzz/flat_disk.h"
#include "test/fuzz/must.h"

/* One at a time: none of them learns from another. */
enum course { COURSE_START, COURSE_LOOK, COURSE_REPAIR, COURSES };
#define PIECES 24
#define FILE_MOST (20u << 10) /* a header and four blocks */

static char root[64], dir[80];
static FILE *nothing;

struct input {
	const uint8_t *at, *end;
};

static unsigned byte(struct input *in)
{
	return in->at < in->end ? *in->at++ : 0;
}

struct file {
	uint8_t bytes[FILE_MOST];
	size_t len, dirty; /* bytes from dirty on are 0 */
	unsigned number;
	bool begun;
};

static void store(const struct disk *d, const char *path, const void *bytes, size_t len)
{
	int fd = d->open(d, path, DISK_WRITE | DISK_CREATE);
	if (fd < 0)
		return;
	if (len > 0)
		d->write(d, fd, bytes, len, 0);
	d->close(d, fd);
}

static void clear_file(struct file *f)
{
	memset(f->bytes, 0, f->dirty > f->len ? f->dirty : f->len);
	f->len = f->dirty = 0;
	f->begun = false;
}

static void store_file(const struct disk *d, struct file *f)
{
	char path[128];
	if (!f->begun)
		return;
	snprintf(path, sizeof(path), "%s/%08u.segment", dir, ++f->number);
	store(d, path, f->bytes, f->len);
	clear_file(f);
}

static size_t put_good(uint8_t *entry, uint64_t number)
{
	char json[128];
	int len = snprintf(json, sizeof(json), "{\"event\":{\"id\":\"%026llu\"},\"device\":\"d\"}",
	                   (unsigned long long)number);
	struct record r = {
	    .kind = RECORD_TELEMETRY, .json_len = (uint32_t)len, .id_at = 16, .device_at = 45, .device_len = 1};
	memcpy(entry + RECORD_HEADER, json, (size_t)len);
	record_write(&r, entry);
	return r.size;
}

static size_t put_any(uint8_t *entry, struct input *in)
{
	size_t len = 8 * (size_t)byte(in);
	for (size_t i = 4; i < len; i++)
		entry[i] = (uint8_t)byte(in);
	if (len >= 4)
		bytes_put(entry, len, 4);
	return len;
}

static size_t put_state(uint8_t *entry, uint64_t number)
{
	uint8_t member[2] = {(uint8_t)number, 0};
	struct state_change c = {.op = STATE_SET, .scope = {"mqtt", 4}, .group = {"client", 6}, .member = {member, 2}};
	return record_write_state(entry, &c);
}

static void put_block(struct file *f, struct input *in, bool good)
{
	static _Alignas(8) uint8_t block[32u << 10];
	struct block_header h = {.generation = byte(in), .first = byte(in), .time_us = 1};
	unsigned count = byte(in);
	h.checkpoint = count > 128;
	count = count % 128 % 12 + 1;
	size_t body = 0;
	for (unsigned i = 0; i < count; i++) {
		uint8_t *entry = block + BLOCK_HEADER + body;
		body += !good ? put_any(entry, in) : h.checkpoint ? put_state(entry, i) : put_good(entry, h.first + i);
	}
	h.body = (uint32_t)body;
	h.count = count;
	segment_block_write(&h, block);
	size_t size = segment_block_size(body);
	if (f->len % BLOCK_ALIGN == 0 && f->len + size <= FILE_MOST) {
		memcpy(f->bytes + f->len, block, size);
		f->len += size;
		f->begun = true;
	}
	memset(block, 0, size);
}

static void put_cursor(const struct disk *d, struct input *in)
{
	char path[128], cursors[112];
	uint8_t slots[8192] = {0};
	memcpy(slots, "SLCURSR1", 8);
	bytes_put(slots + 12, 1, 4);
	bytes_put(slots + 16, 2, 8);
	bytes_put(slots + 24, byte(in), 8);
	slots[32] = 4;
	memcpy(slots + 33, "sink", 4);
	bytes_put(slots + 8, crc32c(0, slots + 12, 4084), 4);
	size_t at = byte(in);
	slots[at] ^= (uint8_t)byte(in);
	snprintf(cursors, sizeof(cursors), "%s/cursors", dir);
	snprintf(path, sizeof(path), "%s/sink.cursor", cursors);
	d->make_dir(d, cursors);
	store(d, path, slots, sizeof(slots));
}

static void piece(const struct disk *d, struct file *f, struct input *in)
{
	struct segment_header h = {.size = FILE_MOST, .time_us = 1};
	size_t at;
	switch (byte(in) % 8) {
	case 0:
		store_file(d, f);
		h.generation = byte(in);
		h.first = byte(in);
		h.version = byte(in) % 4;
		segment_header_write(&h, f->bytes);
		f->len = SEGMENT_HEADER;
		f->begun = true;
		break;
	case 1: put_block(f, in, false); break;
	case 2: put_block(f, in, true); break;
	case 3:
		at = byte(in) << 8;
		at |= byte(in);
		at %= FILE_MOST;
		f->bytes[at] ^= (uint8_t)byte(in);
		f->dirty = at < f->dirty ? f->dirty : at + 1;
		break;
	case 4:
		at = byte(in) << 8;
		at |= byte(in);
		f->dirty = f->len > f->dirty ? f->len : f->dirty;
		f->len = at < f->len ? at : f->len;
		break;
	case 5: put_cursor(d, in); break;
	case 6:
		store_file(d, f);
		f->len = FILE_MOST;
		f->begun = true;
		break;
	default:
		for (unsigned n = byte(in); n > 0 && f->len < FILE_MOST; n--)
			f->bytes[f->len++] = (uint8_t)byte(in);
		f->begun = true;
	}
}

static void read_all(struct journal *j)
{
	struct journal_reader *r;
	struct block *b;
	uint64_t last = journal_last(j), at = 0;
	MUST(journal_reader_open(j, &r) == GW_OK);
	while (at <= last && journal_read(r, at, &b) == GW_OK) {
		MUST(b->first >= at || b->first + b->count > at);
		MUST(b->first <= last); /* that a block reaches into the next segment no gateway writes */
		MUST(bytes_get(b->bytes + 4, 4) == crc32c(0, b->bytes + 8, BLOCK_HEADER - 8 + (size_t)b->body));
		const uint8_t *entry = b->bytes + BLOCK_HEADER;
		size_t rest = b->body;
		for (uint32_t i = 0; i < b->count; i++) {
			MUST(record_check(entry, rest));
			rest -= record_size(entry);
			entry += record_size(entry);
		}
		MUST(rest == 0);
		MUST(b->first + b->count > at);
		at = b->first + b->count;
		block_unref(b);
	}
	journal_reader_close(r);
}

static void start(struct flat *disk)
{
	static struct journal_stats stats;
	struct journal_settings settings = {.type = JOURNAL_DISK,
	                                    .max_bytes = 8 << 20,
	                                    .max_share = 100,
	                                    .segment = FILE_MOST,
	                                    .block = 8 << 10,
	                                    .spill_after = 1000,
	                                    .max_state = 4096};
	struct journal *j = NULL;
	struct cursor *cursor;
	struct why why = {0};
	memset(&stats, 0, sizeof(stats));
	enum gw_err err = journal_open(&j, &settings, &disk->disk, dir, &stats, &why);
	MUST((err == GW_OK) == (why.text[0] == '\0'));
	if (err)
		return;
	read_all(j);
	MUST(journal_add_cursor(j, "sink", false, &cursor, &why) == GW_OK);
	MUST(journal_last(j) >= cursor_get(cursor));
	read_all(j);
	journal_close(j);
	MUST(flat_open_files(disk) == 0);
}

static bool look(struct flat *disk, int *code)
{
	struct inspection l;
	struct why why = {0};
	struct cmd_journal_options o = {.data = dir, .json = true, .meta = true, .to = UINT64_MAX, .limit = UINT64_MAX};
	enum gw_err err = inspection_open(&l, &disk->disk, dir, &why);
	MUST((err == GW_OK) == (why.text[0] == '\0'));
	if (!err && *code < 0) {
		*code = cmd_journal_repair(&l, &o, nothing, nothing);
	} else if (!err) {
		cmd_journal_info(&l, &o, nothing, nothing);
		cmd_journal_dump(&l, &o, nothing, nothing);
		*code = cmd_journal_verify(&l, &o, nothing, nothing);
	}
	inspection_close(&l);
	MUST(flat_open_files(disk) == 0);
	return !err;
}

static void clean(void)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/lock", dir);
	unlink(path);
	rmdir(dir);
	rmdir(root);
}

static void prepare(void)
{
	snprintf(root, sizeof(root), "/tmp/sluice-fuzz-XXXXXX");
	MUST(mkdtemp(root)); /* for the lock, which is a real file */
	snprintf(dir, sizeof(dir), "%s/journal", root);
	MUST(mkdir(dir, 0700) == 0);
	atexit(clean);
	MUST((nothing = fopen("/dev/null", "w")));
	log_init(LOG_NONE, LOG_TEXT);
}

static void repair(struct flat *disk)
{
	int code = -1;
	if (look(disk, &code) && code == CMD_JOURNAL_WHOLE) {
		code = 0;
		MUST(look(disk, &code) && code == CMD_JOURNAL_WHOLE);
		start(disk);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct flat_file files[FLAT_FILES];
	static struct flat found;
	static struct file file;
	struct input in = {data, data + size};
	if (!root[0])
		prepare();
	flat_empty(&found, dir, files);
	unsigned course = byte(&in) % COURSES;
	clear_file(&file);
	file.number = 0;
	for (int pieces = 0; pieces < PIECES && in.at < in.end; pieces++)
		piece(&found.disk, &file, &in);
	store_file(&found.disk, &file);
	int code = 0;
	switch (course) {
	case COURSE_START: start(&found); break;
	case COURSE_LOOK: look(&found, &code); break;
	default: repair(&found);
	}
	return 0;
}
