"""`make release`: fills dist/ with what a release consists of. Whoever has it deploys with SAM and needs no Rust.

The same commit and the same tools (dist/BUILT-WITH.txt) make the same bytes, in whatever folder the clone lies.
"""

import hashlib
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import zipfile
import zlib
from datetime import datetime, timezone

import licences

ROOT = pathlib.Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
BUILD = ROOT / "target" / "dist"
NAME = "detection-outcome-handler"
# The template's values of Architecture, and what Rust calls them.
TARGETS = {"arm64": "aarch64-unknown-linux-gnu", "x86_64": "x86_64-unknown-linux-gnu"}


def main():
    architectures = os.environ.get("ARCHITECTURES", "arm64 x86_64").split()
    # Times inside the files are the commit's: https://reproducible-builds.org/docs/source-date-epoch/
    os.environ.setdefault("SOURCE_DATE_EPOCH", output("git", "log", "-1", "--format=%ct"))
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    run("cargo", "fetch", "--quiet", "--locked")
    for architecture in architectures:
        zip_binary(build(architecture), DIST / zip_name(architecture))
        (DIST / f"template-{architecture}.yaml").write_text(released_template(architecture))
        (DIST / f"sbom-{architecture}.cdx.json").write_text(bill_of_materials(architecture))
    run("cfn-lint", *sorted(str(path) for path in DIST.glob("template-*.yaml")))
    (DIST / "THIRD-PARTY-LICENSES.txt").write_text(licences.collected(ROOT, [TARGETS[one] for one in architectures]))
    shutil.copy(ROOT / "LICENSE", DIST)
    (DIST / "BUILT-WITH.txt").write_text(built_with())
    files = sorted(DIST.iterdir())
    sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)
    (DIST / "SHA256SUMS").write_text(sums)
    for path in sorted(DIST.iterdir()):
        print(f"{path.stat().st_size:>10,}  dist/{path.name}")


def build(architecture):
    """Builds the function with cargo-lambda, as `sam build` does, and returns the path of its binary."""
    target = TARGETS[architecture]
    if target not in output("rustup", "target", "list", "--installed").split():
        added = subprocess.run(["rustup", "target", "add", target], cwd=ROOT)
        if added.returncode != 0:
            sys.exit(f"rustup cannot install {target}. Without {architecture}: make release ARCHITECTURES=OTHER")
    # Panics name source files: by names that are the same on every machine.
    cargo_home = os.environ.get("CARGO_HOME", pathlib.Path.home() / ".cargo")
    prefixes = {str(cargo_home): "/cargo", str(ROOT): "/source"}
    if any(" " in prefix for prefix in prefixes):
        sys.exit(f"RUSTFLAGS takes no spaces in paths, so that no release can be built in {ROOT}")
    environment = dict(
        os.environ,
        CARGO_TARGET_DIR=str(BUILD),
        RUSTFLAGS=" ".join(f"--remap-path-prefix={path}={name}" for path, name in prefixes.items()),
        CFLAGS=" ".join(f"-ffile-prefix-map={path}={name}" for path, name in prefixes.items()),
    )
    command = ["cargo", "lambda", "build", "--release", "--locked", "--target", target]
    run(*command, "--flatten", NAME, "--lambda-dir", str(BUILD / architecture), env=environment)
    return BUILD / architecture / "bootstrap"


def zip_name(architecture):
    return f"bootstrap-{architecture}.zip"


def zip_binary(binary, to):
    """Zips a binary as Lambda wants it: executable, named bootstrap."""
    time = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "315532800")), timezone.utc)
    entry = zipfile.ZipInfo("bootstrap", time.timetuple()[:6])
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system = 3  # Unix, so that the mode counts
    entry.external_attr = 0o100755 << 16
    with zipfile.ZipFile(to, "w") as archive:
        archive.writestr(entry, binary.read_bytes(), compresslevel=9)


def released_template(architecture):
    """template.yaml with the built zip in place of the source. SAM uploads only what CodeUri names as a plain path, so
    each architecture has a template of its own."""
    template = (ROOT / "template.yaml").read_text()
    for old, new in [
        ("      BuildMethod: rust-cargolambda\n", ""),
        (f"      BuildProperties: {{ Binary: {NAME} }}\n", ""),
        ("      CodeUri: .\n", f"      CodeUri: {zip_name(architecture)}\n"),
        (
            "    AllowedValues: [x86_64, arm64]\n    Default: x86_64\n",
            f"    AllowedValues: [{architecture}]\n    Default: {architecture}\n",
        ),
        (
            "    Description: Processor of the function. arm64 costs less; sam build needs the same (--parameter-overrides Architecture=arm64).\n",
            f"    Description: Processor of the function. This template is for {architecture}.\n",
        ),
    ]:
        if template.count(old) != 1:
            sys.exit(f"template.yaml has {template.count(old)} times what a release replaces:\n{old}")
        template = template.replace(old, new)
    return template


def bill_of_materials(architecture):
    """What is compiled in, in CycloneDX."""
    options = ["--format", "json", "--spec-version", "1.5", "--no-build-deps", "--override-filename", "sbom"]
    run("cargo", "cyclonedx", "--quiet", *options, "--target", TARGETS[architecture])
    made = ROOT / "sbom.json"
    # It names the package by the clone's folder.
    text = made.read_text().replace(f"path+file://{ROOT}#", "path+file:///source#")
    # The workspace's other packages get one each.
    for path in [made, *ROOT.glob("bench/**/sbom.json")]:
        path.unlink()
    return text


def built_with():
    commit = output("git", "rev-parse", "HEAD") + (" and changes" if output("git", "status", "--porcelain") else "")
    zig = output(sys.executable, "-m", "ziglang", "version")
    lines = [
        f"commit {commit}",
        output("rustc", "--version"),
        output("cargo", "lambda", "--version"),
        f"zig {zig}",
        f"zlib {zlib.ZLIB_RUNTIME_VERSION} of Python {platform.python_version()}",
    ]
    return "".join(f"{line}\n" for line in lines)


def run(*command, **options):
    result = subprocess.run(command, cwd=ROOT, **options)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)} failed")


def output(*command):
    return subprocess.run(command, cwd=ROOT, check=True, text=True, capture_output=True).stdout.strip()


if __name__ == "__main__":
    main()
