# SPDX-License-Identifier: Apache-2.0
# SDXL and latent consistency models as a user has them: a whole day's work, and slips. pipes.sh ATTUNE TINY_MODEL
. "$(dirname "$0")/check.sh"
data=$(realpath "$2/../..")
cd "$scratch" || exit 77
cp -r "$data/pipes/xl" xl
cp -r "$data/pipes/lcm_xl" lcm
cp -r xl/tokenizer xl/tokenizer_2 xl/text_encoder xl/text_encoder_2 xl/vae lcm/
cp -r "$data/tiny/pairs" "$data/tiny/pictures" .
chmod -R u+w .
cpu='--device cpu'

note() {
    if ! grep -aq "$2" "$1"; then
        failures=$((failures + 1))
        echo "FAIL $1 does not say $2"
    fi
}
# silent TEXT ARGS...: attune does its work and does not say TEXT.
silent() {
    text=$1
    shift
    if ! said=$("$attune" "$@" 2>&1) || [ "${said#*"$text"}" != "$said" ]; then
        failures=$((failures + 1))
        echo "FAIL attune $*: $said"
    fi
}
# shellcheck disable=SC2086 # $cpu is two words
{
expect 0 '1 image in out' sample -m xl -p 'a red kite' -n '' --original-size 64x48 --crop 4,2 --clip-skip 1 -o out $cpu
note out/00001-0-a-red-kite.png 'Steps: 25, Sampler: Euler, CFG scale: 5, .*Size: 16x16, .*Clip skip: 2'
note out/00001-0-a-red-kite.png '"negative":"".*"clip_skip":1,"original_width":64,"original_height":48,"crop_top":4'
expect 0 '1 image in out' sample -m lcm -p 'a red kite' -o out $cpu
note out/00002-0-a-red-kite.png 'Steps: 4, Sampler: LCM, CFG scale: 8.5'
expect 0 'reads no negative prompt' sample -m lcm -p a -n b -o out $cpu
# The scheduler file that SD 1.5 comes with.
cp -r "$data/tiny/model" pndm
cp "$data/pipes/sd15/scheduler/scheduler_config.json" pndm/scheduler/
chmod -R u+w pndm
expect 0 'pndm: its scheduler is a PNDMScheduler, for which ddim stands in; --sampler takes' sample -m pndm -p a --steps 2 -o out $cpu
note out/00004-0-a.png 'Sampler: DDIM'
silent 'stands in' sample -m pndm -p a --steps 2 --sampler euler -o out $cpu
sed -i 's/PNDMScheduler/DPMSolverMultistepScheduler/; s/"clip_sample"/"solver_order": 3, "clip_sample"/' \
    pndm/scheduler/scheduler_config.json
expect 3 '"solver_order": 3 is not supported, only 2; --sampler dpmpp_2m does without' sample -m pndm -p a -o no $cpu
expect 0 '1 image' sample -m pndm -p a --steps 2 --sampler dpmpp_2m -o out $cpu
expect 2 '--out no.jpg: pictures are PNG; name it no.png, or give a folder' sample -m xl -p a -o no.jpg $cpu
expect 2 'are read by SDXL models alone' sample -m "$data/tiny/model" -p a --crop 1,1 -o no $cpu
expect 2 'has 2 layers to leave out' sample -m xl -p a --clip-skip 3 -o no $cpu
expect 2 '--original-size 64: expected width and height' sample -m xl -p a --original-size 64 -o no $cpu
expect 2 '--crop 1,-1: expected top and left' sample -m xl -p a --crop 1,-1 -o no $cpu

expect 0 'done: run' train dpo -m xl -d pairs -o run --size 16 --steps 2 --batch 2 --rank 2 $cpu
expect 0 'memory ' plan train dpo -m xl -d pairs -o run2 --size 16 --batch 2 $cpu
expect 0 '1 image in tuned' sample -m xl+run -p 'a red kite' -o tuned $cpu
expect 0 'grid.html in grid' grid -m xl -m xl+run -m lcm -p 'a red kite' -o grid $cpu
expect 0 'saturation' eval -m xl -m xl+run -p a -p b -r saturation --steps 2 $cpu
expect 0 'xl + run against xl + run:0.5 + run:-1' eval -m xl+run:0.5+run:-1 -m xl+run -p a -r saturation --steps 1 $cpu
expect 0 'denoiser' bench model -m xl --size 16 --batch 1 --seconds 0.01 $cpu
expect 3 'the loss of a denoiser would undo its distillation' train dpo -m lcm -d pairs -o no --size 16 --steps 1 $cpu

# Parts that do not fit each other.
fresh() {
    rm -rf m
    cp -r xl m
}
change() {
    fresh
    sed -i "s|\"$2\": [^,]*|\"$2\": $3|" "m/$1"
    expect 3 "$4" sample -m m -p a --steps 1 -o no $cpu
}
fresh
sed -i '/"text_encoder": \[/,/\]/c "text_encoder": [null, null],' m/model_index.json
expect 3 'm is a refiner of SDXL' sample -m m -p a -o no $cpu
fresh
sed -i 's|"force_zeros_for_empty_prompt"|"requires_aesthetics_score"|' m/model_index.json
expect 3 'm is a refiner of SDXL' sample -m m -p a -o no $cpu
fresh
rm -r m/text_encoder_2
expect 3 'm/text_encoder_2' sample -m m -p a -o no $cpu
fresh
rm -r m/tokenizer_2
expect 3 'm/tokenizer_2' sample -m m -p a -o no $cpu
change model_index.json force_zeros_for_empty_prompt '"False"' 'force_zeros_for_empty_prompt'
change model_index.json _class_name '"StableDiffusionPipeline"' 'reads sizes (addition_embed_type text_time)'
change text_encoder_2/config.json projection_dim 11 'projection_dim 11 and six times addition_time_embed_dim 8 are 59'
change unet/config.json projection_class_embeddings_input_dim 48 'leaves nothing beside six sizes of 8'
change unet/config.json addition_embed_type null 'must have addition_embed_type text_time'
change unet/config.json cross_attention_dim 16 'cross_attention_dim is 16, but the hidden_size of both text encoders together 28'
change tokenizer_2/tokenizer_config.json model_max_length 12 'prompts have 16 and 12 tokens (model_max_length)'
change unet/config.json time_cond_proj_dim 3 'time_cond_proj_dim 3: must be 4 or more'
fresh
sed -i 's|"CLIPTextModelWithProjection"|"CLIPTextModel"|' m/text_encoder_2/config.json
expect 3 'text_encoder_2 is no CLIPTextModelWithProjection' sample -m m -p a -o no $cpu
}
if [ -n "$(find no no.jpg run2 -type f 2>/dev/null)" ]; then
    failures=$((failures + 1))
    echo 'FAIL something was written'
fi
finish
