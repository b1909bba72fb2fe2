"""Tests of flight_server.demo."""
