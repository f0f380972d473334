/* Reading and writing of cursors; the file is described in cursor.h. */
#include "gateway/cursor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/bytes.h"
#include "gateway/crc32c.h"
#include "gateway/log.h"

#define SLOT 4096u
static const char magic[8] = "SLCURSR1";

static bool slot_read(const uint8_t *slot, uint64_t *count, uint64_t *sequence)
{
	if (memcmp(slot, magic, sizeof(magic)) != 0 || bytes_get(slot + 8, 4) != crc32c(0, slot + 12, SLOT - 12) ||
	    bytes_get(slot + 12, 4) != 1)
		return false;
	*count = bytes_get(slot + 16, 8);
	*sequence = bytes_get(slot + 24, 8);
	return true;
}

enum slots { SLOTS_NEW, SLOTS_DAMAGED, SLOTS_GOOD, SLOTS_UNREAD };

/* The newer of the two slots. */
static enum slots slots_read(const struct disk *d, int fd, uint64_t *count, uint64_t *sequence)
{
	uint8_t slots[2 * SLOT] = {0};
	bool found = false, empty = true;
	if (d->read(d, fd, slots, sizeof(slots), 0) < 0)
		return SLOTS_UNREAD;
	for (size_t i = 0; i < sizeof(slots) && empty; i++)
		empty = slots[i] == 0;
	for (size_t i = 0; i < 2; i++) {
		uint64_t c, s;
		if (slot_read(slots + i * SLOT, &c, &s) && (!found || c > *count)) {
			*count = c;
			*sequence = s;
			found = true;
		}
	}
	return found ? SLOTS_GOOD : empty ? SLOTS_NEW : SLOTS_DAMAGED;
}

static enum gw_err slot_write(struct cursor *c, uint64_t sequence)
{
	uint8_t slot[SLOT] = {0};
	memcpy(slot, magic, sizeof(magic));
	bytes_put(slot + 12, 1, 4);
	bytes_put(slot + 16, c->count + 1, 8);
	bytes_put(slot + 24, sequence, 8);
	slot[32] = (uint8_t)strlen(c->name);
	memcpy(slot + 33, c->name, strlen(c->name));
	bytes_put(slot + 8, crc32c(0, slot + 12, SLOT - 12), 4);
	if (c->disk->write(c->disk, c->fd, slot, SLOT, (c->count + 1) % 2 * SLOT) || c->disk->sync(c->disk, c->fd))
		return GW_IO;
	c->count++;
	atomic_store_explicit(&c->saved, sequence, memory_order_seq_cst);
	return GW_OK;
}

enum gw_err cursor_open(struct cursor *c, const struct disk *disk, const char *dir, const char *name, uint64_t start,
                        bool *existed, struct why *why)
{
	memset(c, 0, sizeof(*c));
	c->fd = -1;
	c->disk = disk;
	pthread_mutex_init(&c->lock, NULL);
	*existed = false;
	snprintf(c->name, sizeof(c->name), "%s", name);
	atomic_init(&c->sequence, start);
	if (!disk)
		return GW_OK;
	if (asprintf(&c->path, "%s/%s.cursor", dir, name) < 0) {
		c->path = NULL;
		return why_set(why, GW_NOMEM, "cursor %s: out of memory", name);
	}
	c->fd = disk->open(disk, c->path, DISK_WRITE | DISK_CREATE);
	if (c->fd < 0) {
		why_set(why, GW_IO, "cursor %s: open %s: %s", name, c->path, strerror(-c->fd));
		goto failed;
	}
	uint64_t saved;
	switch (slots_read(disk, c->fd, &c->count, &saved)) {
	case SLOTS_UNREAD:
		why_set(why, GW_IO, "cursor %s: %s cannot be read: the disk failed", name, c->path);
		goto failed;
	case SLOTS_GOOD:
		*existed = true;
		atomic_init(&c->saved, saved);
		atomic_init(&c->sequence, saved);
		return GW_OK;
	case SLOTS_DAMAGED: /* it was somewhere: behind everything only repeats, anything else could lose */
		log_event(LOG_ERROR, "journal", "a cursor is damaged; its sink starts with the oldest record",
		          LOG_S("sink.name", name));
		start = 0;
		atomic_init(&c->sequence, start);
		break;
	case SLOTS_NEW: break;
	}
	if (slot_write(c, start) || disk->sync_dir(disk, dir)) {
		why_set(why, GW_IO, "cursor %s: cannot write %s", name, c->path);
		goto failed;
	}
	return GW_OK;
failed:
	cursor_close(c);
	return GW_IO;
}

enum gw_err cursor_save(struct cursor *c)
{
	enum gw_err err = GW_OK;
	if (!c->disk)
		return GW_OK;
	pthread_mutex_lock(&c->lock);
	uint64_t sequence = cursor_get(c);
	if (sequence != atomic_load_explicit(&c->saved, memory_order_relaxed))
		err = slot_write(c, sequence);
	pthread_mutex_unlock(&c->lock);
	return err;
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
	uint64_t count;
	int fd = disk->open(disk, path, DISK_READ);
	if (fd < 0)
		return GW_IO;
	bool good = slots_read(disk, fd, &count, sequence) == SLOTS_GOOD;

	disk->close(disk, fd);
	return good ? GW_OK : GW_IO;
}
