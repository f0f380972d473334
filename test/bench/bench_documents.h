/* The telemetry documents of the small benchmarks. */
#ifndef SLUICE_TEST_BENCH_BENCH_DOCUMENTS_H
#define SLUICE_TEST_BENCH_BENCH_DOCUMENTS_H

#include <stdint.h>
#include <stdio.h>

/* 1024 documents of 170 to 190 bytes (183 in the mean) from as many devices, with different digits and lengths: one
 * document sent again and again would be learnt by heart by the branch predictor of the server. */
#define DOCUMENTS 1024u

struct document {
	char text[192];
	size_t len;
	char device[16]; /* the same as /device in it */
};

static struct document documents[DOCUMENTS];

/* Numbers from a fixed start, so that every run sends the same. */
static inline uint32_t bench_random(uint32_t below)
{
	static uint64_t state = 1;
	state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(state >> 33) % below;
}

static inline void document_write(struct document *d, uint32_t number)
{
	static const char *const states[] = {"ok", "low battery", "calibrating", "fault"};
	snprintf(d->device, sizeof(d->device), "sensor-%04u", number);
	d->len = (size_t)snprintf(
	    d->text, sizeof(d->text),
	    "{\"device\":\"%s\",\"ts\":\"2026-11-22T08:%02u:%02u.%06uZ\",\"temperature\":%.*f,\"humidity\":%.1f,"
	    "\"battery\":%.2f,\"seq\":%u,\"status\":\"%s\",\"location\":{\"lat\":%.*f,\"lon\":%.4f}}",
	    d->device, bench_random(60), bench_random(60), bench_random(1000000), (int)bench_random(4),
	    bench_random(8000) / 100.0 - 20, bench_random(1000) / 10.0, bench_random(420) / 100.0,
	    bench_random(10000000), states[bench_random(4)], (int)bench_random(6) + 1,
	    bench_random(1800000) / 10000.0 - 90, bench_random(3600000) / 10000.0 - 180);
}

static inline void documents_init(void)
{
	for (uint32_t i = 0; i < DOCUMENTS; i++)
		do
			document_write(&documents[i], i);
		while (documents[i].len < 170 || documents[i].len > 190);
}

#endif
