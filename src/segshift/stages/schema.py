"""`segshift schema FOLDER`: a JSON schema of each config file, for editors that complete and check YAML."""

import json
from pathlib import Path

from pydantic import TypeAdapter

from segshift.entries import FILES, Config


def run(folder: Path) -> None:
    """Write ``<file>.schema.json`` for every config file.

    Args:
        folder: where to; made if need be. In VS Code: ``"yaml.schemas": {"<folder>/heads.schema.json":
            "config/heads.yaml", …}``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        schema = TypeAdapter(Config.model_fields[name].annotation).json_schema()
        part = folder / f"{name}.schema.json.part"
        part.write_text(json.dumps(schema, indent=1) + "\n")
        part.replace(part.with_suffix(""))
    print(f"{len(FILES)} schemas in {folder}")
