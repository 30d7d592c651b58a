#!/usr/bin/env python3
"""Runs clang-tidy, with the checks of .clang-tidy, over the sources that are built below the given
directories. Prints what it finds; any finding is a failure. Exit code 77: there is no clang-tidy.

The sources of a target are checked as one file that includes them all: most of the time goes into
headers, which are so read once, before the sources' using-directives. Where names of several
sources clash, halves of them are checked apart. Two checks look into the main file alone: they are
run over each source that has something for them.

Usage: test/clang-tidy.py BUILD_DIR DIRECTORY..."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import typing

MAIN_FILE_CHECKS = "misc-unused-alias-decls,misc-unused-using-decls"
MAIN_FILE_TEXT = re.compile(r"^\s*(using\s+[\w:]+::\w+|namespace\s+\w+\s*=)", re.MULTILINE)
COMPILE_ERROR = "[clang-diagnostic-error"
# What a source begins with: comments, empty lines and headers.
HEAD = re.compile(r"(?:[ \t]*(?://.*|#include .*)?\n)*")
HEADER = re.compile(r'^#include (?:"(.+)"|<.+>)$', re.MULTILINE)

root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Target(typing.NamedTuple):
    """What is compiled with the same arguments, those of input and output left out."""
    name: str
    directory: str
    command: str


def read_targets(build, directories):
    """The targets with their sources."""
    targets = {}
    with open(os.path.join(build, "compile_commands.json")) as file:
        entries = json.load(file)
    for entry in sorted(entries, key=lambda e: e["file"]):
        source = os.path.relpath(entry["file"], root)
        if not source.startswith(tuple(d.rstrip("/") + "/" for d in directories)):
            continue
        command, output = re.fullmatch(r"(.*) -o (\S+) -c \S+", entry["command"]).groups()
        # With the smaller of the compiler's precompiled headers: clang-tidy reads all of one.
        command = command.replace("m1_lowering_headers.dir", "m1_mlir_headers.dir")
        target = Target(output.split(".dir/")[0], entry["directory"], command)
        targets.setdefault(target, []).append(entry["file"])
    return targets


def headers_of(source):
    """The lines that include the headers at the beginning of a source, for a file elsewhere."""
    with open(source) as file:
        head = HEAD.match(file.read()).group()
    for line in HEADER.finditer(head):
        own = os.path.join(os.path.dirname(source), line[1] or "")
        yield f'#include "{own}"' if os.path.isfile(own) else line[0]


class Tidy:
    def __init__(self, build, scratch):
        self.scratch = scratch
        generated = f"^{re.escape(build)}/|_generated\\.h$|\\.inc$"
        self.program = ["clang-tidy-22", "-p", scratch, "--quiet",
                        "--config-file", os.path.join(root, ".clang-tidy"),
                        f"--header-filter=^{re.escape(root)}/",
                        f"--exclude-header-filter={generated}"]

    def run(self, target, source, *options):
        """What clang-tidy says of a source and the project's headers; empty: it finds nothing."""
        entry = {"directory": target.directory, "command": f"{target.command} -c {source}",
                 "file": source}
        with open(os.path.join(self.scratch, "compile_commands.json"), "w") as file:
            json.dump([entry], file)
        result = subprocess.run([*self.program, *options, source], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)
        failed = f"{source}: clang-tidy failed: {result.stderr}" if result.returncode != 0 else ""
        return result.stdout or failed

    def check(self, target, sources):
        if len(sources) == 1:
            return self.run(target, sources[0])
        joined = os.path.join(self.scratch, "joined.cpp")
        with open(joined, "w") as file:
            headers = dict.fromkeys(line for source in sources for line in headers_of(source))
            file.writelines(f"{line}\n" for line in headers)
            file.writelines(f'#include "{source}"\n#undef DEBUG_TYPE\n' for source in sources)
        found = self.run(target, joined, "--extra-arg=-ferror-limit=1")
        if COMPILE_ERROR in found:
            clash = re.findall(r"^/.*: error: .*", found, re.MULTILINE)[:1]
            print(f"{len(sources)} sources are not checked as one file:", *clash, flush=True)
            half = len(sources) // 2
            return self.check(target, sources[:half]) + self.check(target, sources[half:])
        for source in sources:
            with open(source) as file:
                if MAIN_FILE_TEXT.search(file.read()):
                    found += self.run(target, source, f"--checks=-*,{MAIN_FILE_CHECKS}")
        return found


def main():
    if not shutil.which("clang-tidy-22"):
        print("clang-tidy-22 is not installed")
        return 77
    build = os.path.abspath(sys.argv[1])
    targets = read_targets(build, sys.argv[2:])
    if not targets:
        sys.exit(f"{build} builds nothing below {' '.join(sys.argv[2:])}")
    status = 0
    with tempfile.TemporaryDirectory() as scratch:
        tidy = Tidy(build, scratch)
        for target, sources in targets.items():
            found = tidy.check(target, sources)
            print(found, end="", flush=True)
            status = 1 if found else status
    return status


if __name__ == "__main__":
    sys.exit(main())
