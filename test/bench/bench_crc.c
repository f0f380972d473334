/* How fast each version of CRC-32C is. Prints, per version and size (see bench_micro.h):
 *
 *	name   crc_gb_s
 *	by     crc32c (what the gateway uses here) | portable (by table)
 *	bytes  of one input
 *	value  GB/s of CPU time */
#include "test/bench/bench_micro.h"

#include "gateway/base/crc32c.h"

struct input {
	uint32_t (*sum)(uint32_t crc, const void *data, size_t len);
	const unsigned char *bytes;
	size_t len;
};

static volatile uint32_t sink; /* keeps the compiler from dropping what is measured */

static void sum_it(void *self, size_t n)
{
	const struct input *in = self;
	for (size_t i = 0; i < n; i++)
		sink += in->sum(0, in->bytes, in->len);
}

int main(void)
{
	static unsigned char bytes[1 << 20];
	static const size_t sizes[] = {256, 4096, 65536, sizeof(bytes)};
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char)(i * 2654435761u >> 11);
	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		struct input in[] = {{crc32c, bytes, sizes[s]}, {crc32c_portable, bytes, sizes[s]}};
		struct contender c[] = {{.by = "crc32c", .work = sum_it, .self = &in[0]},
		                        {.by = "portable", .work = sum_it, .self = &in[1]}};
		contenders_measure(c, 2, 0.05);
		for (size_t i = 0; i < 2; i++) {
			char labels[64];
			snprintf(labels, sizeof(labels), "\"by\":\"%s\",\"bytes\":%zu,", c[i].by, sizes[s]);
			for (int run = 0; run < MICRO_RUNS; run++)
				c[i].values[run] = (double)sizes[s] / c[i].values[run] * 1e-9;
			figure_print("crc_gb_s", labels, c[i].values, MICRO_RUNS, "GB/s", "");
		}
	}
	return 0;
}
