"""Train the networks of each line with several seeds, in a copy of this checkout, and write the README's tables.

Everything up to pack is made once a line, or taken from data/ where a run has made it; then `dvc repro` trains and
judges each seed. A killed command goes on where it stopped, and a seed that is in the result file is not trained again
while code and params are the same. Of this checkout nothing but the result files and the README is written.

On 2 quiet cores what comes before training takes about 5 minutes a line, and then each seed of brake_coast about 4,
of person_search and of ground_plane about 3: with three seeds some 45 minutes for all lines.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tasks.yard import params, splits
from tasks.yard.files import digest, file_hash, read_if_there, write_json
from tasks.yard.step import BadInput
from tests.figures import curve_fit, tables
from tests.figures.measured import LAST, LINES

CODE = (".py", ".yaml")  # what numbers hang on; the networks of detectors are .yaml files
RESULTS, SCRATCH, README = Path("docs/figures"), Path(".trainyard/figures"), Path("README.md")
CACHE = Path(".dvc/cache")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m tests.figures", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("line", nargs="*", help=f"{', '.join(LINES)}; all by default")
    made.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of <line>.train.engine.seed; 0 1 2")
    made.add_argument("--set", action="append", default=[], metavar="LINE.STEP.KEY=VALUE", help="in the copy's params")
    made.add_argument("--world", metavar="NAME", help="keep the results beside the others as of another world")
    made.add_argument("--results", type=Path, default=RESULTS, help="folder of <line>.json and <line>@<world>.json")
    made.add_argument("--scratch", type=Path, default=SCRATCH, help="where the copies lie; delete it at any time")
    made.add_argument("--readme", type=Path, default=README)
    made.add_argument("--write", action="store_true", help="train nothing: write the tables from what there is")
    return made


def cpu() -> str:
    """Its model, as the system names it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else 'an unknown CPU'}, {os.cpu_count()} cores"


def copied(line: str, root: Path) -> None:
    """The files of this checkout that git knows, as they are now, and what of the line's data has been made already."""
    fresh = not root.exists()
    root.mkdir(parents=True, exist_ok=True)
    for stale in ("tasks", "models"):
        shutil.rmtree(root / stale, ignore_errors=True)
    known = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], check=True, capture_output=True)
    for name in filter(None, known.stdout.decode().split("\0")):
        path = Path(name)
        if path.is_file() and path.parts[0] not in ("tests", "docs"):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, root / path)
    if fresh:
        subprocess.run(["git", "init", "-q"], cwd=root, check=True)
        for made in (Path("data", line), Path("data/code"), Path("data/sources"), Path("dvc.lock")):
            if made.is_dir():
                shutil.copytree(made, root / made, dirs_exist_ok=True)
            elif made.exists():
                shutil.copyfile(made, root / made)
        if CACHE.is_dir():  # what DVC does not find there it makes anew
            shutil.copytree(CACHE, root / CACHE, copy_function=linked, dirs_exist_ok=True)


def linked(source: str, target: str) -> None:
    """Files of the cache are called by their content, and are never written again."""
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)


def repro(line: str, root: Path) -> None:
    """The line up to what is read of it, at DVC's door. Raises `BadInput` if it fails."""
    here = Path(sys.executable).parent  # the stages' commands are `python ...`
    settings = {
        **os.environ,
        "PATH": f"{here}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db",
    }
    stage = f"{line}-{LAST[line]}"
    if subprocess.run([sys.executable, "-m", "dvc", "repro", stage], cwd=root, env=settings).returncode:
        raise BadInput(f"dvc repro {stage} failed in {root}; its error stands above")


def measure(line: str, chosen: argparse.Namespace, root: Path) -> None:
    """Trains the seeds that are not there yet; each is in the result file as soon as it is judged."""
    copied(line, root)
    params.set_values(chosen.set, root / "params.yaml")
    file = result_file(line, chosen)
    code = [
        file_hash(path) for part in ("tasks", "models") for path in sorted(Path(part).rglob("*")) if path.suffix in CODE
    ]
    asked = params.load(root / "params.yaml").model_dump(mode="json", include={line, "yard"})
    asked[line]["train"]["engine"].pop("seed")
    of = digest(code, asked)
    if read_if_there(file).get("of") != of:
        for stale in (root / "data" / line).glob(f"*/{splits.FILE}"):
            stale.unlink()  # the splits of a fresh checkout, and not those that earlier code or data have left behind
    for seed in chosen.seeds:
        known = read_if_there(file)
        seeds = known.get("seeds", {}) if known.get("of") == of else {}
        if str(seed) in seeds:
            print(f"{line}, seed {seed}: in {file}", flush=True)
            continue
        print(f"{line}, seed {seed}: {chosen.seeds.index(seed) + 1} of {len(chosen.seeds)}", flush=True)
        params.set_values([f"{line}.train.engine.seed={seed}"], root / "params.yaml")
        repro(line, root)
        seeds = {**seeds, str(seed): {**LINES[line](root / "data" / line), "cpu": cpu()}}
        write_json(file, {"of": of, "set": chosen.set, "seeds": dict(sorted(seeds.items(), key=lambda of: int(of[0])))})


def result_file(line: str, chosen: argparse.Namespace) -> Path:
    return chosen.results / (f"{line}@{chosen.world}.json" if chosen.world else f"{line}.json")


def blocks(results: Path, lines: list[str]) -> dict[str, str]:
    found = {}
    for line in lines:
        others = [(" ".join(of["set"]), of) for of in map(read_if_there, sorted(results.glob(f"{line}@*.json")))]
        if result := read_if_there(results / f"{line}.json"):
            found[line] = tables.block(line, result, others)
        if curve := read_if_there(results / f"{line}_curve.json"):  # of python -m tests.figures.curve
            found[f"{line}_curve"] = curve_fit.block(curve)
    return found


def main(arguments: list[str] | None = None) -> int:
    chosen = parser().parse_args(arguments)
    lines = chosen.line or list(LINES)
    try:
        if unknown := set(lines) - set(LINES):
            raise BadInput(f"no line {', '.join(sorted(unknown))}; there are: {', '.join(LINES)}")
        for line in lines:
            tables.parts(chosen.readme, line)  # before anything is trained
        for line in [] if chosen.write else lines:
            measure(line, chosen, chosen.scratch / (f"{line}@{chosen.world}" if chosen.world else line))
        found = blocks(chosen.results, lines)
        tables.write(chosen.readme, {name: of for name, of in found.items() if tables.wanted(chosen.readme, name)})
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; seeds that are judged are kept, run again to continue", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
