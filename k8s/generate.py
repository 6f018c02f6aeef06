"""Write what is made from the chart and the settings: schema, table of values, goldens, plain manifests.

``python -m k8s.generate`` writes, ``--check`` only says what would change, and fails.
"""

import json
import sys
from pathlib import Path

from k8s import helm, schema

ROOT = Path(__file__).parent.parent
CHART = ROOT / "helm" / "martwright"
SETS = sorted(CHART.glob("ci/*-values.yaml"))
GOLDEN = ROOT / "tests" / "golden" / "chart"
PLAIN = ROOT / "k8s" / "martwright.yaml"
DEV = ROOT / "k8s" / "dev" / "martwright.yaml"

_BEGIN, _END = "<!-- begin: values, written by `make charts` -->\n", "<!-- end: values -->\n"
_HEAD = """\
# Martwright without Helm. Written by `make charts` from helm/martwright and k8s/values.yaml: do not keep changes here.
# Save a copy, put yours in place of what is in capitals (image, source, target), make the Secret, and apply it:
#
#   kubectl create namespace martwright
#   marts secrets export-k8s --namespace martwright | kubectl apply -f -
#   kubectl apply -f martwright.yaml
#
# KubeRay's operator must be there already: it runs the builds.
"""


_DEV_HEAD = """\
# Martwright for the development stack. Written by `make charts` from helm/martwright and k8s/dev/values.yaml.
"""


def written() -> dict[Path, str]:
    """Return the text of each file that is made. Raises ValueError if the chart does not render."""
    values = schema.build(CHART / "values.yaml")
    schema_file, readme = CHART / "values.schema.json", CHART / "README.md"
    made = {schema_file: json.dumps(values, indent=2, ensure_ascii=False) + "\n", readme: _readme(readme, values)}
    for given in SETS:
        made[golden(given)] = helm.render(CHART, [given])
    made[PLAIN] = _HEAD + _plain(PLAIN.parent, "martwright")
    made[DEV] = _DEV_HEAD + _plain(DEV.parent, "marts-dev")
    return made


def _plain(folder: Path, namespace: str) -> str:
    """Return manifests for kubectl: without what only Helm runs, and without its name."""
    text = helm.render(CHART, [folder / "values.yaml"], "--skip-tests", namespace=namespace)
    return text.replace("managed-by: Helm", "managed-by: kubectl")


def golden(values: Path) -> Path:
    """Return the file that holds what a set of values renders to."""
    return GOLDEN / f"{values.name.removesuffix('-values.yaml')}.yaml"


def drifted() -> list[str]:
    """List the files that are not as they would be written, and goldens of sets that are gone."""
    made = written()
    changed = [path for path, text in made.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    orphans = set(GOLDEN.glob("*")) - set(made)
    return sorted(str(path.relative_to(ROOT)) for path in {*changed, *orphans})


def table(values: schema.Schema) -> str:
    """Return the table of values: a row for each, `jobs[].name` for those of a list."""
    rows = ["| value | default | what it says |", "|---|---|---|"]
    return "\n".join([*rows, *_rows("", values)]) + "\n"


def _rows(path: str, values: schema.Schema) -> list[str]:
    rows = []
    for key, about in values["properties"].items():
        where = f"{path}.{key}".lstrip(".")
        inner = about if where not in _WHOLE and about.get("properties") else None
        if inner:
            rows += _rows(where, inner)
        elif where != "global":
            shown = "see values.yaml" if where == "jobs" else _default(about, key in values.get("required", ()))
            rows.append(f"| `{where}` | {shown} | {about['description'].replace('|', chr(92) + '|')} |")
        if where == "jobs":
            rows += _rows("jobs[]", about["items"])
    return rows


_WHOLE = {"settings", "policy"} | {
    path for path in schema.SHAPES if path.endswith(("resources", "Selector", "placement", "ecurityContext"))
}
_WHOLE |= {"jobs[].resources"}
"""Values that are one row although they have parts: elsewhere described, or Kubernetes' own."""


def _default(about: schema.Schema, needed: bool) -> str:
    if "default" not in about:
        return "needed" if needed else ""
    return f"`{json.dumps(about['default'], ensure_ascii=False)}`"


def _readme(path: Path, values: schema.Schema) -> str:
    before, _, rest = path.read_text(encoding="utf-8").partition(_BEGIN)
    return before + _BEGIN + table(values) + _END + rest.partition(_END)[2]


def main() -> int:
    """Write, or check."""
    if sys.argv[1:] == ["--check"]:
        changed = drifted()
        for name in changed:
            print(f"{name} is not up to date: run `make charts`", file=sys.stderr)
        return 1 if changed else 0
    # The schema first: Helm renders by it.
    (CHART / "values.schema.json").write_text(
        json.dumps(schema.build(CHART / "values.yaml"), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    made = written()
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for path in set(GOLDEN.glob("*")) - set(made):
        path.unlink()
    for path, text in made.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
