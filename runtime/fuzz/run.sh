#!/usr/bin/env bash
# Fuzzes on the stable compiler, with counters in our own library only.
#
#   run.sh NAME [SECONDS]   one target for so long, 600 by default; without an end: 0
#   run.sh all [SECONDS]    each target for so long, one after another
#   run.sh NAME FILE..      one target on these inputs, once
#
# New inputs are kept in target/corpus/NAME, what breaks a target in target/findings/, what it printed in target/log/. The
# committed corpus is only read.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

explain() {
    sed -n '2,/^set /{/^# \{0,1\}/!d; s///; p}' "${BASH_SOURCE[0]}"
}

targets() {
    sed -n 's/^name = "\(.*\)"$/\1/p' Cargo.toml | tail -n +2
}

# Bytes of an input, by what a target can use; and what one input may take: a whole run, or a compilation.
max_len() {
    case $1 in
        journal) echo 16384 ;;
        loader) echo 8192 ;;
        *) echo 4096 ;;
    esac
}

fuzz() {
    local name=$1 seconds=$2 corpus=target/corpus/$1
    mkdir -p "$corpus" target/findings target/log
    nice -n 19 "target/release/$name" "$corpus" "corpus/$name" -max_total_time="$seconds" -max_len="$(max_len "$name")" \
        -timeout=25 -rss_limit_mb=4096 -print_final_stats=1 -artifact_prefix="target/findings/$name-" \
        2>&1 | tee "target/log/$name" | tail -n 12
}

[ $# -gt 0 ] || {
    explain
    exit 0
}
name=$1
shift
[ "$name" = all ] || targets | grep -qx -- "$name" || {
    echo "no such target: $name ($(targets | tr '\n' ' '))" >&2
    exit 1
}
RUSTC_WRAPPER=$PWD/rustc.sh cargo build --release --locked --quiet
if [ $# -gt 0 ] && [ -e "$1" ]; then
    exec "target/release/$name" "$@"
fi
if [ "$name" = all ]; then
    for name in $(targets); do
        echo "== $name"
        fuzz "$name" "${1:-600}"
    done
else
    fuzz "$name" "${1:-600}"
fi
