/* The journal's identity; see identity.h. */
#include "gateway/journal/identity.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "gateway/base/bytes.h"
#include "gateway/base/clock.h"

#define DIGITS (2 * IDENTITY_SIZE)

bool identity_is_none(const uint8_t id[IDENTITY_SIZE])
{
	static const uint8_t none[IDENTITY_SIZE];
	return memcmp(id, none, IDENTITY_SIZE) == 0;
}

bool identity_is_foreign(const uint8_t own[IDENTITY_SIZE], const uint8_t other[IDENTITY_SIZE])
{
	return !identity_is_none(own) && !identity_is_none(other) && memcmp(own, other, IDENTITY_SIZE) != 0;
}

void identity_make(uint8_t out[IDENTITY_SIZE])
{
	if (getrandom(out, IDENTITY_SIZE, 0) == (ssize_t)IDENTITY_SIZE && !identity_is_none(out))
		return;
	bytes_put(out, (uint64_t)clock_wall_us(), 8);
	bytes_put(out + 8, (uint64_t)clock_mono_us() | 1, 8);
}

static int digit(char c)
{
	const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c) : NULL;
	return at ? (int)(at - digits) : -1;
}

int identity_read(const struct disk *d, const char *dir, uint8_t out[IDENTITY_SIZE])
{
	char path[4096], text[DIGITS];
	memset(out, 0, IDENTITY_SIZE);
	snprintf(path, sizeof(path), "%s/identity", dir);
	int fd = d->open(d, path, DISK_READ);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	int64_t n = d->read(d, fd, text, sizeof(text), 0);
	d->close(d, fd);
	if (n < 0)
		return (int)n;
	uint8_t id[IDENTITY_SIZE];
	for (size_t i = 0; i < IDENTITY_SIZE; i++) {
		int high = n == DIGITS ? digit(text[2 * i]) : -1, low = n == DIGITS ? digit(text[2 * i + 1]) : -1;
		if (high < 0 || low < 0)
			return 0;
		id[i] = (uint8_t)(high << 4 | low);
	}
	memcpy(out, id, IDENTITY_SIZE);
	return 0;
}

int identity_write(const struct disk *d, const char *dir, const uint8_t id[IDENTITY_SIZE])
{
	char path[4096], text[DIGITS + 2];
	for (size_t i = 0; i < IDENTITY_SIZE; i++)
		snprintf(text + 2 * i, 3, "%02x", id[i]);
	memcpy(text + DIGITS, "\n", 2);
	snprintf(path, sizeof(path), "%s/identity", dir);
	int fd = d->open(d, path, DISK_WRITE | DISK_CREATE), err;
	if (fd < 0)
		return fd;
	if (!(err = d->write(d, fd, text, DIGITS + 1, 0)))
		err = d->sync(d, fd);
	d->close(d, fd);
	return err ? err : d->sync_dir(d, dir);
}
