"""Each field of a declared provider has a value, is absent, or is rejected. None is guessed."""

from __future__ import annotations

import textwrap
from math import inf
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.errors import ConfigError, PollError
from exporter.providers.base import ParseOptions
from exporter.providers.declaration import Declaration
from exporter.providers.declared import named_wait, refuses
from exporter.providers.declared_usage import usage_of
from exporter.providers.examples import result_of
from exporter.providers.expressions import Expression, UnreadableField
from exporter.providers.readers import ResponseField
from exporter.readings import NamedQuota, Period, Pool, Quota, ServiceUse, Subscription
from tests.providers.declaring import HEAD, declaration, usage


def test_used_and_limit_give_balance_remaining_and_a_pool_that_a_new_end_refills(tmp_path: Path) -> None:
    text = """
    credits: {used: character_count, limit: character_limit}
    period: {end: {value: reset, time: unix}}
    """
    read = usage(text, {"character_count": 17231, "character_limit": 100000, "reset": 1738356858}, tmp_path)
    assert (read.balance, read.monthly_limit, read.monthly_used, read.monthly_remaining) == (82769, 1e5, 17231, 82769)
    assert read.billing_period == Period(None, 1738356858)
    assert read.pools == {"monthly": Pool(82769, 1e5, 1738356858)}


def test_a_lifetime_grant_is_no_monthly_limit_and_its_use_is_no_monthly_use(tmp_path: Path) -> None:
    text = "credits: {granted: data.total_credits, used: data.total_usage}"
    read = usage(text, {"data": {"total_credits": 10, "total_usage": 10.25}}, tmp_path)
    assert (read.balance, read.monthly_limit, read.monthly_used) == (-0.25, None, None)
    assert read.pools == {"balance": Pool(-0.25)}


def test_a_rolling_window_keeps_out_of_the_ledger(tmp_path: Path) -> None:
    text = "credits: {used: credits.usage, limit: credits.limit, window: rolling}"
    read = usage(text, {"credits": {"usage": 9.54, "limit": 225}}, tmp_path)
    assert (read.balance, read.pools) == (215.46, {})


def test_use_alone_makes_no_balance_and_no_pool(tmp_path: Path) -> None:
    read = usage("credits: {used: hours}", {"hours": 5}, tmp_path)
    assert (read.balance, read.monthly_used, read.pools) == (None, 5, {})


def test_pots_are_added_up_and_no_pot_is_absent_and_not_0(tmp_path: Path) -> None:
    text = 'credits: {balance: {value: "balances[].amount", list: sum}}'
    assert usage(text, {"balances": [{"amount": 0.1}, {"amount": "0.2"}]}, tmp_path).balance == 0.3
    empty = usage(text, {"balances": []}, tmp_path)
    assert (empty.balance, empty.rejected) == (None, ())
    filtered = "credits: {balance: {value: \"balances[?units == 'usd'].amount\", list: sum}}"
    assert usage(filtered, {"balances": [{"amount": 1, "units": "USD"}]}, tmp_path).balance is None


def test_a_null_item_is_left_out_by_a_projection_and_rejects_the_sum_of_a_map(tmp_path: Path) -> None:
    pots = {"pots": [{"amount": 1}, {"amount": None}, {"amount": 2}]}
    assert usage('credits: {balance: {value: "pots[].amount", list: sum}}', pots, tmp_path).balance == 3
    kept = usage('credits: {balance: {value: "map(&amount, pots)", list: sum}}', pots, tmp_path)
    assert (kept.balance, len(kept.rejected)) == (None, 1)


@pytest.mark.parametrize(
    "bad", [True, "12 credits", "nan", "1_000", " 5", [], [1], {}, float("nan"), float("inf"), 10**400, "unlimited "]
)
def test_a_field_that_is_not_a_number_is_rejected_and_the_others_are_used(bad: object, tmp_path: Path) -> None:
    read = usage("credits: {balance: b, limit: l}", {"b": bad, "l": 7}, tmp_path)
    assert (read.balance, read.monthly_limit, read.rejected) == (None, 7, ("b",))


@pytest.mark.parametrize("block", [[], "text", 5, True])
def test_a_block_of_the_wrong_type_is_one_rejected_field(block: object, tmp_path: Path) -> None:
    read = usage("credits: {limit: data.credits.l, used: data.credits.u}", {"data": {"credits": block}}, tmp_path)
    assert (read.balance, read.rejected) == (None, ("data.credits",))


@pytest.mark.parametrize(
    ("expression", "response"),
    [
        ("length(data)", {"data": 5}),
        ("max(data)", {"data": ["a", 1]}),
        ("sort_by(data, &a)[0].a", {"data": [{"a": "x"}, {"a": 1}]}),
        ("items(data)[0].value", {"data": [1]}),
        ("join(',', data)", {"data": [1]}),
    ],
)
def test_an_expression_that_fails_on_a_response_rejects_only_its_field(
    expression: str, response: Any, tmp_path: Path
) -> None:
    read = usage(f'credits: {{balance: "{expression}", limit: l}}', {**response, "l": 7}, tmp_path)
    assert (read.balance, read.monthly_limit, read.rejected) == (None, 7, ("credits.balance",))


def test_unlimited_is_what_is_declared_and_null_is_it_only_there(tmp_path: Path) -> None:
    told = "credits: {limit: {value: l, unlimited: [unlimited, null, -1]}, used: u}"
    for value in (None, -1, -1.0, "unlimited"):
        read = usage(told, {"l": value, "u": 5}, tmp_path)
        assert (read.monthly_limit, read.balance) == (inf, inf)
    missing = usage(told, {"u": 5}, tmp_path)
    assert (missing.monthly_limit, missing.balance, missing.rejected) == (None, None, ())
    nested = "credits: {limit: {value: data.l, unlimited: [null]}}"
    assert usage(nested, {"data": {"l": None}}, tmp_path).monthly_limit == inf
    assert usage(nested, {"data": None}, tmp_path).monthly_limit is None
    assert usage(nested, {"data": {}}, tmp_path).monthly_limit is None
    assert usage(told, {"l": 1, "u": 5}, tmp_path).balance == -4
    assert usage(told, {"l": True, "u": 5}, tmp_path).rejected == ("l",)
    plain = usage("credits: {limit: l}", {"l": None}, tmp_path)
    assert (plain.monthly_limit, plain.rejected) == (None, ())
    assert usage("credits: {limit: l}", {"l": "unlimited"}, tmp_path).monthly_limit == inf
    only = "credits: {limit: {value: l, unlimited: [-1]}}"
    assert usage(only, {"l": "unlimited"}, tmp_path).rejected == ("l",)


@pytest.mark.parametrize("declared", ["-1", "'-1'", "-1.0", "'-1.0'"])
@pytest.mark.parametrize("sent", [-1, -1.0, "-1", "-1.0"])
def test_a_number_that_means_unlimited_is_the_same_in_quotes(declared: str, sent: object, tmp_path: Path) -> None:
    text = f"credits: {{limit: {{value: l, unlimited: [{declared}]}}, used: u}}"
    assert usage(text, {"l": sent, "u": 10}, tmp_path).balance == inf
    for other in (1, "1", True, "one"):
        assert usage(text, {"l": other, "u": 10}, tmp_path).balance != inf


def test_a_scale_multiplies_exactly_and_may_turn_the_sign(tmp_path: Path) -> None:
    assert usage("credits: {balance: {value: b, scale: 0.01}}", {"b": 17231}, tmp_path).balance == 172.31
    assert usage("credits: {balance: {value: b, scale: -0.01}}", {"b": "-12345"}, tmp_path).balance == 123.45
    assert usage("credits: {balance: {value: b, scale: 10}}", {"b": 1.7e308}, tmp_path).rejected == ("b",)


@pytest.mark.parametrize(
    ("time", "value", "moment"),
    [
        ("iso", "2026-03-28T12:00:00+02:00", 1774692000),
        ("iso", 1774692000, None),
        ("date", "2026-03-28", 1774656000),
        ("date", "2026-03-28T10:00:00Z", None),
        ("unix", 1774692000, 1774692000),
        ("unix", "1774692000", 1774692000),
        ("unix", "tomorrow", None),
        ("unix-ms", 1774692000500, 1774692000.5),
        ("unix", 1774692000500, None),
        ("unix-ms", 1774692000, None),
        ("unix", 978307199, None),
        ("unix", True, None),
        ("http-date", "Sat, 28 Mar 2026 10:00:00 GMT", 1774692000),
        ("http-date", "soon", None),
    ],
)
def test_a_time_is_read_in_the_form_that_is_declared(
    time: str, value: object, moment: float | None, tmp_path: Path
) -> None:
    read = usage(f"generated_at: {{value: at, time: {time}}}", {"at": value}, tmp_path)
    assert read.generated_at == moment
    assert bool(read.rejected) == (moment is None)


@pytest.mark.parametrize(
    ("form", "value", "told"),
    [
        ("iso", 1774692000, "must be a time in the form iso, not a number. It can be read as `time: unix`"),
        ("unix", 1774692000500, "must be a time in the form unix, not a number. It can be read as `time: unix-ms`"),
        (
            "unix",
            "2026-03-28",
            "must be a time in the form unix, not one in another form. It can be read as `time: iso`",
        ),
        ("unix-ms", 1774692000, "must be a time in the form unix-ms, not a number. It can be read as `time: unix`"),
        ("unix", 1774692, "must be a time in the form unix, not a number"),
        ("iso", "soon", "must be a time in the form iso, not one in another form"),
        ("iso", True, "must be a time in the form iso, not true or false"),
    ],
)
def test_the_message_about_a_time_in_another_form_names_the_form_that_reads_it(
    form: str, value: object, told: str
) -> None:
    with pytest.raises(UnreadableField) as refused:
        ResponseField(Expression("at"), time=form).time_of({"at": value})
    assert str(refused.value) == told


@pytest.mark.parametrize("form", ["unix", "unix-ms"])
@pytest.mark.parametrize("none", [0, 0.0, "0"])
def test_a_time_of_0_is_none(form: str, none: object, tmp_path: Path) -> None:
    read = usage(f"generated_at: {{value: at, time: {form}}}", {"at": none}, tmp_path)
    assert (read.generated_at, read.rejected) == (None, ())


def test_quotas_have_units_resets_and_expiries_and_the_ratio_follows(tmp_path: Path) -> None:
    text = """
    quotas:
      - {name: voices, unit: slots, used: v, limit: m}
      - {each: packs, name: id, remaining: left, limit: all, expires_at: {value: ends, time: unix}}
      - {each: pots, name: cur, unit: {value: cur}, remaining: left}
      - {name: nothing, used: not_there}
    """
    packs, pots = [{"id": "a", "left": 3, "all": 4, "ends": 1774692000}], [{"cur": "CNY", "left": "110.00"}]
    response = {"v": 5, "m": 20, "packs": packs, "pots": pots}
    assert usage(text, response, tmp_path).quotas == (
        NamedQuota("voices", "slots", Quota(5, 20, 15, 0.25)),
        NamedQuota("a", "credits", Quota(1, 4, 3, 0.25), None, 1774692000),
        NamedQuota("CNY", "CNY", Quota(None, None, 110, None)),
    )


def test_quotas_of_one_name_are_added_up_and_those_over_the_limit_are_folded(tmp_path: Path) -> None:
    text = "quotas: [{each: q, name: n, used: u, limit: l}]"
    twice = usage(text, {"q": [{"n": "a", "u": 1, "l": 2}, {"n": "a", "u": 2, "l": 2}]}, tmp_path)
    assert twice.quotas == (NamedQuota("a", "credits", Quota(3, 4, 2 - 1, 0.75)),)
    many = {"q": [{"n": f"q{i}", "u": i, "l": 10} for i in range(1, 6)]}
    read = usage(text, many, tmp_path, max_operations=2)
    assert sorted(quota.name for quota in read.quotas) == ["(other)", "q4", "q5"]
    assert read.folded_operations == 3


PACKS = "quotas: [{each: q, name: n, remaining: left, expires_at: {value: ends, time: unix}}]"


@pytest.mark.parametrize(
    ("packs", "remaining", "end"),
    [
        ([(50, 1_800_000_100), (100, 1_800_000_200)], 150, 1_800_000_100),
        ([(0, 1_800_000_100), (100, 1_800_000_200)], 100, 1_800_000_200),
        ([(50, 1_700_000_000), (100, 1_800_000_200)], 100, 1_800_000_200),
        ([(50, 1_800_000_000), (100, None)], 100, None),
        ([(0, 1_800_000_100), (100, None)], 100, None),
        ([(20, 1_800_000_100), (100, None)], 120, 1_800_000_100),
        ([(None, 1_800_000_100), (100, 1_800_000_200)], None, 1_800_000_100),
        ([(None, 1_700_000_000), (100, 1_800_000_200)], 100, 1_800_000_200),
        ([(None, 1_700_000_000), (None, 1_800_000_200)], None, 1_800_000_200),
        ([(50, 1_700_000_000), (0, 1_800_000_200)], 0, 1_800_000_200),
        ([(50, 1_700_000_000), (5, 1_600_000_000)], 0, 1_700_000_000),
    ],
)
def test_of_packs_of_one_name_the_first_to_end_with_something_left_decides_and_expired_ones_are_not_left(
    packs: list[tuple[float | None, float | None]], remaining: float | None, end: float | None, tmp_path: Path
) -> None:
    response = {"q": [{"n": "a", "left": left, "ends": ends} for left, ends in packs]}
    (quota,) = usage(PACKS, response, tmp_path, now=1_800_000_000.0).quotas
    assert (quota.amounts.remaining, quota.expires_at) == (remaining, end)


def test_what_was_used_is_absent_where_more_remains_than_the_limit(tmp_path: Path) -> None:
    text = "credits: {limit: l, remaining: r}\nquotas: [{name: a, limit: l, remaining: r}]"
    over = usage(text, {"l": 100, "r": 130}, tmp_path)
    assert (over.balance, over.monthly_used) == (130, None)
    assert over.quotas == (NamedQuota("a", "credits", Quota(None, 100, 130, None)),)
    full = usage(text, {"l": 100, "r": 100}, tmp_path)
    assert (full.monthly_used, full.quotas[0].amounts.ratio) == (0, 0)


@pytest.mark.parametrize("part", [{"left": "oops"}, {"left": None}, {}])
def test_a_sum_of_one_name_is_unknown_if_a_part_of_it_is(part: dict[str, object], tmp_path: Path) -> None:
    items = [{"n": "a", "left": 3}, {"n": "a", **part}, {"n": "b", "left": 4}, {"n": "c", **part}]
    read = usage(PACKS, {"q": items}, tmp_path)
    assert read.quotas == (NamedQuota("b", "credits", Quota(remaining=4)),)
    billed = usage("operations: {each: q, name: n, used: left}", {"q": items}, tmp_path)
    assert billed.used_by_operation == {"b": 4}
    hours = usage("operations: {each: q, name: n, used: left, unit: \"'hours'\"}", {"q": items}, tmp_path)
    assert hours.services == (ServiceUse("b", "hours", 4),)


def test_operations_without_a_unit_are_in_the_headline_unit(tmp_path: Path) -> None:
    response = {"use": {"a": 1.5, "b": "x"}}
    plain = usage('operations: {each: "items(use)", name: key, used: value}', response, tmp_path)
    assert (plain.used_by_operation, plain.services) == ({"a": 1.5}, ())
    assert plain.rejected == ("operations[1].value",)
    hours = usage('operations: {each: "items(use)", name: key, used: value, unit: "\'hours\'"}', response, tmp_path)
    assert hours.services == (ServiceUse("a", "hours", 1.5),)


def test_a_plan_has_only_texts_and_flags(tmp_path: Path) -> None:
    text = "plan: {name: tier, status: s, active: ok}"
    assert usage(text, {"tier": "pro", "s": "on", "ok": False}, tmp_path).subscription == Subscription(
        "", "pro", "", "on", False
    )
    assert usage(text, {"tier": 5, "ok": "yes"}, tmp_path).rejected == ("tier", "ok")
    assert usage(text, {}, tmp_path).subscription is None


REFUSALS = """
errors:
  code: error.code
  message: error.message
  reasons: {missing_permissions: forbidden, 430: rate_limited}
  statuses: {420: rate_limited}
  wait: {header: X-Reset, time: http-date}
usage:
  path: /v1
  success: ok
  no_subscription: {value: "error.code == 'no_plan'", statuses: [404, 403]}
"""


@pytest.mark.parametrize(
    ("status", "document", "reason"),
    [
        (200, {"ok": True}, None),
        (200, {"ok": 1}, "invalid_response"),
        (200, {"ok": False, "error": {"code": 430}}, "rate_limited"),
        (200, {"ok": False, "error": {"code": 430.0}}, "rate_limited"),
        (200, [], "invalid_response"),
        (200, "text", "invalid_response"),
        (401, {"error": {"code": "missing_permissions"}}, "forbidden"),
        (401, {"error": {"code": ["missing_permissions"]}}, "auth"),
        (401, None, "auth"),
        (420, {}, "rate_limited"),
        (404, {"error": {"code": "no_plan"}}, None),
        (403, {"error": {"code": "no_plan"}}, None),
        (402, {"error": {"code": "no_plan"}}, "payment_required"),
        (404, {}, "client_error"),
        (502, None, "server_error"),
    ],
)
def test_code_then_status_decide_the_reason(status: int, document: Any, reason: str | None, tmp_path: Path) -> None:
    rules = declaration(HEAD + REFUSALS, tmp_path)
    error = refuses(rules.errors, rules.requests["usage"], status, document)
    assert (error.reason if error else None) == reason


def test_a_response_that_says_that_there_is_no_plan_is_not_a_failure(tmp_path: Path) -> None:
    result = result_of(declaration(HEAD + REFUSALS, tmp_path), {"usage": {"error": {"code": "no_plan"}}}, 404)
    assert not isinstance(result, PollError)
    assert result.subscribed is False


def test_a_wait_is_named_by_the_header_or_the_path_that_is_declared(tmp_path: Path) -> None:
    rule = declaration(HEAD + REFUSALS, tmp_path).errors.wait
    assert named_wait(rule, {"x-reset": "Sat, 28 Mar 2026 10:00:00 GMT"}, {}, 1774691000) == 1000
    assert named_wait(rule, {"x-reset": "soon"}, {}, 0) is None
    by_path = declaration(HEAD + "errors: {wait: {path: e.after}}\nusage: {path: /v1}", tmp_path).errors.wait
    assert named_wait(by_path, {}, {"e": {"after": "90"}}, 0) == 90
    assert named_wait(by_path, {}, {"e": {"after": True}}, 0) is None


def test_further_requests_are_merged(tmp_path: Path) -> None:
    text = (
        HEAD
        + """
usage:
  path: /credits
  credits: {granted: data.total, used: data.used}
  more:
    key: {path: /key, quotas: [{name: key, unit: USD, used: data.usage, limit: {value: data.limit, unlimited: [null]}}]}
"""
    )
    documents = {"usage": {"data": {"total": 5, "used": 1}}, "key": {"data": {"usage": "x", "limit": None}}}
    read = usage_of(declaration(text, tmp_path), documents, ParseOptions())
    assert read.balance == 4
    assert read.quotas == (NamedQuota("key", "USD", Quota(None, inf, None, 0.0)),)
    assert read.rejected == ("key.data.usage",)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | st.sampled_from(["unlimited", "1e3"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcdu"), inner, max_size=4),
    max_leaves=12,
)
ANY = """
credits: {limit: a.b, used: {value: "b[].a", list: sum}, purchased: {value: c, unlimited: [null]}}
period: {end: {value: d, time: unix}}
plan: {name: a.c, active: b.d}
operations: {each: "items(u)", name: key, used: value.a, unit: value.b}
quotas: [{each: "b[?a > `1`]", name: a, used: b, limit: c, resets_at: d}, {name: q, ratio: {value: c, scale: 0.01}}]
"""


@pytest.fixture(scope="module")
def any_provider(tmp_path_factory: pytest.TempPathFactory) -> Declaration:
    block = "usage:\n  path: /v1\n" + textwrap.indent(ANY, "  ")
    return declaration(HEAD + block, tmp_path_factory.mktemp("any"))


@settings(max_examples=300, deadline=None)
@given(response=JSON)
def test_no_response_raises_and_what_is_read_is_finite_or_unlimited(
    response: object, any_provider: Declaration
) -> None:
    read = usage_of(any_provider, {"usage": response}, ParseOptions())
    for value in (read.balance, read.monthly_limit, read.monthly_used, read.purchased):
        assert value is None or value == inf or abs(value) < inf
    assert len(set(read.rejected)) == len(read.rejected)


@settings(max_examples=200, deadline=None)
@given(path=st.lists(st.sampled_from("abcd"), min_size=1, max_size=3), response=JSON)
def test_a_plain_path_finds_what_the_library_finds(path: list[str], response: object) -> None:
    import jmespath

    field = ResponseField(Expression(".".join(path)))
    try:
        found = field.expression.of(response)
    except UnreadableField:
        found = None
    assert repr(found) == repr(jmespath.search(".".join(path), response))


def test_an_expression_of_any_depth_is_refused_or_works(tmp_path: Path) -> None:
    for text in ("(" * 500 + "a" + ")" * 500, "[" * 1000, "!" * 1000 + "a", "a" * 1025, "(" * 3000):
        with pytest.raises(ConfigError) as refused:
            declaration(HEAD + f'usage: {{path: /v1, credits: {{balance: "{text}"}}}}', tmp_path)
        assert ".usage.credits.balance: " in str(refused.value)


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("ok == true", "compares with a field named true. Put a literal in backquotes, as in ok == `true`"),
        ("data[?false != ok]", "compares with a field named false. Put a literal in backquotes, as in ok == `false`"),
        ('status == "ok"', "compares with a field, because double quotes hold a name. Put a text in single quotes"),
        ('pots[?unit == "usd"].n', "compares with a field, because double quotes hold a name. Put a text in single"),
        (
            "cents / 100",
            "There is no arithmetic. `scale` multiplies, and `limit` and `used` are subtracted by themselves",
        ),
        ("limit - used", "There is no arithmetic."),
        ("$.data.balance", "A path begins with a name, as in data.balance"),
        (".balance", "A path begins with a name, as in data.balance"),
    ],
)
def test_syntax_of_another_language_is_refused_with_the_right_expression(expression: str, told: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        Expression(expression)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    "expression",
    [
        "ok == `true`",
        "ok == 'true'",
        "\"a-b\" == 'x'",
        "x != null",
        "true",
        "a[?true].b",
        "a == b",
        "items(@)[*].value",
    ],
)
def test_correct_comparisons_are_accepted(expression: str) -> None:
    assert Expression(expression).source == expression


@pytest.mark.parametrize(
    ("expression", "value", "told"),
    [
        ("max(a)", ["x", 1], "gives max() a number, which it does not take"),
        ("max(a)", [1, "x"], "gives max() a text, which it does not take"),
        ("max(a)", [{}], "gives max() an object, which it does not take"),
        ("abs(a)", "x", "gives abs() a text, which it does not take"),
        ("abs(a)", None, "gives abs() null, which it does not take"),
        ("join(' ', a)", [None], "gives join() null, which it does not take"),
        ("max_by(a, &n)", [{"n": []}], "gives max_by() a list, which it does not take"),
    ],
)
def test_a_function_that_does_not_take_a_value_is_told_in_words_of_json(
    expression: str, value: object, told: str
) -> None:
    with pytest.raises(UnreadableField) as refused:
        Expression(expression).of({"a": value})
    assert str(refused.value) == told


LARGE = "may repeat a part of the response more than 64 times"


@pytest.mark.parametrize(
    "expression",
    [
        " | ".join(["[@,@][]"] * 60),
        " | ".join(["[@,@]"] * 60),
        "{a: @, b: @}.*" + " | {a: @, b: @}.*" * 9,
        "items(@)[]" + ".items(@)[]" * 9,
        "[*]" + ".not_null(`[1, 1, 1, 1]`)[]" * 9,
        "map(&[@, @], @)[]" + " | map(&[@, @], @)[]" * 9,
        "(" + " | ".join(["[@,@][]"] * 9) + ") == x",
        "x[?(" + " | ".join(["[@,@][]"] * 9) + ")]",
        "length(" + " | ".join(["[@,@][]"] * 9) + ")",
        "[" + ",".join("@" * 99) + "]",
    ],
)
def test_an_expression_that_may_multiply_a_response_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match=LARGE):
        Expression(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "[{name: 'a', used: a}, {name: 'b', used: b}, {name: 'c', used: c}][]",
        "items(a)[*].{n: key, u: value.used} | [?contains(['x', 'y'], n)]",
        "a[].b[].c[].d | [0]",
        "join(' ', [mode, type])",
    ],
)
def test_an_expression_that_selects_parts_side_by_side_is_accepted(expression: str) -> None:
    assert Expression(expression).source == expression


@pytest.mark.parametrize(
    ("expression", "document"),
    [
        ("join(between, texts)", {"between": "x" * 500_000, "texts": ["a"] * 1000}),
        ("to_string([@])" + " | to_string([@])" * 40, '"'),
        ("to_string(@)", {"a": 1}),
    ],
)
def test_a_text_that_grows_without_bound_is_rejected(expression: str, document: object) -> None:
    with pytest.raises(UnreadableField):
        Expression(expression).of(document)


@pytest.mark.parametrize(("value", "text"), [(7, "7"), (True, "true"), ("a", "a"), (None, None)])
def test_to_string_makes_a_text_of_one_value_and_nothing_of_null(value: object, text: str | None) -> None:
    assert Expression("to_string(a)").of({"a": value}) == text
