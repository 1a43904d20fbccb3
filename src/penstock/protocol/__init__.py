"""Wire formats and the shapes of AWS, pure: bytes and dictionaries in, bytes and dictionaries out.

Nothing here opens a socket, reads a clock or the environment. Only the standard library is used, because
`penstock.runtime` carries this package into the function. Every AWS name, path and number is written here,
once, with its source.
"""
