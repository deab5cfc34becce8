"""Connection strings. One whose password can be taken for something else is refused, and no word of it is shown."""

from __future__ import annotations

import pytest

from exporter.state.source import StateSource, url_problem


@pytest.mark.parametrize("variable", [True, False])
@pytest.mark.parametrize("special", ["a@tail", "a/tail", "1/tail", "a?tail", "a#tail", "1?tail", "a@tail/x", "/", "@"])
def test_a_password_with_a_special_character_is_refused_without_a_word_of_it(special: str, variable: bool) -> None:
    text = f"postgresql://exporter:{special}@db.example/exporter"
    source = StateSource("url_env", "URL", {"URL": text}) if variable else StateSource("url", text)
    with pytest.raises(ValueError, match="must be percent-encoded") as raised:
        source.url()
    assert not any(word in str(raised.value) for word in ("tail", "exporter", "db.example"))


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://exporter@db.example/exporter",
        "postgres://exporter:a%40b%2Fc!$&'()*+,;=-._~@db.example:5432/exporter?sslmode=require",
        "postgresql://a:b@one.example:5432,[2001:db8::1]:5433,two.example/exporter?target_session_attrs=read-write",
        "postgresql://[::1]/exporter",
        "postgresql:///exporter?host=/run/postgresql&user=a@b",
        "postgresql://db.example/exporter?password=a@b",
        "postgresql://",
        "host=db.example user=exporter password=a@b/c",
    ],
)
def test_every_other_form_is_a_connection_string(text: str) -> None:
    assert url_problem(text) is None


def test_a_port_that_is_no_number_is_refused() -> None:
    assert "percent-encoded" in (url_problem("postgresql://db.example:abc/exporter") or "")
