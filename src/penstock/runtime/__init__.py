"""What runs inside a function: loads the handler, asks for events, streams responses natively.

Standard library and `penstock.protocol` only, so the same code goes to AWS in a layer, a zip or a container.
`python -m penstock.runtime` starts it, as a custom runtime's `bootstrap` would.
"""
