# SPDX-License-Identifier: MIT
"""`python -m organ ARGUMENTS` replaces the interpreter by the program, with the same arguments and exit code."""

import os
import sys

from organ import program


def main():
    os.execv(program(), ["organ", *sys.argv[1:]])


if __name__ == "__main__":
    main()
