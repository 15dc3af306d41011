# SPDX-License-Identifier: Apache-2.0
# kill -9 at any moment, and a disk that fills up, while a result replaces an older one: what is there afterwards is the
# old one or the new one, file by file, and the same command then goes through.
# killed.sh ATTUNE TINY_MODEL
. "$(dirname "$0")/check.sh"
model=$(realpath "$2")
tiny=$(dirname "$model")
adapters=$(realpath "$tiny/../adapters")
cd "$scratch" || exit 77
cut=0

fail() {
    failures=$((failures + 1))
    echo "FAIL $*"
}
milliseconds() {
    echo $(($(date +%s%N) / 1000000))
}
# same A B: two files, or two folders with the same files, temporary ones aside.
same() {
    diff -rq --exclude='*.tmp*' --exclude=metrics.jsonl "$1" "$2" >diff.txt 2>&1
}
# sound KIND ARGS...: a whole result is the old or the new one; of files each is, and none is gone; an index is there only
# if all is; with what is in a cache the same command makes the same.
sound() {
    what=$1
    shift
    [ -e out ] || [ "$what" = cache ] || return 0
    case $what in
        cache) rm -rf out && "$attune" "$@" >said.txt 2>&1 && same out new ;;
        whole) same out old || same out new ;;
        files)
            for f in out/*; do
                case $f in *.tmp* | 'out/*') continue ;; esac
                cmp -s "$f" "old/${f#out/}" || cmp -s "$f" "new/${f#out/}" || return 1
            done
            for f in old/*; do
                [ ! -e "$f" ] || [ -e "out/${f#old/}" ] || return 1
            done ;;
        index) [ ! -e out/model_index.json ] || same out new ;;
    esac
}
# killed KIND ARGS...: `old` is there already, with what stood in `out` before.
killed() {
    kind=$1
    shift
    rm -rf out new
    expect 0 '' "$@"
    mv out new
    for round in 0 1 2 3 4 5 6 7 8 9; do
        rm -rf out cache
        [ ! -e old ] || cp -r old out
        before=$(milliseconds)
        "$attune" "$@" >said.txt 2>&1 &
        sleep "$(printf '0.%03d' $((round * took / 9 % 1000)))"
        kill -9 $! 2>/dev/null
        wait $! 2>/dev/null
        got=$?
        [ $got -eq 137 ] && cut=$((cut + 1)) || took=$(($(milliseconds) - before))
        sound "$kind" "$@" || fail "killed after $round ninths: attune $*: $(cat diff.txt)"
    done
    rm -rf out
    [ ! -e old ] || cp -r old out
    expect 0 '' "$@"
    same out new || fail "after kills, attune $* makes something else: $(cat diff.txt)"
}
# full KIND ARGS...: the same on a file system with no room for the new result, or little where there is no old one.
full() {
    kind=$1 size=12
    shift
    rm -rf out
    [ ! -e old ] || size=$(($(du -sk old | cut -f 1) + 4))
    mkdir out && mount -t tmpfs -o "size=${size}k" tmpfs out || return
    [ ! -e old ] || cp -r old out/out
    said=$(cd out && "$attune" "$@" 2>&1)
    got=$?
    rm -rf copy
    cp -r out copy
    umount out && rm -rf out
    [ $got -eq 1 ] || fail "exit code $got on a full disk: attune $*: $said"
    case $said in *'No space left on device'*) ;; *) fail "on a full disk attune $* says: $said" ;; esac
    [ -z "$(find copy -name '*.tmp*')" ] || fail "left over on a full disk: attune $*"
    [ ! -e copy/out ] || mv copy/out out
    sound "$kind" "$@" || fail "on a full disk: attune $*: $(cat diff.txt)"
    [ ! -e old ] || [ -e out ] || fail "the old result is gone: attune $*"
}
# job KIND OLD-WORDS NEW-WORDS ARGS...: with these words the old result (none: there shall be none), and the new one.
job() {
    kind=$1 first=$2 second=$3
    shift 3
    rm -rf out old
    before=$(milliseconds)
    # shellcheck disable=SC2086
    {
        expect 0 '' "$@" $first
        took=$(($(milliseconds) - before))
        mv out old
        [ -n "$first" ] || rm -rf old
        killed "$kind" "$@" $second
        [ -z "$mounts" ] || full "$kind" "$@" $second
    }
}
mkdir out
mounts=
mount -t tmpfs tmpfs out 2>/dev/null && umount out && mounts=1
[ -n "$mounts" ] || echo 'no file system can be mounted here: full disks were not tried'

common="-m $model -q --device cpu --threads 1"
# shellcheck disable=SC2086
{
    job whole '--to diffusers' '--to kohya --force' lora convert "$adapters/kohya.safetensors" out -m "$model"
    job index '' '' lora merge "$adapters/kohya.safetensors:0.5" -m "$model" -q -o out
    job whole '--steps 1' '--steps 2 --force' invert -i "$tiny/pictures/red-ball-good.png" -o out $common
    job whole '--seeds 200' '--seeds 230' eval -m "$model" -p red -r saturation --steps 1 --csv out $common
    job files '--steps 1' '--steps 2 --force' grid -m "$model" -p red -p blue -o out $common
    job cache '' '' train dpo -d "$tiny/pairs/pairs.jsonl" --batch 1 --rank 2 --steps 1 --cache cache -o out $common
    job files '' '' sample -p red --steps 1 --count 8 -o out $common
}
echo "$cut commands were killed at work"
[ $cut -gt 5 ] || fail 'too few were killed'
finish
