# Sluice. `make help` lists what there is.
BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
CC      ?= cc
VERSION := $(shell cat VERSION)

WARN   := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror
HARDEN := -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE
CFLAGS ?= -O2 -g
STD    := -std=c17 -D_GNU_SOURCE -I. -DSLUICE_VERSION='"$(VERSION)"'
LIBS   := -lmicrohttpd -lcoap-3-openssl -lrdkafka -lcjson -lssl -lcrypto -lyaml -levent_core -lcurl -lz -lpthread -lm
LINK   := -pie -Wl,-z,relro,-z,now
# The two programs are optimised as a whole; tests and benchmarks are linked from the same objects without that. What the
# compiler then suspects across files depends on its version: it is told, and stops nobody from building.
LTO    ?= $(if $(findstring clang,$(CC)),,-flto=auto)

# librdkafka allocates four times per record and gives back elsewhere: with jemalloc that costs a third of what the C library takes
# (docs/performance.md). The gateway alone has it; sanitizers bring their own.
ALLOCATOR_plain := -ljemalloc

SOURCES := $(sort $(shell find gateway protocols sinks config -name '*.c'))
LOADERS := $(wildcard load/*.c)
# The unit tests lie in folders as the files that they test: UNITS has their paths below test/unit.
UNITS   := $(patsubst test/unit/%.c,%,$(sort $(shell find test/unit -name 'test_*.c')))
FUZZERS := $(patsubst test/fuzz/%.c,%,$(wildcard test/fuzz/fuzz_*.c))
BENCHES := $(patsubst test/bench/%.c,%,$(wildcard test/bench/bench_*.c))

# One build tree per flavour: plain, asan (address and undefined behaviour), tsan (threads), fuzz (clang).
flavour_cflags_plain := $(CFLAGS) $(HARDEN)
flavour_cflags_asan  := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all -fPIE
flavour_cflags_tsan  := -O1 -g -fno-omit-frame-pointer -fsanitize=thread -fPIE
flavour_cflags_fuzz  := -O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fPIE
FLAVOUR ?= plain
OUT     := $(BUILD)$(if $(filter-out plain,$(FLAVOUR)),/$(FLAVOUR))
ifeq ($(FLAVOUR),fuzz)
override CC := clang
endif
WHOLE   = $(if $(filter plain,$(FLAVOUR)),$(LTO))
ALL_CFLAGS = $(STD) $(WARN) $(flavour_cflags_$(FLAVOUR))
OBJECTS := $(SOURCES:%.c=$(OUT)/obj/%.o)
LIBRARY := $(filter-out $(OUT)/obj/gateway/main.o,$(OBJECTS))
LOADING := $(filter-out $(OUT)/obj/load/main.o,$(LOADERS:%.c=$(OUT)/obj/%.o))

all: $(OUT)/sluice $(OUT)/sluice-load ## build build/sluice and build/sluice-load
	@:

$(OUT)/sluice: $(OBJECTS)
	@echo "  link $@"
	@$(CC) $(ALL_CFLAGS) $(if $(WHOLE),$(WHOLE) -Wno-error) $(LINK) -o $@ $^ $(ALLOCATOR_$(FLAVOUR)) $(LIBS)

$(OUT)/sluice-load: $(OUT)/obj/load/main.o $(OUT)/libload.a $(OUT)/libsluice.a
	@echo "  link $@"
	@$(CC) $(ALL_CFLAGS) $(if $(WHOLE),$(WHOLE) -Wno-error) $(LINK) -o $@ $^ $(LIBS)

$(OUT)/libsluice.a: $(LIBRARY)
	@rm -f $@ && ar rcs $@ $^

$(OUT)/libload.a: $(LOADING)
	@rm -f $@ && ar rcs $@ $^

$(OUT)/obj/%.o: %.c Makefile VERSION
	@mkdir -p $(@D)
	@echo "  cc   $<"
	@$(CC) $(ALL_CFLAGS) $(if $(WHOLE),$(WHOLE) -ffat-lto-objects) -MMD -MP -c -o $@ $<

$(OUT)/test/unit/%: $(OUT)/obj/test/unit/%.o $(OUT)/libload.a $(OUT)/libsluice.a
	@mkdir -p $(@D)
	@$(CC) $(ALL_CFLAGS) $(if $(WHOLE),-fno-lto) $(LINK) -o $@ $^ $(LIBS) -lcmocka

# Its system calls are interrupted, and write less than they should, when the test says so.
$(OUT)/test/unit/gateway/base/test_disk: LINK += -Wl,--wrap=pwrite,--wrap=fdatasync,--wrap=fallocate

# Its memory runs out when the test says so.
$(OUT)/test/unit/gateway/journal/test_journal_memory: LINK += -Wl,--wrap=block_new,--wrap=malloc

# It looks at the journal at the moment when a lane is woken.
$(OUT)/test/unit/gateway/journal/test_journal_capacity: LINK += -Wl,--wrap=lane_wake_always

$(OUT)/test/bench/%: $(OUT)/obj/test/bench/%.o $(OUT)/libsluice.a
	@mkdir -p $(@D)
	@$(CC) $(ALL_CFLAGS) $(if $(WHOLE),-fno-lto) $(LINK) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LIBS) $(BENCH_LIBS)

# simdjson is C++: its one file goes into the one program that uses it.
$(OUT)/obj/test/bench/%.o: test/bench/%.cpp Makefile
	@mkdir -p $(@D)
	@echo "  c++  $<"
	@$(CXX) -std=c++17 $(WARN) $(flavour_cflags_$(FLAVOUR)) -MMD -MP -c -o $@ $<

$(OUT)/test/bench/bench_validator: $(OUT)/obj/test/bench/simdjson_parse.o
$(OUT)/test/bench/bench_validator: BENCH_LIBS := -lsimdjson -lstdc++

# Libraries that benchmarks and fault injection preload.
$(OUT)/test/%.so: test/%.c Makefile
	@mkdir -p $(@D)
	@echo "  cc   $<"
	@$(CC) $(STD) $(WARN) -O2 -g -fPIC -shared -o $@ $<

$(OUT)/test/fuzz/%: $(OUT)/obj/test/fuzz/%.o $(OUT)/libload.a $(OUT)/libsluice.a
	@mkdir -p $(@D)
	@$(CC) $(ALL_CFLAGS) -fsanitize=fuzzer -o $@ $^ $(LIBS)

$(OUT)/test/system/%: $(OUT)/obj/test/system/%.o $(OUT)/libsluice.a
	@mkdir -p $(@D)
	@$(CC) $(ALL_CFLAGS) $(if $(WHOLE),-fno-lto) $(LINK) -o $@ $^ $(LIBS)

-include $(shell find $(OUT)/obj -name '*.d' 2>/dev/null)
.SECONDARY:

# -- running --------------------------------------------------------------------------------------------------------------
DATA       ?= ./data
PORT_MQTT  ?= 1883
PORT_COAP  ?= 5683
PORT_TCP   ?= 5170
PORT_HTTP  ?= 8080
PORT_ADMIN ?= 9480

# What is built on the way is built on all processors, unless the caller has said on how many.
JOBS = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc))

deps: ## install what is missing to build and run
	@deploy/install-deps.sh run

# The gateway alone: the load tester is not needed to try it.
run: export DATA := $(DATA)
run: deps ## build and run the gateway on this machine alone (DATA=DIR, PORT_MQTT= PORT_COAP= PORT_TCP= PORT_HTTP= PORT_ADMIN=)
	@$(MAKE) $(JOBS) --no-print-directory gateway
	@PORT_MQTT=$(PORT_MQTT) PORT_COAP=$(PORT_COAP) PORT_TCP=$(PORT_TCP) PORT_HTTP=$(PORT_HTTP) PORT_ADMIN=$(PORT_ADMIN) \
	    exec $(BUILD)/sluice --config config/run.yaml --hints

gateway: $(OUT)/sluice ## build build/sluice alone
	@:

install: all ## copy program, default configuration and documentation below DESTDIR/PREFIX
	install -D -m 0755 $(OUT)/sluice $(DESTDIR)$(PREFIX)/bin/sluice
	install -D -m 0755 $(OUT)/sluice-load $(DESTDIR)$(PREFIX)/bin/sluice-load
	install -D -m 0644 config/sluice.yaml $(DESTDIR)$(PREFIX)/share/sluice/sluice.yaml
	install -d $(DESTDIR)$(PREFIX)/share/doc/sluice
	install -m 0644 README.md LICENSE $(DESTDIR)$(PREFIX)/share/doc/sluice
	install -d $(DESTDIR)$(PREFIX)/share/doc/sluice/docs $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 0644 docs/*.md docs/record.schema.json $(DESTDIR)$(PREFIX)/share/doc/sluice/docs
	install -m 0644 load/sluice-load.1 $(DESTDIR)$(PREFIX)/share/man/man1

# -- testing --------------------------------------------------------------------------------------------------------------
test-deps:
	@deploy/install-deps.sh test
	@test/venv.sh $(BUILD)/venv
unit-deps:
	@deploy/install-deps.sh unit

STAGES ?= all lint unit unit-asan unit-tsan fuzz system torture-bounded image
test: test-deps ## install what is missing and run every test (25 to 40 minutes on two cores); logs in build/log
	@MAKE="$(MAKE)" LOGS=$(BUILD)/log test/run-stages.sh $(STAGES)

unit: unit-deps ## install what is missing, build and run the unit tests
	@$(MAKE) $(JOBS) --no-print-directory run-units
run-units: $(UNITS:%=$(BUILD)/test/unit/%)
	@LOGS=$(BUILD)/log test/run-units.sh unit $^

unit-asan: ## the unit tests under the address and undefined behaviour sanitizers
	@$(MAKE) --no-print-directory FLAVOUR=asan run-units-asan
run-units-asan: $(UNITS:%=$(OUT)/test/unit/%)
	@LOGS=$(BUILD)/log test/run-units.sh asan $^

# What has threads.
THREADED := $(foreach t,test_lane test_journal test_pump test_intake test_stream test_tcp test_mqtt test_mqtt_clients test_coap_server test_block test_stats \
    test_log test_cursor test_file test_file_stream,$(filter %/$(t),$(UNITS))) $(foreach t,test_journal_ test_pump_,$(foreach u,$(UNITS),$(if $(filter $(t)%,$(notdir $(u))),$(u))))
unit-tsan: ## the unit tests of everything threaded under the thread sanitizer
	@$(MAKE) --no-print-directory FLAVOUR=tsan run-units-tsan
run-units-tsan: $(THREADED:%=$(OUT)/test/unit/%)
	@LOGS=$(BUILD)/log test/run-units.sh tsan $^

FUZZ_SECONDS ?= 20
fuzz: ## run every fuzz target for FUZZ_SECONDS (20)
	@$(MAKE) --no-print-directory FLAVOUR=fuzz run-fuzzers
run-fuzzers: $(FUZZERS:%=$(OUT)/test/fuzz/%)
	@test/run-fuzzers.sh $(FUZZ_SECONDS) $^

system: all $(BUILD)/test/fault/no_memory.so $(BUILD)/test/fault/hanging_sync.so ## real clients against the real program, with a real Kafka and a real search server
	@test/venv.sh $(BUILD)/venv
	@cd test && SLUICE_BIN=$(abspath $(BUILD)/sluice) $(abspath $(BUILD)/venv)/bin/python -m pytest -q $(PYTEST_ARGS) system

ROUND_ARGS = $(if $(ITEM),--item $(ITEM)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(ROUND),--round $(ROUND)) $(if $(SEED),--seed $(SEED)) $(if $(SINKS),--sinks $(SINKS)) $(if $(RECORD),--record)
FAULT_UNITS := $(patsubst %,$(BUILD)/test/unit/gateway/journal/%,test_journal test_journal_state test_journal_damage test_inspection)
FAULT_LIBS := $(BUILD)/test/bench/slow_sync.so $(BUILD)/test/fault/wall_clock.so
torture-deps:
	@deploy/install-deps.sh torture
torture: torture-deps all $(FAULT_UNITS) $(FAULT_LIBS) ## fault injection; verifies that nothing acknowledged is lost (ITEM= ROUNDS= SEED= ROUND= SINKS=); hours
	@test/venv.sh $(BUILD)/venv
	@$(BUILD)/venv/bin/python test/fault/torture.py --json $(BUILD)/torture.json $(ROUND_ARGS)

soak: all ## ordinary traffic for SOAK (30m) at SOAK_RATE (4000/s); fails if anything grows; curves in build/soak.svg
	@test/venv.sh $(BUILD)/venv
	@$(BUILD)/venv/bin/python test/fault/soak.py --out $(BUILD) $(if $(SOAK),--time $(SOAK)) $(if $(SOAK_RATE),--rate $(SOAK_RATE))

torture-bounded: all $(FAULT_UNITS) $(FAULT_LIBS) ## a few rounds of it, to files only: minutes
	@test/venv.sh $(BUILD)/venv
	@$(BUILD)/venv/bin/python test/fault/torture.py --bounded --json $(BUILD)/torture-bounded.json $(ROUND_ARGS)

image: ## build the container image without a Docker daemon and try it (as root)
	@deploy/install-deps.sh image
	@test/image.sh

bench-deps:
	@deploy/install-deps.sh bench

bench-programs: all $(BENCHES:%=$(BUILD)/test/bench/%) $(BUILD)/test/bench/malloc_count.so $(BUILD)/test/bench/slow_sync.so
	@test/venv.sh $(BUILD)/venv

bench: bench-deps bench-programs ## measure the figures of docs/benchmarks.md here (BENCH=NAME,... BENCH_RUNS=5; BENCH=help)
	@$(BUILD)/venv/bin/python test/bench/bench.py

peers-deps:
	@deploy/install-deps.sh peers
	@test/bench/telegraf.sh $(BUILD)/peers || echo "bench-peers: goes on without Telegraf" >&2

bench-peers: bench-deps peers-deps bench-programs ## the same load to Mosquitto, rsyslog and Telegraf (PEERS=NAME,...)
	@$(BUILD)/venv/bin/python test/bench/peers.py

# -- checking -------------------------------------------------------------------------------------------------------------
FORMATTED := $(sort $(shell find gateway protocols sinks config load test/unit test/bench test/fuzz -name '*.[ch]'))

lint: direction format-check tidy docs-check ## style, direction between folders, static analysis, generated pages
	@echo "lint: ok"

direction: ## the rule of direction between folders
	@test/direction.py

format: ## lay out the C files by .clang-format
	@test/format.sh fix $(FORMATTED)
format-check:
	@test/format.sh check $(FORMATTED)

tidy: ## clang-tidy
	@test/tidy.sh $(SOURCES) $(LOADERS)

# A page as lines of C strings, each short enough for the standard.
load/report_page.inc: load/report_page.html
	@sed 's/\\/\\\\/g; s/"/\\"/g; s/^/"/; s/$$/\\n",/' $< > $@

docs: all load/report_page.inc ## make the generated pages anew
	@$(BUILD)/sluice --help-config=markdown > docs/configuration.md
	@$(BUILD)/sluice --help-config=yaml > config/sluice.yaml
	@$(BUILD)/sluice --help-metrics > docs/metrics.md
docs-check: all
	@$(BUILD)/sluice --help-config=markdown | cmp - docs/configuration.md && $(BUILD)/sluice --help-config=yaml | cmp - config/sluice.yaml && \
	    $(BUILD)/sluice --help-metrics | cmp - docs/metrics.md && echo "docs: ok, generated pages are up to date" || \
	    { echo "docs: run \`make docs\` and commit the result" >&2; exit 1; }
	@test/doc_names.py $(BUILD)/sluice

clean: ## remove what was built
	rm -rf $(BUILD)

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | awk -F '|' '{ printf "  make %-16s %s\n", $$1, $$2 }'

.PHONY: all gateway deps run install test-deps unit-deps test unit run-units unit-asan unit-tsan run-units-asan run-units-tsan fuzz run-fuzzers system torture torture-bounded soak image \
    bench bench-deps bench-programs bench-peers peers-deps torture-deps lint direction \
    format format-check tidy docs docs-check clean help
