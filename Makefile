# `make run` and `make test` are all a newcomer needs; the README tells the rest.

SHELL := /bin/bash
export HOLDFAST_BIN ?= $(CURDIR)/target/release/holdfast
PJDFSTEST := pjdfstest 0.2.2
FSX := fsx 0.3.2
DENY := cargo-deny 0.20.2
FUZZ := cargo-fuzz 0.13.1

.PHONY: run test bench soak fuzz lint fmt binary image image-run packages-run packages-test packages-image tools

run: packages-run binary
	@scripts/lab.sh

test: packages-test lint binary image tools
	@echo "== running the tests"
	@cargo nextest run --workspace --no-fail-fast
	@scripts/fuzz.sh 5

fuzz: packages-test tools
	@scripts/fuzz.sh 60

soak: packages-test image tools
	@HOLDFAST_SOAK=1 cargo nextest run --workspace --no-fail-fast --profile soak

bench: packages-run binary
	@scripts/install-packages.sh bench test
	@scripts/bench.sh

lint: packages-run
	@echo "== checking format and lints"
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets --quiet -- -D warnings
	@scripts/tools.sh $(DENY)
	@target/tools/bin/cargo-deny --log-level error check bans licenses sources

fmt:
	@cargo fmt --all

binary: packages-run
	@echo "== building holdfast"
	@cargo build --release --quiet -p holdfast

# One file that is a whole operating system, and a disk that boots it; then three of them, emulated.
image: packages-image binary
	@cargo build --release --quiet -p init
	@image/build.sh

image-run: image
	@image/run.sh

packages-run:
	@scripts/install-packages.sh run

packages-test:
	@scripts/install-packages.sh run test
	@command -v cargo-nextest >/dev/null || { echo "== building cargo-nextest"; cargo install --quiet --locked cargo-nextest; }

packages-image:
	@scripts/install-packages.sh run image

tools:
	@scripts/tools.sh $(PJDFSTEST) $(FSX) $(FUZZ)
