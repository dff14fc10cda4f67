#compdef organ
# Completion of organ for zsh, made by 'organ completion zsh'.

_organ_verbs() {
    local -a verbs=(
@@
    )
    _describe verb verbs
}

_organ_second() {
    local -a verbs
    case $1 in
@@
    *) return 1 ;;
    esac
    ((CURRENT > $2)) || _describe verb verbs
}

_organ() {
    local verb=$words[2]
    if ((CURRENT == 2)); then
        _organ_verbs
        return
    fi
    if _organ_second "$verb" 3; then
        ((CURRENT == 3)) && return
        verb+=" $words[3]"
        shift words
        ((CURRENT--))
    elif [[ $verb == (help|manual) ]] && ((CURRENT == 4)) && _organ_second "$words[3]" 4; then
        return
    fi
    shift words
    ((CURRENT--))
    case $verb in
@@
    esac
}

[[ $zsh_eval_context[-1] == loadautofunc ]] && _organ "$@" || compdef _organ organ
