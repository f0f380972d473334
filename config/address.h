/* HOST:PORT as people write it. */
#ifndef SLUICE_CONFIG_ADDRESS_H
#define SLUICE_CONFIG_ADDRESS_H

#include "gateway/base/settings.h"

/* address_parse reads 127.0.0.1:1883, [::]:1883, [fe80::1%eth0]:1883 or localhost:80. Names are not looked up.
 * Returns NULL and fills *out, or static text that follows the value seen: "has no port". */
const char *address_parse(const char *text, struct address *out);

#endif
