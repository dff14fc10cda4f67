#compdef organ
# Completion of organ for zsh, made by 'organ completion zsh'. organ itself computes the candidates: organ complete WORD...

_organ() {
    local line
    local -a offers append
    for line in "${(@f)$("$words[1]" complete "${(@Q)words[2,CURRENT-1]}" "$PREFIX" 2>/dev/null)}"; do
        case $line in
        @*)
            [[ $line == @ ]] || compset -P "${(b)line#@}"
            _files
            return
            ;;
        +) append=(-S '') ;;
        ?*) offers+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}") ;;
        esac
    done
    ((${#offers})) && _describe organ offers "${append[@]}"
}

[[ $zsh_eval_context[-1] == loadautofunc ]] && _organ "$@" || compdef _organ organ
