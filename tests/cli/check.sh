# SPDX-License-Identifier: Apache-2.0
# Sourced by the tests: expect CODE TEXT ARGS... runs attune and checks its exit code and that it says TEXT.
attune=$(realpath "$1")
failures=0
scratch=$(mktemp -d) || exit 77
trap 'rm -rf "$scratch"' EXIT

expect() {
    code=$1 text=$2
    shift 2
    said=$("$attune" "$@" 2>&1)
    got=$?
    case $said in
        *"$text"*) found=1 ;;
        *) found=0 ;;
    esac
    if [ $got -ne "$code" ] || [ $found -eq 0 ]; then
        failures=$((failures + 1))
        printf 'FAIL attune %s\n  exit code %s, expected %s\n  expected "%s" in:\n%s\n' "$*" $got "$code" "$text" "$said"
    fi
}

finish() {
    echo "$failures failure(s)"
    [ $failures -eq 0 ]
}
