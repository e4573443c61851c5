"""Tests of apikeys."""
