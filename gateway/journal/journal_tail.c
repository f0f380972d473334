/* The tail: the newest blocks, in memory, so that pumps that keep up read nothing from disk. */
#include <assert.h>
#include <stdlib.h>

#include "gateway/journal/journal_parts.h"

static struct block *tail_at(const struct journal *j, size_t i)
{
	assert(j->tail_room > 0);
	return j->tail[(j->tail_first + i) % j->tail_room];
}

bool journal_tail_room(struct journal *j)
{
	if (j->tail_count < j->tail_room)
		return true;
	size_t room = j->tail_room ? j->tail_room * 2 : 256;
	struct block **more = malloc(room * sizeof(*more));
	if (!more)
		return false;
	for (size_t i = 0; i < j->tail_count; i++)
		more[i] = tail_at(j, i);
	pthread_mutex_lock(&j->lock);
	struct block **old = j->tail;
	j->tail = more;
	j->tail_first = 0;
	j->tail_room = room;
	pthread_mutex_unlock(&j->lock);
	free(old);
	return true;
}

void journal_tail_add(struct journal *j, struct block *b)
{
	assert(j->tail_count < j->tail_room);
	pthread_mutex_lock(&j->lock);
	j->tail[(j->tail_first + j->tail_count++) % j->tail_room] = b;
	j->tail_bytes += b->room;
	pthread_mutex_unlock(&j->lock);
}

static bool tail_may_drop(const struct journal *j, const struct block *b, uint64_t least)
{
	if (j->settings->type == JOURNAL_MEMORY || block_last(b) >= j->in_memory_from)
		return block_last(b) <= least;
	return j->tail_bytes > j->settings->tail_memory;
}

const struct block *journal_tail_oldest(const struct journal *j)
{
	return j->tail_count > 0 ? tail_at(j, 0) : NULL;
}

void journal_tail_drop(struct journal *j)
{
	uint64_t least = journal_cursors_min(j);
	/* The tail is changed by this thread alone: looking needs no lock. */
	for (const struct block *b; (b = journal_tail_oldest(j)) && tail_may_drop(j, b, least);)
		journal_tail_give_up(j);
}

void journal_tail_give_up(struct journal *j)
{
	pthread_mutex_lock(&j->lock);
	struct block *b = tail_at(j, 0);
	j->tail_first = (j->tail_first + 1) % j->tail_room;
	j->tail_count--;
	j->tail_bytes -= b->room;
	pthread_mutex_unlock(&j->lock);
	block_unref(b);
}

/* The first block in the tail that holds sequence or something above it; NULL when older ones are on disk alone. Under
 * lock. */
struct block *journal_tail_find(const struct journal *j, uint64_t sequence)
{
	if (j->tail_count == 0 ||
	    (journal_has_disk(j) && sequence < tail_at(j, 0)->first && sequence < j->in_memory_from))
		return NULL;
	size_t low = 0, high = j->tail_count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (block_last(tail_at(j, middle)) < sequence)
			low = middle + 1;
		else
			high = middle;
	}
	return low < j->tail_count ? tail_at(j, low) : NULL;
}
