/* A histogram of latencies after the published algorithm of HdrHistogram (Gil Tene, public domain): buckets that double,
 * each cut into as many sub-buckets as the precision wants, so that every value is kept to 3 significant digits from 1 us
 * to 1 hour in a fixed array, and recording is an index computation and an addition. One thread writes; whoever reads
 * waits for it or takes a copy made by hdr_add on its thread. */
#ifndef SLUICE_LOAD_HDR_H
#define SLUICE_LOAD_HDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define HDR_MAX_US UINT64_C(3600000000) /* longer ones are kept as this */

struct hdr;

/* hdr_new: 3 significant digits, 1 us to HDR_MAX_US. NULL: out of memory. */
struct hdr *hdr_new(void);
void hdr_free(struct hdr *h); /* h may be NULL */
void hdr_reset(struct hdr *h);
void hdr_record(struct hdr *h, uint64_t us, uint64_t count);
void hdr_add(struct hdr *into, const struct hdr *from);
uint64_t hdr_count(const struct hdr *h);
/* hdr_percentile: the highest value equivalent to that at the percentile (0 to 100); 0 when empty. */
uint64_t hdr_percentile(const struct hdr *h, double percentile);
uint64_t hdr_min(const struct hdr *h), hdr_max(const struct hdr *h);
double hdr_mean(const struct hdr *h), hdr_deviation(const struct hdr *h);
/* hdr_next walks the recorded values: *at is 0 at first; false: no more. value is the highest equivalent one. */
bool hdr_next(const struct hdr *h, size_t *at, uint64_t *value, uint64_t *count);
/* hdr_encode writes the V2 compressed encoding, base64, as in HdrHistogram logs; hdr_decode reads it. The text is
 * owned by the caller; NULL: out of memory, or not such a text. */
char *hdr_encode(const struct hdr *h);
struct hdr *hdr_decode(const char *text, size_t len);

#endif
