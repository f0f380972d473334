/* The disk that can lose power; see sim_disk.h. */
#include "test/unit/sim_disk.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/bytes.h"
#include "gateway/base/crc32c.h"

#define SIM_SECTOR 512u
#define SIM_PATH 256
#define SIM_FDS 256

/* A write (or, with data NULL, a new length) that is not synced. */
struct sim_pending {
	uint64_t at;
	size_t len;
	uint8_t *data; /* owned */
};

struct sim_content {
	uint8_t *bytes; /* owned */
	size_t len, room;
};

struct sim_node {
	bool is_dir;
	struct sim_content now, safe;
	struct sim_pending *pending; /* owned */
	size_t pending_count, pending_room;
	size_t late; /* SIM_LATE_SYNC: so many of them are synced with the next sync */
};

/* Nodes live as long as the disk; names point to them. */
struct sim_name {
	char path[SIM_PATH];
	struct sim_node *now, *safe; /* NULL: not there */
};

/* A change of names that is not synced; all of it happens or nothing. */
struct sim_change {
	size_t name, other; /* index; other: SIZE_MAX unless a rename */
	struct sim_node *node, *other_node;
	char dir[SIM_PATH];
};

struct sim_handle {
	bool open, append, direct, cursor;
	struct sim_node *node;
};

struct sim {
	struct disk disk;
	pthread_mutex_t lock;
	char root[SIM_PATH];
	uint64_t capacity, calls, fail_from, fail_until, random;
	int fail_errno;
	enum sim_mutant mutant;
	bool no_direct;
	void (*hook)(void *context, uint64_t call);
	void *hook_context;
	struct sim_node **nodes;
	size_t node_count;
	struct sim_name *names;
	size_t name_count;
	struct sim_change *changes;
	size_t change_count;
	struct sim_handle handles[SIM_FDS];
	struct sim_node *late_node;
};

static void *sim_resize(void *p, size_t size)
{
	void *q = realloc(p, size ? size : 1);
	if (!q)
		abort();
	return q;
}

/* -- content -- */

static void content_size(struct sim_content *c, size_t len)
{
	if (len > c->room) {
		c->room = len > 2 * c->room ? len : 2 * c->room;
		c->bytes = sim_resize(c->bytes, c->room);
	}
	if (len > c->len)
		memset(c->bytes + c->len, 0, len - c->len);
	c->len = len;
}

static void content_put(struct sim_content *c, uint64_t at, const uint8_t *data, size_t len)
{
	if (at + len > c->len)
		content_size(c, (size_t)at + len);
	if (data && len)
		memcpy(c->bytes + at, data, len);
}

static void content_copy(struct sim_content *to, const struct sim_content *from)
{
	*to = (struct sim_content){0};
	content_put(to, 0, from->bytes, from->len);
}

static void pending_add(struct sim_node *n, uint64_t at, const void *data, size_t len)
{
	if (n->pending_count == n->pending_room) {
		n->pending_room = n->pending_room ? 2 * n->pending_room : 8;
		n->pending = sim_resize(n->pending, n->pending_room * sizeof(*n->pending));
	}
	struct sim_pending *p = &n->pending[n->pending_count++];
	*p = (struct sim_pending){.at = at, .len = len};
	if (data) {
		p->data = sim_resize(NULL, len);
		memcpy(p->data, data, len);
	}
}

static void pending_drop(struct sim_node *n, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(n->pending[i].data);
	n->pending_count -= count;
	if (n->pending_count)
		memmove(n->pending, n->pending + count, n->pending_count * sizeof(*n->pending));
}

static void pending_sync(struct sim_node *n, size_t count)
{
	for (size_t i = 0; i < count; i++)
		content_put(&n->safe, n->pending[i].at, n->pending[i].data, n->pending[i].len);
	pending_drop(n, count);
}

/* Some of a write: nothing, all, a beginning, or any of its sectors. */
static void pending_tear(struct sim_content *c, const struct sim_pending *p, uint64_t *random)
{
	unsigned how = (unsigned)(sim_random(random) % 6);
	if (how <= 1)
		return;
	if (how == 2 || !p->data) {
		content_put(c, p->at, p->data, p->len);
		return;
	}
	size_t first = (size_t)(sim_random(random) % (p->len / SIM_SECTOR + 1));
	for (size_t at = 0, i = 0; at < p->len; i++) {
		size_t n = SIM_SECTOR - (p->at + at) % SIM_SECTOR;
		n = n < p->len - at ? n : p->len - at;
		if (how == 3 ? i < first : how == 4 ? i != first : sim_random(random) & 1)
			content_put(c, p->at + at, p->data + at, n);
		at += n;
	}
}

/* Waiting writes reach the medium in any order, or not. */
static void pending_crash(struct sim_content *c, const struct sim_node *n, uint64_t *random)
{
	size_t order[64], count = n->pending_count;
	bool shuffle = count <= 64 && sim_random(random) % 3 == 0;
	for (size_t i = 0; shuffle && i < count; i++) {
		size_t k = (size_t)(sim_random(random) % (i + 1));
		order[i] = order[k];
		order[k] = i;
	}
	for (size_t i = 0; i < count; i++)
		pending_tear(c, &n->pending[shuffle ? order[i] : i], random);
}

/* -- names -- */

/* "/a/b/../c" is "/a/c". */
static void path_clean(const char *path, char out[SIM_PATH])
{
	size_t len = 0;
	while (*path) {
		while (*path == '/')
			path++;
		size_t n = strcspn(path, "/");
		if (n == 2 && path[0] == '.' && path[1] == '.') {
			while (len > 0 && out[--len] != '/')
				;
		} else if (n > 0 && !(n == 1 && path[0] == '.')) {
			if (len + n + 2 > SIM_PATH)
				abort();
			out[len++] = '/';
			memcpy(out + len, path, n);
			len += n;
		}
		path += n;
	}
	if (len == 0)
		out[len++] = '/';
	out[len] = '\0';
}

static void path_dir(const char *path, char out[SIM_PATH])
{
	snprintf(out, SIM_PATH, "%s", path);
	char *slash = strrchr(out, '/');
	slash[slash == out] = '\0';
}

static struct sim_name *name_find(struct sim *s, const char *path)
{
	for (size_t i = 0; i < s->name_count; i++)
		if (strcmp(s->names[i].path, path) == 0)
			return &s->names[i];
	return NULL;
}

static size_t name_index(struct sim *s, const char *path)
{
	struct sim_name *n = name_find(s, path);
	if (n)
		return (size_t)(n - s->names);
	s->names = sim_resize(s->names, (s->name_count + 1) * sizeof(*s->names));
	s->names[s->name_count] = (struct sim_name){0};
	snprintf(s->names[s->name_count].path, SIM_PATH, "%s", path);
	return s->name_count++;
}

static struct sim_node *node_now(struct sim *s, const char *path)
{
	struct sim_name *n = name_find(s, path);
	return n ? n->now : NULL;
}

static struct sim_node *node_new(struct sim *s, bool is_dir)
{
	s->nodes = sim_resize(s->nodes, (s->node_count + 1) * sizeof(*s->nodes));
	struct sim_node *n = sim_resize(NULL, sizeof(*n));
	*n = (struct sim_node){.is_dir = is_dir};
	return s->nodes[s->node_count++] = n;
}

static void change_apply(struct sim *s, const struct sim_change *c)
{
	s->names[c->name].safe = c->node;
	if (c->other != SIZE_MAX)
		s->names[c->other].safe = c->other_node;
}

static void change_add(struct sim *s, size_t name, struct sim_node *node, size_t other, struct sim_node *other_node)
{
	s->changes = sim_resize(s->changes, (s->change_count + 1) * sizeof(*s->changes));
	struct sim_change *c = &s->changes[s->change_count++];
	*c = (struct sim_change){.name = name, .node = node, .other = other, .other_node = other_node};
	path_dir(s->names[name].path, c->dir);
	s->names[name].now = node;
	if (other != SIZE_MAX)
		s->names[other].now = other_node;
}

static bool dir_there(struct sim *s, const char *path)
{
	char dir[SIM_PATH];
	path_dir(path, dir);
	size_t len = strlen(dir);
	if (strcmp(dir, "/") == 0 || (strncmp(s->root, dir, len) == 0 && (s->root[len] == '/' || !s->root[len])))
		return true;
	struct sim_node *n = node_now(s, dir);
	return n && n->is_dir;
}

/* -- the calls -- */

static struct sim *sim_of(const struct disk *d)
{
	return d->context;
}

/* Every call begins here: counts, and tells whether it is one that fails. Leaves the lock held. */
static int call_begin(const struct disk *d)
{
	struct sim *s = sim_of(d);
	pthread_mutex_lock(&s->lock);
	uint64_t number = ++s->calls;
	void (*hook)(void *, uint64_t) = s->hook;
	void *context = s->hook_context;
	if (hook) {
		pthread_mutex_unlock(&s->lock);
		hook(context, number);
		pthread_mutex_lock(&s->lock);
	}
	return number >= s->fail_from && number < s->fail_until ? -s->fail_errno : 0;
}

static int call_end(const struct disk *d, int result)
{
	pthread_mutex_unlock(&sim_of(d)->lock);
	return result;
}

static struct sim_handle *handle_of(struct sim *s, int fd)
{
	if (fd < 1000 || fd >= 1000 + SIM_FDS || !s->handles[fd - 1000].open)
		abort(); /* used after close, or never opened: a bug of the code under test */
	return &s->handles[fd - 1000];
}

static int sim_open(const struct disk *d, const char *path, unsigned flags)
{
	struct sim *s = sim_of(d);
	char clean[SIM_PATH];
	int err = call_begin(d);
	if (err)
		return call_end(d, err);
	path_clean(path, clean);
	if (flags & DISK_DIRECT && s->no_direct)
		return call_end(d, -EINVAL);
	struct sim_node *n = node_now(s, clean);
	if (n && n->is_dir)
		return call_end(d, -EISDIR);
	if (!n && (!(flags & DISK_CREATE) || !dir_there(s, clean)))
		return call_end(d, -ENOENT);
	if (!n) {
		n = node_new(s, false);
		change_add(s, name_index(s, clean), n, SIZE_MAX, NULL);
	}
	for (int i = 0; i < SIM_FDS; i++)
		if (!s->handles[i].open) {
			s->handles[i] = (struct sim_handle){
			    .open = true, .append = flags & DISK_APPEND, .direct = flags & DISK_DIRECT, .node = n};
			s->handles[i].cursor = strstr(clean, ".cursor") != NULL;
			return call_end(d, 1000 + i);
		}
	return call_end(d, -EMFILE);
}

static int sim_close(const struct disk *d, int fd)
{
	int err = call_begin(d);
	handle_of(sim_of(d), fd)->open = false; /* also when it fails, as on Linux */
	return call_end(d, err);
}

static int64_t sim_read(const struct disk *d, int fd, void *data, size_t len, uint64_t at)
{
	struct sim *s = sim_of(d);
	int err = call_begin(d);
	struct sim_handle *h = handle_of(s, fd);
	if (!err && h->direct && (len % SIM_SECTOR || at % SIM_SECTOR || (uintptr_t)data % SIM_SECTOR))
		err = -EINVAL;
	const struct sim_content *c = &h->node->now;
	size_t n = at >= c->len ? 0 : c->len - at < len ? (size_t)(c->len - at) : len;
	if (!err && n)
		memcpy(data, c->bytes + at, n);
	call_end(d, 0);
	return err ? err : (int64_t)n;
}

static uint64_t bytes_used(const struct sim *s)
{
	uint64_t used = 0;
	for (size_t i = 0; i < s->name_count; i++)
		if (s->names[i].now)
			used += s->names[i].now->now.len;
	return used;
}

static bool has_space(const struct sim *s, const struct sim_node *n, uint64_t end)
{
	return !s->capacity || end <= n->now.len || bytes_used(s) + end - n->now.len <= s->capacity;
}

/* SIM_CURSOR_AHEAD; gateway/journal/cursor.h tells what a slot looks like. */
static void move_ahead(uint8_t slot[4096], const void *data)
{
	memcpy(slot, data, 4096);
	bytes_put(slot + 24, bytes_get(slot + 24, 8) + 1, 8);
	bytes_put(slot + 8, crc32c(0, slot + 12, 4096 - 12), 4);
}

static int sim_write(const struct disk *d, int fd, const void *data, size_t len, uint64_t at)
{
	struct sim *s = sim_of(d);
	int err = call_begin(d);
	struct sim_handle *h = handle_of(s, fd);
	struct sim_node *n = h->node;
	uint8_t slot[4096];
	if (h->append)
		at = n->now.len;
	if (s->mutant == SIM_CURSOR_AHEAD && h->cursor && len == sizeof(slot)) {
		move_ahead(slot, data);
		data = slot;
	}
	if (!err && h->direct && (len % SIM_SECTOR || at % SIM_SECTOR || (uintptr_t)data % SIM_SECTOR))
		err = -EINVAL;
	else if (!err && !has_space(s, n, at + len))
		err = -ENOSPC;
	if (err && err != -EINVAL) /* a beginning of it may be there all the same */
		len = (size_t)(sim_random(&s->random) % (len + 1));
	if (err != -EINVAL && len > 0 && has_space(s, n, at + len)) {
		content_put(&n->now, at, data, len);
		pending_add(n, at, data, len);
	}
	return call_end(d, err);
}

static int sim_sync(const struct disk *d, int fd)
{
	struct sim *s = sim_of(d);
	int err = call_begin(d);
	struct sim_node *n = handle_of(s, fd)->node;
	if (s->late_node && s->late_node != n)
		pending_sync(s->late_node, s->late_node->late);
	s->late_node = NULL;
	if (err) { /* the kernel takes them for clean now; what did not reach the medium is lost */
		for (size_t i = 0; i < n->pending_count; i++)
			pending_tear(&n->safe, &n->pending[i], &s->random);
		pending_drop(n, n->pending_count);
	} else if (s->mutant != SIM_NO_SYNC && s->mutant != SIM_LATE_SYNC) {
		pending_sync(n, n->pending_count);
	} else if (s->mutant == SIM_LATE_SYNC) {
		pending_sync(n, n->late <= n->pending_count ? n->late : 0);
		n->late = n->pending_count;
		s->late_node = n;
	}
	return call_end(d, err);
}

static int sim_sync_dir(const struct disk *d, const char *path)
{
	struct sim *s = sim_of(d);
	char clean[SIM_PATH];
	int err = call_begin(d);
	path_clean(path, clean);
	size_t kept = 0;
	for (size_t i = 0; i < s->change_count && !err && s->mutant != SIM_NO_SYNC_DIR; i++) {
		if (strcmp(s->changes[i].dir, clean) == 0)
			change_apply(s, &s->changes[i]);
		else
			s->changes[kept++] = s->changes[i];
	}
	if (!err && s->mutant != SIM_NO_SYNC_DIR)
		s->change_count = kept;
	return call_end(d, err);
}

static int sim_allocate(const struct disk *d, int fd, uint64_t len)
{
	struct sim *s = sim_of(d);
	int err = call_begin(d);
	struct sim_node *n = handle_of(s, fd)->node;
	if (!err && !has_space(s, n, len))
		err = -ENOSPC;
	if (!err && len > n->now.len) {
		content_size(&n->now, (size_t)len);
		pending_add(n, 0, NULL, (size_t)len);
	}
	return call_end(d, err);
}

static int64_t sim_size(const struct disk *d, int fd)
{
	int err = call_begin(d);
	int64_t size = (int64_t)handle_of(sim_of(d), fd)->node->now.len;
	call_end(d, 0);
	return err ? err : size;
}

static int sim_place(const struct disk *d, int fd, const char *path)
{
	struct sim *s = sim_of(d);
	char clean[SIM_PATH];
	int err = call_begin(d);
	const struct sim_node *node = handle_of(s, fd)->node;
	int place = DISK_GONE;
	path_clean(path ? path : "/", clean);
	for (size_t i = 0; i < s->name_count; i++)
		if (s->names[i].now == node)
			place = path ? DISK_MOVED : DISK_HERE;
	if (path && node_now(s, clean) == node)
		place = DISK_HERE;
	call_end(d, 0);
	return err && path ? err : place; /* asking an open descriptor alone does not fail */
}

static int sim_remove(const struct disk *d, const char *path)
{
	struct sim *s = sim_of(d);
	char clean[SIM_PATH];
	int err = call_begin(d);
	path_clean(path, clean);
	if (!err && !node_now(s, clean))
		err = -ENOENT;
	if (!err)
		change_add(s, name_index(s, clean), NULL, SIZE_MAX, NULL);
	return call_end(d, err);
}

static int sim_rename(const struct disk *d, const char *from, const char *to)
{
	struct sim *s = sim_of(d);
	char clean[SIM_PATH], target[SIM_PATH];
	int err = call_begin(d);
	path_clean(from, clean);
	path_clean(to, target);
	struct sim_node *n = node_now(s, clean);
	if (!err && !n)
		err = -ENOENT;
	if (!err) {
		size_t other = name_index(s, clean);
		change_add(s, name_index(s, target), n, other, NULL);
	}
	return call_end(d, err);
}

static int sim_make_dir(const struct disk *d, const char *path)
{
	struct sim *s = sim_of(d);
	char clean[SIM_PATH], below[SIM_PATH + 2];
	int err = call_begin(d);
	path_clean(path, clean);
	snprintf(below, sizeof(below), "%s/x", clean);
	if (err || dir_there(s, below))
		return call_end(d, err ? err : 1);
	if (!dir_there(s, clean))
		return call_end(d, -ENOENT);
	change_add(s, name_index(s, clean), node_new(s, true), SIZE_MAX, NULL);
	return call_end(d, 0);
}

static int sim_list(const struct disk *d, const char *path, void (*each)(void *context, const char *name),
                    void *context)
{
	struct sim *s = sim_of(d);
	char clean[SIM_PATH], dir[SIM_PATH];
	int err = call_begin(d);
	path_clean(path, clean);
	size_t count = err ? 0 : s->name_count;
	char(*names)[SIM_PATH] = sim_resize(NULL, (count + 1) * SIM_PATH);
	size_t found = 0;
	for (size_t i = 0; i < count; i++) {
		path_dir(s->names[i].path, dir);
		if (s->names[i].now && strcmp(dir, clean) == 0)
			snprintf(names[found++], SIM_PATH, "%s", strrchr(s->names[i].path, '/') + 1);
	}
	call_end(d, 0);
	for (size_t i = 0; i < found; i++) /* without the lock: it may use the disk */
		each(context, names[i]);
	free(names);
	return err;
}

static int sim_space(const struct disk *d, const char *path, uint64_t *free_bytes, uint64_t *total_bytes)
{
	struct sim *s = sim_of(d);
	(void)path;
	int err = call_begin(d);
	if (!err) {
		uint64_t used = bytes_used(s);
		*total_bytes = s->capacity ? s->capacity : UINT64_C(1) << 40;
		*free_bytes = *total_bytes > used ? *total_bytes - used : 0;
	}
	return call_end(d, err);
}

/* -- making and ending -- */

struct sim *sim_new(const char *root, uint64_t capacity)
{
	struct sim *s = sim_resize(NULL, sizeof(*s));
	*s = (struct sim){.capacity = capacity, .fail_from = UINT64_MAX, .random = 1};
	path_clean(root, s->root);
	pthread_mutex_init(&s->lock, NULL);
	s->disk = (struct disk){.open = sim_open,
	                        .close = sim_close,
	                        .read = sim_read,
	                        .write = sim_write,
	                        .sync = sim_sync,
	                        .sync_dir = sim_sync_dir,
	                        .allocate = sim_allocate,
	                        .size = sim_size,
	                        .place = sim_place,
	                        .remove = sim_remove,
	                        .rename = sim_rename,
	                        .make_dir = sim_make_dir,
	                        .list = sim_list,
	                        .space = sim_space,
	                        .context = s};
	return s;
}

void sim_free(struct sim *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->node_count; i++) {
		struct sim_node *n = s->nodes[i];
		pending_drop(n, n->pending_count);
		free(n->pending);
		free(n->now.bytes);
		free(n->safe.bytes);
		free(n);
	}
	pthread_mutex_destroy(&s->lock);
	free(s->nodes);
	free(s->names);
	free(s->changes);
	free(s);
}

const struct disk *sim_disk(struct sim *s)
{
	return &s->disk;
}

void sim_mutate(struct sim *s, enum sim_mutant mutant)
{
	s->mutant = mutant;
}

void sim_limit(struct sim *s, uint64_t capacity)
{
	pthread_mutex_lock(&s->lock);
	s->capacity = capacity;
	pthread_mutex_unlock(&s->lock);
}

void sim_refuse_direct(struct sim *s)
{
	s->no_direct = true;
}

void sim_fail(struct sim *s, uint64_t at, uint64_t times, int err)
{
	pthread_mutex_lock(&s->lock);
	s->fail_from = s->calls + at;
	s->fail_until = times > UINT64_MAX - s->fail_from ? UINT64_MAX : s->fail_from + times;
	s->fail_errno = err;
	pthread_mutex_unlock(&s->lock);
}

uint64_t sim_calls(struct sim *s)
{
	pthread_mutex_lock(&s->lock);
	uint64_t n = s->calls;
	pthread_mutex_unlock(&s->lock);
	return n;
}

void sim_watch(struct sim *s, void (*hook)(void *context, uint64_t call), void *context)
{
	pthread_mutex_lock(&s->lock);
	s->hook = hook;
	s->hook_context = context;
	pthread_mutex_unlock(&s->lock);
}

/* Whether a name and all directories above it are among those chosen. */
static bool survives(struct sim *s, struct sim_node *const *chosen, size_t i)
{
	char dir[SIM_PATH];
	if (!chosen[i])
		return false;
	path_dir(s->names[i].path, dir);
	size_t len = strlen(dir);
	if (strcmp(dir, "/") == 0 || (strncmp(s->root, dir, len) == 0 && (s->root[len] == '/' || !s->root[len])))
		return true;
	struct sim_name *above = name_find(s, dir);
	return above && survives(s, chosen, (size_t)(above - s->names));
}

static struct sim *sim_clone(struct sim *s, bool crash, uint64_t seed)
{
	struct sim *c = sim_new(s->root, s->capacity);
	uint64_t random = seed;
	pthread_mutex_lock(&s->lock);
	c->no_direct = s->no_direct;
	c->mutant = s->mutant;
	c->random = seed + 1;
	struct sim_node **chosen = sim_resize(NULL, s->name_count * sizeof(*chosen));
	for (size_t i = 0; i < s->name_count; i++)
		chosen[i] = crash ? s->names[i].safe : s->names[i].now;
	for (size_t i = 0; i < s->change_count && crash; i++)
		if (sim_random(&random) & 1) {
			chosen[s->changes[i].name] = s->changes[i].node;
			if (s->changes[i].other != SIZE_MAX)
				chosen[s->changes[i].other] = s->changes[i].other_node;
		}
	for (size_t i = 0; i < s->name_count; i++) {
		if (!survives(s, chosen, i))
			continue;
		struct sim_node *from = chosen[i], *to = node_new(c, from->is_dir);
		content_copy(&to->safe, crash ? &from->safe : &from->now);
		if (crash)
			pending_crash(&to->safe, from, &random);
		content_copy(&to->now, &to->safe);
		size_t name = name_index(c, s->names[i].path);
		c->names[name].now = c->names[name].safe = to;
	}
	pthread_mutex_unlock(&s->lock);
	free(chosen);
	return c;
}

struct sim *sim_crash(struct sim *s, uint64_t seed)
{
	return sim_clone(s, true, seed);
}

struct sim *sim_copy(struct sim *s)
{
	return sim_clone(s, false, 0);
}

/* -- for tests that look and damage -- */

uint8_t *sim_bytes(struct sim *s, const char *path, size_t *len)
{
	char clean[SIM_PATH];
	path_clean(path, clean);
	struct sim_node *n = node_now(s, clean);
	*len = n ? n->now.len : 0;
	return n ? n->now.bytes : NULL;
}

void sim_truncate(struct sim *s, const char *path, size_t len)
{
	char clean[SIM_PATH];
	path_clean(path, clean);
	struct sim_node *n = node_now(s, clean);
	if (n)
		content_size(&n->now, len);
}

void sim_names(struct sim *s, void (*each)(void *context, const char *path), void *context)
{
	for (size_t i = 0;; i++) { /* not under the lock: each may ask the disk */
		char path[SIM_PATH];
		pthread_mutex_lock(&s->lock);
		bool more = i < s->name_count, file = more && s->names[i].now && !s->names[i].now->is_dir;
		if (file)
			snprintf(path, sizeof(path), "%s", s->names[i].path);
		pthread_mutex_unlock(&s->lock);
		if (!more)
			return;
		if (file)
			each(context, path);
	}
}

unsigned sim_open_files(struct sim *s)
{
	unsigned count = 0;
	for (int i = 0; i < SIM_FDS; i++)
		count += s->handles[i].open;
	return count;
}
