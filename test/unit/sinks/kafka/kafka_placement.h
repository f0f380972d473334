/* Where Java's producer puts a key: made by Kafka's own code (kafka-clients 4.3.1), with
 *
 *	byte[] b = key.getBytes(StandardCharsets.UTF_8);
 *	int p = org.apache.kafka.common.utils.Utils.murmur2(b) & 0x7fffffff;
 *	System.out.printf("%s %d %d %d%n", hex(b), p % 3, p % 12, p % 1000);
 *
 * which is Utils.toPositive(Utils.murmur2(key)) % partitions of BuiltInPartitioner.partitionForKey. */
#ifndef SLUICE_TEST_UNIT_SINKS_KAFKA_KAFKA_PLACEMENT_H
#define SLUICE_TEST_UNIT_SINKS_KAFKA_KAFKA_PLACEMENT_H

static const struct {
	const char *key; /* hexadecimal */
	int of_3, of_12, of_1000;
} placements[] = {
    {"61", 1, 4, 524},
    {"6162", 2, 2, 434},
    {"616263", 0, 3, 107},
    {"61626364", 2, 8, 100},
    {"6162636465", 1, 1, 741},
    {"616263646566", 0, 0, 108},
    {"61626364656667", 1, 1, 473},
    {"6162636465666768", 0, 9, 285},
    {"73656e736f722d31", 1, 1, 301},
    {"73656e736f722d3432", 1, 1, 837},
    {"73656e736f722d30303432", 1, 1, 77},
    {"3139322e3136382e372e3331", 1, 1, 569},
    {"6465766963652f776974682f736c617368", 1, 4, 296},
    {"c3a4c3b6c3bc", 2, 8, 92},
    {"e6b8a9e5baa62d37", 1, 4, 588},
    {"f09f8ca1", 0, 3, 279},
    {"41", 1, 10, 578},
    {"30", 2, 8, 396},
    {"20", 0, 9, 521},
    {"780079", 1, 1, 61},
    {"7fc280c3bf", 1, 4, 224},
    {"75726e3a6465763a6d61633a30303234626566666665383034666631", 0, 3, 183},
    {"33666138356636342d353731372d343536322d623366632d326339363366363661666136", 1, 1, 965},
    {"73656e736f722d73656e736f722d73656e736f722d73656e736f722d73656e736f722d73656e736f722d73656e736f722d73656e736f722d7"
     "3656e736f722d73656e736f722d73656e736f722d73656e736f722d73656e736f722d73656e736f722d73656e736f722d73656e736f722d73"
     "656e736f722d73656e736f722d73656e736f722d73656e736f722d73656e736f722d73656e736f722d73656e736f722d73656e736f722d736"
     "56e736f722d73656e736f722d73656e736f722d73656e736f722d73656e736f722d73656e736f722d73656e736f722d73656e736f722d7365"
     "6e736f722d73656e736f722d73656e736f722d73656e736f722d73656e",
     0, 9, 149},
};

#endif
