# make demo and make test are all that a newcomer needs; `make help` lists the rest.

CARGO ?= cargo
# Where `make install` puts the plugin: below PREFIX if it is given, else where GStreamer looks for a user's plugins.
DATA_HOME = $(or $(XDG_DATA_HOME),$(HOME)/.local/share)
ifdef PREFIX
PLUGIN_DIR ?= $(PREFIX)/lib/$(shell $(CC) -print-multiarch)/gstreamer-1.0
else
PLUGIN_DIR ?= $(DATA_HOME)/gstreamer-1.0/plugins
endif
TARGET_DIR = $(or $(CARGO_TARGET_DIR),target)
PLUGIN = $(TARGET_DIR)/release/libgstrtmp2server.so

.DEFAULT_GOAL := help
.PHONY: help deps encoders build demo ingest test test-core test-all test-features test-newest test-obs test-ingest test-cinstall test-deb \
	fuzz deny nextest coverage msrv loom sanitize address fire scale soak bench callgrind lint lint-ingest install deb

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 15

deps: ## install the system packages (Debian 12)
	@scripts/install-deps.sh

# Where it fails, the tests that need them say so, after all others.
encoders: deps ## get ffmpeg 8 and 9 for the tests
	-@CARGO="$(CARGO)" scripts/install-encoders.sh

# GStreamer looks through a plugin path with all that is below it, so the plugin gets a directory of its own.
build: deps ## build the plugin, and put it where GST_PLUGIN_PATH can point to: target/gstreamer-1.0
	$(CARGO) build --release --lib
	@mkdir -p $(TARGET_DIR)/gstreamer-1.0
	@ln -sf ../release/libgstrtmp2server.so $(TARGET_DIR)/gstreamer-1.0/

demo: deps ## record a real ffmpeg publisher and compare it with what was sent
	@scripts/demo.sh

test: test-core test-all ## run all tests; RTMP2SERVER_REPEAT=N sets how often each real publisher is repeated

test-core: deps
	$(CARGO) test --no-default-features $(TEST_FLAGS)

test-all: deps encoders
	scripts/traced.sh $(CARGO) test $(TEST_FLAGS)

# What a build without the element, and one without TLS, can do: their own tests, and those that need neither.
test-features: deps ## run the tests that suit the other feature sets: server alone, and the element without TLS
	$(CARGO) test --no-default-features --features server --lib $(TEST_FLAGS)
	$(CARGO) test --no-default-features --features element --lib --test introspection --test settings $(TEST_FLAGS)

test-newest: deps encoders ## run the tests on the newest GStreamer: Debian sid in a folder (needs root and 2 GB)
	scripts/test-newest.sh

fuzz: deps ## fuzz the core, each target for SECONDS (default 60); `make test` replays the corpus
	CARGO="$(CARGO)" scripts/fuzz.sh run $(or $(SECONDS),60)

nextest: deps encoders ## run all tests with cargo nextest: each in a process of its own, and none that hangs
	PATH=$$(CARGO="$(CARGO)" scripts/cargo-tool.sh cargo-nextest 0.9.148) && export PATH && $(CARGO) nextest run

coverage: deps encoders ## show how much of the code the tests run
	@CARGO="$(CARGO)" scripts/coverage.sh

msrv: deps ## check that the oldest compiler named in Cargo.toml is enough
	@CARGO="$(CARGO)" scripts/msrv.sh

# With more than two switches at will, it takes hours.
loom: ## check the queue in every order in which its threads can run, but for rare ones
	LOOM_MAX_PREEMPTIONS=2 RUSTFLAGS="--cfg queue_loom" CARGO_TARGET_DIR=$(TARGET_DIR)/loom $(CARGO) test --lib \
		--no-default-features --features server queue::loom

sanitize: deps ## run tests of the core and of the element under valgrind
	@scripts/install-deps.sh valgrind
	@CARGO="$(CARGO)" scripts/sanitize.sh valgrind

address: deps ## run the tests of the element with AddressSanitizer
	@CARGO="$(CARGO)" scripts/sanitize.sh address

deny: ## check licences and known vulnerabilities of the dependencies
	@CARGO="$(CARGO)" scripts/deny.sh

scale: deps ## measure what 25 to 200 publishers on one port cost, on an otherwise idle machine
	$(CARGO) test --release --test scale_figures -- --nocapture --test-threads=1

soak: deps ## publishers coming and going on 20 routes for MINUTES=30; writes docs/soak.md
	RTMP2SERVER_SOAK_MINUTES=$(or $(MINUTES),30) RTMP2SERVER_SOAK_REPORT=docs/soak.md \
		$(CARGO) test --release --test soak -- --nocapture

fire: deps ## one publisher beside all attacks for MINUTES=10, on an otherwise idle machine
	RTMP2SERVER_FIRE_SECONDS=$$(($(or $(MINUTES),10) * 60)) $(CARGO) test --release --test under_fire -- --nocapture

test-obs: deps ## publish from a real OBS Studio (installs it: half a gigabyte)
	scripts/install-obs.sh
	$(CARGO) test --test obs -- --test-threads=1

# PORT=1935 HTTP=127.0.0.1:8080 KEYS=keys RECORDINGS=recordings, if they are to be others.
ingest: deps ingest-deps ## run examples/ingest: publish to port 1935, watch at http://localhost:8080/
	@CARGO="$(CARGO)" scripts/ingest.sh

test-ingest: deps ingest-deps page-deps ## test examples/ingest and make ingest, with the page in Chromium
	cd examples/ingest && npm ci --ignore-scripts
	cd examples/ingest && $(CARGO) test $(TEST_FLAGS)
	CARGO="$(CARGO)" scripts/test-ingest.sh

.PHONY: ingest-deps page-deps
ingest-deps:
	@scripts/install-deps.sh libgstreamer-plugins-base1.0-dev

page-deps:
	@scripts/install-deps.sh chromium $$(command -v npm >/dev/null || echo nodejs npm)

test-cinstall: deps ## install with cargo-c into a folder, and use it from there
	scripts/test-cinstall.sh

test-deb: deps ## install the Debian package in a clean Debian, and record there (needs root)
	scripts/test-deb.sh

# Times that everything is measured.
RUNS ?= 5

bench: deps ## measure beside nginx-rtmp, ffmpeg and tcpserversrc, and write docs/performance.md (RUNS=5: a quarter of an hour)
	@scripts/install-deps.sh binutils util-linux
	scripts/bench-peers.sh $(abspath $(TARGET_DIR))/tmp/nginx
	BENCH_RUNS=$(RUNS) $(CARGO) bench --bench wire

callgrind: deps ## compare the core's count of instructions with the committed one
	@scripts/install-deps.sh valgrind
	CARGO="$(CARGO)" scripts/callgrind.sh

lint: deps ## check format, lints and the links in the documentation
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --no-default-features -- -D warnings
	$(CARGO) clippy --all-targets --no-default-features --features server -- -D warnings
	$(CARGO) clippy --all-targets --no-default-features --features element -- -D warnings
	$(CARGO) clippy --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --no-default-features
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps

lint-ingest: deps ingest-deps ## the same for examples/ingest
	cd examples/ingest && $(CARGO) fmt --check && $(CARGO) clippy --all-targets -- -D warnings

deb: deps ## build a Debian package
	@scripts/install-deps.sh dpkg-dev
	@scripts/build-deb.sh

install: build ## install the plugin for this user, or below PREFIX
	install -D -m 644 $(PLUGIN) $(DESTDIR)$(PLUGIN_DIR)/libgstrtmp2server.so
	@echo "Installed; try: gst-inspect-1.0 rtmp2serversrc"
