"""The result of valid configurations."""

from __future__ import annotations

import dataclasses
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
import trustme

from exporter.config.accounts import Account, Config
from exporter.config.load import load
from exporter.config.thresholds import CREDITS_WITHOUT_LIMIT, DEFAULTS, Level, Threshold
from exporter.errors import ConfigError
from exporter.providers import PROVIDERS
from exporter.state.source import StateSource

KEY = secrets.token_hex(16)
ENVIRON = {"KEY": KEY, "TEAM": "media", "NUMBER": "7", "EMPTY": ""}

MINIMAL = """
accounts:
  - name: media
    provider: vidnavigator
    api_key_env: KEY
"""

NO_FILES: Mapping[str, str] = MappingProxyType({})

Load = Callable[..., Config]


@pytest.fixture
def loaded(tmp_path: Path) -> Load:
    """Write files below a directory and load config.yaml among them."""

    def write_and_load(text: str, strict: bool = False, files: Mapping[str, str] = NO_FILES) -> Config:
        for name, content in {"config.yaml": text, **files}.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(content, encoding="utf-8")
        return load(tmp_path / "config.yaml", PROVIDERS, ENVIRON, strict=strict)

    return write_and_load


def only(config: Config) -> Account:
    (account,) = config.accounts
    return account


def test_what_is_left_out_has_the_documented_default(loaded: Load) -> None:
    config = loaded(MINIMAL)
    account = only(config)
    assert (config.concurrency, config.state, config.label_names, config.warnings) == (16, None, (), ())
    assert (account.provider, account.name) == ("vidnavigator", "media")
    assert account.base_url == PROVIDERS["vidnavigator"].base_url
    assert account.ca_file is None
    assert (account.max_requests_per_minute, account.max_operations) == (50, 100)
    assert (account.collect, dict(account.credit_rates), dict(account.labels)) == (("usage",), {}, {})
    assert (account.interval, account.timeout, account.stale_after) == (300, 10, 900)
    assert account.thresholds == DEFAULTS
    assert account.key.read() == KEY


def test_the_digest_of_a_configuration_changes_with_accounts_and_providers_and_not_with_their_keys(
    loaded: Load,
) -> None:
    provider = "providers: {other: {base_url: 'https://a.example', auth: {header: Key}, usage: {path: /%s}}}\n"
    plain = loaded(MINIMAL).digest
    assert plain == loaded("# a comment\n" + MINIMAL.replace("api_key_env: KEY", "api_key_env: OTHER")).digest
    others = [MINIMAL + "    interval: 7m\n", provider % "usage" + MINIMAL, provider % "credits" + MINIMAL]
    assert len({plain, *(loaded(text).digest for text in others)}) == 4


def test_every_key_reaches_the_result(loaded: Load, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    config = loaded(
        """
        poll: {interval: 4m, timeout: 1m, concurrency: 3, stale_after: 1h}
        thresholds: {credits: {critical: 10%}, storage: {warning: 0.5}}
        state: {path: state.db}
        accounts:
          - name: media
            provider: vidnavigator
            api_key: "$${KEY}"
            base_url: https://API.example.com:443/v1/
            ca_file: ca.pem
            max_requests_per_minute: 20
            collect: [usage, usage]
            credit_rates: {standard_request: 2.5}
            max_operations: 7
            thresholds: {credits: {warning: 33.3%}, channels: {critical: 0.9}}
            labels: {team: a, env: prod}
          - name: media
            provider: videodb
            api_key_env: KEY
            collect: [usage, invoices]
            interval: 30s
            timeout: 5s
            stale_after: 1m30s
            labels: {zone: b}
        """
    )
    first, second = config.accounts
    assert (config.concurrency, config.state) == (3, StateSource("path", str(tmp_path / "state.db")))
    assert config.label_names == ("env", "team", "zone")
    assert first.key.read() == "${KEY}"
    assert first.base_url == "https://api.example.com/v1"
    assert first.ca_file == tmp_path / "ca.pem"
    assert (first.max_requests_per_minute, first.max_operations) == (20, 7)
    assert (first.collect, dict(first.credit_rates)) == (("usage",), {"standard_request": 2.5})
    assert (first.interval, first.timeout, first.stale_after) == (240, 60, 3600)
    assert first.thresholds.credits.warning == Level(0.333, share=True)
    assert first.thresholds.credits.critical == Level(0.1, share=True)
    assert first.thresholds.storage is not None and first.thresholds.channels is not None
    assert (first.thresholds.storage.warning.value, first.thresholds.storage.critical.value) == (0.5, 0.95)
    assert (first.thresholds.channels.warning.value, first.thresholds.channels.critical.value) == (0.8, 0.9)
    assert dict(first.labels) == {"team": "a", "env": "prod"}
    assert second.collect == ("usage", "invoices")
    assert (second.interval, second.timeout, second.stale_after) == (30, 5, 90)
    assert second.thresholds.credits == dataclasses.replace(DEFAULTS.credits, critical=Level(0.1, share=True))


def test_an_account_that_polls_more_rarely_is_stale_after_three_of_its_own_intervals(loaded: Load) -> None:
    assert only(loaded(MINIMAL + "    interval: 20m\n")).stale_after == 3600


def test_values_that_go_stale_between_two_polls_are_warned_of(loaded: Load) -> None:
    config = loaded(
        "poll: {stale_after: 10m}\n"
        + MINIMAL
        + "    interval: 15m\n"
        + MINIMAL.split("accounts:\n")[1].replace("media", "other")
        + "    stale_after: 1m\n"
    )
    assert [account.stale_after for account in config.accounts] == [600, 60]
    assert [f"{warning.line}: {warning.path}: {warning.message}" for warning in config.warnings] == [
        "7: accounts[0].interval: stale_after, 10m, is shorter than the interval, 15m; values are withdrawn "
        "between two polls",
        "11: accounts[1].stale_after: stale_after, 1m, is shorter than the interval, 5m; values are withdrawn "
        "between two polls",
    ]


def test_the_bounds_themselves_are_good(loaded: Load) -> None:
    config = loaded(
        MINIMAL
        + "    interval: 10s\n    timeout: 10s\n    stale_after: 10s\n"
        + "    max_requests_per_minute: 6\n    max_operations: 1\n"
        + "    thresholds: {storage: {warning: 0, critical: 0}, channels: {warning: 1, critical: 1},"
        + " credits: {warning: 0, critical: 0}}\n"
        + f"    labels: {{team: {'x' * 256}, {'y' * 256}: a}}\n"
    )
    account = only(config)
    assert config.warnings == ()
    assert (account.interval, account.timeout, account.stale_after) == (10, 10, 10)
    assert account.thresholds.credits.warning == Level(0)
    assert len(only(loaded(MINIMAL.replace("media", "n" * 256))).name) == 256
    assert only(loaded(MINIMAL + "    interval: 1y\n")).interval == 365 * 86400


def test_the_default_thresholds_are_those_of_the_contract() -> None:
    assert [str(level) for pair in dataclasses.astuple(DEFAULTS) for level in (Level(*pair[0]), Level(*pair[1]))] == [
        *("20%", "5%", "80%", "95%", "80%", "100%", "80%", "95%"),
    ]
    assert Threshold(Level(20), Level(5)) == CREDITS_WITHOUT_LIMIT


def test_an_amount_and_a_share_of_credits_may_be_mixed(loaded: Load) -> None:
    credits = only(loaded(MINIMAL + "    thresholds: {credits: {warning: 1}}\n")).thresholds.credits
    assert (credits.warning, credits.critical) == (Level(1), Level(0.05, share=True))


def test_blocks_and_lists_that_are_empty_in_yaml_are_left_out(loaded: Load) -> None:
    head = "poll:\nthresholds:\nstate:\naccount_files:\n"
    account = "    labels:\n    thresholds:\n    credit_rates:\n    collect:\n"
    assert loaded(head + MINIMAL + account) == loaded(MINIMAL)
    assert loaded("thresholds: {credits: , storage: }\n" + MINIMAL) == loaded(MINIMAL)


def test_variables_are_replaced_in_every_text_and_numbers_may_come_from_them(loaded: Load) -> None:
    account = only(
        loaded(
            MINIMAL.replace("media", "${TEAM}-$${x}-$1")
            + '    max_operations: ${NUMBER}\n    interval: ${NUMBER}m\n    labels: {team: "${EMPTY}"}\n'
        )
    )
    assert account.name == "media-${x}-$1"
    assert (account.max_operations, account.interval, dict(account.labels)) == (7, 420, {"team": ""})


def test_numbers_may_be_written_with_an_exponent_or_in_quotes(loaded: Load) -> None:
    account = only(loaded(MINIMAL + '    max_operations: "1e3"\n    credit_rates: {a: 1e3, b: .5}\n'))
    assert (account.max_operations, dict(account.credit_rates)) == (1000, {"a": 1000.0, "b": 0.5})


def test_anchors_and_merge_keys_work_and_keep_their_lines(loaded: Load, tmp_path: Path) -> None:
    text = """
accounts:
  - &base
    name: a
    provider: videodb
    api_key_env: KEY
    labels: &labels {team: x}
  - {<<: *base, name: b, interval: 1m, labels: {<<: [*labels, {team: y, zone: z}]}}
"""
    first, second = loaded(text).accounts
    assert (second.name, second.provider, second.interval) == ("b", "videodb", 60)
    assert (dict(first.labels), dict(second.labels)) == ({"team": "x"}, {"team": "x", "zone": "z"})
    with pytest.raises(ConfigError) as caught:
        loaded(text.replace("{team: x}", "{team: 1}"))
    assert {problem.line for problem in caught.value.problems} == {7}


def test_dates_and_base_60_numbers_are_texts(loaded: Load) -> None:
    account = only(loaded(MINIMAL.replace("media", "12:30:45") + "    labels: {since: 2024-01-31}\n"))
    assert (account.name, dict(account.labels)) == ("12:30:45", {"since": "2024-01-31"})


def test_account_files_are_read_in_order_each_once_and_never_the_main_one(loaded: Load) -> None:
    def one(name: str) -> str:
        return f"- {{name: '{name}', provider: videodb, api_key_env: KEY}}\n"

    config = loaded(
        "account_files: ['more.d/*.yaml', more.d/a.yaml, '*.yaml', 'no.d/*.yaml', '**/deep.yaml']\n" + MINIMAL,
        files={
            "more.d/b.yaml": one("b"),
            "more.d/a.yaml": one("a"),
            "more.d/ignored.txt": one("ignored"),
            "more.yaml": one("${TEAM}-more"),
            "none.yaml": "[]",
            "sub/deep.yaml": one("deep"),
        },
    )
    assert [account.name for account in config.accounts] == ["media", "a", "b", "media-more", "deep"]
    (warning,) = config.warnings
    assert (warning.path, warning.message) == ("account_files[3]", "matches no file")


def test_patterns_match_below_a_directory_with_brackets_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "[a]").mkdir()
    (tmp_path / "[a]" / "config.yaml").write_text("account_files: [more-*.yaml]\n")
    (tmp_path / "[a]" / "more-1.yaml").write_text(MINIMAL.split("accounts:\n")[1])
    assert only(load(tmp_path / "[a]" / "config.yaml", PROVIDERS, ENVIRON)).name == "media"


def test_account_files_alone_are_enough(loaded: Load) -> None:
    accounts = MINIMAL.split("accounts:\n")[1]
    assert only(loaded("account_files: [a.yaml]", files={"a.yaml": accounts})) == only(loaded(MINIMAL))


def test_the_result_cannot_be_changed(loaded: Load) -> None:
    config = loaded(MINIMAL + "    labels: {team: a}\n")
    account = only(config)
    for thing, name in ((config, "accounts"), (account, "name"), (account.thresholds, "credits")):
        with pytest.raises(AttributeError):
            setattr(thing, name, None)
    assert isinstance(account.labels, MappingProxyType)
    assert isinstance(account.credit_rates, MappingProxyType)
    assert isinstance(config.accounts, tuple)


def test_loading_twice_gives_equal_accounts_and_a_changed_key_another_one(loaded: Load) -> None:
    literal = MINIMAL.replace("api_key_env: KEY", f"api_key: {KEY}")
    assert loaded(literal) == loaded(literal)
    assert only(loaded(literal)) != only(loaded(literal.replace(KEY, KEY[::-1])))


def test_accounts_share_what_is_equal(loaded: Load) -> None:
    first, second = loaded(MINIMAL + MINIMAL.split("accounts:\n")[1].replace("media", "other")).accounts
    for name in ("provider", "base_url", "thresholds", "labels", "credit_rates", "collect"):
        assert getattr(first, name) is getattr(second, name)


def test_no_key_is_in_any_repr_or_text(loaded: Load, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    config = loaded(
        f"""
        accounts:
          - {{name: a, provider: videodb, api_key: {KEY}}}
          - {{name: b, provider: videodb, api_key_env: KEY}}
          - {{name: c, provider: videodb, api_key_file: key}}
        """
    )
    assert [account.key.read() for account in config.accounts] == [KEY] * 3
    assert KEY not in repr(config) + str(config) + repr([account.key for account in config.accounts])


@pytest.mark.parametrize(
    "line",
    ["api_key: {key}\n    api_key_env: KEY", "api_key: {key}\n    colour: red", "api_kye: {key}", "- {key}"],
)
def test_no_refusal_repeats_a_literal_key(loaded: Load, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(MINIMAL.replace("api_key_env: KEY", line.format(key=KEY)))
    assert KEY not in repr(caught.value) + str(caught.value)
    assert KEY not in repr(caught.value.__cause__) + repr(caught.value.__context__)


@pytest.mark.parametrize("text", ["key: @", "key: *", "key: !", "key: ["], ids=["special", "alias", "tag", "list"])
def test_no_yaml_complaint_repeats_a_value(loaded: Load, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(text + KEY)
    assert KEY not in repr(caught.value) + str(caught.value) + repr(caught.value.__context__)


def test_a_key_that_cannot_be_read_is_a_warning_and_for_check_config_a_problem(loaded: Load, tmp_path: Path) -> None:
    text = """
accounts:
  - {name: a, provider: videodb, api_key_file: missing}
  - {name: b, provider: videodb, api_key_env: MISSING}
  - {name: c, provider: videodb, api_key_env: EMPTY}
"""
    expected = [
        f"{tmp_path}/config.yaml:3: accounts[0].api_key_file: the file named by api_key_file cannot be read: "
        "No such file or directory",
        f"{tmp_path}/config.yaml:4: accounts[1].api_key_env: the variable named by api_key_env is not set",
        f"{tmp_path}/config.yaml:5: accounts[2].api_key_env: the variable named by api_key_env is empty",
    ]
    config = loaded(text)
    assert len(config.accounts) == 3
    assert [str(warning) for warning in config.warnings] == expected
    with pytest.raises(ConfigError) as caught:
        loaded(text, strict=True)
    assert str(caught.value).splitlines() == expected


def test_a_proxy_that_cannot_be_used_is_a_warning_and_for_check_config_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("accounts:\n" + "".join(f"- {{name: {n}, provider: videodb, api_key_env: KEY}}\n" for n in "ab"))
    environ = {"KEY": KEY, "HTTPS_PROXY": f"socks5://user:{KEY}@proxy:1080", "HTTP_PROXY": "http://[unused"}
    sentence = (
        f"{path}:2: accounts[0]: environment variable HTTPS_PROXY names a socks5 proxy; "
        "only http and https proxies can be used"
    )
    assert [str(warning) for warning in load(path, PROVIDERS, environ).warnings] == [sentence]
    with pytest.raises(ConfigError) as caught:
        load(path, PROVIDERS, environ, strict=True)
    assert str(caught.value) == sentence


def test_a_proxy_without_a_scheme_is_a_warning_and_no_problem(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(MINIMAL)
    environ = {"KEY": KEY, "all_proxy": f"user:{KEY}@proxy:3128", "NO_PROXY": "a,b@c"}
    warnings = [warning.message for warning in load(path, PROVIDERS, environ, strict=True).warnings]
    assert [" ".join(text.split()[:4]) for text in warnings] == [
        "environment variable NO_PROXY has",
        "environment variable all_proxy has",
    ]
    assert KEY not in str(warnings)


def test_poll_ca_file_and_the_ca_file_of_an_account_are_both_kept(loaded: Load, tmp_path: Path) -> None:
    for name in ("all.pem", "own.pem"):
        trustme.CA().cert_pem.write_to_path(str(tmp_path / name))
    config = loaded(
        "poll: {ca_file: all.pem}\naccounts:\n- {name: a, provider: videodb, api_key_env: KEY, ca_file: own.pem}\n"
        "- {name: b, provider: videodb, api_key_env: KEY}\n"
    )
    assert [account.ca_file for account in config.accounts] == [tmp_path / "own.pem", None]
    assert [account.common_ca_file for account in config.accounts] == [tmp_path / "all.pem"] * 2


def test_authorities_of_the_environment_that_cannot_be_used_are_a_warning_and_for_check_config_a_problem(
    tmp_path: Path,
) -> None:
    path, missing = tmp_path / "config.yaml", tmp_path / "missing.pem"
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    account = "{{name: {}, provider: videodb, api_key_env: KEY, {}: {}}}"
    environ = {"KEY": KEY, "SSL_CERT_FILE": str(missing)}
    unaffected = [account.format("a", "ca_file", "ca.pem"), account.format("b", "base_url", "http://127.0.0.1:9")]
    path.write_text(f"accounts: [{', '.join(unaffected)}]")
    assert load(path, PROVIDERS, environ, strict=True).warnings == ()
    affected = [account.format(name, "timeout", "5s") for name in "cd"]
    path.write_text(f"accounts: [{', '.join(unaffected + affected)}]")
    sentence = (
        f"{path}:1: accounts[2]: environment variable SSL_CERT_FILE: {missing} cannot be read: "
        "No such file or directory"
    )
    assert [str(warning) for warning in load(path, PROVIDERS, environ).warnings] == [sentence]
    with pytest.raises(ConfigError) as caught:
        load(path, PROVIDERS, environ, strict=True)
    assert str(caught.value) == sentence


def test_a_named_pipe_as_ca_file_is_refused_without_waiting_for_its_writer(loaded: Load, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ca.pem")
    with pytest.raises(ConfigError, match=r"ca_file: cannot be read: it is not a regular file"):
        loaded(MINIMAL + "    ca_file: ca.pem\n")


def test_a_ca_file_may_have_comments_in_any_encoding(loaded: Load, tmp_path: Path) -> None:
    pem = trustme.CA().cert_pem.bytes()
    (tmp_path / "ca.pem").write_bytes(b"\xef\xbb\xbf" + "Autorit\xe9\n".encode("latin-1") + pem)
    assert only(loaded(MINIMAL + "    ca_file: ca.pem\n")).ca_file == tmp_path / "ca.pem"


def test_a_key_file_that_others_can_read_is_warned_of_once(loaded: Load, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "key").chmod(0o644)
    text = "accounts:\n" + "".join(f"  - {{name: {name}, provider: videodb, api_key_file: key}}\n" for name in "ab")
    (warning,) = loaded(text, strict=True).warnings
    assert (warning.line, warning.path) == (2, "accounts[0].api_key_file")
    assert warning.message == (
        "the file named by api_key_file is readable by every user (mode 0644); chmod 0400 would keep it private"
    )


@pytest.mark.parametrize(
    ("url", "warns"),
    [
        ("http://api.example.com", True),
        ("http://10.0.0.1:8080/v1", True),
        ("http://127.0.0.1.example.com", True),
        ("https://api.example.com", False),
        ("http://localhost:8080", False),
        ("http://127.1.2.3", False),
        ("http://[::1]:8080", False),
        ("HTTP://Api.Localhost", False),
    ],
)
def test_plain_http_is_warned_of_off_this_machine(loaded: Load, url: str, warns: bool) -> None:
    warnings = loaded(MINIMAL + f"    base_url: {url}\n").warnings
    assert [(warning.line, warning.path) for warning in warnings] == ([(6, "accounts[0].base_url")] if warns else [])


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("https://Example.com:443/v1//", "https://example.com/v1"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("https://[2001:DB8::1]:8443/", "https://[2001:db8::1]:8443"),
    ],
)
def test_equal_base_urls_are_written_alike(loaded: Load, written: str, url: str) -> None:
    assert only(loaded(MINIMAL + f"    base_url: '{written}'\n")).base_url == url


def test_a_key_is_shared_wherever_it_is_written(loaded: Load, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY + "\n")
    text = f"""
poll: {{interval: 30s}}
accounts:
  - {{name: a, provider: videodb, api_key: {KEY}, max_requests_per_minute: 5}}
  - {{name: b, provider: videodb, api_key_env: KEY}}
  - {{name: c, provider: videodb, api_key_file: key}}
"""
    assert len(loaded(text.replace("5}", "6}")).accounts) == 3
    with pytest.raises(ConfigError, match=r"\(\S+:4, \S+:5, \S+:6\) make 6 requests a minute in sum, but .* allows 5"):
        loaded(text)


def test_keys_of_different_providers_or_urls_are_not_added_up(loaded: Load) -> None:
    accounts = [
        "provider: videodb",
        "provider: vidnavigator",
        "provider: videodb, base_url: https://other.example.com",
    ]
    text = "accounts:\n" + "".join(
        f"  - {{name: a{i}, {one}, api_key_env: KEY, interval: 10s, max_requests_per_minute: 6}}\n"
        for i, one in enumerate(accounts)
    )
    assert len(loaded(text).accounts) == 3


def test_keys_that_cannot_be_read_are_distinguished_by_their_source(loaded: Load) -> None:
    def text(second: str) -> str:
        return "accounts:\n" + "".join(
            f"  - {{name: {name}, provider: videodb, api_key_env: {variable}, interval: 10s, "
            "max_requests_per_minute: 6}\n"
            for name, variable in (("a", "MISSING"), ("b", second))
        )

    assert len(loaded(text("MISSING_TOO")).accounts) == 2
    with pytest.raises(ConfigError, match="12 requests a minute in sum"):
        loaded(text("MISSING"))


def test_a_file_that_is_not_there_or_cannot_be_read_is_refused_in_one_line(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "no.yaml", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError) as caught:
            load(path, PROVIDERS, {})
        assert str(caught.value) == f"{path}: cannot be read: {reason}"


def test_a_file_of_a_later_unicode_or_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("\ufeff" + MINIMAL.replace("media", "Mädchen-\U0001faa9"), encoding="utf-8")
    assert only(load(path, PROVIDERS, ENVIRON)).name == "Mädchen-\U0001faa9"


def test_paths_are_relative_to_the_file_that_they_are_written_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etc" / "accounts").mkdir(parents=True)
    for place in ("etc", "etc/accounts"):
        (tmp_path / place / "key").write_text(f"key-in-{place}")
    entry = "- {name: %s, provider: videodb, api_key_file: key}\n"
    (tmp_path / "etc/config.yaml").write_text(
        "account_files: [accounts/*.yaml]\nstate: {path: state.db}\naccounts:\n" + entry % "main"
    )
    (tmp_path / "etc/accounts/more.yaml").write_text(entry % "more")
    monkeypatch.chdir(tmp_path)
    config = load(Path("etc/config.yaml"), PROVIDERS, {})
    assert [account.key.read() for account in config.accounts] == ["key-in-etc", "key-in-etc/accounts"]
    assert config.accounts[1].key.identity == f"file:{tmp_path}/etc/accounts/key"
    assert config.state == StateSource("path", str(tmp_path / "etc/state.db"))


def test_a_vendor_without_storage_and_channels_has_no_thresholds_for_them(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    key = secrets.token_hex(8)
    path.write_text(
        "accounts:\n"
        f"  - {{name: db, provider: videodb, api_key: {key}x}}\n"
        f"  - {{name: nav, provider: vidnavigator, api_key: {key}x}}\n"
    )
    db, nav = load(path, PROVIDERS, {}).accounts
    assert (db.thresholds.storage, db.thresholds.channels) == (None, None)
    assert nav.thresholds == DEFAULTS
    assert db.thresholds.credits == DEFAULTS.credits
