/* The protocols that Sluice speaks: one line each. */
#include "gateway/protocol.h"

extern const struct protocol protocol_tcp, protocol_http, protocol_mqtt, protocol_coap;

const struct protocol *const protocol_list[] = {
    &protocol_mqtt, &protocol_coap, &protocol_tcp, &protocol_http, NULL,
};
