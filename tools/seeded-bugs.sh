#!/usr/bin/env bash
# Tests the tests: each patch in tests/seeded-bugs is a bug, and the test named in its first line must catch it.
# Builds apart, in target/seeded-bugs, so that the real tree is never changed. Names of patches may be given.
set -euo pipefail
cd "$(dirname "$0")/.."
tree=target/seeded-bugs/tree
missed=0
for patch in tests/seeded-bugs/*.patch; do
    name=$(basename "$patch" .patch)
    [[ $# == 0 || " $* " == *" $name "* ]] || continue
    rm -rf "$tree"
    mkdir -p "$tree"
    git ls-files -z | xargs -0 cp --parents -t "$tree"
    ln -s "$PWD/.venv" "$tree/.venv"
    patch --quiet -d "$tree" -p1 <"$patch"
    read -r target test < <(sed -n '1s/^caught by: //p' "$patch")
    if (cd "$tree" && CARGO_TARGET_DIR="$OLDPWD/target/seeded-bugs/build" cargo test --quiet --profile shaped --test "$target" -- "$test" >../output 2>&1); then
        echo "MISSED  $name by $test"
        missed=1
    elif ! grep -q "test result: FAILED" target/seeded-bugs/output; then
        echo "BROKEN  $name: see target/seeded-bugs/output"
        missed=1
    else
        echo "caught  $name by $test"
    fi
done
exit "$missed"
