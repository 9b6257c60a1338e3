"""What the API, the dashboard and the command line ask for: the rules about each resource."""
