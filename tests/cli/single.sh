# SPDX-License-Identifier: Apache-2.0
# Checkpoints in one file on the command line: drawn, tuned, merged, and what is refused.
# single.sh ATTUNE TINY_MODEL MAKE_SINGLE VOCABULARY
. "$(dirname "$0")/check.sh"
tiny=$(realpath "$2") make=$(realpath "$3") vocabulary=$(realpath "$4")
cd "$scratch" || exit 77
for name in sd1 sd2 sdxl; do
    "$make" tiny_$name $name.safetensors || exit 1
done
small='--width 32 --height 32 --steps 1 --device cpu -q'

expect 3 'a single file has no tokenizer' sample -m sd1.safetensors -p red $small -o none
expect 3 'a single file has no tokenizer' convert -m sd1.safetensors -o none
expect 0 'the model' convert -m sdxl.safetensors -o wordless.safetensors
[ ! -e none ] || { failures=$((failures + 1)); echo 'FAIL something was written'; }
for name in sd1 sd2 sdxl; do
    expect 0 '' sample -m $name.safetensors --tokenizer "$vocabulary" -p red $small -o $name.png
    grep -q "Model: $name.safetensors" $name.png || { failures=$((failures + 1)); echo "FAIL $name is not named"; }
done
expect 0 'SD 2.x, predicts noise (epsilon)' sample -m sd2.safetensors --tokenizer "$vocabulary" -p red $small -o said.png
mkdir tokenizer
cp "$vocabulary/merges.txt" tokenizer
expect 0 '' sample -m sd1.safetensors -p red $small -o beside.png
cmp sd1.png beside.png || { failures=$((failures + 1)); echo 'FAIL another tokenizer'; }
expect 0 '' sample -m sd1.safetensors --prediction sample -p red $small -o other.png
cmp -s sd1.png other.png && { failures=$((failures + 1)); echo 'FAIL --prediction changes nothing'; }

# An adapter of it, in it; all of its weights.
printf '{"prompt": "red", "win": "sd1.png", "lose": "other.png"}\n' >pairs.jsonl
train='-d pairs.jsonl --steps 1 --batch 1 --size 32 --device cpu -q'
expect 0 '' train dpo -m sd1.safetensors $train --rank 2 -o run
expect 0 '' sample -m sd1.safetensors+run -p red $small -o tuned.png
expect 0 'in its weights' lora merge run -m sd1.safetensors -o merged
expect 0 '' sample -m merged -p red $small -o merged.png
expect 0 'in its weights' lora merge run -m sd1.safetensors -o merged.safetensors
expect 0 'again: the model' convert -m merged.safetensors -o again
diff -r merged again || { failures=$((failures + 1)); echo 'FAIL the merged file is not the merged folder'; }
expect 0 'in its weights' convert -m sd1.safetensors+run -o word
diff -r merged word || { failures=$((failures + 1)); echo 'FAIL a word with an adapter is not merged'; }
expect 0 '' train dpo -m sd1.safetensors $train --full --warmup 0 -o full
expect 0 '' sample -m full -p red $small -o full.png
expect 0 'what is lost of their differences' lora extract full -m sd1.safetensors -o low.safetensors --rank 64
expect 0 'embeddings, convolutions), which the adapter does not hold' lora extract full -m sd1.safetensors -o low.safetensors --rank 64 --linear --force
expect 0 'fits ' lora inspect low.safetensors -m sd1.safetensors
expect 3 'is there already; --force replaces it' lora extract full -m sd1.safetensors -o low.safetensors
expect 3 'have the same weights in every layer' lora extract sd1.safetensors -m sd1.safetensors -o none.safetensors
expect 3 'must be of one architecture' lora extract sd2.safetensors -m sd1.safetensors -o none.safetensors
expect 0 'memory ' plan sample -m sdxl.safetensors -p red --width 32 --height 32 --device cpu

# Files and folders of each other.
for name in sd1 sd2 sdxl; do
    expect 0 'the model' convert -m $name.safetensors --tokenizer "$vocabulary" -o folder-$name
    expect 0 'the model' convert -m folder-$name -o back-$name.safetensors
    expect 0 'the model' convert -m back-$name.safetensors --tokenizer "$vocabulary" -o twice-$name
    diff -r folder-$name twice-$name || { failures=$((failures + 1)); echo "FAIL $name does not come back"; }
done
expect 3 'is there already; --force replaces it' convert -m folder-sd1 -o back-sd1.safetensors
expect 0 'the model' convert -m folder-sd1 -o back-sd1.safetensors --force --dtype f32
expect 3 'is not empty' convert -m sd1.safetensors -o folder-sd1
expect 3 'is a file; give the folder' convert -m folder-sd1 -o pairs.jsonl
mkdir dir.safetensors
expect 3 'is a folder; give the name of a file' convert -m folder-sd1 -o dir.safetensors
expect 3 'attention_head_dim of the unet is not what readers' convert -m "$tiny" -o none.safetensors
expect 3 'no such model folder or file' convert -m absent -o none.safetensors
expect 2 'needs --out' convert -m folder-sd1
(
    ulimit -f 300
    expect 1 'the file is too large for this file system or user limit' convert -m folder-sdxl -o none.safetensors
    expect 1 'the file is too large for this file system or user limit' convert -m folder-sdxl -o none
    exit $failures
)
failures=$?
expect 2 'did you mean f16?' convert -m folder-sd1 -o none.safetensors --dtype f61
for left in *.tmp none*; do
    [ ! -e "$left" ] || { failures=$((failures + 1)); echo "FAIL $left was left behind"; }
done

# What is no checkpoint.
head -c 100000 sd1.safetensors >cut.safetensors
expect 3 'cut short or damaged' sample -m cut.safetensors -p red $small -o none
expect 3 'an adapter (LoRA), not a model; give it with --lora' sample -m run/pytorch_lora_weights.safetensors -p red $small -o none
expect 3 'the denoiser of a diffusers folder' sample -m "$tiny/unet/diffusion_pytorch_model.safetensors" -p red $small -o none
expect 3 'no .safetensors file and no model folder' sample -m pairs.jsonl -p red $small -o none
printf 'PK\003\004' >old.ckpt
expect 3 'loading one can run any code in it' sample -m old.ckpt -p red $small -o none
expect 3 'no such model folder or file' sample -m absent.safetensors -p red $small -o none

# Variants of a folder.
cp -r "$tiny" folder
chmod -R u+w folder
mv folder/unet/diffusion_pytorch_model.safetensors folder/unet/diffusion_pytorch_model.bf16.safetensors
expect 3 'there are variants: bf16; choose with --variant' sample -m folder -p red $small -o none
expect 0 '' sample -m folder --variant bf16 -p red $small -o variant.png
expect 3 'no diffusion_pytorch_model.f16.safetensors' sample -m folder --variant f16 -p red $small -o none
expect 2 'prediction' sample -m folder --prediction noise -p red $small -o none
[ ! -e none ] || { failures=$((failures + 1)); echo 'FAIL something was written'; }

finish
