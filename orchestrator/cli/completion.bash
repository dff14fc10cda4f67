# Completion of organ for bash, made by 'organ completion bash'. organ itself computes the candidates: organ complete WORD...

_organ() {
    local words=() line word head k before candidates=()
    COMPREPLY=()
    # bash breaks words at '=' and ':'; here 2:4 and --name=value are words again.
    for ((k = 1; k <= COMP_CWORD; k++)); do
        word=${COMP_WORDS[k]} before=${COMP_WORDS[k - 1]}
        if ((${#words[@]})) && { [[ $word == [:=]* ]] || [[ $before == *[:=] ]]; }; then
            words[${#words[@]} - 1]+=$word
        else
            words+=("$word")
        fi
    done
    word=${words[${#words[@]} - 1]}
    mapfile -t candidates < <("$1" complete "${words[@]}" 2>/dev/null)
    for line in "${candidates[@]}"; do
        case $line in
        @*)
            head=${line#@}
            compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -P "$head" -f -- "${word#"$head"}")
            ((${#COMPREPLY[@]})) || compopt -o default 2>/dev/null
            ;;
        +) compopt -o nospace 2>/dev/null ;;
        *) COMPREPLY+=("${line%%$'\t'*}") ;;
        esac
    done
    # Where '=' or ':' breaks words, bash replaces only what comes after it.
    head=
    for ((k = 0; k < ${#word}; k++)); do
        [[ ${word:k:1} == [:=] && $COMP_WORDBREAKS == *"${word:k:1}"* ]] && head=${word:0:k+1}
    done
    COMPREPLY=("${COMPREPLY[@]#"$head"}")
}

complete -F _organ organ
