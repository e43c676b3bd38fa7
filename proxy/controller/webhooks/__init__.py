"""Webhooks: what is sent and when (`policy`, pure), from the outbox of the store (`outbox`)."""
