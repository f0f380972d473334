/* The protocols that Sluice speaks: one line each. */
#include "gateway/protocol.h"

extern const struct protocol tcp_protocol, http_protocol, mqtt_protocol, coap_protocol;

const struct protocol *const protocol_list[] = {
    &mqtt_protocol, &coap_protocol, &tcp_protocol, &http_protocol, NULL,
};
