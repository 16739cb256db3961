#!/usr/bin/env python3
"""Prints the licences of all that is linked into the plugin besides its own code: of each crate that the build uses its
name, version and licence, and the texts that it brings; and of Rust's standard library. Each text is printed once.
A crate without a text is an error. The environment says what cargo and rustc are: CARGO, RUSTC."""

import html
import json
import os
import pathlib
import re
import subprocess
import sys

NAMES = re.compile(r"(licen[cs]e|copying|copyright|notice|unlicense)", re.IGNORECASE)


def output(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def linked_crates(target):
    """What ends up in the library: no build scripts, macros, or tests, nor what only those need."""
    metadata = json.loads(
        output(os.environ.get("CARGO", "cargo"), "metadata", "--format-version=1", "--locked", f"--filter-platform={target}")
    )
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    found, waiting = set(), [root]
    while waiting:
        crate = waiting.pop()
        is_macro = any("proc-macro" in kind["kind"] for kind in packages[crate]["targets"])
        if crate in found or is_macro:
            continue
        found.add(crate)
        for dependency in nodes[crate]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                waiting.append(dependency["pkg"])
    found.remove(root)
    return sorted((packages[crate] for crate in found), key=lambda crate: (crate["name"], crate["version"]))


def texts_of(crate):
    folder = pathlib.Path(crate["manifest_path"]).parent
    files = sorted(file for file in folder.iterdir() if file.is_file() and NAMES.match(file.name))
    if not files:
        sys.exit(f"{crate['name']} {crate['version']} brings no text of its licence")
    return [file.read_text(encoding="utf-8") for file in files]


def standard_library():
    rustc = os.environ.get("RUSTC", "rustc")
    folder = pathlib.Path(output(rustc, "--print", "sysroot").strip(), "share/doc/rust")
    page = folder / "COPYRIGHT-library.html"
    if not page.exists():
        sys.exit("this Rust brings no COPYRIGHT-library.html: build with one that does, of rustup")
    body = re.sub(r"<(style|head)\b.*?</\1>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    text = html.unescape(re.sub(r"<[^>]+>", "", body))
    return re.sub(r"\n\s*\n+", "\n\n", text)


def main():
    target = re.search(r"^host: (.*)$", output(os.environ.get("RUSTC", "rustc"), "-vV"), re.MULTILINE)[1]
    crates = linked_crates(target)
    print("libgstrtmp2server.so has these linked in. They are unchanged, and their source is on crates.io.\n")
    owners = {}
    for crate in crates:
        print(f"{crate['name']} {crate['version']}: {crate['license']}")
        for text in texts_of(crate):
            words = " ".join(text.split())
            owners.setdefault(words, (text, []))[1].append(crate["name"])
    for text, names in owners.values():
        print(f"\n{'=' * 79}\n{', '.join(dict.fromkeys(names))}\n{'=' * 79}\n\n{text.strip()}")
    print(f"\n{'=' * 79}\nRust's standard library\n{'=' * 79}\n\n{standard_library().strip()}")


main()
