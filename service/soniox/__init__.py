"""The wall to Soniox: typed calls out, errors translated. Nothing of HTTP or of Soniox's wording gets past it.

The client is our own, because every call needs what the official SDK does not give: streamed uploads, transcripts
decoded without pydantic, unknown status words, retries. The SDK is the referee in tests.
"""
