# Completion of organ for fish, made by 'organ completion fish'.

# Whether the words typed so far begin with this verb.
function __organ_is
    set -l typed (commandline -opc)
    set -l last (math (count $argv) + 1)
    test (count $typed) -ge $last; and test (string join -- ' ' $typed[2..$last]) = (string join -- ' ' $argv)
end

# Whether these are all the words typed so far.
function __organ_behind
    set -l typed (commandline -opc)
    test (count $typed) -gt 1; and test (string join -- ' ' $typed[2..-1]) = (string join -- ' ' $argv)
end

function __organ_verbs
@@
end

complete -c organ -f
complete -c organ -n 'test (count (commandline -opc)) -eq 1' -a '(__organ_verbs)'
