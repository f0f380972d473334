/* The protocols there are. */
#include "load/protocol.h"

const struct load_protocol *const load_protocols[] = {&load_mqtt, &load_coap, &load_tcp, &load_http, NULL};
