"""Who answers the wire."""
