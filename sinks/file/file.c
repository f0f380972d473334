/* The file sink writes records to a file, one JSON object a line (NDJSON), and rotates it by size and time.
 *
 * The journal is before it, so it need not sync every batch: it syncs when sync_bytes were written or sync_interval
 * has passed, and only then the cursor moves (`deferred` in gateway/pump/sink.h), so it never passes what could still
 * be lost. After a crash the records since the last sync are written again, so a line may be there twice, with the same
 * event.id. After a failed sync the file is cut back to the last one, and after a failed write to the last whole line,
 * so that nothing gathers there twice.
 *
 * Before each batch and after each sync it looks whether the file is still where and as long as it was: what somebody
 * deleted or truncated before it was synced is written again; a file that was moved is left, and a new one begins.
 *
 * A stream (file_target.h) has no sync: a record is settled when write() took all of its line.
 *
 * The target is opened on the pump's thread, again and again while that fails, so neither an unusable directory nor a
 * file system that hangs keeps the gateway from starting. docs/file.md is for operators. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/pump/sink.h"
#include "sinks/file/file_rotation.h"
#include "sinks/file/file_target.h"

#define OPEN_AGAIN_US 1000000 /* how often a target that cannot be opened is tried while no record waits for it */
#define FULL_US 1000000       /* a stream that takes nothing for so long is in trouble */

struct file_sink {
	/* settings */
	char *path;
	uint64_t sync_bytes, sync_interval, rotate_bytes, rotate_interval;
	int64_t keep;
	/* the rest is the pump thread's */
	struct sink_host *host;
	struct file_target target;
	struct file_rotation rotation;
	uint64_t unsynced;
	int64_t first_unsynced_us, opened_try_us;
	bool urgent;
	bool is_refusing;   /* the last write failed: a sync of what fitted does not make it work */
	struct batch *held; /* being written to a stream that is full; NULL: none */
	struct file_position at;
	int64_t held_us; /* since when it takes nothing */
	struct log_limit rotation_log;
};

static const struct setting file_settings[] = {
    SETTING(
        struct file_sink, path, SETTING_STRING, "telemetry.ndjson", 0, 0,
        "The file; a relative path is taken from the data directory. Or a stream: /dev/stdout, a FIFO (docs/file.md "
        "says what is delivered then)."),
    SETTING(struct file_sink, sync_bytes, SETTING_BYTES, "64MiB", 1, 1e12, "Sync after that many bytes,"),
    SETTING(struct file_sink, sync_interval, SETTING_DURATION, "1s", 0, 6e7,
            "or after that time, whichever comes first; only then the cursor moves."),
    SETTING(struct file_sink, rotate_bytes, SETTING_BYTES, "0", 0, 1e15,
            "Begin a new file when this one has that many bytes; 0: never."),
    SETTING(struct file_sink, rotate_interval, SETTING_DURATION, "0", 0, 3.2e13,
            "Begin a new file when this one is that old; 0: never."),
    SETTING(struct file_sink, keep, SETTING_INT, "0", 0, 100000,
            "How many rotated files are kept, the newest; 0: all."),
    SETTINGS_END,
};

/* -- what went wrong -- */

static void report(struct file_sink *f, const char *what, int err)
{
	char text[PATH_MAX + 200];
	snprintf(text, sizeof(text), "%s %s: %s", what, f->target.path, file_target_reason(err));
	sink_report_health(f->host, text);
}

static void tell(struct file_sink *f, enum log_level level, const char *what)
{
	log_event(level, "sink", what, LOG_S("sink.name", f->host->name), LOG_S("file.path", f->target.path));
}

/* Nothing written since the last sync is believed: all of it comes again. */
static void write_again(struct file_sink *f)
{
	file_target_give_up(&f->target);
	f->unsynced = 0;
	sink_rewind(f->host);
}

static void give_up(struct file_sink *f, const char *what, int err)
{
	report(f, what, err);
	write_again(f);
}

static int open_target(struct file_sink *f)
{
	f->opened_try_us = clock_mono_us();
	sink_outside(f->host, true);
	int err = file_target_open(&f->target);
	sink_outside(f->host, false);
	if (err)
		report(f, "open", err);
	return err;
}

/* -- where the file is -- */

/* What somebody deleted or truncated is written again, as far as no sync covered it; what was moved away is whole, and is
 * left when it is synced. False: it is not for this batch. */
static bool check_place(struct file_sink *f, int look)
{
	if (look < 0) {
		give_up(f, "look for", look);
		return false;
	}
	if (look == FILE_HERE || (look == FILE_MOVED && f->unsynced > 0))
		return true;
	const char *what = look == FILE_MOVED  ? "its file was moved: it begins a new one"
	                   : look == FILE_GONE ? "its file was deleted: it begins a new one"
	                                       : "its file was truncated";
	bool lacks = f->unsynced > 0;
	tell(f, look == FILE_MOVED ? LOG_INFO : LOG_WARN,
	     !lacks              ? what
	     : look == FILE_GONE ? "its file was deleted: what was written since the last sync is written again"
	                         : "its file was truncated: what was written since the last sync is written again");
	if (lacks)
		write_again(f);
	else if (look != FILE_TRUNCATED)
		file_target_close(&f->target);
	return !lacks;
}

/* -- settling -- */

static bool due_for_rotation(const struct file_sink *f)
{
	const struct file_target *t = &f->target;
	return t->fd >= 0 && !t->is_stream && t->size > 0 && t->real &&
	       ((f->rotate_bytes && t->size >= f->rotate_bytes) ||
	        (f->rotate_interval && clock_mono_us() - t->opened_us >= (int64_t)f->rotate_interval));
}

/* Only after a sync: everything in the old file is settled. */
static void rotate(struct file_sink *f)
{
	uint64_t left_out;
	file_target_close(&f->target);
	int err = file_rotation_rotate(&f->rotation, f->target.real, f->keep);
	if (err && log_allow(&f->rotation_log, clock_mono_us() / 1000, &left_out))
		log_event(LOG_ERROR, "sink", "cannot rotate its file", LOG_S("sink.name", f->host->name),
		          LOG_S("file.path", f->target.real), LOG_S("error.message", strerror(-err)));
}

static void settle(struct file_sink *f)
{
	if (!f->is_refusing)
		sink_report_health(f->host, NULL);
	sink_synced(f->host);
}

static void sync_file(struct file_sink *f)
{
	f->urgent = false;
	if (f->unsynced == 0)
		return;
	sink_outside(f->host, true);
	int err = file_target_sync(&f->target);
	int look = err ? 0 : file_target_look(&f->target);
	sink_outside(f->host, false);
	if (err) {
		give_up(f, "sync", err);
		return;
	}
	if (!check_place(f, look))
		return;
	f->unsynced = 0;
	settle(f);
	if (look == FILE_MOVED)
		check_place(f, look);
	else if (due_for_rotation(f))
		rotate(f);
}

/* -- writing -- */

/* A file that takes no more keeps the whole lines that it took; the rest of the batch comes again. */
static void finish_regular(struct file_sink *f, struct batch *b, uint64_t before, int err)
{
	f->unsynced += f->target.size - before;
	if (err && f->at.offset > 0) {
		uint64_t whole = f->target.size - f->at.offset;
		int failed = file_target_cut(&f->target, whole);
		if (failed) { /* the line's end cannot be told: nothing since the last sync is believed */
			batch_retry_all(b, "%s", file_target_reason(err));
			give_up(f, "write", err);
			return;
		}
		f->unsynced -= f->at.offset;
	}
	for (size_t i = 0; i < f->at.item; i++)
		batch_done(b, i);
	batch_retry_all(b, "%s", file_target_reason(err));
	f->is_refusing = err != 0;
	if (err)
		report(f, "write", err);
}

static void write_regular(struct file_sink *f, struct batch *b)
{
	uint64_t before = f->target.size;
	if (f->unsynced == 0)
		f->first_unsynced_us = clock_mono_us();
	f->at = (struct file_position){0};
	sink_outside(f->host, true);
	int err = file_target_write(&f->target, b, &f->at);
	sink_outside(f->host, false);
	finish_regular(f, b, before, err);
	batch_finish(b);
	if (f->unsynced >= f->sync_bytes)
		sync_file(f);
}

/* What a stream took is delivered; the line that it took in part comes again whole, to another reader. */
static void write_stream(struct file_sink *f)
{
	struct batch *b = f->held;
	struct file_position before = f->at;
	int err = file_target_write(&f->target, b, &f->at);
	if (f->at.item != before.item || f->at.offset != before.offset)
		f->held_us = clock_mono_us();
	if (err == -EAGAIN) {
		if (clock_mono_us() - f->held_us >= FULL_US)
			report(f, "write", err);
		return;
	}
	f->held = NULL;
	for (size_t i = 0; i < f->at.item; i++)
		batch_done(b, i);
	f->is_refusing = err != 0;
	if (err) {
		batch_retry_all(b, "%s", file_target_reason(err));
		report(f, "write", err);
		file_target_close(&f->target);
	}
	batch_finish(b);
	settle(f);
}

/* -- the sink -- */

static enum gw_err file_open(void *self, struct sink_host *host, struct why *why)
{
	struct file_sink *f = self;
	f->host = host;
	if (file_target_init(&f->target, host->data, f->path))
		return why_set(why, GW_NOMEM, "out of memory");
	return GW_OK;
}

/* Makes the target fit for a batch. False: not now, and the batch is finished. */
static bool get_ready(struct file_sink *f, struct batch *b)
{
	if (f->target.fd >= 0) {
		sink_outside(f->host, true);
		int look = file_target_look(&f->target);
		sink_outside(f->host, false);
		if (look == FILE_MOVED && f->unsynced > 0)
			sync_file(f);
		else
			check_place(f, look);
	}
	/* What was given up is asked for first: this batch is behind it. */
	bool ready = !sink_is_rewinding(f->host) && (f->target.fd >= 0 || open_target(f) == 0);
	if (ready)
		return true;
	batch_retry_all(b, "%s is not usable", f->target.path);
	batch_finish(b);
	return false;
}

static enum gw_err file_submit(void *self, struct batch *b)
{
	struct file_sink *f = self;
	if (f->held)
		return GW_AGAIN;
	if (!get_ready(f, b))
		return GW_OK;
	if (!f->target.is_stream) {
		write_regular(f, b);
		return GW_OK;
	}
	f->held = b;
	f->held_us = clock_mono_us();
	f->at = (struct file_position){0};
	write_stream(f);
	return GW_OK;
}

static int at_most(int timeout_ms, int64_t rest_us)
{
	int64_t rest_ms = rest_us <= 0 ? 0 : (rest_us + 999) / 1000;
	return rest_ms < timeout_ms ? (int)rest_ms : timeout_ms;
}

/* No record waits for it: what was passed over without being written is safe, and the operator hears of trouble before one
 * comes. */
static int poll_idle(struct file_sink *f, int timeout_ms)
{
	sink_synced(f->host);
	if (f->target.fd >= 0) {
		if (due_for_rotation(f))
			rotate(f);
		return timeout_ms;
	}
	int64_t rest = f->opened_try_us + OPEN_AGAIN_US - clock_mono_us();
	if (f->opened_try_us && rest > 0)
		return at_most(timeout_ms, rest);
	if (open_target(f) == 0 && !f->is_refusing)
		sink_report_health(f->host, NULL);
	return at_most(timeout_ms, OPEN_AGAIN_US);
}

static void file_poll(void *self, int timeout_ms)
{
	struct file_sink *f = self;
	struct pollfd p[2] = {{.fd = f->host->wake_fd, .events = POLLIN}, {.fd = -1, .events = POLLOUT}};
	if (f->held) {
		p[1].fd = f->target.fd;
		timeout_ms = at_most(timeout_ms, FULL_US);
	} else if (f->unsynced > 0) {
		int64_t rest = f->first_unsynced_us + (int64_t)f->sync_interval - clock_mono_us();
		if (rest <= 0 || f->urgent) {
			sync_file(f);
			rest = 0;
		}
		timeout_ms = at_most(timeout_ms, rest);
	} else {
		timeout_ms = poll_idle(f, timeout_ms);
	}
	poll(p, 2, timeout_ms);
	if (f->held)
		write_stream(f);
}

static void file_flush(void *self)
{
	struct file_sink *f = self;
	f->urgent = f->unsynced > 0;
	if (!f->urgent)
		sink_synced(f->host);
}

static void file_close(void *self)
{
	struct file_sink *f = self;
	if (f->host)
		file_target_fini(&f->target);
}

static void file_output(const void *self, const char *data, char *out, size_t size)
{
	const struct file_sink *f = self;
	bool is_relative = f->path[0] != '/';
	snprintf(out, size, "%s%s%s", is_relative ? data : "", is_relative ? "/" : "", f->path);
}

static void file_describe(const void *self, char *out, size_t size)
{
	snprintf(out, size, "%s", ((const struct file_sink *)self)->target.path);
}

const struct sink file_sink = {
    .name = "file",
    .help = "Writes records to a file, one JSON object a line, and rotates it by size and time.",
    .size = sizeof(struct file_sink),
    .settings = file_settings,
    .deferred = true,
    .output = file_output,
    .open = file_open,
    .submit = file_submit,
    .poll = file_poll,
    .flush = file_flush,
    .close = file_close,
    .describe = file_describe,
};
