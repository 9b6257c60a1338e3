"""The Soniox client: typed calls and errors. Other packages see neither HTTP nor Soniox's error format.

The official SDK lacks what the relay needs: streamed uploads, transcripts decoded without pydantic, unknown
status values, and retries. Tests use the SDK as the reference.
"""
