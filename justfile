# The commands of this project. What CI runs stands in .ci/run, and nowhere else: `just ci` is all of
# it, and the recipes below are its steps, one by one.

_:
    @just --list --unsorted

# all that CI runs
ci:
    .ci/run

# formatting, clippy and the documentation, without a test
lint:
    .ci/run fmt lint doc

# all tests, or those whose name holds a word: `just test damaged_key`
test *args:
    {{ if args == "" { ".ci/run tests" } else { "cargo test --all-features " + args } }}

# the crates that states are made of, as the guide says it
crates:
    .ci/run crates

# the house checks itself: imports, names, lengths
tidy:
    .ci/run tidy

# licences, advisories, duplicate versions
deny:
    .ci/run deny

# the main job, once: `just bot --kills 100 --seed 8`
bot *args:
    {{ if args == "" { ".ci/run bot" } else { "cargo run -q --release -p bot -- " + args } }}

# every benchmark once, to see that it still runs
bench:
    .ci/run benches peers

# what one part costs: `just micro key_lookup`
micro *args:
    cargo bench --all-features --bench micro -- {{ args }}

# all fault classes, for so many minutes and as often as their floors ask; the figures go into docs/RELIABILITY.md
torture minutes="30" *args:
    cargo run -q --release -p milepost-torture -- --images 50000 --minutes {{ minutes }} --record docs/RELIABILITY.md {{ args }}

# every fuzz target for so long, in seconds, or those that are named: `just fuzz 600 file`
fuzz seconds="60" *targets:
    fuzz/run {{ seconds }} {{ targets }}

# bugs put into the store on purpose, each of which has to be found; or some of them: `just mutants T9`
mutants word="":
    MUTANTS="{{ word }}" cargo test --all-features --test mutants -- --ignored --nocapture every_bug_that_is_put_into_the_store_is_found

# whether each of these bugs still compiles
mutants-compile word="":
    MUTANTS="{{ word }}" cargo test --all-features --test mutants -- --ignored --nocapture every_bug_that_is_put_into_the_store_compiles

# how much of the code the tests run through, file by file
coverage:
    cargo llvm-cov -p milepost --all-features --lib --test it --summary-only

# every change that a machine can think of in `ledger` and `step`, or a part of them: `just survivors 0/20`
survivors shard="0/1":
    cargo mutants --shard {{ shard }}

# writes the formatting that `lint` asks for
fmt:
    cargo fmt --all
