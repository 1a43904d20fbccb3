"""Asynchronous invocation: events that were accepted are kept until their function has had them."""
