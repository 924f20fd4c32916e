# bash completion for tf-train, tf-grow, tf-eval, tf-generate and tf-inspect. Installed under each of the five names.

_tf_options() {
    echo -h --help -V --version -q --quiet -v --verbose --threads --color
    case $1 in
    tf-train)
        echo -o --output -f --force -n --dry-run --set --json --progress
        echo -r --resume --init --metrics --max-time --seed --help-config
        ;;
    tf-grow)
        echo -o --output -f --force -n --dry-run --set --max-memory --json
        echo --qkv --proj --ffn --layers --add-layers --at --method --width --noise --keys --values --scale --seed --verify
        ;;
    tf-eval)
        echo -o --output -f --force -n --dry-run --set --max-memory --json
        echo --window --stride --second-half --batch --fail-above --compare --keep --weights
        ;;
    tf-generate)
        echo -o --output -f --force --dry-run --set --max-memory --json
        echo -p --prompt --prompts -n --tokens --samples --temperature --top-k --top-p --min-p --repeat-penalty
        echo --repeat-last --stop --ignore-end --echo --seed --weights
        ;;
    tf-inspect)
        echo -o --output -f --force -n --dry-run --max-memory --json
        echo -l --long --diffable --npy --usage --keep --drop --keep-top --by --append --level
        ;;
    esac
}

# _tf_files CURRENT PATTERN: folders, and the files that end as the extended pattern says.
_tf_files() {
    shopt -q extglob || { shopt -s extglob; trap 'shopt -u extglob; trap - RETURN' RETURN; }
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -d -- "$1"; compgen -f -X "!*$2" -- "$1")
}

_tf_words() {
    mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W "$2" -- "$1")
}

_tf() {
    local program=${COMP_WORDS[0]##*/} cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local verbs='show tables config lineage stats dump verify digest diff
        set drop slice replace append transplant cast repack unpack pack recover'
    COMPREPLY=()
    # readline takes --color=auto for three words
    if [[ $cur == = ]]; then
        cur=
    elif [[ $prev == = && $COMP_CWORD -gt 1 ]]; then
        prev=${COMP_WORDS[COMP_CWORD - 2]}
    fi

    case $prev in
    --color | --progress) _tf_words "$cur" 'auto always never' ;;
    --keys | --values) _tf_words "$cur" 'zero random copy' ;;
    --scale) _tf_words "$cur" 'keep count' ;;
    --at) _tf_words "$cur" 'top middle spread' ;;
    --method) _tf_words "$cur" 'tokens net2net hyperclone' ;;
    --weights) _tf_words "$cur" 'f32 bf16 int8' ;;
    --init | --compare) _tf_files "$cur" .tfck ;;
    -o | --output | --prompts | --metrics) _tf_files "$cur" ;;
    --threads | --max-memory | --max-time | --set | --qkv | --proj | --ffn | --layers | --seed | --add-layers | --width | --noise) ;;
    --window | --stride | --batch | --fail-above) ;;
    --usage | --by)
        _tf_files "$cur"
        ;;
    --keep-top | --level) ;;
    -p | --prompt | --tokens | --samples | --temperature | --top-k | --top-p | --min-p) ;;
    --repeat-penalty | --repeat-last | --stop) ;;
    *)
        if [[ $program == tf-generate && $prev == -n ]]; then
            return
        elif [[ $cur == -* ]]; then
            _tf_words "$cur" "$(_tf_options "$program")"
        elif [[ $program == tf-train ]]; then
            _tf_files "$cur" '.@(yaml|yml)'
        elif [[ $program == tf-eval && " ${COMP_WORDS[*]:1:COMP_CWORD-1} " == *.tfck\ * ]]; then
            _tf_files "$cur"
        elif [[ $program == tf-inspect && " replace append " == *" ${COMP_WORDS[1]} "* ]]; then
            _tf_files "$cur" '.@(tfck|npy)'
        else
            _tf_files "$cur" .tfck
            [[ $program != tf-inspect || $COMP_CWORD -gt 1 ]] || _tf_words "$cur" "$verbs"
        fi
        ;;
    esac
}

complete -F _tf tf-train tf-grow tf-eval tf-generate tf-inspect
