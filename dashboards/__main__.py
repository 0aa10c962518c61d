"""Write the dashboards, or check that those in the checkout are what would be written."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from dashboards import kpis, search, service, slo, telemetry
from dashboards.frame import as_json

TARGET = Path(__file__).parents[1] / "collector" / "grafana" / "provisioning" / "dashboards"


def generated() -> dict[Path, str]:
    """Each dashboard's file and what belongs into it."""
    texts = [as_json(module.build()) for module in (service, search, slo, telemetry, kpis)]
    return {TARGET / f"{json.loads(text)['uid']}.json": text for text in texts}


def main() -> int:
    """Run the command; the status for the shell."""
    parser = argparse.ArgumentParser(prog="python -m dashboards", description="Generate the Grafana dashboards.")
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 if a file differs")
    files = generated()
    if parser.parse_args().check:
        differs = [path for path, text in files.items() if not path.is_file() or path.read_text("utf-8") != text]
        differs += [path for path in TARGET.glob("*.json") if path not in files]
        sys.stderr.writelines(f"{path}: run `make dashboards`\n" for path in differs)
        return 1 if differs else 0
    TARGET.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
