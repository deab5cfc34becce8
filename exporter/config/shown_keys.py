"""Finds keys that stand where other text belongs, such as in the name of an account, which everyone can read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress

from exporter.config import yaml
from exporter.config.account_files import account_files
from exporter.config.account_rules import key_source
from exporter.config.credentials import KEY_FIELDS
from exporter.config.document import Location, Map, Path, Seq
from exporter.config.report import Report
from exporter.errors import CredentialError
from exporter.state.source import URL_FIELDS

_SENT = frozenset({*KEY_FIELDS, *URL_FIELDS, "base_url", "variables", "headers", "query", "json"})
"""Fields that may hold a key, because they are sent to a vendor or to the database and are not shown."""
_OF_THE_AUTHOR = (("labels",), ("providers",))
"""Mappings whose names the author chooses. A label may be called ``query``."""
_SHORTEST_CHARACTERS = 8
"""Shorter keys are words of examples. They could be a part of any name."""


def shown_keys(root: Location, keys: Collection[str]) -> Iterator[Location]:
    """Yield where a text of a file holds one of the keys, names in mappings included."""
    known = {key for key in keys if len(key) >= _SHORTEST_CHARACTERS}
    lengths = {len(key) for key in known}
    shortest = min(lengths, default=0)
    if not known:
        return
    for path, text in _texts(root.document.value, ()):
        if len(text) >= shortest and any(
            text[at : at + length] in known for length in lengths for at in range(len(text) - length + 1)
        ):
            yield root.at(*path)


def keys_in(file: str, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield every key of a configuration that can be read, whatever else is wrong in it."""
    report = Report(strict=False)
    main = yaml.read(file, environ)
    report.read(main)
    if not isinstance(main.value, Map):
        return
    patterns = main.value.get("account_files")
    files = [text for text in patterns if isinstance(text, str)] if isinstance(patterns, Seq) else []
    lists = [(Location(main), main.value.get("accounts"))]
    for each in account_files(files, Location(main), report):
        document = yaml.read(each, environ)
        lists.append((Location(document), document.value))
    for location, accounts in lists:
        for account in accounts if isinstance(accounts, Seq) else ():
            if isinstance(account, Map):
                yield from _keys_of(location, account, environ)


def _keys_of(location: Location, account: Map, environ: Mapping[str, str]) -> Iterator[str]:
    for field in KEY_FIELDS:
        text = account.get(field)
        if not isinstance(text, str):
            continue
        if field == "api_key":
            yield text  # also one that could not be sent
        else:
            with suppress(CredentialError):
                yield key_source(location, field, text, environ).read()


def _texts(value: object, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Map):
        for name, inner in value.items():
            if name not in _SENT or path[-1:] in _OF_THE_AUTHOR:
                yield (*path, name), name
                yield from _texts(inner, (*path, name))
    elif isinstance(value, Seq):
        for index, inner in enumerate(value):
            yield from _texts(inner, (*path, index))
