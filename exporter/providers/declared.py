"""Makes a ``Provider`` of a declaration: it sends the requests, and says what refusals and waits mean."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from functools import partial
from urllib.parse import quote

from exporter import errors
from exporter.providers.base import (
    Authorization,
    Endpoint,
    Get,
    ParseOptions,
    Provider,
    refusal,
    vendor_message,
)
from exporter.providers.declaration import AuthRule, Declaration, ErrorRules, RequestRule, WaitRule
from exporter.providers.declared_usage import usage_of
from exporter.providers.expressions import Expression, UnreadableField
from exporter.providers.fields import parse_number, parse_time
from exporter.providers.readers import http_date
from exporter.providers.templates import filled_json
from exporter.readings import Usage

RESPONSE_REASONS: Mapping[str, type[errors.PollError]] = {
    error.reason: error
    for error in (
        errors.AuthError,
        errors.ForbiddenError,
        errors.PaymentRequiredError,
        errors.RateLimitedError,
        errors.ClientError,
        errors.ServerError,
        errors.InvalidResponseError,
    )
}
"""The reasons that a response of a vendor can have."""


def provider_of(declaration: Declaration) -> Provider:
    """Return a declaration as a provider like any other."""

    def fetch(get: Get, options: ParseOptions) -> Usage:
        return _fetch(declaration, get, options)

    def authorize(key: str, _now: float, variables: Mapping[str, str]) -> Authorization:
        return _authorization(declaration.auth, key, variables)

    def wait(headers: Mapping[str, str], document: object, now: float) -> float | None:
        return named_wait(declaration.errors.wait, headers, document, now)

    return Provider(
        title=declaration.title,
        base_url=declaration.base_url,
        key_header=declaration.auth.header,
        endpoints={"usage": Endpoint(fetch)},
        quotas=declaration.limited,
        credit_rates=declaration.credit_rates,
        authorize=authorize,
        wait=wait,
        unit=declaration.unit,
        variables=declaration.variables,
        requests=len(declaration.requests),
        interval=declaration.interval,
        max_requests_per_minute=declaration.max_requests_per_minute,
        price=declaration.price,
    )


def _authorization(auth: AuthRule, key: str, variables: Mapping[str, str]) -> Authorization:
    if auth.query:
        return Authorization(query={auth.query: key})
    if auth.user is not None:
        pair = f"{auth.user.filled(variables, 0.0)}:{key}".encode()
        return Authorization(headers={"Authorization": "Basic " + b64encode(pair).decode()})
    return Authorization(headers={auth.header: auth.prefix + key})


def _fetch(declaration: Declaration, get: Get, options: ParseOptions) -> Usage:
    documents: dict[str, object] = {}
    variables, now = options.variables, options.now
    headers = {name: text.filled(variables, now, _percent) for name, text in declaration.headers.items()}
    for name, request in declaration.requests.items():
        response = get(
            request.path.filled(variables, now, _percent),
            {name: text.filled(variables, now) for name, text in request.query.items()},
            headers=headers,
            body=filled_json(request.body, variables, now),
            refuses=partial(refuses, declaration.errors, request),
        )
        if says_no_subscription(request, response.document):
            return Usage(subscribed=False, unit=declaration.unit)
        documents[name] = response.document
    return usage_of(declaration, documents, options)


def _percent(text: str) -> str:
    return quote(text, safe="")


def says_no_subscription(request: RequestRule, document: object) -> bool:
    """Return whether a response says that there is no plan."""
    return request.no_subscription is not None and request.no_subscription.holds(document)


def refuses(rules: ErrorRules, request: RequestRule, status: int, document: object) -> errors.PollError | None:
    """Return the error that a response is, None where it is a good one."""
    good = 200 <= status < 300
    if (good or status in request.no_subscription_statuses) and says_no_subscription(request, document):
        return None
    if good and (request.success is None or request.success.holds(document)):
        is_readable = isinstance(document, (dict, list))
        return None if is_readable else errors.InvalidResponseError("the response is neither a JSON object nor a list")
    code, words = _code(rules.code, document), _words(rules.message, document)
    reason = rules.reasons.get(code)
    if not good:
        words = words or vendor_message(document) or code
        return _refusal(reason or rules.statuses.get(status), status, document, words)
    error, words = RESPONSE_REASONS.get(reason or "", errors.InvalidResponseError), words or code
    return error(f"the vendor's response reports a failure{': ' + words if words else ''}")


def _refusal(reason: str | None, status: int, document: object, words: str) -> errors.PollError:
    error = RESPONSE_REASONS.get(reason or "") or type(refusal(status, document))
    return error(f"HTTP {status}: {words}" if words else f"HTTP {status}")


def _code(expression: Expression | None, document: object) -> str:
    """Return the vendor's code as a text, because codes are compared as texts."""
    value = _selected(expression, document)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""


def _words(expression: Expression | None, document: object) -> str:
    value = _selected(expression, document)
    return value if isinstance(value, str) else ""


def _selected(expression: Expression | None, document: object) -> object:
    try:
        return None if expression is None else expression.of(document)
    except UnreadableField:
        return None


def named_wait(rule: WaitRule | None, headers: Mapping[str, str], document: object, now: float) -> float | None:
    """Return how many seconds the vendor asks the key to rest, where its own field or header says so."""
    if rule is None:
        return None
    value = headers.get(rule.header.lower()) if rule.header else _selected(rule.path, document)
    if rule.time == "http-date":
        end = http_date(value)
    elif rule.time == "iso":
        end = parse_time(value) if isinstance(value, str) else None
    else:
        number = parse_number(value.strip() if isinstance(value, str) else value)
        if rule.time == "seconds" or number is None:
            return number
        end = number / 1000 if rule.time == "unix-ms" else number
    return None if end is None else end - now
