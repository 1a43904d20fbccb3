"""The command line: the only place that joins the service and the gateway."""
