"""Tests of flight_server.client."""
