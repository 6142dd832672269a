"""The checks on readings: what doubts a reading, why, and what each of them cannot see.

A check is a function of the values as they were delivered, of the days up to the one that is its evidence.
So a replay day by day doubts the same readings as an import at once, and a fault that ended leaves the next
readings alone.
"""
