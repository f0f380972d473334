/* How steady the processors are: a fixed piece of work (copies within the second cache, and arithmetic) again and again on all of
 * them at once, and how often it takes more than three times its least time. What it finds no program on this machine can be
 * better than: a virtual machine's processors are taken away without a word.
 *
 *	bench_steady [SECONDS]     one line for each processor: rounds, least, p99, worst (ms), share over three times the least */
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS_MAX 1000000u
#define BYTES (256u << 10)

struct runner {
	unsigned processor;
	double seconds;
	double *ms; /* owned */
	size_t count;
};

static double now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void work(uint8_t *to, const uint8_t *from)
{
	volatile unsigned sum = 0;
	for (int i = 0; i < 4; i++) {
		memcpy(to, from, BYTES);
		for (unsigned k = 0; k < 20000; k++)
			sum = sum + to[k];
	}
}

static void *run(void *arg)
{
	struct runner *r = arg;
	cpu_set_t one;
	CPU_ZERO(&one);
	CPU_SET(r->processor, &one);
	pthread_setaffinity_np(pthread_self(), sizeof(one), &one);
	uint8_t *from = malloc(BYTES), *to = malloc(BYTES);
	if (from && to) {
		memset(from, 1, BYTES);
		work(to, from);
		for (double end = now_ms() + r->seconds * 1e3, at = now_ms(); at < end && r->count < ROUNDS_MAX;) {
			work(to, from);
			double then = now_ms();
			r->ms[r->count++] = then - at;
			at = then;
		}
	}
	free(from);
	free(to);
	return NULL;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

static void tell(struct runner *r)
{
	size_t over = 0;
	if (r->count == 0)
		return;
	qsort(r->ms, r->count, sizeof(*r->ms), by_size);
	while (over < r->count && r->ms[r->count - 1 - over] > 3 * r->ms[0])
		over++;
	printf("processor %u: %zu rounds, least %.3f, p99 %.3f, worst %.3f ms, %.1f %% over three times the least\n",
	       r->processor, r->count, r->ms[0], r->ms[(size_t)((double)r->count * 0.99)], r->ms[r->count - 1],
	       100.0 * (double)over / (double)r->count);
}

int main(int argc, char **argv)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	struct runner runners[64] = {0};
	pthread_t threads[64];
	int count = processors < 64 ? (int)processors : 64;
	for (int i = 0; i < count; i++) {
		runners[i] = (struct runner){.processor = (unsigned)i,
		                             .seconds = argc > 1 ? strtod(argv[1], NULL) : 3,
		                             .ms = calloc(ROUNDS_MAX, sizeof(double))};
		if (!runners[i].ms || pthread_create(&threads[i], NULL, run, &runners[i]))
			return 1;
	}
	for (int i = 0; i < count; i++) {
		pthread_join(threads[i], NULL);
		tell(&runners[i]);
		free(runners[i].ms);
	}
	return 0;
}
