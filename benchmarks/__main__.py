"""`python -m benchmarks`: list the benchmarks; with names, run those at their small default sizes, or `all` of them."""

import ast
import runpy
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def benchmarks() -> dict[str, str]:
    """Name → what it measures, of every module here that can be run."""
    found = {}
    for path in sorted(FOLDER.glob("*.py")):
        source = path.read_text(encoding="utf-8")
        if not path.name.startswith("_") and "\ndef main(" in source:
            found[path.stem] = (ast.get_docstring(ast.parse(source)) or "").splitlines()[0]
    return found


def main() -> None:
    known, wanted = benchmarks(), sys.argv[1:]
    if not wanted:
        for name, purpose in known.items():
            print(f"{name:<18} {purpose}")
        print("\n`python -m benchmarks NAME …` or `all` runs them; `python -m benchmarks.NAME --help` says more.")
        return
    unknown = [name for name in wanted if name != "all" and name not in known]
    if unknown:
        sys.exit(f"There is no benchmark {', '.join(unknown)}. `python -m benchmarks` lists those that there are.")
    for name in known if wanted == ["all"] else wanted:
        print(f"\n== {name}: {known[name]}", flush=True)
        sys.argv = [f"benchmarks.{name}"]
        runpy.run_module(f"benchmarks.{name}", run_name="__main__")


if __name__ == "__main__":
    main()
