"""Signing in by an OpenID Connect provider: the code flow of OpenID Connect Core 1.0, 3.1, with PKCE (RFC 7636).

allauth does the errands; what the answer must be like to be believed is in `claims`.
"""
