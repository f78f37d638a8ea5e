#!/usr/bin/env bash
# Tests the tests: cargo-mutants changes one thing after the other, and some test must fail each time.
#   tools/mutants.sh "src/domain src/deliver" --lib --test function
# The first argument names folders and files, the rest the tests that are run. What no test catches is listed at the end
# and in target/mutants/mutants.out/missed.txt. Builds apart, in target/mutants, so that the real tree is never changed.
set -euo pipefail
cd "$(dirname "$0")/.."
files=()
is_domain=true
for file in $1; do
    [[ $file == src/domain* ]] || is_domain=false
    if [[ -d $file ]]; then files+=(--file "$file/**/*.rs"); else files+=(--file "$file"); fi
done
shift
work=$PWD/target/mutants
rm -rf "$work/tree"
mkdir -p "$work/tree"
git ls-files -z | xargs -0 cp --parents -t "$work/tree"
ln -s "$PWD/.venv" "$work/tree/.venv"
if $is_domain && [[ $* != *function* ]]; then
    # The domain stands alone: without the layers around it, a change is compiled in a fraction of the time. The tests of
    # the binary need them.
    echo 'pub mod domain;' > "$work/tree/src/lib.rs"
    sed -i '/^\[\[bin\]\]/,/^$/d' "$work/tree/Cargo.toml"
    rm "$work/tree/src/main.rs"
fi
# In place, because the copies that cargo-mutants makes by itself lack .venv. Without optimization and debug information,
# because most of the time goes into compiling.
CARGO_PROFILE_DEV_DEBUG=false CARGO_TARGET_DIR=$work/build cargo mutants --in-place --dir "$work/tree" --output "$work" \
    --minimum-test-timeout 60 --no-shuffle --colors never --cargo-arg=--locked "${@/#/--cargo-arg=}" "${files[@]}"
