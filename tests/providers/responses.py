"""Responses of the vendors, copied from their documentation."""

from __future__ import annotations

import json
from typing import Any

VIDEODB = """
{"success": true, "data": {"credit_balance": 100.5, "usage_this_month": 25.75,
 "breakdown": {"video_processing": 14.25, "ai_generation": 9.0, "storage": 2.5}}}
"""

VOYAGER = """
{"status": "success", "data": {
  "usage_period": {"start": "2026-03-01T00:00:00Z", "end": "2026-04-01T00:00:00Z"},
  "billing_period": {"start": "2026-03-15T00:00:00Z", "end": "2026-04-15T00:00:00Z", "interval": "month"},
  "subscription": {"plan_id": "pro", "plan_name": "Voyager", "interval": "month", "status": "active",
                   "cancel_at_period_end": false},
  "credits": {"monthly_total": 80, "monthly_remaining": 62.5, "purchased": 50},
  "usage": {"video_transcripts": {"used": 150}, "youtube_transcripts": {"used": 45},
            "video_searches": {"used": 30}, "video_analyses": {"used": 12},
            "video_scene_analyses": {"used": 3}, "video_uploads": {"used": 2.5, "unit": "hours"}},
  "channels_indexed": {"used": 5, "limit": 15, "remaining": 10, "percentage": 33.3},
  "storage": {"used_bytes": 2684354560, "used_formatted": "2.5 GB", "limit_bytes": 536870912000,
              "limit_formatted": "500 GB", "remaining_bytes": 534186557440,
              "remaining_formatted": "497.5 GB", "percentage": 0.5},
  "generated_at": "2026-03-28T10:00:00Z"}}
"""

NO_SUBSCRIPTION = """
{"status": "error", "error": "no_subscription", "message": "You are not subscribed to any plan."}
"""


def voyager(**blocks: object) -> Any:
    """Return the Voyager response with some blocks of its data replaced; None removes one."""
    response = json.loads(VOYAGER)
    for name, block in blocks.items():
        if block is None:
            del response["data"][name]
        else:
            response["data"][name] = block
    return response


def videodb(**data: object) -> Any:
    """Return a VideoDB response with this data."""
    return {"success": True, "data": data}
