"""The figures of demo accounts at vendors of presets, each in a unit of its own."""

from __future__ import annotations

from exporter.demo.apis import DAY, DEEPGRAM, ELEVENLABS, VIDU, Json, timestamp
from exporter.demo.life import PERIOD_SECONDS, UNITS, Calendar, DataAt, Demand, Filling, Life, Service

GIFT = 15.0


class ElevenLabsLife(Life):
    """An ElevenLabs account that uses up the characters of its plan, and has slots for voices."""

    api = ELEVENLABS

    def __init__(self, demand: Demand, *, characters: int, voices: Filling, into_period: float) -> None:
        super().__init__((Service("characters", 1.0),), demand, granted=characters, into_period=into_period)
        self.characters = characters
        self.voices = voices

    def responses(self, calendar: Calendar) -> dict[str, DataAt]:
        """Return, by path, the functions from a simulated second to the response."""
        return {self.api.usage_path: lambda now: self.subscription(now, calendar)}

    def subscription(self, now: float, calendar: Calendar) -> Json:
        """Return the response at a simulated second."""
        left = (self.pools(now).monthly or 0) // UNITS
        return {
            "tier": "creator",
            "status": "active",
            "character_count": self.characters - left,
            "character_limit": self.characters,
            "next_character_count_reset_unix": round(calendar.real(self.period(now)[1])),
            "voice_slots_used": int(self.voices.at(now)),
            "voice_limit": 30,
            "professional_voice_slots_used": 0,
            "professional_voice_limit": 1,
            "max_credit_limit_extension": "unlimited",
        }


class DeepgramLife(Life):
    """A Deepgram project with a gift and what is paid in dollars each period. The gift is spent last."""

    api = DEEPGRAM

    def __init__(self, demand: Demand, *, dollars: int, into_period: float) -> None:
        self._paid = dollars * UNITS
        super().__init__(
            (Service("transcription", 1.0, scale=100),), demand, granted=0, purchased=dollars, into_period=into_period
        )

    def _on_hour(self) -> None:
        if self.period(self._hour)[0] == self._hour:
            self._purchased += self._paid

    def responses(self, _calendar: Calendar) -> dict[str, DataAt]:
        """Return, by path, the functions from a simulated second to the response."""
        return {self.api.usage_path: self.balances}

    def balances(self, now: float) -> Json:
        """Return the response at a simulated second."""
        whole = self.pools(now).purchased / UNITS
        gift = min(whole, GIFT)
        pots = (("gift", gift), ("prepaid", round(whole - gift, 4)))
        return {"balances": [{"balance_id": name, "amount": amount, "units": "usd"} for name, amount in pots]}


class ViduLife(Life):
    """A Vidu account with a pack of credits each period, which expires with it, and a bonus that lives longer."""

    api = VIDU

    def __init__(self, demand: Demand, *, pack: int, bonus: int, tasks: Filling, into_period: float) -> None:
        super().__init__((Service("video", 1.0),), demand, granted=pack, purchased=bonus, into_period=into_period)
        self.pack = pack
        self.bonus = bonus
        self.tasks = tasks

    def responses(self, calendar: Calendar) -> dict[str, DataAt]:
        """Return, by path, the functions from a simulated second to the response."""
        return {self.api.usage_path: lambda now: self.credits(now, calendar)}

    def credits(self, now: float, calendar: Calendar) -> Json:
        """Return the response at a simulated second."""
        pools, (start, end) = self.pools(now), self.period(now)
        left, bonus = (pools.monthly or 0) // UNITS, pools.purchased // UNITS
        packs = (
            ("Monthly pack", self.pack, left, start, end),
            ("Bonus", self.bonus, bonus, start - 90 * DAY, start + 2 * PERIOD_SECONDS),
        )
        return {
            "remains": [
                {
                    "type": "metered",
                    "credit_remain": left + bonus,
                    "concurrency_limit": 5,
                    "current_concurrency": int(self.tasks.at(now)),
                    "queue_count": 0,
                }
            ],
            "packages": [
                {
                    "name": name,
                    "type": "metered",
                    "credit_amount": size,
                    "credit_remain": remain,
                    "valid_from": timestamp(calendar.real(begins)),
                    "valid_to": timestamp(calendar.real(ends)),
                }
                for name, size, remain, begins, ends in packs
            ],
        }
