"""The reference of all settings as Markdown, made from the settings class.

``python -m flight_server.ops.settings_doc > docs/settings.md`` renews the page.
"""

from __future__ import annotations

import json
import sys
import types
from enum import Enum
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from flight_server.ops.grants import GrantSettings
from flight_server.ops.identity import DEFAULT_TIERS, IssuerSettings, TierSettings
from flight_server.ops.sections import GIB, KIB, MIB, Section
from flight_server.ops.settings import OTHER_VARIABLES, Settings

_INTRODUCTION = """# Settings

*Made from the settings class by `python -m flight_server.ops.settings_doc`; do not edit.*

Settings come from one TOML file (`--config FILE`, or the variable `LAKEFLIGHT_CONFIG`), then from
the environment, then from flags; later wins. `lakeflight config` shows the effective ones and where
each came from.

- The setting `key` of `[section]` is the variable `LAKEFLIGHT_SECTION__KEY`. An empty variable
  counts as not set.
- A name that is not listed here is refused, in the file and in the environment.
- A size is a number of bytes, or text such as `"512 MiB"`. Times are seconds.
- Relative paths in the file start at the file's own folder; elsewhere at the current one.
- Lists, `storage.buckets`, `grants`, `issuers` and `tiers` are JSON in the environment; one bucket
  may also be set as `LAKEFLIGHT_STORAGE__BUCKETS__NAME`.
- Names of the server's forerunners work too, and ours win over them: {others}.
"""

_GRANTS = """
## grants

A list of grants that always hold; more come and go by `grant.add` and `grant.remove` while the
server runs, see [grants](grants.md). Without any, only administrators see anything. A part of a
resource that holds a dot is put in double quotes.

```toml
[[grants]]
privilege = "read"
resource = "primary.tpch"
role = "registered"
```
"""

_ISSUERS = """
## issuers

Tables by a name of your own; without one, only this server's own tokens are accepted.

```toml
[issuers.company]
issuer = "https://login.example.com"
audience = "lakeflight"
roles_claim = "groups"
roles = { analysts = "registered", engineers = "trader" }
```
"""

_TIERS = """
## tiers

Tables by the tier's name. What is not set stays as usual; a tier of another name has no limits but
those that are set.

```toml
[tiers.free]
requests_per_minute_max = 30
```

"""


def render() -> str:
    """Return the whole page."""
    others = ", ".join(f"`{name}` (`{key}`)" for name, key in OTHER_VARIABLES.items())
    parts = [_INTRODUCTION.format(others=others)]
    for name, field in Settings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            parts.append(f"\n## {name}\n\n{(kind.__doc__ or '').strip()}\n\n" + _table(kind))
    parts.append(_ISSUERS + "\n" + _table(IssuerSettings))
    parts.append(_TIERS + _table(TierSettings) + "\n" + _usual_tiers())
    parts.append(_GRANTS + "\n" + _table(GrantSettings))
    return "".join(parts)


def _usual_tiers() -> str:
    keys = list(TierSettings.model_fields)
    rows = ["| tier | " + " | ".join(f"`{key}`" for key in keys) + " |", "|---" * 5 + "|"]
    for name, tier in DEFAULT_TIERS.items():
        numbers = [str(getattr(tier, key) or "unlimited") for key in keys]
        rows.append(f"| `{name}` | " + " | ".join(numbers) + " |")
    return "\n".join(rows) + "\n"


def _table(section: type[Section]) -> str:
    rows = ["| key | default | bounds | meaning |", "|---|---|---|---|"]
    for key, field in section.model_fields.items():
        description = (field.description or "").replace("|", "\\|")
        rows.append(f"| `{key}` | {_default(key, field)} | {_bounds(key, field)} | {description} |")
    return "\n".join(rows) + "\n"


def _default(key: str, field: FieldInfo) -> str:
    extra = field.json_schema_extra
    if isinstance(extra, dict) and "default_text" in extra:
        return str(extra["default_text"])
    if field.is_required():
        return "required"
    value = field.default
    if value is None or value is PydanticUndefined or value == ():
        return "none"
    return f"`{_value(key, value)}`"


def _value(key: str, value: object) -> str:
    if isinstance(value, tuple):
        return json.dumps(value)
    if "bytes" in key and isinstance(value, int):
        for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
            if value >= unit and value % (unit // 2) == 0:
                return f"{value / unit:g} {name}"
    return str(value.value if isinstance(value, Enum) else value)


def _bounds(key: str, field: FieldInfo) -> str:
    for kind in (field.annotation, *_union(field.annotation)):
        if kind is SecretStr:
            return "secret"
        if isinstance(kind, type) and issubclass(kind, Enum):
            return " ".join(f"`{member.value}`" for member in kind)
    texts: list[str] = []
    for name, sign in (("gt", "> "), ("ge", ">= "), ("le", "<= ")):
        texts += [
            sign + _value(key, getattr(bound, name))
            for bound in field.metadata
            if getattr(bound, name, None) is not None
        ]
    return ", ".join(texts)


def _union(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if isinstance(kind, types.UnionType) else ()


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        (Path(__file__).parents[2] / "docs" / "settings.md").write_text(render(), encoding="utf-8")
    else:
        sys.stdout.write(render())
