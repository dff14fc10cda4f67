#!/bin/sh
# SPDX-License-Identifier: MIT
# Converts the comments of a header for doxygen: a comment above a declaration becomes /** */, one behind a declaration /**< */, and the first
# one @file. It escapes characters in comments that doxygen reads as commands or tags, and marks `names` as code.
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
