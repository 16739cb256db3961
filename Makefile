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
.PHONY: help deps encoders build demo test test-core test-all test-newest fuzz sanitize deny lint install

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 10

deps: ## install the system packages (Debian 12)
	@scripts/install-deps.sh

# Where it fails, the tests that need them say so, after all others.
encoders: deps ## get ffmpeg 8 and 9 for the tests
	-@CARGO="$(CARGO)" scripts/install-encoders.sh

build: deps ## build the plugin
	$(CARGO) build --release --lib

demo: deps ## record a real ffmpeg publisher and compare it with what was sent
	@scripts/demo.sh

test: test-core test-all ## run all tests; RTMP2SERVER_REPEAT=N sets how often each real publisher is repeated

test-core: deps
	$(CARGO) test --no-default-features $(TEST_FLAGS)

test-all: deps encoders
	G_DEBUG=fatal-criticals $(CARGO) test $(TEST_FLAGS)

test-newest: deps encoders ## run the tests on the newest GStreamer: Debian sid in a folder (needs root and 2 GB)
	scripts/test-newest.sh

fuzz: deps ## fuzz the core, each target for SECONDS (default 60); `make test` replays the corpus
	CARGO="$(CARGO)" scripts/fuzz.sh run $(or $(SECONDS),60)

deny: ## check licences and known vulnerabilities of the dependencies
	@CARGO="$(CARGO)" scripts/deny.sh

lint: deps ## check format and lints
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --no-default-features -- -D warnings
	$(CARGO) clippy --all-targets --no-default-features --features server -- -D warnings
	$(CARGO) clippy --all-targets -- -D warnings

install: build ## install the plugin for this user, or below PREFIX
	install -D -m 644 $(PLUGIN) $(DESTDIR)$(PLUGIN_DIR)/libgstrtmp2server.so
	@echo "Installed; try: gst-inspect-1.0 rtmp2serversrc"
