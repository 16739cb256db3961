//! Commands that `tests/documents.rs` does not run itself, each whole, and who does.

pub enum By {
    /// This file does, which has that text.
    File(&'static str, &'static str),
    /// Nobody but whoever reads it, for that reason.
    Hand(&'static str),
}
use By::{File, Hand};

pub const COMMANDS: &[(&str, By)] = &[
    // README.md
    (
        "sudo apt-get install ./target/deb/gstreamer1.0-rtmp2server_*.deb",
        File(
            "scripts/test-deb.sh",
            "apt-get --quiet install --yes --install-recommends /run-here/package.deb",
        ),
    ),
    (
        "cargo cinstall --prefix=/usr --libdir=\"$(pkg-config --variable=libdir gstreamer-1.0)\"",
        File(
            "scripts/test-cinstall.sh",
            "command=$(grep '^cargo cinstall ' README.md)",
        ),
    ),
    (
        "cargo cinstall",
        File("scripts/test-cinstall.sh", "\"$cargo\" cinstall "),
    ),
    (
        "gst-launch-1.0 -e …",
        File("tests/interrupts.rs", ".args([\"-e\", \"rtmp2serversrc\""),
    ),
    (
        "cargo doc --no-default-features --open",
        File("Makefile", "$(CARGO) doc --no-deps --no-default-features"),
    ),
    // CONTRIBUTING.md
    (
        ".ci/run",
        Hand("it is what continuous integration runs, this test in it"),
    ),
    (".ci/nightly", Hand("it takes some two hours, and root")),
    ("scripts/pre-commit", File(".ci/run", "scripts/pre-commit")),
    (
        "cargo test --test takeover a_cut_link",
        File("tests/takeover.rs", "fn a_cut_link_"),
    ),
    (
        "GST_DEBUG=rtmp2serversrc:6 cargo test … -- --nocapture",
        File("Makefile", "$(CARGO) test $(TEST_FLAGS)"),
    ),
    (
        "cargo test --no-default-features",
        File(
            "Makefile",
            "$(CARGO) test --no-default-features $(TEST_FLAGS)",
        ),
    ),
    (
        "RTMP2SERVER_BLESS=1 cargo test --test introspection",
        File("tests/introspection.rs", "var_os(\"RTMP2SERVER_BLESS\")"),
    ),
    (
        "tshark -r stream.pcap -q -z follow,tcp,raw,0",
        Hand("it needs a capture, which root alone may make"),
    ),
    (
        "cargo bench --no-default-features --bench core",
        Hand("it measures; clippy compiles it"),
    ),
    (
        "perf record --call-graph dwarf gst-launch-1.0 rtmp2serversrc ! fakesink",
        Hand("perf belongs to the machine's own kernel"),
    ),
    (
        "valgrind --tool=callgrind gst-launch-1.0 …",
        Hand("it is the beginning of one"),
    ),
    // docs/performance.md
    (
        "cargo bench --bench core",
        Hand("it measures; clippy compiles it"),
    ),
    (
        "scripts/callgrind.sh --renew",
        Hand("it writes what the next one compares with"),
    ),
    (
        "BENCH_ONLY=Fake4096 cargo bench --bench wire",
        Hand("it measures; clippy compiles it"),
    ),
    // docs/measurements.md, docs/architecture.md
    (
        "scripts/traced.sh",
        File("Makefile", "scripts/traced.sh $(CARGO) test"),
    ),
    // docs/releasing.md
    ("git status", Hand(RELEASE)),
    ("git diff LAST-TAG -- docs/introspection.txt", Hand(RELEASE)),
    ("cargo publish --dry-run", Hand(RELEASE)),
    ("cargo publish", Hand(RELEASE)),
    ("cargo yank --version X.Y.Z", Hand(RELEASE)),
    (
        "cargo test",
        File("Makefile", "$(CARGO) test $(TEST_FLAGS)"),
    ),
    (
        "scripts/build-deb.sh",
        File("Makefile", "@scripts/build-deb.sh"),
    ),
    (
        "scripts/test-cinstall.sh",
        File("Makefile", "\tscripts/test-cinstall.sh"),
    ),
    // docs/troubleshooting.md
    (
        "setcap cap_net_bind_service=+ep",
        Hand("it changes a program of the system"),
    ),
    (
        "gst-launch-1.0 -e",
        File("tests/interrupts.rs", ".args([\"-e\", \"rtmp2serversrc\""),
    ),
    // examples/ingest/README.md
    (
        "cp examples/ingest/keys.example keys && chmod 600 keys",
        File(
            "scripts/test-ingest.sh",
            "grep '^cp examples/ingest/keys.example '",
        ),
    ),
    (
        "cd examples/ingest && cargo run --release -- --keys ../../keys --directory recordings",
        File(
            "scripts/ingest.sh",
            "exec \"$program\" --keys \"$keys\" --directory \"$recordings\"",
        ),
    ),
    (
        "ingest --help",
        File("scripts/test-ingest.sh", "/debug/ingest --help"),
    ),
    // examples/fleet/README.md
    (
        "sudo apt-get install haproxy",
        File("scripts/install-deps.sh", "    haproxy\n"),
    ),
    (
        "cargo build --release --example fleet_worker",
        Hand("cargo test builds it for tests/fleet/main.rs, not for release"),
    ),
    (
        "for n in 1 2 3; do target/release/examples/fleet_worker /var/tmp/fleet/$n --elements 12 --agent 194$n \
         host=127.0.0.1 port=193$((n + 5)) proxy-protocol=required & export FLEET_W$n=127.0.0.1:193$((n + 5)) \
         FLEET_A$n=194$n done",
        File("tests/fleet/main.rs", "\"--elements\".to_owned()"),
    ),
    (
        "FLEET_BIND='*:1935' haproxy -db -f examples/fleet/haproxy.cfg",
        File("tests/fleet/main.rs", "FLEET_BIND"),
    ),
    (
        "cargo test --test fleet",
        File("Makefile", "$(CARGO) test $(TEST_FLAGS)"),
    ),
    ("kill -TERM", File("tests/fleet/main.rs", ".terminate()")),
    // .github
    (
        "tcpdump -i any -s 0 -w stream.pcap tcp port 1935",
        Hand("it needs root, and a network to look at"),
    ),
];

const RELEASE: &str = "it is part of a release";

/// Targets of the Makefile that neither `.ci/run` nor `.ci/nightly` gets to, and why.
pub const TARGETS_BY_HAND: &[(&str, &str)] = &[
    ("help", "it prints the Makefile"),
    ("deb", "test-deb does"),
    ("scale", "it measures, on an idle machine"),
    ("soak", "it measures, on an idle machine"),
    ("bench", "it measures, on an idle machine"),
];
