"""Tests of digitalme.transfer."""
