"""`python -m benchmarks NAME [ARGUMENT ...]`: runs `main` of `benchmarks/NAME.py`; without a name it lists them."""

import sys
from importlib import import_module
from pathlib import Path


def main() -> None:
    names = sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py") if "\ndef main(" in path.read_text())
    match sys.argv[1:]:
        case [name, *arguments] if name in names:
            import_module(f"benchmarks.{name}").main(arguments)
        case _:
            sys.exit(f"usage: ./dev bench NAME [ARGUMENT ...], where NAME is one of: {', '.join(names)}")


main()
