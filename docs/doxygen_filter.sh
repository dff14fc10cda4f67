#!/bin/sh
# SPDX-License-Identifier: MIT
# Comments of a header as doxygen wants them: what stands above a declaration becomes /** */, what stands behind one /**< */, the first one
# tells of the file. In comments, characters that doxygen takes for commands or tags are escaped, and `names` become code.
case $1 in *.dox) exec cat "$1" ;; esac
exec awk '
    function escaped(text) {
        gsub(/\\/, "\\\\\\\\", text)
        gsub(/[@<>#%&]/, "\\\\&", text)
        while (match(text, /`[^`]+`/))
            text = substr(text, 1, RSTART - 1) "<tt>" substr(text, RSTART + 1, RLENGTH - 2) "</tt>" substr(text, RSTART + RLENGTH)
        return text
    }
    FNR == 1 && /^\/\* SPDX-License-Identifier: MIT/ {
        print "/** @file"
        if (/\*\/$/) print " */"
        else inside = 1
        next
    }
    {
        line = ""; rest = $0
        while (rest != "") {
            if (inside) {
                end = index(rest, "*/")
                line = line escaped(end ? substr(rest, 1, end - 1) : rest) (end ? "*/" : "")
                rest = end ? substr(rest, end + 2) : ""
                inside = !end
            } else {
                start = index(rest, "/*")
                if (!start) { line = line rest; break }
                before = substr(rest, 1, start - 1)
                line = line before
                rest = substr(rest, start + 2)
                if (rest ~ /^ ----/) line = line "/*"
                else line = line (line ~ /[^ ]/ ? "/**<" : "/**")
                inside = 1
            }
        }
        print line
    }' "$1"
