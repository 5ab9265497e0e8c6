"""A scan by YARA-X: `yara_x_scan.py RULES FILE`, as its command line does it.

YARA-X's own program is not in Debian; its Python module is the same library.
"""

import pathlib
import sys

import yara_x

rules = yara_x.compile(pathlib.Path(sys.argv[1]).read_text())
for rule in yara_x.Scanner(rules).scan_file(sys.argv[2]).matching_rules:
    for pattern in rule.patterns:
        for match in pattern.matches:
            print(rule.identifier, hex(match.offset))
