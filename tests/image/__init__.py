"""The image, built by a real builder and run as an orchestrator would: `make docker-check`."""
