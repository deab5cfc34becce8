"""A reload of the daemon."""

from __future__ import annotations

import secrets
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path

from exporter.app import App
from exporter.config.accounts import Config
from exporter.config.load import load
from exporter.options import Options
from exporter.providers import PROVIDERS
from exporter.readings import Kept
from exporter.runtime.logs import LogWriter
from exporter.runtime.redaction import Redactor
from exporter.state.opening import open_state
from tests.conftest import FakeClock


def test_a_reload_changes_what_the_history_keeps_at_once(tmp_path: Path, clock: FakeClock) -> None:
    path, key = tmp_path / "config.yaml", secrets.token_hex(16)

    def written(history: str) -> Config:
        accounts = f"[{{name: a, provider: vidnavigator, api_key: {key}}}]"
        path.write_text(f"state: {{path: {tmp_path / 'state.db'}}}\nhistory: {history}\naccounts: {accounts}\n")
        return load(path, PROVIDERS, {})

    def reload(history: str) -> str:
        loaded: Future[Config] = Future()
        loaded.set_result(written(history))
        return app._finish_reload(loaded)

    config = written("{hourly: 3d, daily: 20d}")
    assert config.state is not None
    state = open_state(config.state, clock, exclusive=True)
    with closing(state.accounts):
        app = App(Options(path), {}, Redactor(), clock, config, state, LogWriter())
        app._apply(config)
        assert state.accounts.kept == Kept(3 * 86_400, 20 * 86_400)
        assert reload("{hourly: 0, daily: 31d}") == ""
        assert state.accounts.kept == Kept(0, 31 * 86_400)


def test_a_reload_keeps_one_copy_of_an_account_that_did_not_change(tmp_path: Path, clock: FakeClock) -> None:
    path, keys = tmp_path / "config.yaml", {name: secrets.token_hex(16) for name in "abc"}

    def written(**intervals: str) -> Future[Config]:
        lines = (
            f"- {{name: {name}, provider: vidnavigator, api_key: {keys[name]}, interval: {interval}}}\n"
            for name, interval in intervals.items()
        )
        path.write_text("".join(["accounts:\n", *lines]))
        loaded: Future[Config] = Future()
        loaded.set_result(load(path, PROVIDERS, {}))
        return loaded

    app = App(Options(path), {}, Redactor(), clock, written(a="5m", b="5m").result(), None, LogWriter())
    app._apply(app._config)
    kept, changed = app._config.accounts
    assert app._finish_reload(written(a="5m", c="5m", b="6m")) == ""
    assert app._config.accounts[0] is kept
    assert app._config.accounts[2] is not changed and app._config.accounts[2].interval == 360.0
