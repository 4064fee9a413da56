"""Models on many processes: a catalogue in shards."""
