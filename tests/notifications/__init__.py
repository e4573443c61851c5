"""Tests of inbox, mails and webhooks."""
