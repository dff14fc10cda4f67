#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes calib.txt and held.txt: alternate pages of the Debian handbook, in English or another of its languages.

HANDBOOK is the unpacked package debian-handbook. Pages are sorted by path, index pages are left out; the 1st, 3rd, 5th ...
page goes to calib.txt, the others to held.txt. bench/published.sh calls the script and checks the digests.

    python3 bench/published_text.py HANDBOOK DIR [LANGUAGE]"""
import html
import pathlib
import re
import sys


def text_of(page):
    text = re.sub(r"(?s)<(script|style|head).*?</\1>", "", page.read_text(encoding="utf8"))
    text = re.sub(r"<(p|div|li|h\d|br|pre|dt|dd)[^>]*>", "\n", text)
    text = html.unescape(re.sub(r"<[^>]+>", "", text))
    return re.sub(r"\n\s*\n+", "\n\n", re.sub(r"[ \t]+", " ", text))


def main(handbook, target, language="en-US"):
    names = sorted(str(page) for page in pathlib.Path(handbook).glob(f"**/{language}/*.html"))
    pages = [text_of(pathlib.Path(name)) for name in names if "index" not in name]
    for name, part in ("calib.txt", pages[0::2]), ("held.txt", pages[1::2]):
        (pathlib.Path(target) / name).write_text("".join(part), encoding="utf8")
        print(name, sum(map(len, part)), "characters")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(*sys.argv[1:])
