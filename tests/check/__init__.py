"""Tests of what tries other servers."""
