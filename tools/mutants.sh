#!/usr/bin/env bash
# Tests the tests: cargo-mutants changes one thing after the other, and some test must fail each time.
#   tools/mutants.sh src/domain src/deliver
# The domain is judged by its unit tests alone, in 20 minutes. The rest is judged by the tests of the whole binary too:
# src/deliver takes an hour. What no test catches is listed at the end of each, and in
# target/mutants/FOLDER/mutants.out/missed.txt. Builds apart, in target/mutants, so that the real tree is never changed.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$PWD/target/mutants

judge() {
    local what=$1 name=${1//\//-} tests=(--cargo-arg=--lib) filter=()
    rm -rf "$work/tree"
    mkdir -p "$work/tree" "$work/$name"
    git ls-files -z | xargs -0 cp --parents -t "$work/tree"
    ln -s "$PWD/.venv" "$work/tree/.venv"
    if [[ $what == src/domain* ]]; then
        # The domain stands alone: without the layers around it, a change is compiled in a fraction of the time.
        echo 'pub mod domain;' > "$work/tree/src/lib.rs"
        sed -i '/^\[\[bin\]\]/,/^$/d' "$work/tree/Cargo.toml"
        rm "$work/tree/src/main.rs"
    else
        tests+=(--cargo-arg=--test --cargo-arg=function)
        # Tests that wait more than they compute, and say at once what is wrong.
        if cargo nextest --version > /dev/null 2>&1; then
            tests+=(--test-tool nextest)
            filter=(-- --test-threads 6 -E '(kind(lib) | test(/lines::|flow::|queues::|own_faults::|registry::|asked::|redrive::|envelopes::|answers::/)) - test(while_a_store_is_down)')
        fi
    fi
    [[ -d $what ]] && what="$what/**/*.rs"
    # In place, because the copies that cargo-mutants makes by itself lack .venv. Without optimization and debug
    # information, because most of the time goes into compiling. Changes that no test catches are no failure here.
    CARGO_PROFILE_DEV_DEBUG=false CARGO_TARGET_DIR=$work/build cargo mutants --in-place --dir "$work/tree" \
        --output "$work/$name" --minimum-test-timeout 150 --no-shuffle --colors never --cargo-arg=--locked "${tests[@]}" \
        --file "$what" "${filter[@]}" || [[ $? == [23] ]]
}

for what in "$@"; do judge "$what"; done
