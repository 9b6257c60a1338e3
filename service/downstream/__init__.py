"""Deliveries to receivers: a signed POST with address checks, and the meaning of the response."""
