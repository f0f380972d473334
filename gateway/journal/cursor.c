/* Reading and writing of cursors; the file is described in cursor.h. */
#include "gateway/journal/cursor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/bytes.h"
#include "gateway/base/crc32c.h"
#include "gateway/base/disk_explain.h"
#include "gateway/base/log.h"
#include "gateway/journal/quarantine.h"

#define SLOT 4096u
static const char magic[8] = "SLCURSR1";

#define AHEAD 96u     /* offset of the stretches */
#define IDENTITY 512u /* offset of the journal's identity */

/* What a slot says. */
struct content {
	uint64_t count, sequence;
	struct cursor_stretch ahead[CURSOR_AHEAD_MAX];
	size_t ahead_count;
	int err; /* when it could not be read: a negative errno */
};

/* Stretches are taken whole or not at all: without them records come again, which is always allowed. */
static void ahead_read(const uint8_t *slot, struct content *out)
{
	size_t n = bytes_get(slot + AHEAD, 4);
	uint64_t above = out->sequence;
	out->ahead_count = 0;
	if (n > CURSOR_AHEAD_MAX)
		return;
	for (size_t i = 0; i < n; i++) {
		const uint8_t *at = slot + AHEAD + 4 + i * 16;
		struct cursor_stretch s = {bytes_get(at, 8), bytes_get(at + 8, 8)};
		if (s.to <= above)
			continue; /* the cursor has passed it */
		s.from = s.from <= above ? above + 1 : s.from;
		if (s.from > s.to) {
			out->ahead_count = 0;
			return;
		}
		out->ahead[out->ahead_count++] = s;
		above = s.to;
	}
}

static bool slot_read(const uint8_t *slot, struct content *out)
{
	if (memcmp(slot, magic, sizeof(magic)) != 0 || bytes_get(slot + 8, 4) != crc32c(0, slot + 12, SLOT - 12) ||
	    bytes_get(slot + 12, 4) != 1)
		return false;
	out->count = bytes_get(slot + 16, 8);
	out->sequence = bytes_get(slot + 24, 8);
	ahead_read(slot, out);
	return true;
}

enum slots { SLOTS_NEW, SLOTS_DAMAGED, SLOTS_FOREIGN, SLOTS_GOOD, SLOTS_UNREAD };

/* The newer of the two slots. identity: see struct cursor_file. */
static enum slots slots_read(const struct disk *d, int fd, const uint8_t *identity, struct content *out)
{
	uint8_t slots[2 * SLOT] = {0};
	bool found = false, foreign = false;
	int64_t n = d->read(d, fd, slots, sizeof(slots), 0);
	if (n < 0) {
		out->err = (int)n;
		return SLOTS_UNREAD;
	}
	bool empty = slots[0] == 0 && memcmp(slots, slots + 1, sizeof(slots) - 1) == 0;
	for (size_t i = 0; i < 2; i++) {
		struct content c;
		if (!slot_read(slots + i * SLOT, &c))
			continue;
		bool other = identity && identity_is_foreign(identity, slots + i * SLOT + IDENTITY);
		foreign |= other;
		if (!other && (!found || c.count > out->count)) {
			*out = c;
			found = true;
		}
	}
	return found ? SLOTS_GOOD : foreign ? SLOTS_FOREIGN : empty ? SLOTS_NEW : SLOTS_DAMAGED;
}

/* 0 or a negative errno. */
static int slot_write(struct cursor *c, uint64_t sequence)
{
	uint8_t slot[SLOT] = {0};
	memcpy(slot, magic, sizeof(magic));
	bytes_put(slot + 12, 1, 4);
	bytes_put(slot + 16, c->count + 1, 8);
	bytes_put(slot + 24, sequence, 8);
	slot[32] = (uint8_t)strlen(c->name);
	memcpy(slot + 33, c->name, strlen(c->name));
	bytes_put(slot + AHEAD, c->ahead_count, 4);
	for (size_t i = 0; i < c->ahead_count; i++) {
		bytes_put(slot + AHEAD + 4 + i * 16, c->ahead[i].from, 8);
		bytes_put(slot + AHEAD + 12 + i * 16, c->ahead[i].to, 8);
	}
	memcpy(slot + IDENTITY, c->identity, IDENTITY_SIZE);
	bytes_put(slot + 8, crc32c(0, slot + 12, SLOT - 12), 4);
	int err;
	if ((err = c->disk->write(c->disk, c->fd, slot, SLOT, (c->count + 1) % 2 * SLOT)) ||
	    (err = c->disk->sync(c->disk, c->fd)))
		return err;
	c->count++;
	c->ahead_changed = false;
	atomic_store_explicit(&c->saved, sequence, memory_order_seq_cst);
	return 0;
}

/* Moves the file aside and makes a new one. */
static enum gw_err replace_foreign(struct cursor *c, const struct cursor_file *f, struct why *why)
{
	char journal[4096], name[CURSOR_NAME_MAX + 16], to[4400], text[768];
	snprintf(journal, sizeof(journal), "%s/..", f->dir);
	snprintf(name, sizeof(name), "%s.cursor", f->name);
	int err = quarantine_move(f->disk, journal, f->dir, name, to, sizeof(to));
	if (!err) {
		f->disk->close(f->disk, c->fd);
		c->fd = f->disk->open(f->disk, c->path, DISK_WRITE | DISK_CREATE);
		err = c->fd < 0 ? c->fd : 0;
	}
	if (err)
		return why_set(why, GW_IO, "cursor %s is of another journal and cannot be moved aside: %s", f->name,
		               disk_explain(err, c->path, text, sizeof(text)));
	log_event(LOG_ERROR, "journal",
	          "a cursor belongs to another journal and is set aside; its sink starts with the oldest record",
	          LOG_S("sink.name", f->name), LOG_S("file.path", to));
	return GW_OK;
}

/* Sets path and opens or makes the file. */
static enum gw_err open_file(struct cursor *c, const struct cursor_file *f, bool *made, struct why *why)
{
	char text[768];
	if (asprintf(&c->path, "%s/%s.cursor", f->dir, f->name) < 0) {
		c->path = NULL;
		return why_set(why, GW_NOMEM, "cursor %s: out of memory", f->name);
	}
	c->fd = f->disk->open(f->disk, c->path, DISK_WRITE);
	*made = c->fd == -ENOENT;
	if (*made)
		c->fd = f->disk->open(f->disk, c->path, DISK_WRITE | DISK_CREATE);
	if (c->fd < 0)
		return why_set(why, GW_IO, "cursor %s: %s", f->name, disk_explain(c->fd, c->path, text, sizeof(text)));
	return GW_OK;
}

/* The file was somewhere, and where is not known: behind everything only repeats, anything else could lose. */
static void begin_at_oldest(struct cursor *c, enum log_level level, const char *message)
{
	if (message)
		log_event(level, "journal", message, LOG_S("sink.name", c->name));
	atomic_init(&c->sequence, 0);
}

/* Takes over what the file says. *write: it says nothing that counts, and has to be written. */
static enum gw_err read_file(struct cursor *c, const struct cursor_file *f, bool made, bool *write, struct why *why)
{
	char text[768];
	struct content saved = {0};
	enum slots found = slots_read(f->disk, c->fd, f->identity, &saved);
	*write = found != SLOTS_GOOD;
	switch (found) {
	case SLOTS_UNREAD:
		return why_set(why, GW_IO, "cursor %s cannot be read: %s", f->name,
		               disk_explain(saved.err, c->path, text, sizeof(text)));
	case SLOTS_GOOD:
		c->count = saved.count;
		c->ahead_count = saved.ahead_count;
		memcpy(c->ahead, saved.ahead, sizeof(c->ahead));
		atomic_init(&c->saved, saved.sequence);
		atomic_init(&c->sequence, saved.sequence);
		break;
	case SLOTS_DAMAGED:
		begin_at_oldest(c, LOG_ERROR, "a cursor is damaged; its sink starts with the oldest record");
		break;
	case SLOTS_NEW: /* a crash left it, or a full disk, or a backup */
		if (!made)
			begin_at_oldest(c, LOG_WARN, "a cursor holds nothing; its sink starts with the oldest record");
		break;
	case SLOTS_FOREIGN:
		if (replace_foreign(c, f, why))
			return GW_IO;
		begin_at_oldest(c, LOG_ERROR, NULL);
		break;
	}
	return GW_OK;
}

static enum gw_err write_file(struct cursor *c, const struct cursor_file *f, struct why *why)
{
	char text[768];
	int err = slot_write(c, cursor_get(c));
	if (!err)
		err = f->disk->sync_dir(f->disk, f->dir);
	return err ? why_set(why, GW_IO, "cursor %s cannot be written: %s", f->name,
	                     disk_explain(err, c->path, text, sizeof(text)))
	           : GW_OK;
}

enum gw_err cursor_open(struct cursor *c, const struct cursor_file *f, uint64_t start, bool *existed, struct why *why)
{
	bool made = false, write = false;
	memset(c, 0, sizeof(*c));
	c->fd = -1;
	c->disk = f->disk;
	pthread_mutex_init(&c->lock, NULL);
	*existed = false;
	snprintf(c->name, sizeof(c->name), "%s", f->name);
	atomic_init(&c->sequence, start);
	if (!f->disk)
		return GW_OK;
	if (f->identity)
		memcpy(c->identity, f->identity, IDENTITY_SIZE);
	enum gw_err err = open_file(c, f, &made, why);
	if (!err) {
		*existed = !made;
		err = read_file(c, f, made, &write, why);
	}
	if (!err && write)
		err = write_file(c, f, why);
	if (err)
		cursor_close(c);
	return err;
}

void cursor_set_ahead(struct cursor *c, const struct cursor_stretch *ahead, size_t count)
{
	if (!c->disk)
		return;
	pthread_mutex_lock(&c->lock);
	c->ahead_changed |=
	    count != c->ahead_count || (count > 0 && memcmp(ahead, c->ahead, count * sizeof(*ahead)) != 0);
	if (count > 0)
		memcpy(c->ahead, ahead, count * sizeof(*ahead));
	c->ahead_count = count;
	pthread_mutex_unlock(&c->lock);
}

/* A file at the path; its directory is made again if it was deleted, but none above it: that may have been moved. */
static int open_again(const struct cursor *c, const char *dir)
{
	int fd = c->disk->open(c->disk, c->path, DISK_WRITE | DISK_CREATE);
	if (fd != -ENOENT)
		return fd;
	char above[4096];
	snprintf(above, sizeof(above), "%s", dir);
	char *end = strrchr(above, '/');
	if (!end || c->disk->make_dir(c->disk, dir) < 0)
		return -ENOENT;
	*end = '\0';
	int err = c->disk->sync_dir(c->disk, above);
	return err ? err : c->disk->open(c->disk, c->path, DISK_WRITE | DISK_CREATE);
}

/* Both slots of a file that is at the path now: it may be another one, with a higher count. Under lock. */
static int make_again(struct cursor *c, uint64_t sequence)
{
	char dir[4096];
	snprintf(dir, sizeof(dir), "%s", c->path);
	*strrchr(dir, '/') = '\0';
	int fd = open_again(c, dir), err;
	if (fd < 0)
		return fd;
	c->disk->close(c->disk, c->fd);
	c->fd = fd;
	for (int slot = 0; slot < 2; slot++)
		if ((err = slot_write(c, sequence)))
			return err;
	if ((err = c->disk->sync_dir(c->disk, dir)))
		return err;
	log_event(LOG_WARN, "journal", "the file of a cursor was deleted or moved; it is made again",
	          LOG_S("sink.name", c->name), LOG_N("sluice.journal.cursor", sequence));
	return 0;
}

/* Under lock. */
static int keep(struct cursor *c, uint64_t sequence)
{
	int place = c->frozen ? DISK_HERE : c->disk->place(c->disk, c->fd, c->path);
	return place == DISK_MOVED || place == DISK_GONE ? make_again(c, sequence) : 0;
}

enum gw_err cursor_save(struct cursor *c)
{
	if (!c->disk)
		return GW_OK;
	pthread_mutex_lock(&c->lock);
	uint64_t sequence = cursor_get(c);
	if (c->frozen)
		c->err = -EBUSY;
	else if ((c->err || c->ahead_changed || sequence != atomic_load_explicit(&c->saved, memory_order_relaxed)) &&
	         !(c->err = slot_write(c, sequence)))
		c->err = keep(c, sequence);
	enum gw_err err = c->err ? GW_IO : GW_OK;
	pthread_mutex_unlock(&c->lock);
	return err;
}

enum gw_err cursor_keep(struct cursor *c)
{
	if (!c->disk)
		return GW_OK;
	pthread_mutex_lock(&c->lock);
	int err = keep(c, cursor_get(c));
	if (err)
		c->err = err;
	pthread_mutex_unlock(&c->lock);
	return err ? GW_IO : GW_OK;
}

void cursor_freeze(struct cursor *c)
{
	pthread_mutex_lock(&c->lock);
	c->frozen = true;
	pthread_mutex_unlock(&c->lock);
}

const char *cursor_explain(struct cursor *c, char *out, size_t size)
{
	pthread_mutex_lock(&c->lock);
	int err = c->err;
	pthread_mutex_unlock(&c->lock);
	return disk_explain(err, c->path ? c->path : c->name, out, size);
}

void cursor_close(struct cursor *c)
{
	if (c->disk && c->fd >= 0 && c->path)
		c->disk->close(c->disk, c->fd);
	if (*c->name) /* it was opened */
		pthread_mutex_destroy(&c->lock);
	free(c->path);
	memset(c, 0, sizeof(*c));
	c->fd = -1;
}

enum gw_err cursor_peek(const struct disk *disk, const char *path, uint64_t *sequence)
{
	struct cursor_stretch ahead[CURSOR_AHEAD_MAX];
	size_t count;
	return cursor_peek_ahead(disk, path, sequence, ahead, &count);
}

enum gw_err cursor_peek_own(const struct disk *disk, const char *path, const uint8_t *identity, uint64_t *sequence)
{
	struct content content;
	int fd = disk->open(disk, path, DISK_READ);
	if (fd < 0)
		return GW_IO;
	enum slots slots = slots_read(disk, fd, identity, &content);
	if (slots == SLOTS_GOOD)
		*sequence = content.sequence;
	disk->close(disk, fd);
	return slots == SLOTS_GOOD ? GW_OK : GW_INVALID;
}

enum gw_err cursor_peek_ahead(const struct disk *disk, const char *path, uint64_t *sequence,
                              struct cursor_stretch ahead[CURSOR_AHEAD_MAX], size_t *count)
{
	struct content content;
	int fd = disk->open(disk, path, DISK_READ);
	if (fd < 0)
		return GW_IO;
	enum slots slots = slots_read(disk, fd, NULL, &content);
	if (slots == SLOTS_GOOD) {
		*sequence = content.sequence;
		*count = content.ahead_count;
		memcpy(ahead, content.ahead, content.ahead_count * sizeof(*ahead));
	}
	disk->close(disk, fd);
	return slots == SLOTS_GOOD ? GW_OK : slots == SLOTS_NEW ? GW_AGAIN : slots == SLOTS_UNREAD ? GW_IO : GW_INVALID;
}

uint64_t cursor_lacking(uint64_t passed, uint64_t last, const struct cursor_stretch *ahead, size_t count)
{
	uint64_t lacking = last > passed ? last - passed : 0;
	for (size_t i = 0; i < count; i++) {
		uint64_t from = ahead[i].from > passed ? ahead[i].from : passed + 1;
		uint64_t to = ahead[i].to < last ? ahead[i].to : last;
		lacking -= to >= from ? to - from + 1 : 0;
	}
	return lacking;
}

uint64_t cursor_behind(struct cursor *c, uint64_t gone, uint64_t last)
{
	pthread_mutex_lock(&c->lock);
	uint64_t passed = cursor_get(c);
	uint64_t lacking = cursor_lacking(passed > gone ? passed : gone, last, c->ahead, c->ahead_count);
	pthread_mutex_unlock(&c->lock);
	return lacking;
}
