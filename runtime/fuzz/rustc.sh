#!/usr/bin/env bash
# rustc with libFuzzer's counters in our own library and nowhere else: what others wrote need not be built a second time, and
# a stable compiler will do. Cargo calls it as RUSTC_WRAPPER.
set -euo pipefail
case " $* " in
    *' --target wasm32'*) ;;
    *' --crate-name jidoka '*)
        set -- "$@" -Cdebug-assertions=on -Cpasses=sancov-module \
            -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
            -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares
        ;;
esac
exec "$@"
