# SPDX-License-Identifier: Apache-2.0
# Every command explains itself with an example, and changes nothing by it.
. "$(dirname "$0")/check.sh"
cd "$scratch" || exit 77

expect 0 'attune 0' --version
expect 0 'Usage: attune COMMAND' --help
expect 0 'Usage: attune COMMAND' help
for command in devices sample grid 'train vae' 'train base' 'train dpo' 'data check' 'data make emoji' 'data make pairs' \
    'data make tokenizer' convert 'lora inspect' 'lora convert' 'lora merge' 'lora extract' 'lora diff' eval demo 'bench ops' 'bench model'; do
    # shellcheck disable=SC2086
    expect 0 'Example:' $command --help
    # shellcheck disable=SC2086
    expect 0 "Usage: attune $command" $command -h
done
expect 0 'Usage: attune sample' help sample
expect 0 'Usage: attune train dpo' help train dpo
expect 0 'Usage: attune data make emoji' help data make emoji
expect 0 'Usage: attune train COMMAND' train --help
expect 0 'Usage: attune bench COMMAND' bench --help
expect 0 'default: 25' sample --steps 3 --help
expect 0 '"devices"' devices --json
expect 0 'cpu' devices

if [ -n "$(ls -A "$scratch")" ]; then
    failures=$((failures + 1))
    echo "FAIL help left files: $(ls "$scratch")"
fi
# A result that cannot be written is a failure.
if [ -w /dev/full ] && "$attune" devices --json >/dev/full 2>/dev/null; then
    failures=$((failures + 1))
    echo 'FAIL devices --json into a full disk ends well'
fi
finish
