"""What is wrong with a configuration: all of it, each sentence once, in the order of the files."""

from __future__ import annotations

from collections.abc import Iterable

from exporter.config.document import Document, Location
from exporter.errors import ConfigError, Problem


class Report:
    """Gathers problems and warnings. With ``strict``, what would fail one account alone is a problem too."""

    def __init__(self, strict: bool) -> None:
        self._strict = strict
        self._files: dict[str, int] = {}
        self._problems: dict[Problem, None] = {}
        self._warnings: dict[Problem, None] = {}
        self._warned: set[str] = set()

    def read(self, document: Document) -> None:
        """Add a file with what is wrong in it by itself."""
        self._files.setdefault(document.file, len(self._files))
        self._problems.update(dict.fromkeys(document.problems))

    @property
    def is_strict(self) -> bool:
        """Return whether what would fail one account alone is a problem."""
        return self._strict

    @property
    def problems(self) -> int:
        """Return how many problems there are so far."""
        return len(self._problems)

    @property
    def remarks(self) -> int:
        """Return how many problems and warnings there are so far."""
        return len(self._problems) + len(self._warnings)

    def problem(self, location: Location, message: str) -> None:
        """Add a mistake that refuses the configuration."""
        self._problems[location.problem(message)] = None

    def warn(self, location: Location, message: str) -> None:
        """Add what should be changed but stops nothing."""
        self._warnings[location.problem(message)] = None

    def doubt(self, location: Location, message: str) -> None:
        """Add what may be right when it is used: a problem with ``strict``, else a warning."""
        (self.problem if self._strict else self.warn)(location, message)

    def is_first(self, subject: str) -> bool:
        """Tell whether nothing was said of a file or URL yet, because thousands of accounts may share it."""
        first = subject not in self._warned
        self._warned.add(subject)
        return first

    def refusal(self) -> ConfigError:
        """Return the exception that holds all problems."""
        return ConfigError(self._in_order(self._problems))

    def warnings(self) -> tuple[Problem, ...]:
        """Return all warnings."""
        return self._in_order(self._warnings)

    def _in_order(self, problems: Iterable[Problem]) -> tuple[Problem, ...]:
        return tuple(sorted(problems, key=lambda problem: (self._files[problem.file], problem.line or 0)))
