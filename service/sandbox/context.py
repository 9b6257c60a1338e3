"""The context of a sandbox: its state and the parts that use it, as a dependency of every route."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated, Self

from fastapi import Depends, Request

from service.sandbox.faults import FaultBoard, Faults
from service.sandbox.limits import SandboxQuotas
from service.sandbox.processing import Processing
from service.sandbox.state import FakeProject, SandboxConfig
from service.sandbox.webhooks import Webhooks


@dataclass
class SandboxContext:
    config: SandboxConfig
    soniox: FakeProject
    faults: FaultBoard
    quotas: SandboxQuotas
    webhooks: Webhooks
    processing: Processing
    calls: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)

    @classmethod
    def furnished(cls, config: SandboxConfig) -> Self:
        soniox, faults = FakeProject(), FaultBoard(config.seed)
        webhooks = Webhooks(config, faults)
        processing = Processing(config, soniox, faults, webhooks)
        return cls(config, soniox, faults, SandboxQuotas(config, soniox, faults), webhooks, processing)

    def open(self) -> None:
        self.processing.start()

    async def close(self) -> None:
        await self.processing.stop()
        await self.webhooks.stop()
        self.soniox.close()

    async def reset(self) -> None:
        """Delete all state, including faults, as after a new start."""
        await self.webhooks.cancel()
        await self.processing.restart()
        self.soniox.clear()
        self.faults.set(Faults())
        for part in (self.quotas, self.webhooks, self.calls, self.answers):
            part.clear()


async def context_of(request: Request) -> SandboxContext:
    desk: SandboxContext = request.app.state.desk
    return desk


ContextDep = Annotated[SandboxContext, Depends(context_of)]
