# shellcheck shell=sh disable=SC2034,SC2154
# Sourced by study.sh: what is trained. A run begins with nothing, or grows from another run of its seed (after); an arm of
# the study is a run with all that it came from.
#
# Roles: scratch and grown are arms; base is what others grow from; sweep is an arm at another learning rate, named
# ARM@RATE.

case $scale in
full)
    seeds='1 2 3'
    scratch_steps=1200 small_steps=1800 narrow_steps=1150 shallow_steps=1300 grown_steps=140
    token_rate=1e-3 token_rates='5e-4 2e-3'    # tokenformer's own, and those tried beside it
    matrix_rate=1e-3 matrix_rates='5e-4 2e-3'  # transformer's
    grown_rate=2e-3 grown_rates='1e-3 4e-3'    # the best recipe's
    widen_rate=1e-3 widen_rates='5e-4 2e-3'    # net2net's
    ramp=100
    common=
    large='model.qkv_tokens=256 model.proj_tokens=256 model.ffn_tokens=1024'
    small='model.qkv_tokens=32 model.proj_tokens=32 model.ffn_tokens=128'
    wide='model.hidden_size=208 model.num_attention_heads=8 model.ffn_tokens=832'
    narrow='model.hidden_size=104 model.num_attention_heads=4 model.ffn_tokens=416'
    layers=4
    ;;
toy) # the same arms in seconds; what comes out means nothing
    seeds='1 2'
    scratch_steps=20 small_steps=16 narrow_steps=16 shallow_steps=16 grown_steps=4
    token_rate=2e-3 token_rates=4e-3
    matrix_rate=1e-3 matrix_rates=2e-3
    grown_rate=2e-3 grown_rates=
    widen_rate=1e-3 widen_rates=
    ramp=2
    common='model.seq_length=16 train.batch_size=4 train.eval_interval=4 train.eval_windows=8 train.save_interval=8'
    common="$common train.log_interval=2"
    large='model.hidden_size=16 model.num_attention_heads=2 model.qkv_tokens=32 model.proj_tokens=32 model.ffn_tokens=128'
    small='model.hidden_size=16 model.num_attention_heads=2 model.qkv_tokens=4 model.proj_tokens=4 model.ffn_tokens=16'
    wide='model.hidden_size=32 model.num_attention_heads=4 model.ffn_tokens=128'
    narrow='model.hidden_size=16 model.num_attention_heads=2 model.ffn_tokens=64'
    layers=2
    ;;
esac
wide="model.kind=transformer model.num_layers=$layers $wide"
narrow="model.kind=transformer model.num_layers=$layers $narrow"
shallow="$large model.num_layers=1"
large="$large model.num_layers=$layers"
small="$small model.num_layers=$layers"
x8='--qkv x8 --proj x8 --ffn x8'
net2net='--method net2net --width x2 --ffn x2'
hyperclone='--method hyperclone --width x2'

# How long, and how fast: "$long=2e-3" is the scratch arms' steps at that learning rate.
long="train.steps=$scratch_steps optimizer.lr"
flat="optimizer.schedule=constant optimizer.lr"
short="train.steps=$grown_steps optimizer.lr"

arms() {
    #   name         seeds    role     after    grown by                           trained by
    run transformer  "$seeds" scratch  -        -                                  "$wide $long=$matrix_rate"
    run tokenformer  "$seeds" scratch  -        -                                  "$large $long=$token_rate"
    run small        "$seeds" base     -        -                                  "$small train.steps=$small_steps $flat=$token_rate"
    run random-count "$seeds" grown    small    "$x8 --keys random --scale count"  "$short=$grown_rate"
    run zero-keep    "$seeds" grown    small    "$x8"                              "$short=$grown_rate"
    run zero-ramp    "$seeds" grown    small    "$x8"                              "$short=$grown_rate grow.scale_ramp=$ramp"
    run narrow       "$seeds" base     -        -                                  "$narrow train.steps=$narrow_steps $flat=$matrix_rate"
    run net2net      "$seeds" grown    narrow   "$net2net"                         "$short=$widen_rate"
    run hyperclone   "$seeds" grown    narrow   "$hyperclone"                      "$short=$widen_rate"
    run shallow      "$seeds" base     -        -                                  "$shallow train.steps=$shallow_steps $flat=$token_rate"
    run deeper       "$seeds" grown    shallow  "--add-layers $((layers - 1))"     "$short=$grown_rate"
    for r in $matrix_rates; do run "transformer@$r" 1 sweep - - "$wide $long=$r"; done
    for r in $token_rates; do run "tokenformer@$r" 1 sweep - - "$large $long=$r"; done
    for r in $grown_rates; do run "zero-ramp@$r" 1 sweep small "$x8" "$short=$r grow.scale_ramp=$ramp"; done
    for r in $widen_rates; do run "net2net@$r" 1 sweep narrow "$net2net" "$short=$r"; done
}
