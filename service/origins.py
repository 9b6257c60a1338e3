"""The settings in force, secrets masked, and where each comes from: for `config` and for the dashboard."""

import re
from typing import Any

from pydantic import SecretStr
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from service.settings import SecretFiles, Settings

MASK = "********"
PASSWORD_IN_URL = re.compile(r"(://[^:/@]*:).*@|(?<=password=)[^&]*")


def settings_in_force(settings: Settings) -> list[tuple[str, str, str]]:
    """Name, value and source of every setting."""
    origins = _origins()
    return [
        (name.upper(), _shown(getattr(settings, name)), origins.get(name) or _otherwise(name, settings))
        for name in Settings.model_fields
    ]


def _origins() -> dict[str, str]:
    """The strongest source of each setting that any source gives."""
    weakest_first = {
        "secret file": SecretFiles(Settings)(),
        ".env": DotEnvSettingsSource(Settings)(),
        "environment": EnvSettingsSource(Settings)(),
    }
    return {name: source for source, given in weakest_first.items() for name in given}


def _otherwise(name: str, settings: Settings) -> str:
    """Of a setting that no source gives: its default holds, or the starting command has set it."""
    return "default" if getattr(settings, name) == Settings.model_fields[name].default else "command line"


def _shown(value: Any) -> str:
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, tuple):
        return ",".join(f"{item:g}" if isinstance(item, float) else str(item) for item in value)
    return "" if value is None else PASSWORD_IN_URL.sub(_masked, str(value))


def _masked(found: re.Match[str]) -> str:
    return f"{found[1]}{MASK}@" if found[1] else MASK
