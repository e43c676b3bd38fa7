"""What carries credentials: names of headers and of query parameters. The one list of the package.

A copy to a candidate carries none of these headers unless its owner says so (`mirror.headers.drop`); pairs, recordings,
kept samples and whatever the API shows never hold one, nor the value of one of these parameters.

Names are those that identity providers, gateways and model services document; a token under a name of its own is the
owner's to list. What says who somebody is without proving it (`x-user-id`, `x-forwarded-client-cert`) is not here.
"""

from __future__ import annotations

from typing import Final

WORD: Final = "credentials"
"""In `mirror.headers.drop` this word stands for all of `HEADERS`."""

HEADERS: Final = frozenset(
    {
        "authorization", "cookie", "proxy-authorization", "x-authorization", "x-forwarded-authorization",
        "x-original-authorization", "x-serverless-authorization",  # Cloud Run
        "api-key", "apikey", "x-api-key", "x-apikey", "api-token", "x-api-token",  # Azure, Kong, Anthropic, gateways
        "auth-token", "x-auth-token", "x-auth-key", "access-token", "x-access-token", "x-id-token", "x-jwt-token",
        "x-refresh-token", "x-session-token", "x-user-token", "x-client-secret", "x-csrf-token", "x-xsrf-token",
        "x-goog-api-key", "x-goog-iam-authorization-token", "x-goog-iap-jwt-assertion",
        "x-amz-security-token", "x-amzn-oidc-accesstoken", "x-amzn-oidc-data",
        "ocp-apim-subscription-key", "x-functions-key", "x-ms-token-aad-access-token", "x-ms-token-aad-id-token",
        "x-ms-token-aad-refresh-token",
        "x-forwarded-access-token", "x-auth-request-access-token",  # oauth2-proxy
        "cf-access-client-secret", "cf-access-jwt-assertion", "cf-access-token",
        "x-vault-token", "x-consul-token", "x-nomad-token", "private-token", "x-gitlab-token", "job-token",
        "x-rapidapi-key", "dd-api-key", "x-litellm-api-key", "x-portkey-api-key", "helicone-auth", "x-hf-authorization",
    }
)  # fmt: skip
"""Request headers, in lower case."""

SECRET_ANSWERS: Final = HEADERS | {"set-cookie", "set-cookie2", "x-subject-token", "authentication-info"}
"""Headers of answers that give a client its credentials, or repeat them."""

PARAMETERS: Final = frozenset(
    {
        "key", "api_key", "api-key", "apikey", "x-api-key", "api_token", "subscription-key", "token", "access_token",
        "auth_token", "id_token", "refresh_token", "auth", "authorization", "jwt", "code", "client_secret", "secret",
        "password", "sig", "signature", "x-amz-signature", "x-amz-credential", "x-amz-security-token",
        "x-goog-signature", "x-goog-credential",
    }
)  # fmt: skip
"""Query parameters, in lower case: keys of Google and of Azure's gateways and functions, OAuth (RFC 6749, 6750), signed
URLs of Azure (SAS), AWS and Google."""
