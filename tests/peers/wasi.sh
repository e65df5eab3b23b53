#!/usr/bin/env bash
# Runs the WASI test suite's programs under plain wasmtime and under jidoka, and tells every difference.
#
#   wasi.sh REPOSITORY    a clone of https://github.com/WebAssembly/wasi-testsuite that has the pinned commit, of its branch
#                         `prod/testsuite-base`, which holds the programs as their authors built them
#
# The programs are modules of preview 1 in C, Rust and AssemblyScript; the adapter of wasmtime's authors makes components of WASI
# 0.2 of them. Both hosts get the same arguments, variables and directory, under the name `/`. Differences that are known stand in
# wasi/expected.txt, each with its reason; any other fails the script. Opt-in: what it runs is not in this repository.
set -euo pipefail
shopt -s inherit_errexit

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(cd "$here/../.." && pwd)
work=${JIDOKA_PEERS_CACHE:-$project/target/peers}/wasi
commit=9f80ca35444cfd9e63100725615140a346652e6c

if [ $# -ne 1 ]; then
    sed -n '2,/^set /{/^# \{0,1\}/!d; s///; p}' "${BASH_SOURCE[0]}"
    exit 0
fi
git -C "$1" cat-file -e "$commit^{commit}" 2>/dev/null || {
    echo "wasi: $1 does not have commit $commit" >&2
    exit 1
}
rm -rf "$work"
mkdir -p "$work/suites" "$work/from"
git -C "$1" archive "$commit" tests | tar -x -C "$work/from"

(cd "$here/wasi/adapt" && cargo build --release --locked --quiet)
adapt=$here/wasi/adapt/target/release/adapt
for suite in "$work"/from/tests/*/testsuite/wasm32-wasip1; do
    language=$(basename "$(dirname "$(dirname "$suite")")")
    into=$work/suites/$language
    cp -R "$suite" "$into"
    for module in "$into"/*.wasm; do
        "$adapt" "$module" "$module.component"
        mv "$module.component" "$module"
    done
done
# A folder that git keeps by a file of its own is empty for the programs.
find "$work/suites" -name .keep -delete
cd "$project"
cargo test --release --locked --quiet --package jidoka-tests --test wasi -- "$work/suites" "$here/wasi/expected.txt"
