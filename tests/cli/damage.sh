# SPDX-License-Identifier: Apache-2.0
# Models, adapters and settings that are damaged, of another kind or out of range: exit code 3 with file and field, and
# nothing written. damage.sh ATTUNE TINY_MODEL
. "$(dirname "$0")/check.sh"
tiny=$(realpath "$2")
cd "$scratch" || exit 77

fresh() {
    rm -rf m
    cp -r "$tiny" m
    chmod -R u+w m
}
draw() {
    code=$1 text=$2
    shift 2
    expect "$code" "$text" sample -m m -p red --steps 1 --device cpu -q -o out.png "$@"
    if [ "$code" -ne 0 ] && [ -e out.png ]; then
        failures=$((failures + 1))
        echo "FAIL a picture was left: $text"
    fi
    rm -f out.png
}
# model FILE NAME VALUE TEXT: the field has another value, and the model is refused with the text.
model() {
    fresh
    sed -i "s|\"$2\": [^,]*|\"$2\": $3|" "m/$1"
    draw 3 "$4"
}
# field FILE NAME VALUE TEXT: the same, and it is the field that is named.
field() {
    model "$1" "$2" "$3" "m/$1: field \"$2\": $4"
}

fresh
draw 0 ''
for file in model_index.json unet/config.json vae/config.json text_encoder/config.json scheduler/scheduler_config.json \
    tokenizer/vocab.json tokenizer/merges.txt unet/diffusion_pytorch_model.safetensors \
    vae/diffusion_pytorch_model.safetensors text_encoder/model.safetensors; do
    fresh
    rm "m/$file"
    draw 3 "m/${file%%/*}"
    fresh
    truncate -s $(($(stat -c %s "m/$file") / 2)) "m/$file"
    draw 3 "m/${file%%/*}"
    fresh
    : >"m/$file"
    draw 3 "m/${file%%/*}"
done

model model_index.json _class_name '"StableDiffusionXLPipeline"' 'm/text_encoder_2'
field model_index.json _class_name '"StableDiffusionUpscalePipeline"' '"StableDiffusionUpscalePipeline" is not supported'
model model_index.json _class_name '"LatentConsistencyModelPipeline"' 'must have time_cond_proj_dim'
field model_index.json _class_name '"StableDiffusion3Pipeline"' '"StableDiffusion3Pipeline" is not supported'
field model_index.json _class_name '"FluxPipeline"' '"FluxPipeline" is not supported'
field unet/config.json _class_name '"PixArtTransformer2DModel"' '"PixArtTransformer2DModel" is not'
field scheduler/scheduler_config.json _class_name '"FlowMatchEulerDiscreteScheduler"' 'FlowMatch'
field scheduler/scheduler_config.json _class_name '"EDMEulerScheduler"' 'EDMEulerScheduler is a continuous schedule'
field unet/config.json layers_per_block 100000 'expected an integer from 1 to'
field unet/config.json norm_eps -1 '-1 is out of range'
field vae/config.json scaling_factor 1e300 '1e+300 is out of range'
field vae/config.json shift_factor 1e300 '1e+300 is out of range'
field vae/config.json latents_std 7 'is not supported'
field text_encoder/config.json layer_norm_eps 0 '0 is out of range'
# A config that asks for more memory than there is does not belong to the weights.
fresh
sed -i 's|"time_embedding_dim": null|"time_embedding_dim": 1000000|' m/unet/config.json
draw 3 'tensors have the wrong shape'
# A list of merges that was cut short would split words into letters without a word said.
fresh
sed -i '100,$d' m/tokenizer/merges.txt
draw 3 'come from no merge'

# What cannot go into a picture's settings is refused before the picture is drawn.
fresh
mv m "$(printf 'm\351')"
expect 3 'is not UTF-8' sample -m "$(printf 'm\351')" -p red --steps 1 --device cpu -o out.png
fresh
expect 2 '--prompt: the text is not UTF-8' sample -m m -p "$(printf 'r\351d')" --steps 1 --device cpu -o out.png
expect 2 '--cfg: 0 is out of range' sample -m m -p red --cfg 0
printf 'red\nblue --w 33\n' >sizes.txt
expect 3 'sizes.txt:2: 33x' sample -m m -f sizes.txt --steps 1 --device cpu -o sizes
: >file
expect 3 'file: is a file; name a folder' sample -m m -p red --steps 1 --device cpu -o file
expect 3 'file: is a file; name a folder' data make emoji --count 1 -o file
expect 3 'file: is a file; name a folder' data make tokenizer -o file
expect 3 'file: is a file; name a folder' train dpo -o file --device cpu
expect 3 'file: is a file; name a folder' train dpo -o file/run --device cpu --steps 1 --batch 1
expect 3 'without --resume a new run' train dpo -o nothing --resume --device cpu
head -c 20000 /dev/zero | tr '\0' 'x' >long.txt
expect 0 'left out: "xxx' sample -m m -f long.txt --steps 1 --device cpu -o out.png
[ ${#said} -lt 1000 ] || { failures=$((failures + 1)); echo "FAIL a message of ${#said} bytes"; }

# Adapters.
printf '12345678{}' >broken.safetensors
expect 3 'broken.safetensors' sample -m m -p red --lora broken.safetensors --device cpu -o out2.png
header='{"te.x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'
# shellcheck disable=SC2059
printf "\\$(printf %o ${#header})\\0\\0\\0\\0\\0\\0\\0$header" >foreign.safetensors
expect 3 'te.x' sample -m m -p red --lora foreign.safetensors --device cpu -o out2.png
# All models of a comparison are looked at before the first picture is drawn: there is no progress to be seen.
for command in 'grid -o grid' eval; do
    # shellcheck disable=SC2086
    expect 3 'nothere' $command -m m -m m+nothere -p red --device cpu
    case $said in *drawing* | *sampling*) failures=$((failures + 1)) && echo "FAIL work before the check: $said" ;; esac
done
expect 3 'is a folder; give the name of a file' eval -m m -m m -p red -r saturation --csv . --device cpu
printf 'red --s 3\n' >own.txt
expect 0 'own.txt:1: settings of a prompt are left out' eval -m m -m m -f own.txt -r saturation --steps 1 --device cpu -q
expect 0 '1 page' grid -m m -p red --steps 1 --device cpu -o grid
expect 3 '--force replaces the grid' grid -m m -p red --steps 1 --device cpu -o grid
expect 0 '1 page' grid -m m -p red --steps 1 --device cpu -o grid --force

# Whatever was refused left no temporary file.
left=$(find . -name '*.tmp*')
[ -z "$left" ] || { failures=$((failures + 1)); echo "FAIL left over: $left"; }
[ ! -e sizes/00001-0-red.png ] && [ ! -e nothing ] || { failures=$((failures + 1)); echo 'FAIL work before the check'; }
finish
