"""The named points: after which function of the relay, at which call, the process is to die.

`module:function` is wrapped in the child; the process dies before or after the wrapped call. Inside a
transaction "after" means: the statement ran, the commit did not.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """A place to die: `when` is before or after the call of `target`."""

    target: str
    when: str = "after"


POINTS: dict[str, Point] = {
    "accepting, before the commit": Point("service.store.transcriptions:accept"),
    "accepted, before the answer": Point("service.services.transcriptions:create_transcription"),
    "submission claimed": Point("service.store.quotas:claim_submissions"),
    "submission claimed and committed": Point("service.pipeline.submit:submit", "before"),
    "upload begun": Point("service.soniox.client:Soniox.upload_file", "before"),
    "upload answered, not remembered": Point("service.soniox.client:Soniox.upload_file"),
    "upload remembered, before the commit": Point("service.store.transcriptions:mark_uploaded"),
    "before the create": Point("service.soniox.client:Soniox.create_transcription", "before"),
    "created, answer not kept": Point("service.soniox.client:Soniox.create_transcription"),
    "create kept, before the commit": Point("service.store.transcriptions:mark_submitted"),
    "submitted": Point("service.pipeline.submit:submit"),
    "webhook recorded, before the commit": Point("service.store.inbox:record"),
    "webhook stored, before the answer": Point("service.webhook:_store"),
    "webhook claimed": Point("service.pipeline.collect:collect", "before"),
    "job read": Point("service.soniox.client:Soniox.get_transcription"),
    "transcript fetched": Point("service.soniox.client:Soniox.get_transcript"),
    "job finished, before the commit": Point("service.store.transcriptions:mark_finished"),
    "result and event written, before the commit": Point("service.pipeline.results:finish"),
    "result stored": Point("service.pipeline.collect:collect"),
    "delivery claimed": Point("service.pipeline.deliver:deliver", "before"),
    "delivered, not recorded": Point("service.downstream.client:DeliveryClient.post"),
    "delivery recorded, before the commit": Point("service.store.deliveries:settle"),
    "transcription deleted at Soniox": Point("service.soniox.client:Soniox.delete_transcription"),
    "file deleted at Soniox": Point("service.soniox.client:Soniox.delete_file"),
    "removal done, before the commit": Point("service.store.reconciler:delete_removals"),
    "sweep asked": Point("service.reconcile.sweep:_ask"),
}
