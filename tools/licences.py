"""The licences of what is compiled into the function, as text for a release."""

import json
import pathlib
import subprocess

# Names of files that hold a licence or what it demands to be passed on.
FILES = ("LICENSE", "LICENCE", "COPYING", "NOTICE")
# What stands for the text in a crate that carries none. Apache-2.0 is this project's own licence, in LICENSE.
TEXTS = {
    "Apache-2.0": "The text is in the file LICENSE of this release.",
    "MIT": """Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.""",
}


def collected(root, targets):
    """Each text once, with the crates that it is for."""
    crates = {}
    for target in targets:
        crates |= compiled(root, target)
    by_text = {}
    for crate in crates.values():
        for text in texts(crate):
            by_text.setdefault(text, []).append(f"{crate['name']} {crate['version']} ({crate['license']})")
    parts = ["The function's binary contains the libraries below, under these licences.\n"]
    for text, names in sorted(by_text.items(), key=lambda entry: sorted(entry[1])):
        parts.append("\n".join(["=" * 80, *sorted(names), "-" * 80, text, ""]))
    return "\n".join(parts)


def compiled(root, target):
    """The crates that end up in the binary for a target, by id: no build scripts, no tests."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", target]
    metadata = json.loads(subprocess.run(command, cwd=root, check=True, capture_output=True).stdout)
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    found, ahead = set(), [metadata["resolve"]["root"]]
    while ahead:
        for dependency in nodes[ahead.pop()]["deps"]:
            is_compiled_in = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            if is_compiled_in and dependency["pkg"] not in found:
                found.add(dependency["pkg"])
                ahead.append(dependency["pkg"])
    return {package["id"]: package for package in metadata["packages"] if package["id"] in found}


def texts(crate):
    """The texts that a crate carries, or the one that stands for its licence."""
    folder = pathlib.Path(crate["manifest_path"]).parent
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name.upper().startswith(FILES))
    if files:
        return ["\n".join(line.rstrip() for line in path.read_text(errors="replace").strip().splitlines()) for path in files]
    for name, text in TEXTS.items():
        if name in crate["license"].split(" OR "):
            authors = ", ".join(crate["authors"]) or f"the authors of {crate['name']}"
            return [f"{name}. Copyright {authors}.\n\n{text}"]
    raise SystemExit(f"{crate['name']} carries no text of its licence ({crate['license']}): add one to tools/licences.py")


if __name__ == "__main__":
    print(collected(pathlib.Path(__file__).resolve().parent.parent, ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"]))
