# Completion of organ for bash, made by 'organ completion bash'.

# What completes where: $options and $operands of a verb.
_organ_table() {
    options=() operands=()
    case $1 in
@@
    esac
}

# _organ_offer KIND CURRENT [PREFIX]: fills COMPREPLY; the prefix stands before each word.
_organ_offer() {
    local head=
    case $1 in
    @)
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$2")
        ((${#COMPREPLY[@]})) || compopt -o default 2>/dev/null ;;
    +*)
        [[ $2 == *,* ]] && head=${2%,*},
        compopt -o nospace 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -P "${3:-}$head" -W "$(tr '|' ' ' <<<"${1#+}")" -- "${2##*,}") ;;
    '!') mapfile -t COMPREPLY < <(compgen -W "$_organ_verbs" -- "$2") ;;
    '?' | '') ;;
    *) mapfile -t COMPREPLY < <(compgen -P "${3:-}" -W "$(tr '|' ' ' <<<"$1")" -- "$2") ;;
    esac
}

# What an option takes: the kind in $kind, of how many words in $many; fails if there is no such option or it takes nothing.
_organ_takes() {
    local entry
    for entry in "${options[@]}"; do
        [[ $entry == "$1="* ]] || continue
        kind=${entry#*=} many=1
        [[ $kind == ^* ]] && many=${kind:1:1} kind=${kind:2}
        return 0
    done
    return 1
}

_organ() {
    local words=() k kind many verb start=2 taken=0 last=0 options operands
    COMPREPLY=()
    # bash breaks words at '=' and ':'; here 2:4 and --name=value are words again.
    for ((k = 1; k <= COMP_CWORD; k++)); do
        local word=${COMP_WORDS[k]} before=${COMP_WORDS[k - 1]}
        if ((${#words[@]})) && { [[ $word == [:=]* ]] || [[ $before == *[:=] ]]; }; then
            words[${#words[@]} - 1]+=$word
        else
            words+=("$word")
        fi
    done
    last=$((${#words[@]} - 1)) verb=${words[0]}
    local whole=${words[last]}
    if ((last == 0)); then
        mapfile -t COMPREPLY < <(compgen -W "$_organ_verbs" -- "$whole")
        return
    fi
    if [[ -n ${_organ_families[$verb]:-} ]]; then
        if ((last == 1)); then
            mapfile -t COMPREPLY < <(compgen -W "${_organ_families[$verb]}" -- "$whole")
            return
        fi
        verb+=" ${words[1]}" start=3
    fi
    _organ_table "$verb"
    local ended=
    for ((k = start - 1; k < last; k++)); do
        if [[ -z $ended && ${words[k]} == -- ]]; then
            ended=1
        elif [[ -z $ended && ${words[k]} == -* ]]; then
            if _organ_takes "${words[k]}"; then
                for (( ; many > 0; many--)); do
                    ((++k == last)) && _organ_offer "$kind" "$whole" && _organ_trim "$whole" && return
                done
            fi
        else
            taken=$((taken + 1))
        fi
    done
    if [[ -z $ended && $whole == --*=* ]]; then
        # Where '=' breaks words, bash replaces what is behind it alone.
        local prefix=${whole%%=*}=
        [[ $COMP_WORDBREAKS == *=* ]] && prefix=
        _organ_takes "${whole%%=*}" && _organ_offer "$kind" "${whole#*=}" "$prefix" && _organ_trim "${whole#*=}"
    elif [[ -z $ended && $whole == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "${options[*]%%=*}" -- "$whole")
    else
        kind=${operands[taken]:-}
        ((taken >= ${#operands[@]} && ${#operands[@]})) && [[ ${operands[-1]} == *... ]] && kind=${operands[-1]}
        [[ $kind == '!' && $taken -gt 0 ]] && COMPREPLY=() && _organ_second && return
        _organ_offer "${kind%...}" "$whole"
    fi
}

# The second word of a verb behind help.
_organ_second() { mapfile -t COMPREPLY < <(compgen -W "${_organ_families[${words[last - 1]}]:-}" -- "$whole"); }

# Where ':' breaks words, bash replaces what is behind it alone.
_organ_trim() {
    local head=${1%"${1##*:}"}
    [[ $1 == *:* && $COMP_WORDBREAKS == *:* ]] && COMPREPLY=("${COMPREPLY[@]#"$head"}")
    return 0
}

complete -F _organ organ
