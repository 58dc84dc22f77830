"""Defects of known kind, place and strength, planted into photographs."""
