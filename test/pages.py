#!/usr/bin/env python3
"""Every flag of every tool stands in its page, no page or script uses a flag that its tool does not have, and every link leads to something.

usage: pages.py BIN_DIR
"""
import glob
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BIN = sys.argv[1]
# The pages in which a tool's flags are explained. Several tools have m1-run's flags for prompts, sampling, devices and trust.
PAGES = {
    "m1-compile": ["m1-compile"],
    "m1-run": ["m1-run", "votes"],
    "m1-serve": ["serving", "m1-run"],
    "m1-eval": ["m1-eval", "m1-run", "votes"],
    "m1-bench": ["m1-bench", "m1-run", "serving"],
    "m1-convert": ["m1-convert"],
    "m1-dump": ["tools"],
    "m1-sign": ["tools"],
    "m1-tokenize": ["tools"],
    "m1-reference": ["tools"],
    "m1-reduce": ["tools"],
}
# Tools whose flags are mostly MLIR's and LLVM's: only what is used of them is held against --help.
OF_MLIR = ["m1-opt", "m1-lsp-server"]
EVERY_TOOL = {"--help", "--version"}
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")


def read(path):
    with open(os.path.join(ROOT, path)) as file:
        return file.read()


def flags_of(tool):
    shown = subprocess.run([os.path.join(BIN, tool), "--help"], capture_output=True, text=True, check=True).stdout
    options = [line for line in shown.splitlines() if re.match(r" *-", line)]
    return {flag for line in options for flag in FLAG.findall(line.split("   ")[0] if tool in PAGES else line)} | EVERY_TOOL


def commands(text):
    """The command lines that begin with a tool's name, in text and code, continued lines joined."""
    text = text.replace("\\\n", " ")
    for found in re.finditer(r"(?:^|[`|(\"/]|&& |-n \d+ |time )\s*(m1-[a-z-]+)\b([^\n`|;]*)", text, re.MULTILINE):
        yield found.group(1), found.group(2).split(" #")[0]


def anchors(text):
    """Of the headings of a page, as they are on the web: lower case, without punctuation, blanks as hyphens."""
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


def broken_links(path):
    text = read(path)
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)", text):
        file = os.path.normpath(os.path.join(os.path.dirname(path), target)) if target else path
        if not os.path.exists(os.path.join(ROOT, file)):
            yield f"{path}: links to {target}, which is not there"
        elif anchor and anchor not in anchors(read(file)):
            yield f"{path}: {target} has no heading #{anchor}"


def main():
    flags = {tool: flags_of(tool) for tool in list(PAGES) + OF_MLIR}
    wrong = []
    for tool, pages in PAGES.items():
        explained = set(FLAG.findall("\n".join(read(f"docs/{page}.md") for page in pages)))
        wrong += [f"{tool} {flag}: not in docs/{pages[0]}.md" for flag in sorted(flags[tool] - explained - EVERY_TOOL)]
    files = ["README.md", "CHANGELOG.md"] + [os.path.relpath(path, ROOT) for pattern in ("docs/**/*.md", "examples/**/*.md", "examples/*.sh")
                             for path in glob.glob(os.path.join(ROOT, pattern), recursive=True)]
    seen = 0
    for path in sorted(files):
        for tool, arguments in commands(read(path)):
            if tool not in flags:
                continue
            seen += 1
            wrong += [f"{path}: {tool} has no {flag}" for flag in FLAG.findall(arguments) if flag not in flags[tool]]
        wrong += broken_links(path) if path.endswith(".md") else []
    assert seen > 100, f"only {seen} command lines were found"
    print("\n".join(wrong))
    return bool(wrong)


sys.exit(main())
