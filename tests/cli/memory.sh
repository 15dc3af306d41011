# SPDX-License-Identifier: Apache-2.0
# Memory that runs out: each command with its n-th allocation failing. It says so, with the exit code for that, and
# leaves nothing unfinished.
# memory.sh ATTUNE TINY_MODEL
. "$(dirname "$0")/check.sh"
model=$(realpath "$2")
tiny=$(dirname "$model")
adapters=$(realpath "$tiny/../adapters")
export ASAN_OPTIONS="$ASAN_OPTIONS:exitcode=99" UBSAN_OPTIONS="$UBSAN_OPTIONS:exitcode=99"
cd "$scratch" || exit 77

fail() {
    failures=$((failures + 1))
    echo "FAIL allocation $n of attune $*: exit code $got: $said"
}
# starved ALL THIN ARGS...: the first ALL allocations are tried one by one, then about each THIN-th part more.
starved() {
    all=$1 thin=$2 n=1 tried=0
    shift 2
    rm -rf out
    expect 0 '' "$@"
    while [ $n -lt 1000000 ] && [ $failures -lt 20 ]; do
        rm -rf out
        said=$(ATTUNE_ALLOC_FAIL_AT=$n "$attune" "$@" 2>&1 >/dev/null)
        got=$?
        [ $got -ne 0 ] || break
        tried=$((tried + 1))
        case $got:$said in 4:*error:*) ;; *) fail "$@" ;; esac
        left=$(find . -name '*.tmp*')
        [ -z "$left" ] || fail "left over $left by" "$@"
        [ $n -lt "$all" ] && n=$((n + 1)) || n=$((n + 1 + n / thin + n % 7))
    done
    echo "$tried of $n allocations: attune $*"
    [ $tried -gt 20 ] || fail "too few of them:" "$@"
}

common="-q --device cpu --threads 1"
set -f
# shellcheck disable=SC2086
{
    starved 40 6 sample -m "$model" -p red --steps 1 --lora "$adapters/kohya.safetensors:0.5" -o out $common
    starved 40 6 invert -m "$model" -i "$tiny/pictures/red-ball-good.png" --steps 1 --fixed-point 1 -o out $common
    starved 40 6 grid -m "$model" -m "$model" -p red --steps 1 -o out $common
    starved 40 6 eval -m "$model" -m "$model" -p red -r saturation --steps 1 --csv out $common
    starved 40 6 train dpo -m "$model" -d "$tiny/pairs/pairs.jsonl" --batch 2 --rank 2 --steps 1 -o out $common
    starved 40 6 train base -m "$model" -d "$tiny/pictures" --batch 2 --warmup 0 --steps 1 -o out $common
    starved 40 6 train vae -m "$model" -d "$tiny/pictures" --batch 2 --warmup 0 --steps 1 -o out $common
    starved 40 6 plan sample -m "$model" -p red $common
    starved 40 6 plan train dpo -m "$model" -d "$tiny/pairs/pairs.jsonl" --rank 2 --steps 1 -o out $common
    starved 100 8 lora merge "$adapters/kohya.safetensors:0.5" "$adapters/second.safetensors" -m "$model" -q -o out
    starved 100 8 lora convert "$adapters/kohya.safetensors" out --to diffusers -m "$model"
    starved 100 8 lora diff "$adapters/kohya.safetensors" "$adapters/comfyui.safetensors" -m "$model"
    starved 100 8 lora inspect "$adapters/kohya.safetensors" -m "$model"
    starved 40 6 data check "$tiny/pairs"
}
finish
