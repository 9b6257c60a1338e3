"""The operations behind the API, the dashboard and the command line."""
