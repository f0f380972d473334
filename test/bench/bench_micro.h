/* What the small benchmarks share: clocks, the rounds, and the figures they print. C and C++.
 *
 * A figure is one line of JSON on standard output:
 *
 *	{"name":"validator_us","by":"simdjson","bytes":183,"value":0.13,"unit":"us","runs":9,"spread":[0.12,0.15]}
 *
 * value is the median of the runs, null where none counted; spread is the least and the greatest. What tells figures of
 * one name apart stands between name and value, and is listed at the head of each program, as is what follows. */
#ifndef SLUICE_TEST_BENCH_BENCH_MICRO_H
#define SLUICE_TEST_BENCH_BENCH_MICRO_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define MICRO_RUNS 9

static inline double seconds_of(clockid_t id)
{
	struct timespec t;
	clock_gettime(id, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static inline int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* Sorts the values and prints them as a figure. labels and more: members of the object, each ending in a comma, or "". */
static inline void figure_print(const char *name, const char *labels, double *values, int runs, const char *unit,
                                const char *more)
{
	qsort(values, (size_t)runs, sizeof(values[0]), compare_doubles);
	printf("{\"name\":\"%s\",%s", name, labels);
	if (runs > 0)
		printf("\"value\":%.6g,\"unit\":\"%s\",%s\"runs\":%d,\"spread\":[%.6g,%.6g]}\n", values[runs / 2], unit,
		       more, runs, values[0], values[runs - 1]);
	else
		printf("\"value\":null,\"unit\":\"%s\",%s\"runs\":0,\"spread\":null}\n", unit, more);
	fflush(stdout);
}

/* Something to measure: work does it n times. */
struct contender {
	const char *by;
	void (*work)(void *self, size_t n);
	void *self;
	size_t n;                  /* set by contenders_measure: what fills a run */
	double values[MICRO_RUNS]; /* set by contenders_measure: seconds of this thread's CPU time for one */
};

static inline double contender_run(struct contender *c)
{
	double start = seconds_of(CLOCK_THREAD_CPUTIME_ID);
	c->work(c->self, c->n);
	return seconds_of(CLOCK_THREAD_CPUTIME_ID) - start;
}

/* The runs go round: each contender has one turn of about run_seconds, then each the next, so that all of them meet the
 * same machine. Processor time counts: others may be at work on it. */
static inline void contenders_measure(struct contender *c, size_t count, double run_seconds)
{
	for (size_t i = 0; i < count; i++) {
		double took;
		for (c[i].n = 16; (took = contender_run(&c[i])) < run_seconds / 4;
		     c[i].n *= took < run_seconds / 16 ? 8 : 2)
			;
		c[i].n = (size_t)((double)c[i].n * run_seconds / took) + 1;
	}
	for (int run = 0; run < MICRO_RUNS; run++)
		for (size_t i = 0; i < count; i++)
			c[i].values[run] = contender_run(&c[i]) / (double)c[i].n;
}

#endif
