#!/usr/bin/env bash
# Tests the tests: each patch in tests/seeded-bugs is a bug, and the test named in its first line must catch it.
# Builds apart, in target/seeded-bugs, so that the real tree is never changed.
set -euo pipefail
cd "$(dirname "$0")/.."
tree=target/seeded-bugs/tree
missed=0
for patch in tests/seeded-bugs/*.patch; do
    rm -rf "$tree"
    mkdir -p "$tree"
    git ls-files -z | xargs -0 cp --parents -t "$tree"
    ln -s "$PWD/.venv" "$tree/.venv"
    patch --quiet -d "$tree" -p1 <"$patch"
    test=$(sed -n '1s/^caught by: //p' "$patch")
    if (cd "$tree" && CARGO_TARGET_DIR="$OLDPWD/target/seeded-bugs/build" cargo test --quiet --all-features --profile shaped --test function -- "$test" >../output 2>&1); then
        echo "MISSED  $(basename "$patch") by $test"
        missed=1
    elif grep -q "^error" target/seeded-bugs/output && ! grep -q "test result: FAILED" target/seeded-bugs/output; then
        echo "BROKEN  $(basename "$patch") does not build"
        missed=1
    else
        echo "caught  $(basename "$patch") by $test"
    fi
done
exit "$missed"
