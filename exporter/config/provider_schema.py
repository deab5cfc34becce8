"""Models of ``providers:``, one for each block, with the description of each key."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from exporter.config.block import Block
from exporter.config.provider_rules import (
    BODY,
    EXPRESSION,
    FLAG,
    HEADER,
    HEADER_VALUE,
    JSON,
    NO_SUBSCRIPTION,
    NUMBER,
    PATH,
    PREFIX,
    RATIO,
    REASON,
    REFUSAL_STATUS,
    REQUEST_NAME,
    STATUS,
    TEMPLATE,
    TEXT_FIELD,
    TEXT_OR_FIELD,
    TIME,
    UNIT,
    WAIT_TIME,
    one_of,
)
from exporter.config.rules import COUNT, INTERVAL, NAME, RATE, TEXT, URL, VARIABLE_NAME
from exporter.config.schema import PriceBlock
from exporter.providers.expressions import Expression
from exporter.providers.readers import ResponseField
from exporter.providers.templates import Template

_OptionalNumber = Annotated[ResponseField | None, NUMBER]
_OptionalTime = Annotated[ResponseField | None, TIME]
_OptionalText = Annotated[ResponseField | None, TEXT_FIELD]
_OptionalFlag = Annotated[ResponseField | None, FLAG]


def _figure(description: str) -> Any:
    return Field(default=None, description=description)


class AuthBlock(Block):
    """How the key is sent. Give exactly one of `header`, `basic` and `query`."""

    header: Annotated[str | None, HEADER] = Field(default=None, description="Header that carries the key.")
    prefix: Annotated[str | None, PREFIX] = Field(
        default=None, description='Text before the key in the header, such as `"Bearer "`.'
    )
    basic: Annotated[Template | None, TEMPLATE] = Field(
        default=None, description="User of HTTP Basic, such as `{account_sid}`. The key is the password."
    )
    query: Annotated[str | None, TEXT] = Field(
        default=None, description="Parameter of the query that carries the key. A header is safer."
    )


class WaitBlock(Block):
    """Where a refusal names the rest that the key needs, besides `Retry-After`. Give `path` or `header`."""

    path: Annotated[Expression | None, EXPRESSION] = Field(default=None, description="Field of the response.")
    header: Annotated[str | None, HEADER] = Field(default=None, description="Header of the response.")
    time: Annotated[str | None, WAIT_TIME] = Field(
        default=None,
        description="How it is written. All but `seconds` are the moment at which the rest ends.",
        json_schema_extra={"x-default": "`seconds`"},
    )


class ErrorsBlock(Block):
    """What the vendor's refusals mean. `code` decides before `statuses`, and both before the usual meaning."""

    code: Annotated[Expression | None, EXPRESSION] = Field(default=None, description="The vendor's code for an error.")
    message: Annotated[Expression | None, EXPRESSION] = Field(default=None, description="The vendor's words.")
    reasons: dict[Annotated[str, TEXT], Annotated[str, REASON]] | None = Field(
        default=None, description="Reason for each code, which is compared as a text."
    )
    statuses: dict[Annotated[int, REFUSAL_STATUS], Annotated[str, REASON]] | None = Field(
        default=None, description="Reason for HTTP statuses from 300 on that this vendor uses in a way of its own."
    )
    wait: WaitBlock | None = Field(default=None, description="Where the response names how long the key must rest.")


class FiguresBlock(Block):
    """Figures of the headline unit. What is not given is derived where it follows from two that are."""

    balance: _OptionalNumber = _figure("What can be spent now. Left out it is `remaining` + `purchased`.")
    limit: _OptionalNumber = _figure("What the plan gives each period. A share in `thresholds` is one of it.")
    used: _OptionalNumber = _figure("What was used of `limit` in the period, or of `granted` ever.")
    remaining: _OptionalNumber = _figure("What is left of `limit`. Left out it is `limit` - `used`.")
    purchased: _OptionalNumber = _figure("What was bought on top and outlives the period.")
    granted: _OptionalNumber = _figure("All that was ever bought or given. It is no limit of a period.")
    window: Annotated[str | None, one_of("rolling")] = Field(
        default=None,
        description="`rolling` if the figures are of the last days and nothing is ever refilled. "
        "Then the ledger counts nothing.",
    )


class OperationsBlock(Block):
    """A list of operations and their use."""

    each: Annotated[Expression, EXPRESSION] = Field(
        description="The list. `items(data.usage)` makes one of an object, with `key` and `value`."
    )
    name: Annotated[ResponseField, TEXT_FIELD] = Field(description="Value of the label `operation`.")
    used: Annotated[ResponseField, NUMBER] = Field(description="How much was used.")
    unit: _OptionalText = _figure("Unit of `used`. Left out it is the provider's `unit`.")
    credit_rates: dict[Annotated[str, TEXT], Annotated[float, RATE]] | None = Field(
        default=None, description="How many of an operation one credit buys, by name."
    )


class AmountsBlock(Block):
    """What is used of something limited."""

    used: _OptionalNumber = _figure("What is used. Left out it is `limit` - `remaining`.")
    limit: _OptionalNumber = _figure("The limit.")
    remaining: _OptionalNumber = _figure("What is left. Left out it is `limit` - `used`.")
    ratio: Annotated[ResponseField | None, RATIO] = _figure("Used / limit from 0 to 1. Without a value it is derived.")


class QuotaBlock(AmountsBlock):
    """A quota beside the credits, or with `each` one for each item of a list."""

    name: Annotated[str | ResponseField, TEXT_OR_FIELD] = Field(
        description="Value of the label `quota`. With `each` it is a field of the item."
    )
    unit: Annotated[str | ResponseField | None, TEXT_OR_FIELD] = Field(
        default=None,
        description="Value of the label `unit`, a text or `{value: EXPRESSION}`.",
        json_schema_extra={"x-default": "the provider's `unit`"},
    )
    each: Annotated[Expression | None, EXPRESSION] = Field(default=None, description="A list of quotas.")
    resets_at: _OptionalTime = _figure("When it is refilled.")
    expires_at: _OptionalTime = _figure("When what is left of it is lost.")


class PeriodBlock(Block):
    """A period. A new start, or without one a new end, tells the ledger that the limit was refilled."""

    start: _OptionalTime = _figure("Start of the period.")
    end: _OptionalTime = _figure("End of the period.")


class PlanBlock(Block):
    """The plan."""

    id: _OptionalText = _figure("Label `plan_id`, a text.")
    name: _OptionalText = _figure("Label `plan_name`, a text.")
    interval: _OptionalText = _figure("Label `interval`, a text.")
    status: _OptionalText = _figure("Label `status`, a text.")
    active: _OptionalFlag = _figure("True or false.")
    cancel_at_period_end: _OptionalFlag = _figure("True or false.")


class RequestBlock(Block):
    """A request, and where each figure stands in its response."""

    path: Annotated[Template, PATH] = Field(description="Path below `base_url`, such as `/v1/projects/{project_id}`.")
    query: dict[Annotated[str, TEXT], Annotated[Template, TEMPLATE]] | None = Field(
        default=None, description="Parameters of the query. `{now-30d}` and `{month_start}` are dates."
    )
    method: Annotated[str | None, one_of("GET", "POST")] = Field(
        default=None, description="HTTP method.", json_schema_extra={"x-default": "`GET`"}
    )
    json_: Annotated[Any, BODY] = Field(default=None, alias="json", description="JSON body of a POST.")
    success: Annotated[Expression | None, EXPRESSION] = Field(
        default=None, description="True for a good response, where a 200 may still be a refusal."
    )
    no_subscription: Annotated[tuple[Expression, tuple[int, ...]] | None, NO_SUBSCRIPTION] = Field(
        default=None,
        description="True for a response that says that there is no plan, which is no failure. Its status is 2xx or "
        "404, or one of `statuses` in `{value: EXPRESSION, statuses: [404]}`.",
    )
    credits: FiguresBlock | None = Field(default=None, description="Figures of the headline unit.")
    operations: OperationsBlock | None = Field(default=None, description="Use by operation.")
    quotas: list[QuotaBlock] | None = Field(default=None, description="Named quotas in units of their own.")
    storage: AmountsBlock | None = Field(default=None, description="Storage in bytes.")
    channels: AmountsBlock | None = Field(default=None, description="Indexed channels.")
    period: PeriodBlock | None = Field(default=None, description="The period in which `limit` is refilled.")
    usage_period: PeriodBlock | None = Field(default=None, description="The period that the use is of, if it differs.")
    plan: PlanBlock | None = Field(default=None, description="The plan.")
    generated_at: _OptionalTime = _figure("When the vendor made the figures.")


class UsageBlock(RequestBlock):
    """The request of each poll, and where each figure stands in its response."""

    more: dict[Annotated[str, REQUEST_NAME], RequestBlock] | None = Field(
        default=None, description="Further requests of the same poll, by name. Their figures are merged."
    )


class ExampleBlock(Block):
    """A recorded response, and what must become of it. `check-config` tries each."""

    response: Annotated[Any, JSON] = Field(description="The decoded response.")
    more: dict[Annotated[str, REQUEST_NAME], Annotated[Any, JSON]] | None = Field(
        default=None, description="Decoded responses of the further requests, by name."
    )
    status: Annotated[int | None, STATUS] = Field(
        default=None, description="HTTP status.", json_schema_extra={"default": 200}
    )
    expect: Annotated[Any, JSON] = Field(
        description="Values by the name of the metric without `video_api_`, labels in braces. `absent` is one, "
        "and `failure` is the reason of a failed poll."
    )


class ProviderBlock(Block):
    """A provider by configuration."""

    title: Annotated[str | None, NAME] = Field(
        default=None, description="Name for people.", json_schema_extra={"x-default": "the name"}
    )
    checked: Annotated[str | None, TEXT] = Field(default=None, description="Day on which the documentation was read.")
    documentation: Annotated[str | None, TEXT] = Field(default=None, description="Where the documentation is.")
    scope: Annotated[str | None, TEXT] = Field(default=None, description="What the key must be allowed to do.")
    base_url: Annotated[str, URL] = Field(description="Address of the API.")
    auth: AuthBlock = Field(description="How the key is sent.")
    variables: list[Annotated[str, VARIABLE_NAME]] | None = Field(
        default=None, description="What every account must give under `variables`. Written as `{project_id}`."
    )
    headers: dict[Annotated[str, HEADER], Annotated[Template, HEADER_VALUE]] | None = Field(
        default=None, description="Fixed headers."
    )
    interval: Annotated[float | None, INTERVAL] = Field(
        default=None, description="Default of its accounts.", json_schema_extra={"x-default": "`poll.interval`"}
    )
    max_requests_per_minute: Annotated[int | None, COUNT] = Field(
        default=None, description="Default of its accounts.", json_schema_extra={"x-default": "`50`"}
    )
    unit: Annotated[str | None, UNIT] = Field(
        default=None,
        description="Unit of the balance. Money is an ISO 4217 code such as `USD`.",
        json_schema_extra={"x-default": "`credits`"},
    )
    price: PriceBlock | None = Field(default=None, description="Price of a credit. Default of its accounts.")
    errors: ErrorsBlock | None = Field(default=None, description="What refusals mean.")
    usage: UsageBlock = Field(description="The request for the figures.")
    examples: list[ExampleBlock] | None = Field(
        default=None, description="Recorded responses, and what must become of them."
    )
