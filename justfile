# The checks that CI runs.
test:
    ./scripts/test

# Prints the rows of docs/benchmarks.md, all or those named: `just bench 1 3 7`.
bench *rows:
    cargo build --release -p windlass
    python3 scripts/bench.py {{rows}}

# The figures of durability in full: every crash point, long kills, cuts, repeats, strays.
durability:
    cargo build --release -p windlass
    WINDLASS_ALL_CRASH_POINTS=1 cargo test --release -p windlass-tests --test scenarios -- durability:: cut:: repeats:: processes:: --nocapture

# Licences, sources and duplicates of the dependencies; needs cargo-deny.
deny:
    cargo deny check licenses bans sources

fmt:
    cargo fmt --all
