# shellcheck shell=sh disable=SC2034,SC2154
# Sourced by study.sh: what is trained. A run begins with nothing, or grows from another run of its seed (after); an arm of
# the study is a run with all that it came from.
#
# Roles: scratch and grown are arms; base is what others grow from; sweep is an arm at another learning rate, named
# ARM@RATE.

case $scale in
full)
    seeds='1 2 3'                                  # of the arms that decide
    scratch_steps=1200 small_steps=1800 grown_steps=140
    alone_steps=735 late_steps=2240 late_at=2170 half_steps=2010 half_at=1940
    narrow_steps=1150 shallow_steps=1300
    token_rate=5e-4 token_rates='2.5e-4 1e-3 2e-3' # tokenformer's own, and those tried beside it
    matrix_rate=1e-3 matrix_rates='5e-4 2e-3'      # transformer's
    base_rate=2e-3                                 # of the small tokenformers
    grown_rate=2e-3 grown_rates=1.3e-3             # of the training that follows a growth
    widen_rate=1e-3 widen_rates=2e-3               # net2net's and hyperclone's
    gentle='grow.new_lr=0.3 grow.new_warmup=50' warm='grow.new_warmup=100' plain='grow.new_lr=1 grow.new_warmup=0'
    ramp=70
    common=
    large='model.qkv_tokens=256 model.proj_tokens=256 model.ffn_tokens=1024'
    small='model.qkv_tokens=32 model.proj_tokens=32 model.ffn_tokens=128'
    wide='model.hidden_size=208 model.num_attention_heads=8 model.ffn_tokens=832'
    narrow='model.hidden_size=104 model.num_attention_heads=4 model.ffn_tokens=416'
    layers=4
    ;;
toy) # the same arms in seconds; what comes out means nothing
    seeds='1 2'
    scratch_steps=20 small_steps=16 grown_steps=4
    alone_steps=8 late_steps=20 late_at=16 half_steps=18 half_at=14
    narrow_steps=16 shallow_steps=16
    token_rate=2e-3 token_rates=4e-3
    matrix_rate=1e-3 matrix_rates=2e-3
    base_rate=2e-3 grown_rate=2e-3 grown_rates=
    widen_rate=1e-3 widen_rates=
    gentle='grow.new_lr=0.3 grow.new_warmup=2' warm='grow.new_warmup=3' plain='grow.new_lr=1 grow.new_warmup=0'
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

# late STEPS AT: a run that grows itself.
late() {
    echo "$small train.steps=$1 grow.stages=[{\"at\":$2,\"qkv\":\"x8\",\"proj\":\"x8\",\"ffn\":\"x8\"}]"
}

# How long, and how fast: "$long=2e-3" is the scratch arms' steps at that learning rate.
falling='optimizer.schedule=wsd optimizer.decay=0.3'
long="train.steps=$scratch_steps $falling optimizer.lr"
flat="optimizer.schedule=constant optimizer.lr"
sequel='optimizer.warmup=0'
short="train.steps=$grown_steps $sequel optimizer.lr"

arms() {
    #   name         seeds    role     after    grown by                           trained by
    run tokenformer  "$seeds" scratch  -        -                                  "$large $long=$token_rate"
    run transformer  "$seeds" scratch  -        -                                  "$wide $long=$matrix_rate"
    run small        "$seeds" base     -        -                                  "$small train.steps=$small_steps $flat=$base_rate"
    run small-alone  "$seeds" grown    small    none                               "train.steps=$alone_steps $sequel optimizer.lr=$grown_rate"
    run random-count "$seeds" grown    small    "$x8 --keys random --scale count"  "$short=$grown_rate $plain"
    run zero-keep    "$seeds" grown    small    "$x8"                              "$short=$grown_rate $plain"
    run zero-warm    "$seeds" grown    small    "$x8"                              "$short=$grown_rate $warm"
    run zero-gentle  "$seeds" grown    small    "$x8"                              "$short=$grown_rate $gentle"
    run late         "$seeds" grown    -        -                                  "$(late "$late_steps" "$late_at") $falling optimizer.lr=$base_rate $plain"
    run late-half    "$seeds" grown    -        -                                  "$(late "$half_steps" "$half_at") $falling optimizer.lr=$base_rate $plain"
    run zero-ramp    1        grown    small    "$x8"                              "$short=$grown_rate $gentle grow.scale_ramp=$ramp"
    run zero-frozen  1        grown    small    "$x8"                              "$short=$grown_rate $gentle grow.freeze_steps=$ramp"
    run zero-bare    1        grown    small    "$x8"                              "$short=$grown_rate $gentle grow.new_decay=0"
    run narrow       1        base     -        -                                  "$narrow train.steps=$narrow_steps $flat=$matrix_rate"
    run net2net      1        grown    narrow   "$net2net"                         "$short=$widen_rate"
    run hyperclone   1        grown    narrow   "$hyperclone"                      "$short=$widen_rate"
    run shallow      1        base     -        -                                  "$shallow train.steps=$shallow_steps $flat=$base_rate"
    run deeper       1        grown    shallow  "--add-layers $((layers - 1))"     "$short=$grown_rate $gentle"
    for r in $matrix_rates; do run "transformer@$r" 1 sweep - - "$wide $long=$r"; done
    for r in $token_rates; do run "tokenformer@$r" 1 sweep - - "$large $long=$r"; done
    for r in $grown_rates; do
        run "zero-gentle@$r" 1 sweep small "$x8" "$short=$r $gentle"
        run "random-count@$r" 1 sweep small "$x8 --keys random --scale count" "$short=$r $plain"
    done
    for r in $widen_rates; do run "net2net@$r" 1 sweep narrow "$net2net" "$short=$r"; done
}
