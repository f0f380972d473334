/* The journal's settings, and how it is opened, given its cursors, lanes and readers, and closed; main, before its thread
 * starts and after it has ended. */
#include "gateway/journal/journal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/disk_explain.h"
#include "gateway/base/log.h"
#include "gateway/journal/cursor_names.h"
#include "gateway/journal/journal_parts.h"

static const char *const types[] = {"disk", "memory", "spill", NULL};

const struct setting journal_settings[] = {
    SETTING_CHOICES(struct journal_settings, type, "disk", types,
                    "Where accepted records are kept until every sink has them. `memory` loses them with the process: "
                    "listeners cannot use `ack: durable` then. `spill` keeps them in memory while the sinks keep up, "
                    "and acknowledges a record when every sink has it; it writes to disk only when a sink falls "
                    "behind, and acknowledges then when the record is on disk: for flash that wears."),
    SETTING(
        struct journal_settings, max_bytes, SETTING_BYTES, "1GiB", 1 << 20, 1e15,
        "Most bytes of all segments. When they are full of records that a sink still needs, nothing more is taken in."),
    SETTING(struct journal_settings, max_share, SETTING_PERCENT, "10%", 0.01, 100,
            "The same as a share of the file system; the smaller of the two holds."),
    SETTING(struct journal_settings, keep_free, SETTING_PERCENT, "5%", 0, 99,
            "Share of the file system that the journal leaves free."),
    SETTING(struct journal_settings, segment, SETTING_BYTES, "16MiB", 1 << 20, 1 << 30,
            "Size of one segment file; a multiple of 4 KiB."),
    SETTING(struct journal_settings, preallocate, SETTING_INT, "1", 0, 1000,
            "Segments kept ready beyond those that are promised to messages in the lanes."),
    SETTING(struct journal_settings, block, SETTING_BYTES, "1MiB", 4096, 64 << 20,
            "Most bytes that one commit writes."),
    SETTING(
        struct journal_settings, commit_delay, SETTING_DURATION, "8ms", 0, 1e6,
        "Longest time between the beginnings of two commits, unless enough for one (96 KiB) is there sooner, while "
        "records come all the time: fewer commits save processor time and flash. It is not used while it gains "
        "nothing: when all senders wait for their answers before they send the next message, or so few come that a "
        "commit would not take one more. A message on an idle gateway never waits. 0: as often as the disk takes it."),
    SETTING(struct journal_settings, commit_idle, SETTING_DURATION, "100ms", 0, 1e6,
            "Longest time until a message is committed whose sender does not wait for it: MQTT QoS 0, TCP without "
            "`reply`, `ack: accepted`."),
    SETTING(struct journal_settings, gather, SETTING_DURATION, "1ms", 0, 1e6,
            "Least time between two commits of eight records or more where commit_delay is not used, unless enough for "
            "one is there sooner."),
    SETTING(struct journal_settings, tail_memory, SETTING_BYTES, "8MiB", 0, 1e12,
            "Memory for the newest blocks, from which sinks that keep up read without the disk. With `type: spill`: "
            "what is held in memory before it goes to disk."),
    SETTING(
        struct journal_settings, spill_after, SETTING_DURATION, "1s", 1e3, 3.6e9,
        "With `type: spill`: a record that a sink has not taken for so long goes to disk, and everything behind it."),
    SETTING(struct journal_settings, high_water, SETTING_PERCENT, "90%", 1, 100,
            "When so much of it is full of records that a sink still needs, the journal is nearly full: it is logged "
            "with the sink that holds it, metrics tell of it, and listeners with `ack: accepted` take nothing more, so "
            "that the rest is for messages that are promised something."),
    SETTING(struct journal_settings, low_water, SETTING_PERCENT, "80%", 0, 100,
            "When it is no more than this, that ends."),
    SETTING(struct journal_settings, max_state, SETTING_BYTES, "2MiB", 4096, 1 << 28,
            "Most bytes of what must be remembered across a crash (MQTT sessions, open QoS 2 identifiers, HTTP "
            "idempotency keys); "
            "at most an eighth of `segment`, since each segment begins with it. When it is more, the oldest is "
            "forgotten and sluice_journal_state_forgotten_total counts it."),
    SETTING(struct journal_settings, write_budget, SETTING_BYTES, "0", 0, 1e15,
            "Bytes that may be written in 24 hours before a warning and sluice_journal_over_budget tell of it (the "
            "endurance of flash); 0: no budget. Nothing is refused because of it."),
    SETTINGS_END,
};

/* -- opening -- */

enum gw_err journal_open_dirs(struct journal *j, struct why *why)
{
	int err = disk_make_path(j->disk, j->cursor_dir);
	char up[4096];
	snprintf(up, sizeof(up), "%s/..", j->dir);
	if (!err && !(err = j->disk->sync_dir(j->disk, j->dir)))
		err = j->disk->sync_dir(j->disk, up);
	char text[768];
	return err ? why_set(why, GW_IO, "journal: %s", disk_explain(err, j->dir, text, sizeof(text))) : GW_OK;
}

/* Whether this file system takes O_DIRECT. */
static bool direct_works(struct journal *j)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/probe", j->dir);
	int fd = j->disk->open(j->disk, path, DISK_WRITE | DISK_CREATE | DISK_DIRECT);
	if (fd < 0)
		return false;
	void *page;
	bool works = false;
	if (posix_memalign(&page, DISK_ALIGN, DISK_ALIGN) == 0) {
		memset(page, 0, DISK_ALIGN);
		works = j->disk->write(j->disk, fd, page, DISK_ALIGN, 0) == 0;
		free(page);
	}
	j->disk->close(j->disk, fd);
	j->disk->remove(j->disk, path);
	return works;
}

static enum gw_err open_on_disk(struct journal *j, struct why *why)
{
	enum gw_err err;
	if ((err = journal_open_dirs(j, why)) || (err = directory_lock_take(&j->directory, j->dir, why)))
		return err;
	j->direct = direct_works(j);
	return journal_recover(j, why);
}

static uint64_t random_generation(void)
{
	uint64_t bits = 0;
	if (getrandom(&bits, sizeof(bits), 0) != (ssize_t)sizeof(bits))
		bits = (uint64_t)clock_wall_us() * UINT64_C(0x9E3779B97F4A7C15);
	return (bits >> 2) | UINT64_C(1) << 40;
}

enum gw_err journal_open(struct journal **out, const struct journal_settings *settings, const struct disk *disk,
                         const char *dir, struct journal_stats *stats, struct why *why)
{
	struct journal *j = NULL;
	if (posix_memalign((void **)&j, 64, sizeof(*j)))
		return why_set(why, GW_NOMEM, "journal: out of memory");
	memset(j, 0, sizeof(*j));
	j->settings = settings;
	j->disk = disk;
	j->stats = stats;
	j->fd = j->wake_fd = j->remains_fd = -1;
	j->rescue_from = UINT64_MAX;
	j->next = j->next_number = 1;
	j->in_memory_from = UINT64_MAX;
	atomic_init(&j->spill_after_us, (int64_t)settings->spill_after);
	j->generation = random_generation();
	j->generation_step = 1;
	j->state_generation = UINT64_MAX;
	state_store_init(&j->state, SIZE_MAX);
	pthread_mutex_init(&j->lock, NULL);
	snprintf(j->heartbeat.name, sizeof(j->heartbeat.name), "journal");
	enum gw_err err = GW_OK;
	if (settings->segment % DISK_ALIGN)
		err = why_set(why, GW_CONFIG, "journal.segment: must be a multiple of 4KiB");
	else if (asprintf(&j->dir, "%s", dir) < 0 || asprintf(&j->cursor_dir, "%s/cursors", dir) < 0 ||
	         (j->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) < 0)
		err = why_set(why, GW_NOMEM, "journal: out of memory or file descriptors");
	else if (journal_has_disk(j))
		err = open_on_disk(j, why);
	if (err) {
		journal_close(j);
		return err;
	}
	atomic_store(&j->last, j->next - 1);
	atomic_store(&j->first, j->segment_count ? j->segments[0].first : 1);
	stat_set(&stats->last_sequence, j->next - 1);
	*out = j;
	return GW_OK;
}

static uint64_t oldest(const struct journal *j)
{
	return j->segment_count ? j->segments[0].first : j->next;
}

static bool is_known_sink(const struct journal *j, const char *name)
{
	struct cursor_names known;
	cursor_names_read(&known, j->disk, j->dir);
	return cursor_names_has(&known, name);
}

/* With journal.type disk alone: with spill what every sink had was never written. */
static void report_gone(const struct journal *j, const struct cursor *c)
{
	uint64_t passed = cursor_get(c), first = oldest(j);
	if (j->settings->type != JOURNAL_DISK || first <= passed + 1)
		return;
	log_event(LOG_ERROR, "journal", "begins behind what a sink has: the records between are gone and not delivered",
	          LOG_S("sink.name", c->name), LOG_N("sluice.journal.first_lost", passed + 1),
	          LOG_N("sluice.journal.last_lost", first - 1),
	          LOG_N("sluice.journal.records_lost", first - 1 - passed));
}

enum gw_err journal_add_cursor(struct journal *j, const char *name, bool from_now, struct cursor **out, struct why *why)
{
	if (j->cursor_count == CURSORS_MAX)
		return why_set(why, GW_CONFIG, "journal: at most %u sinks", CURSORS_MAX);
	struct cursor *c = &j->cursors[j->cursor_count];
	bool existed;
	bool is_known = journal_has_disk(j) && is_known_sink(j, name);
	const struct cursor_file file = {journal_has_disk(j) ? j->disk : NULL, j->cursor_dir, name, j->identity};
	enum gw_err err = cursor_open(c, &file, from_now && !is_known ? j->next - 1 : oldest(j) - 1, &existed, why);
	if (err)
		return err;
	if (is_known && !existed)
		log_event(LOG_WARN, "journal",
		          "the cursor of a sink is missing; the sink starts with the oldest record",
		          LOG_S("sink.name", name), LOG_S("file.path", c->path));
	j->cursor_count++;
	report_gone(j, c);
	if (cursor_get(c) >= j->next) {
		/* The sink has more than the journal: its tail was lost. Its numbers must not be given out a second
		 * time. */
		log_event(j->settings->type == JOURNAL_SPILL ? LOG_INFO : LOG_ERROR, "journal",
		          "ends before a sink's cursor; numbering continues after it", LOG_S("sink.name", name),
		          LOG_N("sluice.journal.last", j->next - 1), LOG_N("sluice.journal.cursor", cursor_get(c)));
		j->next = cursor_get(c) + 1;
		if (j->current)
			j->offset = j->segments[j->segment_count - 1].size; /* a fresh segment, whose header says so */
		atomic_store(&j->last, j->next - 1);
	}
	*out = c;
	return GW_OK;
}

bool journal_has_cursor(const struct journal *j, const char *name)
{
	char path[4096];
	if (!journal_has_disk(j))
		return false;
	snprintf(path, sizeof(path), "%s/%s.cursor", j->cursor_dir, name);
	int fd = j->disk->open(j->disk, path, DISK_READ);
	if (fd >= 0)
		j->disk->close(j->disk, fd);
	return fd >= 0;
}

struct strangers {
	struct journal *journal;
	char text[768];
	unsigned refused;
};

static void look_at_cursor(void *context, const char *name)
{
	struct strangers *s = context;
	struct journal *j = s->journal;
	size_t len = strlen(name);
	if (len <= 7 || strcmp(name + len - 7, ".cursor") != 0)
		return;
	for (size_t i = 0; i < j->cursor_count; i++)
		if (strlen(j->cursors[i].name) == len - 7 && memcmp(j->cursors[i].name, name, len - 7) == 0)
			return;
	char path[4096];
	uint64_t sequence;
	snprintf(path, sizeof(path), "%s/%s", j->cursor_dir, name);
	if (cursor_peek(j->disk, path, &sequence)) { /* what cannot be judged is left alone */
		log_event(LOG_WARN, "journal", "a cursor of a sink that is no longer configured cannot be read",
		          LOG_S("file.path", path));
		return;
	}
	if (sequence + 1 < j->next) {
		size_t used = strlen(s->text);
		snprintf(s->text + used, sizeof(s->text) - used, "%s%.*s (%llu records)", s->refused++ ? ", " : "",
		         (int)(len - 7), name, (unsigned long long)(j->next - 1 - sequence));
		return;
	}
	char sink[256];
	snprintf(sink, sizeof(sink), "%.*s", (int)(len - 7), name);
	log_event(LOG_INFO, "journal", "forgets a sink that is no longer configured and has everything",
	          LOG_S("sink.name", sink));
	j->disk->remove(j->disk, path);
}

void journal_note_sinks(const struct journal *j)
{
	struct cursor_names names = {.count = 0};
	char text[512];
	for (size_t i = 0; i < j->cursor_count; i++)
		cursor_names_add(&names, j->cursors[i].name);
	int err = cursor_names_write(&names, j->disk, j->dir);
	if (err)
		log_event(LOG_WARN, "journal", "the list of its sinks cannot be stored",
		          LOG_S("error.message", disk_explain(err, j->dir, text, sizeof(text))));
}

enum gw_err journal_check_cursors(struct journal *j, struct why *why)
{
	struct strangers s = {.journal = j};
	if (!journal_has_disk(j))
		return GW_OK;
	j->disk->list(j->disk, j->cursor_dir, look_at_cursor, &s);
	if (!s.refused) {
		journal_note_sinks(j);
		return GW_OK;
	}
	return why_set(
	    why, GW_CONFIG,
	    "sinks are gone from the configuration that have not got everything yet: %s. Put them back, or give "
	    "those records up with: sluice cursor drop NAME",
	    s.text);
}

enum gw_err journal_add_lane(struct journal *j, struct lane *lane, uint64_t delivered_to)
{
	if (j->lane_count == LANES_MAX)
		return GW_TOOBIG;
	struct journal_lane *l = &j->lanes[j->lane_count];
	if ((delivered_to && !(l->delivered.items = calloc(DELIVERIES, sizeof(*l->delivered.items)))) ||
	    (j->settings->type == JOURNAL_SPILL &&
	     !(l->in_memory.items = calloc(DELIVERIES, sizeof(*l->in_memory.items)))))
		return GW_NOMEM;
	l->lane = lane;
	l->delivered_to = delivered_to;
	j->lane_count++;
	return GW_OK;
}

enum gw_err journal_add_reader(struct journal *j, int wake_fd, _Atomic uint64_t *wake_at)
{
	if (j->reader_count == CURSORS_MAX)
		return GW_TOOBIG;
	j->readers[j->reader_count].fd = wake_fd;
	j->readers[j->reader_count++].wake_at = wake_at;
	return GW_OK;
}

void journal_close(struct journal *j)
{
	if (!j)
		return;
	for (size_t i = 0; i < j->cursor_count; i++) {
		cursor_save(&j->cursors[i]);
		cursor_close(&j->cursors[i]);
	}
	for (size_t i = 0; i < j->lane_count; i++) {
		free(j->lanes[i].delivered.items);
		free(j->lanes[i].in_memory.items);
	}
	for (size_t i = 0; i < j->tail_count; i++)
		block_unref(j->tail[(j->tail_first + i) % j->tail_room]);
	block_unref(j->block);
	if (j->current)
		j->disk->close(j->disk, j->fd);
	if (j->remains_fd >= 0)
		j->disk->close(j->disk, j->remains_fd);
	directory_lock_release(&j->directory);
	if (j->wake_fd >= 0)
		close(j->wake_fd);
	pthread_mutex_destroy(&j->lock);
	state_store_fini(&j->state);
	free(j->tail);
	free(j->segments);
	free(j->spares);
	free(j->dir);
	free(j->cursor_dir);
	free(j);
}
