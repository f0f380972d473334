/* The table of the settings that every listener has. */
#include "gateway/listener_settings.h"
#include "gateway/payload.h"

const char *const listener_settings_acks[] = {"accepted", "durable", "delivered", NULL};
static const char *const invalids[] = {"refuse", "wrap", "dead_letter", NULL};
static const char *const envelopes[] = {"wrap", "keep", NULL};
static const char *const when_full[] = {"refuse", "drop_oldest", NULL};
static const char *const time_formats[] = {"rfc3339", "unix", "unix_ms", "unix_us", NULL};

static const struct setting time_settings[] = {
    SETTING(struct time_settings, pointer, SETTING_STRING, NULL, 0, 0,
            "JSON pointer to the device's own time in the payload, e.g. `/ts`; without it @timestamp is the time of "
            "receipt."),
    SETTING_CHOICES(struct time_settings, format, "rfc3339", time_formats, "How that time is written."),
    SETTINGS_END,
};

const struct setting listener_settings[] = {
    SETTING_CHOICES(struct listener_settings, ack, "durable", listener_settings_acks,
                    "When a device hears that its message was accepted: in memory only (`accepted`, lost with the "
                    "process), on disk (`durable`), or in the sinks that "
                    "delivered_to names (`delivered`)."),
    SETTING(struct listener_settings, delivered_to, SETTING_LIST, "", 0, 0,
            "Names of the sinks that `ack: delivered` waits for; empty: all of them."),
    SETTING(struct listener_settings, ack_timeout, SETTING_DURATION, "30s", 1e3, 3.6e9,
            "A device that waits longer for its answer gets one that says so: HTTP 202 or 503, CoAP 5.04. MQTT and TCP "
            "go on waiting."),
    SETTING_CHOICES(struct listener_settings, payload, "auto", payload_names,
                    "What a payload is taken for when its sender does not say: `auto` is JSON if it is valid, else "
                    "text if it is UTF-8, else base64; `senml` is a SenML pack in JSON (RFC 8428)."),
    SETTING(
        struct listener_settings, accept_types, SETTING_LIST, "", 0, 0,
        "HTTP and CoAP: media types that are taken although docs/record.md does not list them, such as "
        "`application/msgpack`, as if their sender had not said what they are (see `payload`). Any other is refused: "
        "415, 4.15."),
    SETTING_CHOICES(struct listener_settings, on_invalid, "refuse", invalids,
                    "What happens to a payload that is declared JSON and is not: refused, wrapped as text, or taken "
                    "and written to DATA/dead/intake.ndjson."),
    SETTING(struct listener_settings, max_dead_letters, SETTING_BYTES, "1GiB", 0, 1e15,
            "With on_invalid dead_letter: while that file, which all listeners share, has so many bytes, such payloads "
            "are refused, as with `refuse`. 0: no limit but the disk's."),
    SETTING_CHOICES(struct listener_settings, envelope, "wrap", envelopes,
                    "`keep`: a payload that already is a record of this format (from another Sluice) is taken over as "
                    "it is, with its id."),
    SETTING_NESTED(struct listener_settings, time, time_settings, "Where a payload holds the device's own time."),
    SETTING(struct listener_settings, time_past, SETTING_DURATION, "7d", 0, 3.2e15,
            "A device's time older than this is not believed: the time of receipt is used, and `sluice.clock` in the "
            "record "
            "says so (docs/record.md)."),
    SETTING(struct listener_settings, time_future, SETTING_DURATION, "1h", 0, 3.2e15,
            "The same for a time ahead of the gateway's clock."),
    SETTING(struct listener_settings, max_depth, SETTING_INT, "64", 1, 1000,
            "Deepest nesting of arrays and objects in a JSON payload."),
    SETTING(struct listener_settings, max_payload, SETTING_BYTES, "256KiB", 64, 1 << 20,
            "Longest payload of one message."),
    SETTING(struct listener_settings, include, SETTING_LIST, "", 0, 0,
            "What else a record tells: `source` (address and port of the peer), `content_type`."),
    SETTING(struct listener_settings, lane, SETTING_BYTES, "2MiB", 65536, 1 << 30,
            "Ring buffer of each listener thread; a record may have a quarter of it. Twice this is promised on disk."),
    SETTING_CHOICES(
        struct listener_settings, when_full, "refuse", when_full,
        "What happens when the journal is full: `refuse`: nothing more is taken in, senders wait or hear so. "
        "`drop_oldest`, with `ack: accepted` alone: the oldest records of such listeners are given up, in whole "
        "segments that hold no others, and counted."),
    SETTING(struct listener_settings, anonymous, SETTING_BOOL, "false", 0, 0,
            "Devices are not asked who they are. A listener that can be reached from beyond this machine must say "
            "`true`, so that nobody does it unawares."),
    SETTING(struct listener_settings, threads, SETTING_INT, "1", 1, 64,
            "Threads that listen on the same port (SO_REUSEPORT). CoAP has one."),
    SETTINGS_END,
};
