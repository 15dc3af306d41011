# SPDX-License-Identifier: Apache-2.0
# Interrupted, killed, on a full disk, without streams or a home: what was finished stays whole, nothing else is left.
# rough.sh ATTUNE TINY_MODEL
. "$(dirname "$0")/check.sh"
model=$(realpath "$2")
pairs=$(dirname "$model")/pairs/pairs.jsonl
cd "$scratch" || exit 77
dpo="train dpo -m $model -d $pairs --batch 2 --rank 2 --device cpu"

fail() {
    failures=$((failures + 1))
    echo "FAIL $*"
}
# stopped SIGNAL FILE ARGS...: the signal is sent as soon as FILE is there; the program must say 130.
stopped() {
    signal=$1 file=$2
    shift 2
    rm -f said.txt # what an earlier one said would be taken for a sign of life
    "$attune" "$@" >said.txt 2>&1 &
    waited=0
    while ! grep -qs . "$file" && kill -0 $! 2>/dev/null && [ $waited -lt 600 ]; do
        waited=$((waited + 1))
        sleep 0.1
    done
    kill -s "$signal" $! 2>/dev/null
    wait $!
    got=$?
    [ $got -eq 130 ] || fail "$signal: exit code $got of attune $*: $(cat said.txt)"
}
no_rest() {
    left=$(find . -name '*.tmp*')
    [ -z "$left" ] || fail "left over: $left"
}

# A run that is stopped twice and goes on is the run that nobody stopped, to the last bit.
# shellcheck disable=SC2086
{
    expect 0 'done: whole' $dpo -o whole --steps 120
    stopped INT run/metrics.jsonl $dpo -o run --steps 120
    stopped TERM said.txt $dpo -o run --steps 120 --resume
    expect 0 'done: run' $dpo -o run --steps 120 --resume
}
cmp whole/pytorch_lora_weights.safetensors run/pytorch_lora_weights.safetensors || fail 'a stopped run differs'
[ "$(find run -name 'checkpoint-*' | wc -l)" -gt 1 ] || fail 'nothing was saved when the run was stopped'
stopped INT said.txt sample -m "$model" -p red --count 100000 --device cpu -o samples
stopped INT said.txt grid -m "$model" -p red --count 100000 --device cpu -o grid
stopped INT emoji.tmp/000000.png data make emoji -o emoji --count 100000
[ ! -e emoji ] || fail 'half a data set was left'
no_rest

# Closed streams: no message strays into a file that has taken the number of the stream.
# shellcheck disable=SC2086
"$attune" $dpo -o closed --steps 2 >&- 2>&- <&- || fail 'training without streams'
[ "$(grep -vc '^{.*}$' closed/metrics.jsonl)" -eq 0 ] || fail "metrics: $(cat closed/metrics.jsonl)"
"$attune" --version >&- 2>/dev/null && fail 'a version that nobody can read ends well'
[ ! -w /dev/full ] ||
    ! "$attune" eval -m "$model" -m "$model" -p red -r saturation --steps 1 -q --device cpu >/dev/full 2>/dev/null ||
    fail 'a lost result ends well'
(unset HOME XDG_CACHE_HOME && "$attune" sample -m "$model" -p red --steps 1 -q -o homeless) || fail 'without a home'
said=$(ATTUNE_DATA=/nowhere "$attune" sample -p red --steps 1 -q -o out --device cpu 2>&1)
case $? in 3) ;; *) fail 'a wrong ATTUNE_DATA passes' ;; esac
case $said in *ATTUNE_DATA*) ;; *) fail "ATTUNE_DATA: $said" ;; esac
expect 0 'Vulkan is turned off' devices
case $said in *error:*) fail "an error that is none: $said" ;; esac

# full SIZE ARGS...: on a file system so small the work fails, says why and leaves whole files alone.
full() {
    size=$1
    shift
    mount -t tmpfs -o "size=$size" tmpfs disk || return
    expect 1 'No space left on device' "$@"
    left=$(find disk -name '*.tmp*' -o -name '*.html' -size 0)
    [ -z "$left" ] || fail "left over on a full disk: $left"
    find disk -name '*.png' -exec sh -c 'tail -c 8 "$1" | grep -q IEND' sh {} \; -o -name '*.png' -print >cut.txt
    [ ! -s cut.txt ] || fail "cut short: $(cat cut.txt)"
    umount disk
}
mkdir disk
if mount -t tmpfs tmpfs disk 2>/dev/null && umount disk; then
    # shellcheck disable=SC2086
    {
        full 32k sample -m "$model" -p red --count 60 --steps 1 -q --device cpu -o disk/s
        full 16k grid -m "$model" -p red --count 9 --steps 1 -q --device cpu -o disk/g
        full 64k data make emoji --count 200 -o disk/e
        full 16k data make tokenizer -o disk/t
        full 4k eval -m "$model" -m "$model" -p red -r saturation --seeds 300 --steps 1 -q --device cpu --csv disk/x.csv
        full 64k $dpo -o disk/r --steps 2
        case $said in *'are free there'*) ;; *) fail "no warning of a small disk: $said" ;; esac
        full 8k $dpo -o r --cache disk/c --steps 1
    }
else
    echo 'no file system can be mounted here: full disks were not tried'
fi
finish
