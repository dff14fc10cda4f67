# Completion of organ for fish, made by 'organ completion fish'. organ itself computes the candidates: organ complete WORD...

function __organ_offers
    set -l before (commandline -opc)
    set -l word (commandline -ct)
    for line in ($before[1] complete $before[2..-1] "$word" 2>/dev/null)
        switch $line
            case '@*'
                set -l head (string sub -s 2 -- $line)
                set -l typed (string sub -s (math (string length -- "$head") + 1) -- "$word")
                for path in (__fish_complete_path "$typed")
                    echo $head$path
                end
            case '+'
            case '*'
                echo $line
        end
    end
end

complete -c organ -f -a '(__organ_offers)'
