"""The gateway: holds the hosts' outbound connections and turns each into local unix sockets.

docs/tunnel.md describes the protocol. `server` accepts, `link` is one host, `pipe` carries bytes, `sockets`
serves the files under run/hosts, `directory` is the seam to the database.
"""
