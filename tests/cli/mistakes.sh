# SPDX-License-Identifier: Apache-2.0
# Wrong input: the exit code says what kind (2 usage, 3 input), the message names the thing.
. "$(dirname "$0")/check.sh"
cd "$scratch" || exit 77

expect 2 'needs a command'
expect 2 'did you mean attune sample?' smaple
expect 2 'unknown command "frobnicate"' frobnicate
expect 2 'did you mean attune train dpo?' train dpp
expect 2 'did you mean --steps?' sample --step 3
expect 2 '"3x" is not a whole number' sample --steps 3x -p a
expect 2 'did you mean euler_a?' sample --sampler euler_b -p a
expect 2 'did you mean torch?' sample --rng torhc -p a
expect 2 'needs --image FILE' invert
expect 2 'is not a size' invert -i a.png --size 5y
expect 2 '2 prompts for 1 images' invert -i a.png -p x -p y
expect 2 'did you mean --fixed-point?' invert -i a.png --fixedpoint 2
expect 2 'cfg-rescale' sample --cfg-rescale 1.5 -p a
expect 2 '--steps: 0 is out of range' sample --steps 0 -p a
expect 2 'needs a prompt' sample -m x
expect 2 'vae-tile large: must be auto, off, or pixels' sample -p a --vae-tile large
expect 2 'tiles of 100 pixels: must be a multiple of 16' sample -p a --vae-tile 100 --device cpu
expect 2 'of use only with --preview N' sample -p a --preview-vae taesd
expect 2 'of use only with --preview N' sample -p a --preview-keep
expect 3 'none/config.json: there is no such file' sample -p a --preview 2 --preview-vae none/ --device cpu
expect 2 'needs --sample-prompts' train dpo -o run --sample-every 5 --device cpu
expect 3 'none.txt' train dpo -o run --sample-every 5 --sample-prompts none.txt --device cpu
expect 2 'unexpected argument "kite"' sample -p red kite
expect 2 '"gpu" is none of' sample -m x -p a --device gpu
expect 2 'did you mean f16?' sample -m x -p a --weights fp16
expect 2 'needs --out' train dpo -d pairs.jsonl
expect 2 'needs --data' train dpo -m x -o run
expect 2 'leave one or the other out' train dpo -o run --full --rank 4
expect 2 '"lots" is not a size' train dpo -o run --memory-limit lots
expect 2 'did you mean attune plan train?' plan trai
expect 2 'unknown command "grid"' plan grid
expect 2 'needs --model' train base -o run
expect 2 'ask for one with --rank N' train base -m x -o run --alpha 4
expect 2 'ask for one with --rank N' train base -m x -o run --text-encoder
expect 2 'ask for them with --text-encoder' train base -m x -o run --rank 4 --text-lr 1e-5
expect 2 'leave one or the other out' train dpo -o run --full --text-encoder
expect 2 '--rank: 0 is out of range' train base -m x -o run --rank 0
expect 2 'leave --rank, --alpha and --target out' train base -m x -o run --lora y --rank 4
expect 2 'leave --rank, --alpha and --target out' train dpo -o run --lora y --target to_q
expect 3 'none.safetensors' train dpo -o run --lora none.safetensors --device cpu
expect 2 'needs --model' grid -p a
expect 2 'needs a file' data check
expect 2 'needs --out' data make emoji

expect 2 'attune bench needs a command' bench
expect 2 'did you mean attune bench ops?' bench op
expect 2 'unknown operator "convd"; did you mean conv2d?' bench ops matmul convd
expect 2 'unknown operator "view"' bench ops view
expect 2 '--batch: 999 is out of range' bench model --batch 999
expect 2 '--seconds: 0 is out of range' bench ops --seconds 0

expect 2 'needs a file' lora inspect
expect 2 'needs two names' lora convert x
expect 2 'did you mean kohya?' lora convert x y --to koyha
expect 2 'needs two adapters' lora diff x
expect 2 'needs at least one adapter' lora merge -o merged
expect 2 'needs --out' lora merge x
expect 2 'needs the model that differs' lora extract -o x.safetensors
expect 2 '--rank: 0 is out of range' lora extract x -o x.safetensors --rank 0

expect 3 'none.txt' sample -m x -f none.txt
expect 3 'none.json' sample -m x -p a --config none.json
expect 3 'nomodel' sample -m nomodel -p a --device cpu
expect 3 'nomodel' bench model -m nomodel --device cpu
expect 3 'none.jsonl' data check none.jsonl
expect 3 'none.safetensors' lora inspect none.safetensors
expect 3 'nomodel' train dpo -m nomodel -d none.jsonl -o run --device cpu

: >empty.txt
expect 3 'empty.txt: there is no prompt' sample -m x -f empty.txt
printf 'a kite --s 0\n' >bad.txt
expect 3 'bad.txt:1: option --s' sample -m x -f bad.txt
printf '{"step": 3}' >typo.json
expect 3 'did you mean "steps"' sample -m x -p a --config typo.json
printf '{"flip": "False"}' >false.json
expect 3 'field "flip": expected true or false' train dpo -d x -o run --config false.json
printf '{"method": "vae"}' >method.json
expect 3 'field "method": "vae" is not one of dpo' train dpo -d x -o run --config method.json
printf '{"prompt": "a", "win": "none.png", "lose": "none2.png"}\n{"prompt": "b", "win": 3}\n' >pairs.jsonl
expect 3 'pairs.jsonl:2: field "win"' data check pairs.jsonl
printf '12345678{}' >broken.safetensors
expect 3 'broken.safetensors' lora inspect broken.safetensors

# Away from its data, the program says where the model should be.
cp "$attune" "$scratch/attune" && attune=$scratch/attune
expect 3 'the embedded model is not beside the program' sample -p a --device cpu
expect 3 'the embedded model is not beside the program' train dpo -o run --device cpu

finish
