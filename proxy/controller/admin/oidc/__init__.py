"""OpenID Connect: bearer tokens of a provider, and signing in to the console by it.

`claims` decides, without I/O; `provider` asks the provider; `jwts` is the only file that touches joserfc, and is
imported when `admin.oidc` is configured; `login` is the code flow with PKCE.
"""
