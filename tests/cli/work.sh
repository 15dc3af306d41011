# SPDX-License-Identifier: Apache-2.0
# The embedded model at work: sampling, grids, training, and what is left on disk.
. "$(dirname "$0")/check.sh"
pictures=$(realpath "$(dirname "$0")/../unit/data")
cd "$scratch" || exit 77
"$attune" sample -p x --steps 1 -q -o probe --device cpu 2>/dev/null || { echo 'no embedded model'; exit 77; }

same() {
    if ! cmp "$1" "$2"; then
        failures=$((failures + 1))
        echo "FAIL $1 and $2 differ"
    fi
}
there() {
    for file in "$@"; do
        if [ ! -s "$file" ]; then
            failures=$((failures + 1))
            echo "FAIL $file is not there"
        fi
    done
}

# Numbering goes on; the same call makes the same file.
expect 0 '2 images in out' sample -p 'Red apple!' --count 2 --seed 5 --steps 2 -o out --device cpu
expect 0 '1 image in out' sample -p 'red apple' --seed 6 --steps 2 -o out --device cpu
there out/00001-5-red-apple.png out/00002-6-red-apple.png out/00003-6-red-apple.png
expect 0 '"seed":	5' sample -p 'Red apple!' --seed 5 --steps 2 -o one.png --device cpu --json
cp one.png first.png
expect 3 '--force replaces it' sample -p 'Red apple!' --seed 5 --steps 2 -o one.png --device cpu
expect 0 'in one.png' sample -p 'Red apple!' --seed 5 --steps 2 -o one.png --device cpu --force
same one.png first.png
# What a plan says of the host's memory is what is then taken, but for what reads and writes files.
process() {
    "$attune" "$@" | sed -n 's/.*"process":[^0-9]*\([0-9]*\).*/\1/p'
}
said=$(process plan --json sample -p a --count 4 --steps 1 --device cpu)
took=$(process sample -p a --count 4 --steps 1 -o sizes --device cpu --json -q)
if [ $((took - said)) -lt -1000000 ] || [ $((took - said)) -gt 8000000 ] || [ "$said" -lt 20000000 ]; then
    failures=$((failures + 1))
    echo "FAIL said $said bytes, took $took"
fi
expect 0 '1 image in torch' sample -p a --rng torch --cfg-rescale 0.7 --sampler euler_a --steps 2 -o torch --device cpu
grep -q 'CFG rescale: 0.7, Seed: 0, .*RNG: CPU' torch/00001-0-a.png || { failures=$((failures + 1)); echo 'FAIL no rng'; }
expect 0 '1 image in euler' sample -p a --sampler dpmpp_2m --karras --steps 3 -o euler --device cpu
grep -q 'Steps: 3, Sampler: DPM++ 2M Karras' euler/00001-0-a.png || { failures=$((failures + 1)); echo 'FAIL no sampler'; }
expect 2 'Karras noise levels belong to' sample -p a --karras -o none --device cpu
expect 2 'is one picture, but 2' sample -p a --count 2 -o two.png --device cpu
expect 2 'must be multiples' sample -p a --width 33 --device cpu
grep -q 'Steps: 2, Sampler: DDIM, CFG scale: 4, Seed: 5' one.png || { failures=$((failures + 1)); echo 'FAIL no parameters'; }
printf '# two\nred apple --d 5 --s 2 --l 4\ncherries --s 1 --n dark\n' >prompts.txt
expect 0 '2 images in lines' sample -f prompts.txt -o lines --device cpu
there lines/00001-5-red-apple.png lines/00002-0-cherries.png

cp "$pictures/grown.png" wide.png
# Inversion: a folder whole or not at all; its noise is drawn from again.
expect 0 '2 pictures in inverted' invert -i out/00001-5-red-apple.png -i out/00002-6-red-apple.png -p 'red apple' \
    --steps 2 --fixed-point 2 -o inverted --device cpu
expect 0 'the denoiser seems to predict v_prediction, not epsilon as the model says' invert -i out/00001-5-red-apple.png \
    -p 'red apple' --prediction epsilon --steps 1 -o doubtful --device cpu
case $("$attune" invert -i out/00001-5-red-apple.png -p 'red apple' --steps 1 -o sure --device cpu 2>&1) in
    *'seems to predict'*) failures=$((failures + 1)) && echo 'FAIL the right prediction is doubted' ;;
esac
there inverted/latents.safetensors inverted/invert.json inverted/reconstruction-001.png inverted/reconstruction-002.png \
    inverted/side-by-side-001.png
grep -q '"latent_error"' inverted/invert.json || { failures=$((failures + 1)); echo 'FAIL no error'; }
expect 3 'holds an inversion already' invert -i out/00001-5-red-apple.png --steps 2 -o inverted --device cpu
expect 3 'holds other files' invert -i out/00001-5-red-apple.png --steps 2 -o out --force --device cpu
expect 0 'inverts best' invert -i out/00001-5-red-apple.png --steps 1 --cfg 3 -o guided --device cpu
expect 0 '"psnr_bound"' invert -i one.png --steps 1 -o guided --force --json -q --device cpu
expect 3 'holds an inversion already' invert -i nothere.png -o inverted --device cpu
expect 3 'nothere.png' invert -i nothere.png -o nothing --device cpu
expect 3 'multiples of 4; --size 64' invert -i wide.png -o nothing --device cpu
expect 3 '--size makes them alike' invert -i one.png -i wide.png -o nothing --device cpu
expect 0 '1 picture in wide' invert -i wide.png --size 64 --steps 1 -o wide --device cpu
expect 0 'less well' invert -i wide.png --size 32x48 --steps 1 -o wide --force --device cpu
expect 0 'memory ' plan invert -i one.png --steps 2 --fixed-point 1 -o nothing --device cpu
[ ! -e nothing ] && [ ! -e nothing.tmp ] || { failures=$((failures + 1)); echo 'FAIL something is left of no inversion'; }
expect 0 '2 images in back' sample --latents inverted/latents.safetensors -o back --device cpu
grep -q '"latents":{"path":"inverted/latents.safetensors","index":1}' back/00002-0-red-apple.png ||
    { failures=$((failures + 1)); echo 'FAIL latents are not told'; }
expect 0 '2 images in edited' sample --latents inverted/latents.safetensors -p 'green apple' -o edited --device cpu
expect 0 'made with 2 steps' sample --latents inverted/latents.safetensors --steps 3 -o back --device cpu
expect 2 'holds 2 latents' sample --latents inverted/latents.safetensors -p x --count 3 -o back --device cpu
expect 2 'leave out --width' sample --latents inverted/latents.safetensors --width 32 -o back --device cpu
expect 3 'not a safetensors file' sample --latents one.png -o back --device cpu

# Training: stopped, resumed, and repeated from the saved settings.
printf '{"prompt": "red apple", "win": "out/00001-5-red-apple.png", "lose": "out/00002-6-red-apple.png"}\n' >pairs.jsonl
expect 0 '1 pairs of 1 prompts' data check pairs.jsonl
expect 0 'done: run' train dpo -d pairs.jsonl -o run --steps 2 --batch 1 --rank 2 --device cpu
there run/run.json run/metrics.jsonl run/pytorch_lora_weights.safetensors
expect 2 'holds a run already' train dpo -d pairs.jsonl -o run --steps 2 --batch 1 --rank 2 --device cpu
expect 0 'done: run' train dpo --config run/run.json --steps 3 --resume
expect 0 'done: again' train dpo --config run/run.json -o again --steps 3
same run/pytorch_lora_weights.safetensors again/pytorch_lora_weights.safetensors
expect 0 '"batch" was 1, and is 2 now' train dpo --config run/run.json --steps 4 --batch 2 --resume
expect 3 'no checkpoint to resume' train dpo --config run/run.json -o fresh --resume
expect 0 'rank 2' lora inspect run

# Its adapter in every dialect and back; in the weights of a model.
for dialect in diffusers-old kohya kohya-diffusers comfyui diffusers; do
    expect 0 'of the embedded model' lora convert run "$dialect.safetensors" --to $dialect
    expect 0 'fits the embedded model' lora inspect "$dialect.safetensors"
    expect 0 '0 only in A, 0 only in B; relative difference 0 in all' lora diff run "$dialect.safetensors"
done
expect 3 'is there already; --force replaces it' lora convert run kohya.safetensors --to kohya
expect 0 'of the embedded model' lora convert run peft --to peft
expect 0 'relative difference 0 in all' lora diff kohya.safetensors peft
expect 0 'in its weights' lora merge kohya.safetensors:0.5 peft:0.5 -o merged
expect 3 'is not empty' lora merge kohya.safetensors -o merged
there merged/model_index.json merged/tokenizer/merges.txt merged/vae/config.json
expect 0 '1 image' sample -m merged -p 'red apple' --steps 1 --device cpu -o merged.png
expect 0 '1 image' sample --lora peft:0.5 --lora comfyui.safetensors:0.5 -p 'red apple' --steps 1 --device cpu -o both.png
expect 0 'done: coin' train dpo -d pairs.jsonl -o coin --steps 2 --batch 1 --rank 2 --coin --device cpu
expect 0 'done: shipped' train dpo -o shipped --steps 1 --batch 1 --rank 2 --device cpu

# An adapter from pictures, and on from one.
expect 0 'done: learned' train base -o learned --rank 2 --names 3 --views 1 --steps 2 --batch 1 --device cpu
expect 0 'done: learned' train base --config learned/run.json --steps 3 --resume
expect 0 'done: more' train base -m embedded -o more --lora learned --names 3 --views 1 --steps 1 --batch 1 --device cpu
expect 0 'done: both' train base -o both --rank 2 --text-encoder --text-lr 5e-5 --names 3 --views 1 --steps 2 --batch 1 --device cpu
expect 0 'text_encoder: 8 layers' lora inspect both
expect 0 '1 image' sample -m embedded+both -p 'red apple' --steps 1 --device cpu -o both.png --force
expect 0 'done: said' train dpo -o said --rank 2 --text-encoder --steps 1 --batch 1 --device cpu
expect 0 'text_encoder: 8 layers' lora inspect said
expect 0 'done: won' train dpo -o won --lora more --steps 1 --batch 1 --device cpu
expect 0 'rank 2' lora inspect won
expect 2 'to_q, to_k, to_v, to_out.0' train base -o no --rank 2 --target to_x --device cpu
expect 0 'memory ' plan train base -o no --rank 2 --names 3 --device cpu
[ ! -e no ] || { failures=$((failures + 1)); echo 'FAIL something is left of no adapter'; }

# A plan says what a run takes, and touches nothing; a limit is kept.
expect 0 'memory ' plan train dpo -d pairs.jsonl -o planned --batch 1 --device cpu
expect 0 '"least_seconds"' plan --json sample -p a --count 3 -o planned --device cpu
[ ! -e planned ] || { failures=$((failures + 1)); echo 'FAIL plan wrote something'; }
expect 4 'are needed at least' train dpo -o planned --memory-limit 10M --device cpu
expect 0 'at once' train dpo -o fitted --steps 1 --rank 2 --memory-limit 70M --device cpu

# Benches, as short as can be.
fields() {
    file=$1
    shift
    for field in "$@"; do
        grep -qF "$field" "$file" || { failures=$((failures + 1)); echo "FAIL $file lacks $field"; }
    done
}
"$attune" bench ops pick --seconds 0.001 --device cpu --threads 1 --json >ops.json
fields ops.json '"ceilings":' '"copy_gb_s":' '"fma_gflop_s":' '"threads":	1' '"op":	"pick"' \
    '"shapes":	"(256,77,768) (256)"' '"seconds":' '"gb_s":' '"roof":	"memory"' '"percent":'
"$attune" bench model --batch 1 --seconds 0.001 --device cpu --json >model.json
fields model.json '"model":	"embedded"' '"size":	64' '"batch":	1' '"ceilings":' '"task":	"decoding"' \
    '"task":	"denoiser"' '"task":	"sampling step with guidance"' '"task":	"DPO step, LoRA of rank 8"' \
    '"unit":	"pair"' '"items_per_second":' '"gflop_s":' '"percent":' '"arena_bytes":' '"op":	"conv2d_dx"' '"share":'
expect 0 'of roof' bench ops pick sinusoid --seconds 0.001 --device cpu

expect 0 '1 page of 2 x 3 pictures' grid -m embedded -m embedded+run -m embedded+coin:0.5 -f prompts.txt -o grid --device cpu
there grid/grid-001.png grid/grid.html
expect 3 'nothere' grid -m embedded+nothere -p a -o grid --device cpu

finish
