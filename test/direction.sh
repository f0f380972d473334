#!/bin/sh
# The rule of direction between folders:
#	protocols/ and sinks/  include gateway/, and their own folder
#	gateway/               includes gateway/, and of the others protocols/protocol.h and sinks/sink.h alone; main.c sees all
#	config/                includes config/, gateway/error.h and gateway/settings.h
#	load/                  includes load/, gateway/ for what is no business of a running gateway (json, crc32c, error ...), config/units.h
# So a protocol knows no sink, a sink no protocol, and the core none of them by name.
set -eu
cd "$(dirname "$0")/.."
bad=0
look() { # FOLDER ALLOWED: lines that include something of ours and are not allowed
	found=$(grep -nE '^#include "' "$1"/*.[ch] | grep -vE "^$1/main\.c:|#include \"($2)\"" || :)
	[ -z "$found" ] || { echo "direction: $1/ may not include:" >&2; echo "$found" >&2; bad=1; }
}
look gateway 'gateway/[a-z0-9_]+\.h|protocols/protocol\.h|sinks/sink\.h'
look protocols 'gateway/[a-z0-9_]+\.h|protocols/[a-z0-9_]+\.h'
look sinks 'gateway/[a-z0-9_]+\.h|sinks/[a-z0-9_]+\.(h|inc)'
look load 'load/[a-z0-9_]+\.(h|inc)|gateway/(base64|crc32c|error|json|scan|siphash|utf8|block|record|segment)\.h|config/units\.h'
look config 'config/[a-z0-9_]+\.h|gateway/error\.h|gateway/settings\.h'
[ "$bad" -eq 0 ] && echo "direction: well"
exit "$bad"
