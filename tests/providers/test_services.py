"""More services can be written as declared providers."""

from __future__ import annotations

import secrets
from pathlib import Path

import yaml

from exporter.config.load import load
from exporter.config.providers import preset_names
from exporter.providers import PROVIDERS

SERVICES = Path(__file__).with_name("services.yaml").read_text()


def test_seventeen_more_services_are_read_by_configuration(tmp_path: Path) -> None:
    names = yaml.safe_load(SERVICES)["providers"]
    variables = {"account_id": "a", "team_id": "t"}
    accounts = [
        {
            "name": name,
            "provider": name,
            "api_key": secrets.token_hex(8),
            "variables": {variable: variables[variable] for variable in block.get("variables", ())},
        }
        for name, block in names.items()
    ]
    path = tmp_path / "config.yaml"
    path.write_text(SERVICES + yaml.safe_dump({"accounts": accounts}))
    loaded = load(path, PROVIDERS, {}, strict=True)
    assert loaded.warnings == ()
    assert len(loaded.accounts) == len(names) == 17
    assert not set(names) & set(preset_names())
    assert all(block["examples"] for block in names.values())
