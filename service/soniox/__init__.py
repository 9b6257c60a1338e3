"""The wall to Soniox: typed calls out, errors translated, nothing of HTTP or of Soniox's wording gets past it.

Hand-written, because every call needs what the official SDK does not give: streamed
uploads, transcripts decoded without pydantic, unknown status words, retries. The SDK is the referee in tests.
"""

from service.soniox.client import Soniox, Upload
from service.soniox.models import RemoteFile, RemoteTranscription

__all__ = ["RemoteFile", "RemoteTranscription", "Soniox", "Upload"]
