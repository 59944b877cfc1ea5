"""Type faults of the shared rooms may only become fewer: mypy's count against the one that stands in .ci/types.count.

python .ci/typed.py            fails if there are more, and if there are fewer until the new count is written
python .ci/typed.py --write    writes a lower count
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

COUNT = Path(__file__).with_name("types.count")


def main() -> int:
    result = subprocess.run([sys.executable, "-m", "mypy", "--no-pretty"], capture_output=True, text=True)
    summary = result.stdout.strip().rpartition("\n")[2]
    match = re.match(r"Found (\d+) errors? in", summary)
    if not match and not summary.startswith("Success"):
        print(result.stdout, result.stderr, sep="\n")
        return 2
    now, allowed = int(match[1]) if match else 0, int(COUNT.read_text())
    if now > allowed:
        print(result.stdout)
        print(f"types: {now} faults, {allowed} are allowed: mend what this change added")
        return 1
    if now < allowed and "--write" in sys.argv:
        COUNT.write_text(f"{now}\n")
    elif now < allowed:
        print(f"types: {now} faults, {allowed} were allowed: keep it so with `python .ci/typed.py --write`")
        return 1
    print(f"types: {now} faults left in the shared rooms, none new")
    return 0


if __name__ == "__main__":
    sys.exit(main())
